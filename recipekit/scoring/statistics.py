"""Statistics of few seeds and many recordings: what is known of means and differences.

Every interval is that of an ``Estimate``: a value, its standard error and degrees of
freedom. A part is one source of the error, a variance with its degrees of freedom;
``pooled`` joins independent ones. How often the intervals cover and the tests err is
simulated in tests/recipekit/scoring/test_coverage.py.
"""

from bisect import bisect_left
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import optimize, sparse, stats

from recipekit.files import keyed

ALPHA = 0.05
PERCENTILES = (2.5, 97.5)  # of a bootstrap's 95 % interval
POWER = 0.8
PAIR_RESAMPLES = 1000  # of the rows of a correlation
FEW_UNITS = 10  # below which an interval over units is rough
TINY = 1e-9  # share of a sum that rounding makes
MOST_SEEDS = 1000  # beyond which no advice to train more is given
SURELY = 100  # standard errors; SciPy's noncentral t fails far beyond


@dataclass(frozen=True)
class Estimate:
    """A mean or a difference, and how sure it is.

    Attributes
    ----------
    value : float
    error : float
        Its standard error.
    freedom : float
        Degrees of freedom of the standard error.
    """

    value: float
    error: float
    freedom: float

    @property
    def interval(self):
        """The 95 % interval, low and high; NaN without degrees of freedom."""
        reach = stats.t.ppf(1 - ALPHA / 2, self.freedom) * self.error
        return float(self.value - reach), float(self.value + reach)

    @property
    def part(self):
        """The variance of the value and its degrees of freedom."""
        return self.error**2, self.freedom

    @property
    def p(self):
        """The two-sided p-value of the value being 0."""
        if self.error == 0:
            return float(self.value == 0)
        return float(2 * stats.t.sf(abs(self.value) / self.error, self.freedom))

    def p_beyond(self, margin):
        """Returns the p-value of the value being ``margin`` or more away from 0.

        It is the larger one of two one-sided tests (Schuirmann 1987, "A comparison of
        the two one-sided tests procedure and the power approach for assessing the
        equivalence of average bioavailability"), below 0.05 where the 90 % interval
        lies within the margin.
        """
        room = margin - abs(self.value)
        if self.error == 0:
            return float(room <= 0)
        return float(stats.t.sf(room / self.error, self.freedom))


def pooled(value, parts):
    """Returns an Estimate whose error has several independent sources.

    Arguments
    ---------
    value : float
    parts : list of (float, float)
        Variance of the value from each source, and its degrees of freedom.

    Returns
    -------
    Estimate
        With the degrees of freedom of Satterthwaite (1946), "An approximate
        distribution of estimates of variance components".
    """
    total = sum(variance for variance, _ in parts)
    spread = sum(v**2 / freedom for v, freedom in parts if v and freedom)
    freedom = total**2 / spread if spread else max(freedom for _, freedom in parts)
    return Estimate(float(value), float(total**0.5), float(freedom))


def mean_part(values, units=()):
    """Returns the variance of a mean of values and its degrees of freedom.

    Values that share a unit are alike: value = mean + effects of its units + noise,
    where a unit's effect is the same in whichever column it stands. Sums of products
    of values that share a unit give cluster-robust variances for such dyadic data
    (Aronow, Samii & Assenova 2015, arXiv 1312.3398), too small where units are few,
    since their mean is subtracted. Here the variances of effects and noise are those,
    none negative, whose expected sums of products are nearest to the ones found (least
    squares; Rao 1971, "Estimation of variance and covariance components: MINQUE
    theory"). Degrees of freedom are the fewest of a source with a variance: its
    effective number, (sum of uses)² / sum of uses² (Kish 1965), minus 1, at least 1.

    95 % intervals so made cover 92 to 98 % of simulated means of 100 or 400 values with
    two of 10 to 100 units each; those of the robust variance 73 to 94 %, those of the
    product-weight bootstrap (Owen & Eckles 2012, arXiv 1106.2125) 88 to 100 %, and
    those without units 26 to 96 % (the table is in test_coverage.py).

    Arguments
    ---------
    values : sequence of float
        [values], without NaN.
    units : sequence of array
        For each kind of unit the names of each value's units, [values, columns].

    Returns
    -------
    float
        NaN for a single value.
    float
        Degrees of freedom.
    """
    values = np.asarray(values, float)
    count = len(values)
    if count < 2:
        return np.nan, 0
    if not len(units):
        return values.var(ddof=1) / count, count - 1
    uses = [_uses(names) for names in (np.arange(count)[:, None], *units)]
    totals = [use.sum(axis=0) for use in uses]
    squares = np.array([total @ total for total in totals])
    # Squared norms of the centred covariances that each source makes.
    products = np.outer(squares, squares) / count**2
    for i, j in np.ndindex(products.shape):
        both = uses[i].T @ uses[j]
        shared = totals[i] @ (both @ totals[j])
        products[i, j] += (both.data**2).sum() - 2 * shared / count
    centred = values - values.mean()
    found = [np.sum((use.T @ centred) ** 2) for use in uses]
    ridge = TINY * np.trace(products) * np.eye(len(uses))  # for kinds that all share
    root = np.linalg.cholesky(products + ridge)
    variances, _ = optimize.nnls(root.T, np.linalg.solve(root, found))
    parts = variances * squares / count**2
    effective = [total.sum() ** 2 / (total @ total) for total in totals]
    freedoms = [
        max(min(count, number) - 1, 1)
        for number, part in zip(effective, parts, strict=True)
        if part > TINY * parts.sum()
    ]
    return parts.sum(), min(freedoms, default=count - 1)


