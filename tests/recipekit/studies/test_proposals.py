"""What a stage tries next, as a function of its trials."""

import math

import numpy as np
import pytest
from scipy import stats

from recipekit.studies import proposals
from recipekit.studies.proposals import next_params
from recipekit.studies.selection import Trial, key_of
from recipekit.studies.spaces import Prior, read_space
from recipekit.studies.stages import Stage

SPACE = read_space(
    {
        "lr": "loguniform(1e-4, 1e-2)",
        "clip": "uniform(0, 10)",
        "patience": "uniform(1, 5, discrete=True)",
        "name": "choices(['a', 'b', 'c'])",
    }
)


def search(epochs=9, **changes):
    content = {"algorithm": "halton", "trials": 6, "hours": None, "halving": None}
    content |= {"space": SPACE, **changes}
    return Stage("s", "h.yaml", {"N_epochs": epochs}, search=content)


STATUS = {True: "completed", False: "failed"}


def trials(*known):
    """Returns trials of (lr, epochs, loss), in the order of their ends."""
    return [
        Trial(
            id=str(place),
            place=place,
            params={"lr": lr, "N_epochs": epochs},
            status="running"
            if loss is None
            else "completed"
            if loss < 99
            else "failed",
            epochs=epochs,
            loss=loss,
            statistics={},
            ended=None if loss is None else float(place),
        )
        for place, (lr, epochs, loss) in enumerate(known)
    ]


def halving(rule, configurations=6):
    part = {"first_rung": 1, "base": 3, "rule": rule}
    return search(trials=configurations, halving=part)


def promoted(*known, configurations=6):
    found = proposals.promoted(halving("promote", configurations), trials(*known))
    return found and (found["lr"], found["N_epochs"])


def test_successive_halving_promotes_the_best_of_a_rung():
    rung = [("a", 1, 3.0), ("b", 1, 1.0), ("c", 1, 2.0), ("d", 1, None)]
    assert promoted(*rung) == ("b", 3)
    assert promoted(*rung, ("b", 3, None)) is None  # one of three is promoted
    rung[3:] = [("d", 1, 0.5), ("e", 1, 4.0), ("f", 1, 5.0)]
    assert promoted(*rung, ("b", 3, None)) == ("d", 3)
    assert promoted(*rung, ("b", 3, 1.0), ("d", 3, None)) is None  # too few there,
    both = [*rung, ("b", 3, 1.0), ("d", 3, 2.0)]
    assert promoted(*both, configurations=7) is None  # and more are to be drawn;
    assert promoted(*both) == ("b", 9)  # but one reaches the top
    assert promoted(*both, ("b", 9, None)) is None


def test_failures_count_but_are_not_promoted():
    assert promoted(("a", 1, 100.0), ("b", 1, 100.0), ("c", 1, 1.0)) == ("c", 3)
    assert promoted(*[(name, 1, 100.0) for name in "abcdef"]) is None


def test_early_stopping_decides_when_a_result_comes_in():
    def goes_on(*known):
        found = proposals.not_stopped(halving("stop"), trials(*known))
        return found and (found["lr"], found["N_epochs"])

    assert goes_on(("a", 1, 3.0)) == ("a", 3)  # the best of one
    assert goes_on(("a", 1, 3.0), ("a", 3, 2.0)) == ("a", 9)
    run = [("a", 1, 3.0), ("a", 3, 2.0), ("a", 9, 1.0)]
    assert goes_on(*run, ("b", 1, 4.0)) is None
    assert goes_on(*run, ("b", 1, 4.0), ("c", 1, 5.0)) is None
    # Of four results two may go on: the second best may, had it come in now; b is over.
    run += [("b", 1, 4.0), ("c", 1, 5.0)]
    assert goes_on(*run, ("d", 1, 3.5)) == ("d", 3)
    assert goes_on(*run, ("d", 1, 6.0)) is None
    assert goes_on(*run, ("d", 1, 100.0)) is None


def test_halton_fills_each_key_evenly():
    stage, known = search(trials=64), []
    for _ in range(64):
        params = next_params(stage, SPACE, [], known, ("key",))
        known.append(Trial("", len(known), params, "completed", 9, 1.0, {}, 0.0, 1.0))
    assert next_params(stage, SPACE, [], known, ("key",)) is None
    assert len({key_of(trial.params) for trial in known}) == 64
    for key, prior in SPACE.items():
        parts = [prior.part(trial.params[key]) for trial in known]
        assert stats.kstest(parts, "uniform").statistic < 0.21, key
    lr = np.log10([trial.params["lr"] for trial in known])
    assert stats.kstest((lr + 4) / 2, "uniform").statistic < 0.04


