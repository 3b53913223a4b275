"""What one stage of a study hands to the next: configurations and narrower spaces."""

from dataclasses import dataclass
from itertools import product

import numpy as np

REPEATED = ("seed", "N_epochs")  # keys in which trials of one configuration differ


@dataclass(frozen=True)
class Trial:
    """A trial as the study sees it.

    Attributes
    ----------
    id : str
    place : int
        Which one of its stage it is, by its beginning.
    params : dict
    status : str
        completed, failed, running or waiting.
    epochs : int or None
        N_epochs asked for.
    loss : float or None
        What it came to, once it has ended: minus the score, or a value for failures.
    statistics : dict
        What else the trial reported.
    started, ended : float or None
        Seconds since 1970.
    """

    id: str
    place: int
    params: dict
    status: str
    epochs: int | None
    loss: float | None
    statistics: dict
    started: float | None = None
    ended: float | None = None

    @property
    def score(self):
        """The best validation score (float), or None if there is none."""
        return -self.loss if self.status == "completed" else None


@dataclass(frozen=True)
class Configuration:
    """A point of a space with the best score it was given at its highest fidelity.

    Attributes
    ----------
    params : dict
        Searched keys, without seed and N_epochs.
    epochs : int
        The highest N_epochs it was run for.
    score : float
        Best validation score there.
    """

    params: dict
    epochs: int
    score: float


def begin(stage, before):
    """Returns what a stage begins with.

    Arguments
    ---------
    stage : Stage
    before : dict
        Name of each stage that it depends on -> (Stage, its space, its points, its
        trials).

    Returns
    -------
    space : dict
        Key -> Prior; empty for a stage of fixed configurations.
    points : list of dict
        Params of all its trials, or of those that a search begins with.
    """
    if stage.runs:
        wanted = stage.runs["top"]
        chosen = [c.params for c in _best(wanted, before)] if wanted else [{}]
        return {}, points(chosen, stage.runs["grid"], stage.seeds)
    search = stage.search
    space, first = dict(search["space"]), [dict(known) for known in search["first"]]
    if narrowed := search["narrow"]:
        _, inherited, _, _ = before[narrowed["stages"][0]]
        found = configurations(_trials(narrowed, before))
        inherited = narrow(inherited, found, narrowed["best"], narrowed["quantiles"])
        own = set(search["own"])
        space = {k: p if k in own else inherited[k] for k, p in space.items()}
    for found in _best(search["carry"], before) if search["carry"] else ():
        if all(prior.contains(found.params[key]) for key, prior in space.items()):
            first.append({key: found.params[key] for key in space})
    return space, first


def _trials(wanted, before):
    return [trial for name in wanted["stages"] for trial in before[name][3]]


def _best(wanted, before):
    """Returns the configurations that ``top`` or ``carry`` of a stage asks for."""
    space = {}
    for name in wanted["stages"]:
        space |= before[name][1]
    found = configurations(_trials(wanted, before))
    if not found:
        raise ValueError(
            f"no trial of {', '.join(wanted['stages'])} has a score to choose by"
        )
    groups = {}
    for each in found:
        key = repr([each.params[name] for name in wanted["each"]])
        groups.setdefault(key, []).append(each)
    return [
        chosen
        for members in groups.values()
        for chosen in top(members, wanted["count"], space, wanted["within"])
    ]


def key_of(params):
    """Returns what the params of trials of one configuration have in common (str).

    Numbers that are equal are one value, be they written as 3 or as 3.0.
    """
    kept = ((k, v) for k, v in params.items() if k not in REPEATED)
    return repr(sorted((k, float(v) if _is_number(v) else v) for k, v in kept))


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def configurations(trials):
    """Returns the configurations of trials, best first.

    Those that were run for more epochs come before others: a search promotes the better
    ones, and scores of different fidelities cannot be compared.

    Arguments
    ---------
    trials : list of Trial
        Failed and unfinished ones are left out.
    """
    found = {}
    for trial in trials:
        if trial.score is None:
            continue
        params = {k: v for k, v in trial.params.items() if k not in REPEATED}
        known = found.setdefault(key_of(params), (params, {}))
        known[1].setdefault(trial.epochs, []).append(trial.score)
    best = [
        Configuration(params, max(scores), float(np.mean(scores[max(scores)])))
        for params, scores in found.values()
    ]
    return sorted(best, key=lambda item: (-item.epochs, -item.score))


def top(candidates, count, space, within=None):
    """Returns the best configurations, or good ones that are far from each other.

    Arguments
    ---------
    candidates : list of Configuration
        Best first.
    count : int
    space : dict
        Key -> Prior, in which distances are measured.
    within : float, optional
        In the unit of the scores. If given, the best one is taken, then, one by one,
        the one that is farthest from all taken (greedy max-min of the Euclidean
        distance in the normalised space) among those of the highest fidelity that
        score at most this much below the best; if they are too few, the next best.
    """
    if within is None:
        return candidates[:count]
    best = candidates[0]
    near = [
        item
        for item in candidates
        if item.epochs == best.epochs and item.score >= best.score - within
    ]
    chosen = [best]
    while len(chosen) < min(count, len(near)):
        rest = [item for item in near if item not in chosen]
        chosen.append(
            max(rest, key=lambda item: min(_apart(item, c, space) for c in chosen))
        )
    rest = [item for item in candidates if item not in chosen]
    return chosen + rest[: count - len(chosen)]


def _apart(first, second, space):
    return sum(
        prior.distance(first.params[key], second.params[key]) ** 2
        for key, prior in space.items()
        if key in first.params and key in second.params
    )


def narrow(space, candidates, best, quantiles):
    """Returns a space as wide as the best configurations lie.

    Arguments
    ---------
    space : dict
        Key -> Prior.
    candidates : list of Configuration
        Best first.
    best : float
        The share of them that counts, 0..1; at least two do.
    quantiles : tuple of float
        Of the values of each key, for example (0.1, 0.9); in log where the prior is.

    Returns
    -------
    dict
        Key -> Prior, within the old bounds; choices stay as they are.
    """
    if not candidates:
        raise ValueError("no trial of the stage has a score to narrow by")
    counted = candidates[: max(2, round(best * len(candidates)))]
    narrowed = dict(space)
    for key, prior in space.items():
        if prior.choices is not None or key not in counted[0].params:
            continue
        values = np.array([item.params[key] for item in counted], dtype=float)
        values = values.clip(prior.low, prior.high)
        if prior.log:
            low, high = np.exp(np.quantile(np.log(values), quantiles))
        else:
            low, high = np.quantile(values, quantiles)
        narrowed[key] = prior.narrowed(float(low), float(high))
    return narrowed


def points(chosen, grid, seeds):
    """Returns every combination of configurations, grid values and seeds.

    Arguments
    ---------
    chosen : list of dict
        Params; of the same keys.
    grid : dict
        Key -> list of values, which replace those of the params.
    seeds : list of int

    Returns
    -------
    list of dict
        In an order in which all configurations have their first seed first, so that a
        study that is stopped early has seen each; none twice.
    """
    seeded = [{"seed": seed} for seed in seeds] or [{}]
    combinations = [
        dict(zip(grid, values, strict=True)) for values in product(*grid.values())
    ]
    every = [
        {**params, **values, **seed}
        for seed in seeded
        for params in chosen
        for values in combinations
    ]
    return [point for place, point in enumerate(every) if point not in every[:place]]
