"""Algorithms of stages, in the form in which Oríon finds them by name."""

import math

from orion.algo.base import BaseAlgorithm
from orion.core.utils.format_trials import dict_to_trial
from scipy.stats import qmc

DIGITS = 4  # significant ones of drawn reals, as Oríon's own draws have


class FixedList(BaseAlgorithm):
    """Suggests nothing: the trials of the experiment are those that were inserted."""

    def suggest(self, num):
        """Returns no trial."""
        return []


class SuccessiveHalving(BaseAlgorithm):
    """Asynchronous successive halving, ASHA (Li et al., 2020, arXiv 1810.05934).

    Whenever a worker is free, the best trial among the best ``1 / base`` of a rung that
    has not been promoted yet is promoted, from the highest rung down; if there is none,
    a new configuration is drawn. Oríon's own ASHA promotes within brackets of
    ``base ** (rungs - 1)`` trials and may find nothing more to suggest after some.

    Draws are points of a scrambled Halton sequence, which fills the space more evenly
    than independent draws do. The state is the trials themselves.

    Arguments
    ---------
    space : orion.algo.space.Space
        With one fidelity.
    seed : int
        Of the sequence.
    rungs : list of int
        Values of the fidelity, ascending.
    base : int
    """

    def __init__(self, space, seed=0, rungs=(1,), base=3):
        super().__init__(space, seed=seed, rungs=list(rungs), base=base)

    def suggest(self, num):
        """Returns up to ``num`` trials; fewer when the space is used up."""
        suggested = []
        for _ in range(num):
            trial = self._promotion() or self._draw()
            if trial is None:
                break
            self.register(trial)
            suggested.append(trial)
        return suggested

    def _rung(self, fidelity):
        name = self.fidelity_index
        return [trial for trial in self.registry if trial.params[name] == fidelity]

    def _configuration(self, trial):
        return self.get_id(trial, ignore_fidelity=True, ignore_parent=True)

    def _promotion(self):
        """Returns the next trial to go on with, or None."""
        for lower, higher in reversed(
            list(zip(self.rungs, self.rungs[1:], strict=False))
        ):
            promoted = {self._configuration(trial) for trial in self._rung(higher)}
            done = [trial for trial in self._rung(lower) if trial.objective]
            done.sort(key=lambda trial: trial.objective.value)
            for trial in done[: len(done) // self.base]:
                if self._configuration(trial) not in promoted:
                    fidelity = {self.fidelity_index: higher}
                    return trial.branch(status="new", params=fidelity)
        return None

    def _draw(self):
        """Returns a new configuration on the lowest rung, or None."""
        searched = [dim for dim in self.space.values() if dim.type != "fidelity"]
        drawn = len(self._rung(self.rungs[0]))
        sequence = qmc.Halton(len(searched), seed=self.seed).fast_forward(drawn)
        for point in sequence.random(1000):  # most are new at once
            params = {
                dim.name: _value(dim, part)
                for dim, part in zip(searched, point, strict=True)
            }
            params[self.fidelity_index] = self.rungs[0]
            trial = dict_to_trial(params, self.space)
            if not self.has_suggested(trial):
                return trial
        return None


def _value(dim, part):
    """Returns the value of a dimension at a part (0..1) of its range."""
    if dim.type == "categorical":
        return dim.categories[int(part * len(dim.categories))]
    low, high = dim.interval()
    if dim.type == "integer":
        return low + int(part * (high - low + 1))
    if dim.prior_name == "reciprocal":  # loguniform
        value = math.exp(math.log(low) + part * math.log(high / low))
    else:
        value = low + part * (high - low)
    return min(max(float(f"{value:.{DIGITS}g}"), low), high)
