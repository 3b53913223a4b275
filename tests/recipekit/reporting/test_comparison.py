"""Comparisons of settings whose true difference is planted, and their sentences."""

import numpy as np
import pytest

from recipekit.files import keyed
from recipekit.reporting.comparison import compare_settings, verdict
from recipekit.scoring.statistics import Estimate


def simulated(name, gap, seeds=3, recordings=80, seed_spread=0.3):
    """Returns scores of two settings whose true means differ by ``gap``."""
    generator = keyed.generator("simulated", name)
    hard = generator.normal(0, 3, recordings)  # shared by all runs
    scores = {}
    for label, mean in (("first", gap), ("second", 0.0)):
        level = mean + generator.normal(0, seed_spread, (seeds, 1))
        scores[label] = level + hard + generator.normal(0, 0.5, (seeds, recordings))
    return scores


def test_planted_difference_is_found():
    table = compare_settings(simulated("planted", 3.0), "dB")
    (row,) = table.to_dict("records")
    assert row["low"] < 3.0 < row["high"]
    assert row["in words"].startswith("first − second = ")
    assert row["in words"].endswith("], significant")
    assert row["rank-biserial"] > 0.9


def test_no_difference_is_found_where_there_is_none():
    """Runs differ by their seeds: Wilcoxon alone calls that a difference."""
    tables = [
        compare_settings(simulated(f"null {n}", 0.0, recordings=60), "dB")
        for n in range(120)
    ]
    rows = [table.iloc[0] for table in tables]
    fooled = np.mean([row["p of Wilcoxon"] < 0.05 for row in rows])
    wrong = np.mean([row["p, Holm"] < 0.05 for row in rows])
    covered = np.mean([row["low"] < 0 < row["high"] for row in rows])
    assert fooled > 0.5
    assert wrong <= 0.10 and covered >= 0.90  # 5 % expected of 120


def test_one_seed_is_not_judged():
    scores = simulated("one seed", 3.0, seeds=1)
    (row,) = compare_settings(scores, "dB").to_dict("records")
    assert row["in words"].endswith("cannot be judged")
    assert np.isnan(row["p, Holm"]) and np.isnan(row["p of seeds"])
    three = simulated("three", 3.0) | {"third": scores["second"] - 9}
    table = compare_settings(three, "dB")
    assert table["p, Holm"].notna().sum() == 1
    # It does not count among the pairs that are corrected for.
    alone = compare_settings(simulated("three", 3.0), "dB").iloc[0]
    assert table.iloc[0]["p, Holm"] == pytest.approx(alone["p, Holm"])


def test_undefined_recordings_are_left_out_of_all():
    scores = simulated("undefined", 3.0)
    whole = compare_settings(
        {label: values[:, 5:] for label, values in scores.items()}, "dB"
    )
    scores["first"][1, :5] = np.nan
    assert compare_settings(scores, "dB").equals(whole)


def test_sentences():
    far, near = Estimate(2.071, 0.05, 4), Estimate(0.08, 0.195, 3.2)
    scores = [3.01, 2.87, 3.20], [3.28, 2.70, 2.86]
    said = verdict(("SepFormer", "DPRNN"), far, "dB", 0.001, scores, 1)
    assert said == "SepFormer − DPRNN = 2.07 dB [1.93, 2.21], significant"
    said = verdict(("DPRNN", "ConvTasNet"), near, "dB", 0.7, scores, 1)
    # 7.849 (.02743 + .08973) / .08² = 143.7 for normal scores; Student's t takes 145
    have = (
        "DPRNN − ConvTasNet = 0.08 dB [−0.52, 0.68], cannot be told apart with 3 seeds"
    )
    assert said == f"{have}: about 142 more of each needed"
    said = verdict(("a", "b"), near, "dB", 0.7, scores, 1, fixed=1.0)
    assert said.endswith("more than 1000, or more recordings, needed")
