"""Studies: searches and validations that depend on each other, on any machines.

How a study flows: ``study_file`` reads the YAML into ``stages`` with the ``spaces``
that they search; ``storage`` keeps the trials of each stage in Oríon's ``database``,
with ``algorithms`` of ours among its own; ``selection`` makes the space or the
configurations of a stage from the trials of those before; ``worker`` runs trials as
processes of train.py until no stage is open, and each reports through ``trial``;
``ledger`` writes what it all cost, in ``ledger_columns``. ``command`` is what a
recipe's study.py runs.
"""
