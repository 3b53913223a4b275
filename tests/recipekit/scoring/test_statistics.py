"""Statistics against closed forms and hand-computed cases."""

import numpy as np
import pytest
from scipy import stats

from recipekit.files import keyed
from recipekit.scoring import statistics
from recipekit.scoring.statistics import Estimate


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
    spread = Estimate(0.0, np.sqrt(2 / 3), 4)  # of three seeds each, of variance 1

    def needed(distance, level=0.05, fixed=0.0):
        return statistics.seeds_needed([distance], spread, 3, level / 2, fixed)

    for size, seeds in ((1.0, 17), (0.8, 26), (0.5, 64)):
        assert needed(size) == seeds
    assert needed(50.0) == 2
    assert needed(1.0, level=0.005) > 17
    assert needed(0.01) is None and needed(-0.1) is None
    # No number of seeds makes up for too few recordings
    assert needed(1.0, fixed=0.5) is None


def test_equivalence_is_two_one_sided_tests():
    scores = keyed.generator("tost").normal(0.03, 0.1, 12)
    ours = statistics.mean_of(scores)
    theirs = max(
        stats.ttest_1samp(scores, -0.1, alternative="greater").pvalue,
        stats.ttest_1samp(scores, 0.1, alternative="less").pvalue,
    )
    assert ours.p_beyond(0.1) == pytest.approx(theirs)
    reach = stats.t.ppf(0.95, 11) * ours.error
    within = abs(ours.value) + reach  # of the 90 % interval
    assert ours.p_beyond(within * 1.001) < 0.05 < ours.p_beyond(within * 0.999)
    assert Estimate(0.1, 0, 3).p_beyond(0.1) == 1 and Estimate(0, 0, 3).p_beyond(1) == 0


def test_crossed_settings_of_two_are_pairs():
    first, second = [3.01, 2.87, 3.20], [4.65, 4.62, 4.75]
    gap = statistics.crossed(
        {
            "a": dict(zip((42, 123, 456), first, strict=True)),
            "b": dict(zip((456, 123, 42), second[::-1], strict=True)),
        }
    )["a", "b"]
    theirs = stats.ttest_rel(first, second)
    assert gap.p == pytest.approx(theirs.pvalue)
    assert gap.interval == pytest.approx(tuple(theirs.confidence_interval()))


def test_crossed_settings_pool_their_residuals():
    """The analysis of variance of a table, by sums of squares."""
    table = np.array([[3.0, 5.0, 4.0, 7.0], [2.0, 5.5, 3.0, 6.0], [4.0, 8.0, 5.0, 7.5]])
    total = np.sum((table - table.mean()) ** 2)
    rows = 4 * np.sum((table.mean(1) - table.mean()) ** 2)
    columns = 3 * np.sum((table.mean(0) - table.mean()) ** 2)
    residual = (total - rows - columns) / 6
    scores = {
        name: dict(enumerate(row)) for name, row in zip("abc", table, strict=True)
    }
    found = statistics.crossed(scores)
    assert [*found] == [("a", "b"), ("a", "c"), ("b", "c")]
    for (first, second), gap in found.items():
        own = np.var(table["abc".index(first)] - table["abc".index(second)], ddof=1) / 4
        assert gap.freedom == 6
        assert gap.error**2 == pytest.approx(max(residual / 2, own))
    assert found["a", "c"].error > found["b", "c"].error  # they spread more
    # A copy of a setting is no evidence on how much settings spread.
    copied = statistics.crossed(scores | {"copy of c": scores["c"]})
    assert copied["a", "b"] == found["a", "b"]
    assert copied["c", "copy of c"].p == 1
    # An effect of the seeds cancels.
    raised = {k: {s: v + 9 * s for s, v in each.items()} for k, each in scores.items()}
    assert statistics.crossed(raised)["a", "b"].error == pytest.approx(
        found["a", "b"].error
    )


def test_seeds_that_are_no_pairs_are_welchs():
    scores = {"a": {1: 3.0, 2: 2.8, 3: 3.2}, "b": {1: 3.3, 2: 2.7, 3: 2.9}}
    expected = statistics.welch([3.0, 2.8, 3.2], [3.3, 2.7, 2.9])
    models = {"a": "model", "b": "other"}
    assert statistics.crossed(scores, models)["a", "b"] == expected
    others = scores | {"b": {4: 3.3, 5: 2.7, 6: 2.9}, "one seed": {1: 3.0}}
    assert statistics.crossed(others) == {("a", "b"): expected}
    # Equal scores alone tell nothing of their spread.
    same = statistics.crossed({"a": scores["a"], "b": scores["a"]})["a", "b"]
    assert same == statistics.welch([3.0, 2.8, 3.2], [3.0, 2.8, 3.2])


def explicit_part(values, units):
    """The same variance by dense matrices, for one kind of unit with two columns."""
    count, names = len(values), np.unique(units)
    uses = (units[:, :, None] == names).sum(1)
    centring = np.eye(count) - 1 / count
    sources = [centring, centring @ uses @ uses.T @ centring]
    deviations = values - values.mean()
    found = [deviations @ s @ deviations for s in (np.eye(count), uses @ uses.T)]
    expected = [[np.trace(a @ b) for b in sources] for a in sources]
    noise, effect = np.linalg.solve(expected, found)
    assert noise > 0 and effect > 0
    return noise / count + effect * np.sum(uses.sum(0) ** 2) / count**2


def test_variance_of_a_mean_over_units_by_explicit_matrices():
    generator = keyed.generator("explicit")
    units = np.array([generator.choice(8, 2, replace=False) for _ in range(60)])
    values = generator.normal(0, 1, 8)[units].sum(1) + generator.normal(0, 1, 60)
    variance, freedom = statistics.mean_part(values, [units])
    assert variance == pytest.approx(explicit_part(values, units))
    uses = np.bincount(units.ravel())
    assert freedom == pytest.approx(120**2 / np.sum(uses**2) - 1)


def test_units_that_tell_nothing_change_nothing():
    values = keyed.generator("nothing").normal(0, 1, 30)
    expected = pytest.approx((values.var(ddof=1) / 30, 29))
    everyone, nobody = np.zeros((30, 2)), np.arange(60).reshape(30, 2)
    assert statistics.mean_part(values) == expected
    assert statistics.mean_part(values, [nobody]) == expected
    assert statistics.mean_part(values, [everyone]) == expected
    assert statistics.mean_part(values, [everyone[:, :1], nobody]) == expected
    assert statistics.mean_part(np.ones(5), [np.arange(5)[:, None] // 2]) == (0, 4)
    assert np.isnan(statistics.mean_of([1.0]).interval).all()


def test_values_in_blocks_have_the_error_of_the_blocks_means():
    """Closed form for blocks of one size: one-way analysis of variance."""
    generator = keyed.generator("blocks")
    blocks = np.repeat(np.arange(12), 5)
    values = np.repeat(generator.normal(0, 2, 12), 5) + generator.normal(0, 1, 60)
    means = values.reshape(12, 5).mean(1)
    variance, freedom = statistics.mean_part(values, [blocks[:, None]])
    assert variance == pytest.approx(means.var(ddof=1) / 12)
    assert freedom == pytest.approx(11)
