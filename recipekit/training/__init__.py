"""Training that can be killed at any moment and resumed to the bit.

In the order of a run: ``command_line`` reads what is asked for and checks it by
``hparams_keys``; ``identity`` says which keys make a run what it is. ``steps`` does
careful steps and ``brain`` a run's epochs, over the items of a ``sampler`` by way of
``loaders``, with ``optimizers`` and ``schedules``. All that a run must remember is its
``train_state``, saved in ``checkpoints``; ``history`` and ``loggers`` write what it
says for readers. ``environment`` notes what it ran on, ``allocator`` keeps freed
memory.
"""
