"""Statistics of the report against closed forms, hand-computed and simulated cases."""

import numpy as np
import pytest
from scipy import stats

from recipekit.files import keyed
from recipekit.reporting.comparison import compare, in_words
from recipekit.scoring import statistics
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


def test_welch_is_scipys():
    first, second = [3.01, 2.87, 3.20], [3.28, 2.70, 2.86, 3.3]
    ours = statistics.welch(first, second)
    theirs = stats.ttest_ind(first, second, equal_var=False)
    assert ours.p == pytest.approx(theirs.pvalue)
    assert ours.interval == pytest.approx(tuple(theirs.confidence_interval()))


def test_holm_by_hand():
    # 4 * .01; 3 * .02 = .06; 2 * .025 = .05, raised to .06; 1 * .5
    corrected = statistics.holm([0.02, 0.5, np.nan, 0.01, 0.025])
    assert corrected == pytest.approx([0.06, 0.5, np.nan, 0.04, 0.06], nan_ok=True)
    assert statistics.holm([0.4, 0.9]) == pytest.approx([0.8, 0.9])
    assert statistics.holm([0.6, 0.7]) == pytest.approx([1, 1])


def test_seeds_needed_are_those_of_cohens_tables():
    # Cohen 1988, table 2.4.1: d = 1, .8 and .5 at power .8, two-sided
    for size, seeds in ((1.0, 17), (0.8, 26), (0.5, 64)):
        assert statistics.seeds_needed(size, (1.0, 1.0), 0.05) == seeds
        assert statistics.seeds_needed(-size, (1.0, 1.0), 0.05) == seeds
    assert statistics.seeds_needed(50.0, (1.0, 1.0), 0.05) == 2
    assert statistics.seeds_needed(1.0, (1.0, 1.0), 0.005) > 17
    assert statistics.seeds_needed(0.01, (1.0, 1.0), 0.05) is None
    # No number of seeds makes up for too few recordings
    assert statistics.seeds_needed(1.0, (0.1, 0.1), 0.05, fixed=0.5) is None


def test_bootstrap_interval_is_the_closed_form_of_normal_data():
    values = keyed.generator("normal").normal(2, 3, 400)
    low, high = statistics.bootstrap_interval(values)
    reach = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx(
        (values.mean() - reach, values.mean() + reach), abs=0.1 * reach
    )
    assert np.isnan(statistics.bootstrap_interval(values[:1])).all()


def test_hierarchical_bootstrap_has_the_variance_of_seeds_and_recordings():
    generator = keyed.generator("hierarchical")
    seeds = np.array([[-1.0], [0.0], [2.0]])
    scores = seeds + generator.normal(0, 4, 500)  # no noise of their own
    samples = statistics.resampled_means(scores, statistics.recording_weights(500), "a")
    expected = np.var(seeds, ddof=1) / 3 + scores[0].var() / 500
    assert samples.mean() == pytest.approx(scores.mean(), abs=0.1)
    assert samples.var() == pytest.approx(expected, rel=0.08)
    one = statistics.resampled_means(scores[:1], statistics.recording_weights(500), "a")
    assert one.var() == pytest.approx(scores[0].var() / 500, rel=0.08)


def test_recordings_are_paired_and_seeds_are_not():
    generator = keyed.generator("paired")
    hard = generator.normal(0, 50, 200)
    weights = statistics.recording_weights(200)
    same = [[0.0], [1.0], [5.0]] + hard
    samples = [statistics.resampled_means(same, weights, name) for name in "ab"]
    difference = samples[0] - samples[1]
    # The recordings (sd 50 / sqrt(200) = 3.5) cancel, the seeds (1.5 each) do not.
    assert difference.std() == pytest.approx(np.sqrt(2 * 7 / 3), rel=0.08)


def test_signed_ranks():
    # Ranks 1 to 4, of which 1 and 2 are losses: (7 - 3) / 10
    p, effect = statistics.signed_ranks(np.array([-1.0, 0.0, -2.0, 3.0, 4.0]))
    assert effect == pytest.approx(0.4) and p == pytest.approx(0.625)
    assert statistics.signed_ranks(np.zeros(5)) == (1.0, 0.0)


def test_planted_difference_is_found():
    table = compare(simulated("planted", 3.0))
    (row,) = table.to_dict("records")
    assert row["low"] < 3.0 < row["high"]
    assert row["in words"].startswith("first − second = ")
    assert row["in words"].endswith("], significant")
    assert row["rank-biserial"] > 0.9


def test_no_difference_is_found_where_there_is_none():
    """Runs differ by their seeds: Wilcoxon alone calls that a difference."""
    tables = [compare(simulated(f"null {n}", 0.0, recordings=60)) for n in range(120)]
    rows = [table.iloc[0] for table in tables]
    fooled = np.mean([row["p of Wilcoxon"] < 0.05 for row in rows])
    wrong = np.mean([row["p, Holm"] < 0.05 for row in rows])
    covered = np.mean([row["low"] < 0 < row["high"] for row in rows])
    assert fooled > 0.5
    assert wrong <= 0.10 and covered >= 0.90  # 5 % expected of 120


def test_one_seed_is_not_judged():
    scores = simulated("one seed", 3.0, seeds=1)
    (row,) = compare(scores).to_dict("records")
    assert row["in words"].endswith("cannot be judged")
    assert np.isnan(row["p, Holm"]) and np.isnan(row["p of seeds"])
    three = simulated("three", 3.0) | {"third": scores["second"] - 9}
    table = compare(three)
    assert table["p, Holm"].notna().sum() == 1
    # It does not count among the pairs that are corrected for.
    alone = compare(simulated("three", 3.0)).iloc[0]
    assert table.iloc[0]["p, Holm"] == pytest.approx(alone["p, Holm"])


def test_undefined_recordings_are_left_out_of_all():
    scores = simulated("undefined", 3.0)
    whole = compare({label: values[:, 5:] for label, values in scores.items()})
    scores["first"][1, :5] = np.nan
    assert compare(scores).equals(whole)


def test_sentences():
    far, near = Estimate(2.071, 0.05, 4), Estimate(0.08, 0.195, 3.2)
    scores = [3.01, 2.87, 3.20], [3.28, 2.70, 2.86]
    said = in_words(("SepFormer", "DPRNN"), far, 0.001, scores, 1)
    assert said == "SepFormer − DPRNN = 2.07 dB [1.93, 2.21], significant"
    said = in_words(("DPRNN", "ConvTasNet"), near, 0.7, scores, 1)
    # 7.849 (.02743 + .08973) / .08² = 143.7 for normal scores; Student's t takes 145
    have = (
        "DPRNN − ConvTasNet = 0.08 dB [−0.52, 0.68], cannot be told apart with 3 seeds"
    )
    assert said == f"{have}: about 142 more of each needed"
    said = in_words(("a", "b"), near, 0.7, scores, 1, fixed=1.0)
    assert said.endswith("more than 1000, or more recordings, needed")
