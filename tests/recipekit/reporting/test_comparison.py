"""Comparisons of settings whose true difference is planted, and their sentences."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from words import MEASURES

from recipekit.files import keyed
from recipekit.reporting.comparison import Gap, TestSet, compare_settings, verdict
from recipekit.scoring import statistics
from recipekit.scoring.statistics import Estimate

MODELS = {"first": "a", "second": "a", "third": "b"}


def simulated(name, gap, seeds=3, recordings=80, seed_spread=0.3):
    """Returns two settings whose true means differ by ``gap``."""
    generator = keyed.generator("simulated", name)
    hard = generator.normal(0, 3, recordings)  # shared by all runs
    scores = {}
    for label, mean in (("first", gap), ("second", 0.0)):
        level = mean + generator.normal(0, seed_spread, (seeds, 1))
        scores[label] = level + hard + generator.normal(0, 0.5, (seeds, recordings))
    return test_set_of(scores)


def test_set_of(scores, units=()):
    numbers = {label: [*range(len(values))] for label, values in scores.items()}
    return TestSet(pd.DataFrame(), dict(units), scores, numbers, MODELS)


test_set_of.__test__ = False


def compare(test_set):
    return compare_settings(test_set, MEASURES).to_dict("records")


def test_planted_difference_is_found():
    (row,) = compare(simulated("planted", 3.0))
    assert row["low"] < 3.0 < row["high"] and row["judgement"] == "different"
    assert row["in words"].startswith("first − second = ")
    assert row["in words"].endswith("], different")


def test_one_seed_is_not_judged():
    test_set = simulated("one seed", 3.0, seeds=1)
    (row,) = compare(test_set)
    assert row["in words"].endswith("cannot be judged") and row["judgement"] == ""
    assert np.isnan(row["p of none, Holm"])
    three = simulated("three", 3.0)
    scores = three.scores | {"third": test_set.scores["second"] - 9}
    rows = compare(test_set_of(scores))
    assert sum(row["judgement"] != "" for row in rows) == 1
    # It does not count among the pairs that are corrected for.
    (alone,) = compare(three)
    assert rows[0]["p of none, Holm"] == pytest.approx(alone["p of none, Holm"])


def test_seeds_are_pairs_within_a_model():
    """An effect of the seeds cancels; in another model it may be any other."""
    test_set = simulated("pairs", 1.0, seed_spread=0.1)
    effects = np.array([[-2.0], [0.0], [3.0]])
    raised = {label: s + effects for label, s in test_set.scores.items()}
    (expected,), (row,) = compare(test_set), compare(test_set_of(raised))
    assert row["low"] == pytest.approx(expected["low"])
    scores = {"first": raised["first"], "third": raised["second"]}
    (unpaired,) = compare(test_set_of(scores))
    assert unpaired["judgement"] == "undecided" and unpaired["low"] < -3
    other = replace(
        test_set_of(raised), seeds={"first": [0, 1, 2], "second": [3, 4, 5]}
    )
    assert compare(other)[0]["low"] == pytest.approx(unpaired["low"])


def test_recordings_of_few_speakers_are_less_sure():
    generator = keyed.generator("few speakers")
    test_set = simulated("few speakers", 0.5, seed_spread=0.01)
    speakers = generator.integers(5, size=(80, 1))
    scores = test_set.scores["first"] + generator.normal(0, 0.5, 5)[speakers[:, 0]]
    scores = test_set.scores | {"first": scores}
    (alone,) = compare(test_set_of(scores))
    (row,) = compare(test_set_of(scores, {"speakers": speakers}))
    assert row["difference"] == alone["difference"]
    assert row["high"] - row["low"] > 3 * (alone["high"] - alone["low"])


def test_undefined_recordings_are_left_out_of_all():
    test_set = simulated("undefined", 3.0)
    units = np.arange(80)[:, None] // 4
    scores = {label: values[:, 5:] for label, values in test_set.scores.items()}
    whole = compare(test_set_of(scores, {"rooms": units[5:]}))
    test_set.scores["first"][1, :5] = np.nan
    assert compare(test_set_of(test_set.scores, {"rooms": units})) == whole


def gap_of(value, error, freedom, first=("a", "b"), **changes):
    estimate = Estimate(value, error, freedom)
    return replace(Gap(first, estimate, (3, 3), estimate), **changes)


def test_sentences():
    def say(gap, p, beyond, pairs=1):
        return verdict(gap, "dB", p, beyond, 0.1, pairs)

    far = gap_of(2.071, 0.05, 4, ("SepFormer", "DPRNN"))
    assert say(far, 0.001, 1) == "SepFormer − DPRNN = 2.07 dB [1.93, 2.21], different"
    small = gap_of(0.05, 0.01, 10)
    has = "a − b = 0.05 dB [0.03, 0.07], "
    assert say(small, 0.001, 0.001) == f"{has}different, but equivalent within 0.1 dB"
    assert say(small, 0.06, 0.04) == f"{has}equivalent within 0.1 dB"
    spread = [np.var(s, ddof=1) for s in ([3.01, 2.87, 3.20], [3.28, 2.70, 2.86])]
    near = gap_of(0.08, np.sqrt(sum(spread) / 3), 4, ("DPRNN", "ConvTasNet"))
    # 7.849 (.02743 + .08973) / .08² = 143.7 for normal scores; Student's t takes 145
    have = "DPRNN − ConvTasNet = 0.08 dB [−0.47, 0.63], undecided with 3 seeds"
    assert say(near, 0.7, 0.5) == f"{have}: about 142 more of each needed"
    # Equivalence takes fewer where the difference is far below the margin: 8.564
    # (.02743 + .08973) / .1² = 100.3 with 0.9 on either side; Student's t takes 102
    none = gap_of(0.0, near.estimate.error, 4)
    assert say(none, 1, 0.5).endswith("about 99 more of each needed")
    unsure = replace(near, estimate=Estimate(0.08, 1.0, 9))  # over recordings
    assert say(unsure, 0.7, 0.5).endswith("more than 1000, or more recordings, needed")
    among = gap_of(0.46, 0.14, 4)
    assert "undecided with 3 seeds among 10 comparisons: " in say(among, 0.09, 1, 10)
    assert statistics.ALPHA == 0.05