def test_what_comes_next_depends_on_the_trials_and_the_key_alone():
    stage = search(algorithm="tpe", trials=40)
    known = made(stage, 20, lambda params: params["clip"])
    first = next_params(stage, SPACE, [], known, ("key",))
    assert next_params(stage, SPACE, [], known, ("key",)) == first
    assert next_params(stage, SPACE, [], known, ("other",)) != first


def made(stage, number, loss, space=SPACE, key=("key",), points=()):
    """Returns a stage's first trials, each ended before the next began."""
    known = []
    for _ in range(number):
        params = next_params(stage, space, list(points), known, key)
        if params is None:
            break
        place = float(len(known))
        known.append(
            Trial(
                "", len(known), params, "completed", 9, loss(params), {}, place, place
            )
        )
    return known


def test_known_points_come_first():
    points = [{"lr": 0.5, "clip": -1, "patience": 9, "name": "a"}]
    known = made(search(), 6, lambda params: params["clip"], points=points)
    assert known[0].params == points[0] and len(known) == 6
    alone = made(search(), 5, lambda params: params["clip"])
    assert [t.params for t in known[1:]] == [t.params for t in alone]


def test_even_draws_of_a_surrogate_reach_all_of_each_key():
    stage = search(algorithm="tpe", trials=160)
    known = made(stage, 160, lambda params: abs(params["clip"] - 9))
    parts = np.array([[SPACE[k].part(t.params[k]) for k in SPACE] for t in known[20:]])
    far = parts[parts[:, 1] < 0.6]  # where the surrogate has no reason to be
    assert 10 < len(far) < 40
    assert stats.kstest(far[:, 0], "uniform").pvalue > 0.01
    assert far[:, 0].min() < 0.25 and far[:, 0].max() > 0.75


def test_numbers_that_are_equal_are_one_configuration():
    assert key_of({"a": 3, "b": 2, "seed": 1}) == key_of({"b": 2.0, "a": 3.0})
    assert key_of({"a": True}) != key_of({"a": 1})
    assert key_of({"a": "1"}) != key_of({"a": 1})


def bowl(params):
    """A loss with its optimum at lr 2e-3, clip 3, patience 2, name b."""
    return (
        2 * abs(math.log10(params["lr"] / 2e-3))
        + abs(params["clip"] - 3) / 5
        + abs(params["patience"] - 2) / 4
        + (params["name"] != "b")
    )


def test_the_model_finds_better_configurations_than_even_draws():
    best = {"halton": [], "tpe": []}
    for algorithm, found in best.items():
        for seed in range(20):
            stage = search(algorithm=algorithm, trials=50)
            known = made(stage, 50, bowl, key=("bowl", seed))
            found.append(min(trial.loss for trial in known))
    assert np.mean(best["tpe"]) < 0.75 * np.mean(best["halton"])


def test_the_density_is_one_and_that_of_an_independent_estimate():
    points = np.array([[0.2, 0.5], [0.9, 1 / 6], [0.4, 5 / 6]])
    sizes = [0, 3]
    grid = (np.arange(2000) + 0.5) / 2000
    total = 0.0
    for choice in (1 / 6, 0.5, 5 / 6):
        at = np.stack([grid, np.full_like(grid, choice)], axis=1)
        total += np.exp(proposals._log_density(at, points, sizes)).mean() / 3
    assert total == pytest.approx(1, abs=1e-3)
    width = max(0.1, points[:, 0].std() * 3 ** (-1 / 5) / 2)
    kernels = [
        stats.truncnorm((0 - m) / width, (1 - m) / width, m, width)
        for m in points[:, 0]
    ]
    of_reals = (sum(kernel.pdf(0.3) for kernel in kernels) + 1) / 4
    of_choices = (3 * (0.75 + 0.125 + 0.125) + 1) / 4
    found = proposals._log_density(np.array([[0.3, 0.5]]), points, sizes)
    assert np.exp(found[0]) == pytest.approx(of_reals * of_choices, rel=1e-6)


@pytest.mark.parametrize("text", [
    "loguniform(1e-4, 1e-2)", "uniform(-3, 5)", "uniform(1, 5, discrete=True)",
    "loguniform(1, 1000, discrete=True)", "uniform(-3, 3, discrete=True)",
    "choices(['a', 'b', 'c'])",
])  # fmt: skip
def test_parts_of_a_range_are_values_and_back(text):
    prior = Prior.parse("k", text)
    for part in np.linspace(0, 1, 23):
        value = prior.at(part, 6)
        assert prior.contains(value)
        assert prior.at(prior.part(value), 6) == pytest.approx(value) or prior.choices
        assert prior.at(prior.part(value), 6) == value or not prior.choices
    if prior.integer:
        counts = [prior.at(part, 4) for part in (np.arange(5000) + 0.5) / 5000]
        assert min(counts) == prior.low and max(counts) == prior.high
    if prior.choices is None:
        assert prior.part(prior.low - 1) <= prior.part(prior.low)
        assert prior.part(1e9) <= 1
