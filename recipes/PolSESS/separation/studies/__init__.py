"""Studies: searches and validations that depend on each other, run by any number of
workers.

How a study flows: ``plan`` reads the YAML into ``stages``; ``storage`` keeps each stage's
trials in Oríon's database; ``selection`` makes the space or the configurations of a
stage from the trials of those before; ``worker`` runs trials as processes of train.py
until no stage is open; ``ledger`` tells what it all cost.
"""
