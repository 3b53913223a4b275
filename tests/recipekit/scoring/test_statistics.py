"""Statistics against closed forms and hand-computed cases."""

import numpy as np
import pytest
from scipy import stats

from recipekit.files import keyed
from recipekit.scoring import statistics


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
