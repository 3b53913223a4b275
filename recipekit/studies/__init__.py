"""Studies: searches and validations that depend on each other, on any machines.

How a study flows: ``study_file`` reads the YAML into ``stages`` with the ``spaces``
that they search; ``storage`` keeps the trials of each stage in a ``database``;
``proposals`` says what a stage tries next, and ``selection`` what a stage begins with,
both as functions of the trials that are there; ``worker`` runs trials as processes of
train.py until no stage is open, and each reports through ``trial``; ``ledger`` writes
what it all cost, in ``ledger_columns``. ``replay`` runs a study on a table of learning
curves instead. ``command`` is what a recipe's study.py runs.
"""
