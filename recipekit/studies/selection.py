"""What one stage of a study hands to the next: configurations and narrower spaces."""

from dataclasses import dataclass
from itertools import product

import numpy as np

REPEATED = ("seed", "N_epochs")  # keys in which trials of one configuration differ


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


def key_of(params):
    """Returns what the params of trials of one configuration have in common (str)."""
    return repr(sorted((k, v) for k, v in params.items() if k not in REPEATED))


def losses_by_rung(rungs, trials):
    """Returns the losses of a search by successive halving, for ``promotion``.

    Arguments
    ---------
    rungs : list of int
        Values of N_epochs, ascending.
    trials : iterable of (dict, float or None)
        The params of each, N_epochs among them, and its loss; None while it runs.

    Returns
    -------
    dict
        Rung -> dict from ``key_of`` the params to the loss.
    """
    losses = {rung: {} for rung in rungs}
    for params, loss in trials:
        losses[params["N_epochs"]][key_of(params)] = loss
    return losses


def configurations(trials):
    """Returns the configurations of trials, best first.

    Those that were run for more epochs come before others: a search promotes the better
    ones, and scores of different fidelities cannot be compared.

    Arguments
    ---------
    trials : list of Trial
        Completed ones (``storage.Trial``); failed ones are left out.
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

    Raises
    ------
    ValueError
        If there is no candidate.
    """
    if not candidates:
        raise ValueError("no trial of the stage has a score to choose by")
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


def promotion(losses, base, configurations):
    """Returns what asynchronous successive halving promotes next, or None.

    The best configuration among the best ``1 / base`` of a rung that is not on the next
    rung yet, from the highest rung down. When all configurations are drawn and nothing
    runs, an empty rung gets the best of the one below: a run always reaches the top.

    Arguments
    ---------
    losses : dict
        Rung (epochs), ascending -> dict of configuration -> loss, None while it runs.
    base : int
    configurations : int
        How many the lowest rung shall have.

    Returns
    -------
    tuple or None
        Configuration, its rung, and the rung that it is to reach.
    """
    pairs = list(zip(losses, list(losses)[1:], strict=False))
    ranked = {
        rung: sorted((c for c in known if known[c] is not None), key=known.get)
        for rung, known in losses.items()
    }
    for lower, higher in reversed(pairs):
        for found in ranked[lower][: len(ranked[lower]) // base]:
            if found not in losses[higher]:
                return found, lower, higher
    drawn = len(losses[min(losses)]) >= configurations
    running = any(loss is None for known in losses.values() for loss in known.values())
    if drawn and not running:
        for lower, higher in pairs:
            if ranked[lower] and not losses[higher]:
                return ranked[lower][0], lower, higher
    return None
