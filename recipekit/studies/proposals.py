"""What a stage tries next: a function of its trials so far, and of nothing else.

So a worker that was killed has forgotten nothing, several workers cannot disagree, and
a study can be replayed on scores that are known already.
"""

import math

import numpy as np
from scipy.special import ndtr
from scipy.stats import qmc

from recipekit.files import keyed
from recipekit.studies.ledger_columns import FINISHED
from recipekit.studies.selection import key_of

DIGITS = 4  # significant ones of drawn reals
ATTEMPTS = 1000  # to draw a configuration that is new

# Of TPE, the tree of Parzen estimators (Bergstra et al., 2011, "Algorithms for
# hyper-parameter optimization", section 4); the values did best on made-up losses.
GOOD = 0.15  # the share of the results that counts as good,
LEAST_GOOD = 3  # or so many
CANDIDATES = 32  # points drawn like these, of which the best is tried
EVEN = 0.25  # the share of configurations that are drawn evenly all the same
WIDTH = 0.1  # of a kernel, at least, where the space is 1 wide
ENOUGH = 8  # results to make a model of


def next_params(stage, space, points, trials, key):
    """Returns the params of a stage's next trial.

    Arguments
    ---------
    stage : Stage
    space : dict
        Key -> Prior; empty for a stage of fixed configurations.
    points : list of dict
        Params of all its trials, if they are fixed; of a search, known configurations
        that come first.
    trials : list of Trial
        All that were begun, in the order of their beginnings.
    key : tuple
        What draws depend on.

    Returns
    -------
    dict or None
        None if there is nothing to try at present: all is done, or what comes next
        depends on trials that are not ended.
    """
    if stage.runs:
        begun = [trial.params for trial in trials]
        return next((point for point in points if point not in begun), None)
    halving = stage.search["halving"]
    if halving and (found := RULES[halving["rule"]](stage, trials)):
        return found
    first = [t for t in trials if t.epochs == stage.rungs[0]]
    if _budget_is_spent(stage, first, trials):
        return None
    fidelity = {"N_epochs": stage.rungs[0]} if halving else {}
    known = {key_of(trial.params) for trial in first}
    for point in points:
        if key_of(point) not in known:
            return {**point, **fidelity}
    for params in draws(stage, space, points, trials, key):
        if key_of(params) not in known:
            return {**params, **fidelity}
    return None  # the space is used up


def _budget_is_spent(stage, first, trials):
    if stage.search["hours"] is None:
        return len(first) >= stage.search["trials"]
    seconds = sum(trial.statistics.get("worker_seconds", 0) for trial in trials)
    return seconds >= 3600 * stage.search["hours"]


# Which configurations are run for longer


def _losses(stage, trials):
    """Returns the losses by rung: list of dict from configuration to loss, in the order
    in which they came in; None where a trial has not ended, infinite where it failed.
    """
    ended = sorted(
        trials, key=lambda t: (t.status not in FINISHED, t.ended or 0, t.place)
    )
    rungs = {rung: {} for rung in stage.rungs}
    for trial in ended:
        loss = math.inf if trial.status == "failed" else trial.loss
        rungs[trial.epochs][key_of(trial.params)] = loss
    return list(rungs.values())


def _longer(stage, trials, configuration, rung):
    """Returns the params of a configuration on the rung after ``rung``."""
    params = next(t.params for t in trials if key_of(t.params) == configuration)
    return {**params, "N_epochs": stage.rungs[rung + 1]}