def _uses(names):
    """Returns how often each value has each unit, a sparse array [values, units]."""
    codes = np.unique(np.asarray(names).astype(str), return_inverse=True)[1]
    codes = codes.reshape(len(names), -1)
    rows = np.repeat(np.arange(len(codes)), codes.shape[1])
    shape = len(codes), codes.max() + 1
    return sparse.csr_array((np.ones(codes.size), (rows, codes.ravel())), shape=shape)


def mean_of(values, units=()):
    """Returns the Estimate of the mean of values; ``units`` as of ``mean_part``."""
    return pooled(np.mean(values), [mean_part(values, units)])


def welch(first, second):
    """Returns the Estimate of the difference of two means (Welch's t-test)."""
    difference = np.mean(first) - np.mean(second)
    return pooled(difference, [mean_part(first), mean_part(second)])


def crossed(scores, families=None):
    """Estimates the difference of each two settings from the scores of their seeds.

    A seed draws the same data in the same order for each setting of one model, so that
    settings do well or badly with it together. Where settings of one family have the
    same seeds, the model is the additive one of a two-way layout with one score in a
    cell, score = setting + seed + residual (Scheffé 1959, "The Analysis of Variance",
    chapter 4): the seeds' effects cancel in a difference, whose error is that of the
    residuals of all C settings and S seeds, with (C - 1)(S - 1) degrees of freedom; for
    two settings that is the paired t-test. Settings with equal scores in all seeds
    count as one. The model has residuals spread alike in all settings. So that one that
    spreads more is not judged by the others alone, the error is not below that of the
    pair's own differences. That costs little: 3.7 % of the tests of three seeds of six
    settings then err, instead of 5 %; where one setting spreads three times as much, 11
    % of those of its pairs, instead of 19 %. Settings of other seeds or of another
    family are compared by Welch's t-test.

    Arguments
    ---------
    scores : dict
        Setting -> dict from seed to score.
    families : dict, optional
        Setting -> what the settings have in common whose seeds are pairs, such as the
        name of a model. Default: all are of one family.

    Returns
    -------
    dict
        (first, second) -> Estimate of first - second, for each two settings with two
        seeds or more, in the order given.
    """
    groups = {}
    for name, by_seed in scores.items():
        if len(by_seed) > 1:
            key = families and families[name], frozenset(by_seed)
            groups.setdefault(key, {})[name] = [by_seed[s] for s in sorted(by_seed)]
    layouts = {name: key for key, members in groups.items() for name in members}
    residuals = {key: _residual(list(groups[key].values())) for key in groups}
    found = {}
    for pair in combinations((name for name in scores if name in layouts), 2):
        first, second = (groups[layouts[name]][name] for name in pair)
        variance, freedom = residuals[layouts[pair[0]]]
        if layouts[pair[0]] == layouts[pair[1]] and freedom:
            own, _ = mean_part(np.subtract(first, second))
            part = max(2 * variance / len(first), own), freedom
            found[pair] = pooled(np.mean(first) - np.mean(second), [part])
        else:
            found[pair] = welch(first, second)
    return found


