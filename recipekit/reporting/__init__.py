"""Reports of runs and studies: what was measured, and what it allows to say.

How a report flows: ``command`` finds the ledgers of studies (``ledgers``) and the runs
(``runs``) below some folders; ``settings`` groups runs that differ in their seed.
``results`` shows scores and learning curves, ``comparison`` tests the differences of
settings, ``searches`` shows what studies cost and reached, with ``search_pictures``,
and ``importance`` what explains their scores. Each returns a section of a ``document``,
which ``page`` writes. ``learning_curve`` also draws for runs while they train.
"""