def promoted(stage, trials):
    """Asynchronous successive halving, ASHA (Li et al., 2020, arXiv 1810.05934).

    The best configuration among the best ``1 / base`` of a rung that is not on the next
    rung yet, from the highest rung down. When all configurations are drawn and nothing
    runs, an empty rung gets the best of the one below: a run always reaches the top.

    Returns
    -------
    dict or None
        Params of the longer trial.
    """
    base = stage.search["halving"]["base"]
    losses = _losses(stage, trials)
    ended = [[c for c in known if known[c] is not None] for known in losses]
    ranked = [
        sorted((c for c in each if math.isfinite(known[c])), key=known.get)
        for each, known in zip(ended, losses, strict=True)
    ]
    below = range(len(losses) - 1)
    for rung in reversed(below):
        for found in ranked[rung][: len(ended[rung]) // base]:
            if found not in losses[rung + 1]:
                return _longer(stage, trials, found, rung)
    first = [t for t in trials if t.epochs == stage.rungs[0]]
    running = any(loss is None for known in losses for loss in known.values())
    if _budget_is_spent(stage, first, trials) and not running:
        for rung in below:
            if ranked[rung] and not losses[rung + 1]:
                return _longer(stage, trials, ranked[rung][0], rung)
    return None


def not_stopped(stage, trials):
    """Early stopping in the bands of Hyperband, as in the sweeps of Weights & Biases.

    A configuration goes on if its loss was among the best ``1 / base`` (rounded up) of
    those that its rung had when it came in: sooner decided than by ``promoted``, which
    may return to a configuration later.

    Returns
    -------
    dict or None
        Params of the longer trial.
    """
    base = stage.search["halving"]["base"]
    losses = _losses(stage, trials)
    for rung in reversed(range(len(losses) - 1)):
        seen = []
        for configuration, loss in losses[rung].items():
            if loss is None:
                continue
            seen.append(loss)
            kept = sorted(seen)[math.ceil(len(seen) / base) - 1]
            better = math.isfinite(loss) and loss <= kept
            if better and configuration not in losses[rung + 1]:
                return _longer(stage, trials, configuration, rung)
    return None


RULES = {"promote": promoted, "stop": not_stopped}


# Which configurations are drawn


def draws(stage, space, points, trials, key):
    """Yields configurations to try, the most wanted first; some may be known."""
    number = sum(t.epochs == stage.rungs[0] for t in trials)
    # Which are drawn evenly is drawn, too: every fourth point of a sequence of base 2
    # would lie in one quarter of the first key.
    even = keyed.uniform(0, 1, "even", *key, number) < EVEN
    if stage.search["algorithm"] == "tpe" and not even:
        yield from modelled(stage, space, trials, (*key, number))
    # Halton's sequence fills the space more evenly than independent draws do.
    sequence = qmc.Halton(len(space), seed=keyed.integer(*key) % 2**32)
    sequence.fast_forward(max(0, number - len(points)))
    for _ in range(ATTEMPTS):
        yield at(space, sequence.random()[0])


def at(space, point):
    """Returns the configuration at a point of the unit cube, reals rounded."""
    return {
        name: prior.at(part, DIGITS)
        for (name, prior), part in zip(space.items(), point, strict=True)
    }


def modelled(stage, space, trials, key):
    """Yields what the tree of Parzen estimators wants to try, best first.

    Of points drawn like the good results, those with the highest ratio of the density
    of the good to that of the others. The results are those of the highest rung that
    has enough (Falkner et al., 2018, BOHB, arXiv 1807.01774). What runs counts as bad,
    so that workers do not try the same.
    """
    for rung in reversed(stage.rungs):
        here = [t for t in trials if t.epochs == rung]
        done = [t for t in here if t.status in FINISHED]
        if len(done) >= ENOUGH:
            break
    else:
        return
    done.sort(key=lambda trial: trial.loss)
    rows = [unit(space, t.params) for t in done]
    running = [unit(space, t.params) for t in here if t.status not in FINISHED]
    number = max(LEAST_GOOD, round(GOOD * len(done)))
    good, bad = np.array(rows[:number]), np.array([*rows[number:], *running])
    sizes = [len(prior.choices or ()) for prior in space.values()]
    candidates = _drawn_like(good, sizes, keyed.generator("tpe", *key))
    ratio = _log_density(candidates, good, sizes) - _log_density(candidates, bad, sizes)
    for place in np.argsort(-ratio, kind="stable"):
        yield at(space, candidates[place])


def unit(space, params):
    """Returns a configuration as a point of the unit cube; outside it, the nearest."""
    return [prior.part(params[name]) for name, prior in space.items()]


def _widths(points):
    """Returns the widths of the kernels, a key each: half of Scott's rule."""
    return np.maximum(WIDTH, points.std(axis=0) * len(points) ** (-1 / 5) / 2)


def _drawn_like(points, sizes, generator):
    """Draws CANDIDATES points, each coordinate from one of some points: moved by its
    kernel or, if it is a choice, at times another one.
    """
    count, keys = points.shape
    picked = generator.integers(count, size=(CANDIDATES, keys))
    chosen = points[picked, np.arange(keys)]
    moved = chosen + _widths(points) * generator.standard_normal(chosen.shape)
    moved = np.abs(moved)  # reflected at the sides
    moved = np.where(moved > 1, 2 - moved, moved).clip(0, 1)
    for place, size in enumerate(sizes):
        if size:
            anew = generator.random(CANDIDATES) < 1 / (count + 1)
            drawn = (generator.integers(size, size=CANDIDATES) + 0.5) / size
            moved[:, place] = np.where(anew, drawn, chosen[:, place])
    return moved


def _log_density(at_points, points, sizes):
    """Returns the logarithm of the density of some points at others, [others].

    A product over keys of the mean of a kernel at each point and of the even density.
    """
    gaps = at_points[:, None] - points[None]  # [others, points, keys]
    widths = _widths(points)
    inside = ndtr((1 - points) / widths) - ndtr(-points / widths)
    heights = np.exp(-((gaps / widths) ** 2) / 2) / (math.sqrt(2 * math.pi) * widths)
    kernels = heights / inside
    for place, size in enumerate(sizes):
        if size:  # Aitchison & Aitken, 1976; its mean over the cube is 1, too
            same = np.abs(gaps[..., place]) < 0.5 / size
            other = 1 / (len(points) + 1)
            heights = np.where(same, 1 - other, other / max(1, size - 1))
            kernels[..., place] = size * heights
    return np.log((kernels.sum(axis=1) + 1) / (len(points) + 1)).sum(axis=-1)
