"""SI-SDR in training, and the scores of a test.

How scores flow: ``si_sdr`` gives the loss and the validation's scores, each after the
best permutation; in a test ``scorer`` computes all metrics in worker processes. Which
metrics there are stands in ``recipe.MEASURES``; the library makes means and intervals
from them, and ``evaluation`` prints their table again.
"""
