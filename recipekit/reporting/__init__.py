"""Reports of runs and studies: what was measured, and what it allows to say.

How a report flows: ``report`` finds the ledgers of studies (``ledgers``) and the runs
(``runs``) below some folders; ``settings`` groups runs that differ in their seed.
``verdict`` says which is best, ``results`` shows scores and learning curves,
``cautions`` what stands against them, ``searches`` what studies reached and cost, with
``search_pictures``, ``importance`` what explains their scores, ``comparison`` tests the
differences of settings, and ``provenance`` says where all comes from. Each returns a
section of a ``document``, which ``page`` writes. ``learning_curve`` also draws for runs
while they train, and ``replays`` is the command that repeats studies on a table.
"""
