"""Algorithms of stages, in the form in which Oríon finds them by name."""

import math

from orion.algo.base import BaseAlgorithm
from orion.core.utils.format_trials import dict_to_trial
from scipy.stats import qmc

from recipekit.studies.selection import key_of, losses_by_rung, promotion

DIGITS = 4  # significant ones of drawn reals, as Oríon's own draws have
ATTEMPTS = 1000  # to draw a configuration that is new


class FixedList(BaseAlgorithm):
    """Suggests nothing: the trials of the experiment are those that were inserted."""

    def suggest(self, num):
        """Returns no trial."""
        return []


class SuccessiveHalving(BaseAlgorithm):
    """Asynchronous successive halving, ASHA (Li et al., 2020, arXiv 1810.05934).

    Whenever a worker is free, a trial is promoted if one may be (see
    ``selection.promotion``); else a new configuration is drawn, until they are as many
    as asked for. Oríon's own ASHA promotes within brackets of ``base ** (rungs - 1)``
    trials and may find nothing more to suggest after some.

    Draws are points of a scrambled Halton sequence, which fills the space more evenly
    than independent draws do. The state is the trials themselves.

    Arguments
    ---------
    space : orion.algo.space.Space
        With one fidelity.
    seed : int
        Of the draws.
    rungs : list of int
        Values of the fidelity, ascending.
    base : int
        One of so many is promoted.
    configurations : int
        How many are drawn.
    """

    def __init__(self, space, seed=0, rungs=(1,), base=3, configurations=1):
        super().__init__(
            space,
            seed=seed,
            rungs=list(rungs),
            base=base,
            configurations=configurations,
        )

    def suggest(self, num):
        """Returns up to ``num`` trials; fewer while there is nothing to do."""
        suggested = []
        for _ in range(num):
            trial = self._promoted() or self._drawn()
            if trial is None:
                break
            self.register(trial)
            suggested.append(trial)
        return suggested

    def _promoted(self):
        """Returns the next trial to promote, or None."""
        name = self.fidelity_index
        known = {(key_of(t.params), t.params[name]): t for t in self.registry}
        losses = losses_by_rung(
            self.rungs,
            (
                (trial.params, trial.objective.value if trial.objective else None)
                for trial in self.registry
            ),
        )
        found = promotion(losses, self.base, self.configurations)
        if found is None:
            return None
        key, lower, higher = found
        return known[key, lower].branch(status="new", params={name: higher})

    def _drawn(self):
        """Returns a new configuration on the lowest rung, or None."""
        name, first = self.fidelity_index, self.rungs[0]
        drawn = sum(trial.params[name] == first for trial in self.registry)
        if drawn >= self.configurations:
            return None
        searched = [dim for dim in self.space.values() if dim.type != "fidelity"]
        sequence = qmc.Halton(len(searched), seed=self.seed).fast_forward(drawn)
        for point in sequence.random(ATTEMPTS):
            params = {name: first}
            for dim, part in zip(searched, point, strict=True):
                params[dim.name] = _value(dim, part)
            trial = dict_to_trial(params, self.space)
            if not self.has_suggested(trial):
                return trial
        return None


def _value(dim, part):
    """Returns the value of a dimension at a part (0..1) of its range."""
    if dim.type == "categorical":
        choices = dim.original_dimension.categories
        return choices[int(part * len(choices))]
    low, high = dim.interval()
    top = high + 1 if dim.type == "integer" else high
    if "reciprocal" in dim.prior_name:  # loguniform
        value = math.exp(math.log(low) + part * math.log(top / low))
    else:
        value = low + part * (top - low)
    if dim.type == "integer":
        return min(int(value), int(high))
    return min(max(float(f"{value:.{DIGITS}g}"), low), high)