def _residual(scores):
    """Returns the residual variance of a layout [settings, seeds] and its freedom."""
    scores = np.unique(scores, axis=0)
    freedom = (scores.shape[0] - 1) * (scores.shape[1] - 1)
    within = scores - scores.mean(axis=1, keepdims=True)
    within -= within.mean(axis=0)
    return np.sum(within**2) / max(freedom, 1), freedom


def holm(p_values):
    """Returns p-values corrected for their number (Holm 1979), in their order.

    NaN stay NaN and are not counted.
    """
    p_values = np.asarray(p_values, float)
    order = np.argsort(p_values)  # NaN last
    factors = np.count_nonzero(~np.isnan(p_values)) - np.arange(len(p_values))
    corrected = np.empty(len(p_values))
    corrected[order] = np.maximum.accumulate(p_values[order] * factors).clip(max=1)
    return corrected


def seeds_needed(distances, estimate, seeds, level, fixed=0.0):
    """Returns how many seeds each of two settings needs for tests to reject.

    By the power of t-tests of the means of n seeds each, were the distances and the
    spread those observed. At least 2.

    Arguments
    ---------
    distances : sequence of float
        From the difference of the means to what each test rejects: to 0, or, for
        equivalence, to the margin on both sides.
    estimate : Estimate
        Of the difference, of which the error due to seeds is taken.
    seeds : int
        Of each setting that it is from.
    level : float
        Of each test, on the side of its distance.
    fixed : float
        Variance of the difference that more seeds do not reduce: that of recordings.

    Returns
    -------
    int or None
        None if more than MOST_SEEDS would be needed.
    """

    def power(number):
        freedom = estimate.freedom * (number - 1) / (seeds - 1)
        error = max((estimate.error**2 * seeds / number + fixed) ** 0.5, TINY)
        critical = stats.t.ppf(1 - level, freedom)
        far = np.minimum(np.divide(distances, error), SURELY)
        return 1 - np.sum(stats.nct.cdf(critical, freedom, far))  # of all, at least

    numbers = range(2, MOST_SEEDS + 1)
    place = bisect_left(numbers, POWER, key=power)  # it grows with the number
    return numbers[place] if place < len(numbers) else None


def mean_of_conditions(sums, counts):
    """Returns the mean of the conditions' means, in which each counts alike.

    Arguments
    ---------
    sums, counts : array
        Of the scores in each condition, [..., conditions]; a condition without a
        count is left out.

    Returns
    -------
    array
        [...], NaN where there is no score at all.
    """
    with np.errstate(invalid="ignore"):
        means = np.divide(sums, counts)
        there = np.asarray(counts) > 0
        return np.where(there, means, 0.0).sum(-1) / there.sum(-1)


def percentile_interval(samples):
    """Returns the 95 % percentile interval of bootstrap samples.

    Arguments
    ---------
    samples : array
        [resamples, ...]; NaN are left out.

    Returns
    -------
    low, high : float or array
        Of shape [...]; NaN if there is no sample.
    """
    samples = np.asarray(samples, float)
    if np.isnan(samples).all():
        return np.nan, np.nan
    return tuple(np.nanpercentile(samples, PERCENTILES, axis=0))


def correlation_intervals(first, second, *key):
    """Returns both correlations of two columns with their bootstrap intervals.

    Arguments
    ---------
    first, second : sequence of float
        Of equal length; their rows are resampled as pairs.
    *key
        What the draws depend on.

    Returns
    -------
    dict
        spearman and pearson, each also with _low and _high; NaN where a side is
        constant.
    """
    pairs = np.stack([first, second]).astype(float)  # [2, rows]
    generator = keyed.generator("correlation", *key)
    rows = pairs.shape[1]
    drawn = pairs[:, generator.integers(rows, size=(PAIR_RESAMPLES, rows))]
    result = {}
    for name, ranked in (("spearman", True), ("pearson", False)):
        value, samples = (
            _pearson(*(stats.rankdata(values, axis=-1) if ranked else values))
            for values in (pairs, drawn)
        )
        low, high = percentile_interval(samples)
        result |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return result


def _pearson(first, second):
    """Returns the correlations along the last axis, NaN where a side is constant."""
    first = first - first.mean(-1, keepdims=True)
    second = second - second.mean(-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (first * second).sum(-1) / np.sqrt(
            (first**2).sum(-1) * (second**2).sum(-1)
        )
