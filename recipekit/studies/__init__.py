"""Studies: searches and validations that depend on each other, on any machines.

How a study flows: ``plan`` reads the YAML into ``stages``; ``storage`` keeps the trials
of each stage in Oríon's database, with ``algorithms`` of ours among its own;
``selection`` makes the space or the configurations of a stage from the trials of those
before; ``worker`` runs trials as processes of train.py until no stage is open;
``ledger`` tells what it all cost.
"""
