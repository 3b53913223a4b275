"""Statistics of few seeds and many recordings: t, Welch, Holm, and the bootstrap.

Bootstrap functions return the samples of a statistic, of which ``percentile_interval``
makes the 95 % interval; what they draw is keyed.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from recipekit.files import keyed

ALPHA = 0.05
PERCENTILES = (2.5, 97.5)  # of the 95 % interval
POWER = 0.8
RESAMPLES = 2000  # of the recordings and seeds of settings that are compared
SUMMARY_RESAMPLES = 1000  # of the rows of one test
PAIR_RESAMPLES = 1000  # of the rows of a correlation
TINY = 1e-12  # for scores without any spread
MOST_SEEDS = 1000  # beyond which no advice to train more is given


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
        """The 95 % interval: low and high."""
        reach = stats.t.ppf(1 - ALPHA / 2, self.freedom) * self.error
        return self.value - reach, self.value + reach

    @property
    def p(self):
        """The two-sided p-value of the value being 0."""
        if self.error == 0:
            return float(self.value == 0)
        return float(2 * stats.t.sf(abs(self.value) / self.error, self.freedom))


def pooled(value, parts, error=None):
    """Returns an Estimate whose error has several independent sources.

    Arguments
    ---------
    value : float
    parts : list of (float, int)
        Variance of the value from each source, and its degrees of freedom.
    error : float, optional
        The standard error, where it is known from elsewhere.

    Returns
    -------
    Estimate
        With the degrees of freedom of Satterthwaite (1946), "An approximate
        distribution of estimates of variance components".
    """
    total = sum(variance for variance, _ in parts)
    spread = sum(variance**2 / freedom for variance, freedom in parts if variance)
    freedom = total**2 / spread if spread else max(freedom for _, freedom in parts)
    return Estimate(value, total**0.5 if error is None else error, freedom)


def mean_part(values):
    """Returns the variance of a mean of values and its degrees of freedom."""
    return np.var(values, ddof=1) / len(values), len(values) - 1


def mean_of(values):
    """Returns the Estimate of the mean of two or more values."""
    return pooled(float(np.mean(values)), [mean_part(values)])


def welch(first, second):
    """Returns the Estimate of the difference of two means (Welch's t-test)."""
    difference = float(np.mean(first) - np.mean(second))
    return pooled(difference, [mean_part(first), mean_part(second)])


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


def seeds_needed(gap, variances, alpha, fixed=0.0):
    """Returns how many seeds each of two settings needs to be told apart.

    By the power of the two-sided t-test of the means of n seeds each, were the gap and
    the variances those observed. At least 2.

    Arguments
    ---------
    gap : float
    variances : (float, float)
        Of the scores of seeds in both settings.
    alpha : float
        Level of the test.
    fixed : float
        Variance of the gap that more seeds do not reduce: that of the recordings.

    Returns
    -------
    int or None
        None if more than MOST_SEEDS would be needed.
    """
    seeds = np.arange(2, MOST_SEEDS + 1)
    freedom = 2 * (seeds - 1)
    error = np.sqrt(sum(variances) / seeds + fixed)
    critical = stats.t.ppf(1 - alpha / 2, freedom)
    power = stats.nct.sf(critical, freedom, abs(gap) / error.clip(min=TINY))
    enough = seeds[power >= POWER]
    return int(enough[0]) if len(enough) else None


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


def resampled_row_means(values, generator, resamples):
    """Resamples values and returns the mean of each sample, a list.

    Arguments
    ---------
    values : numpy.ndarray
        [rows], without NaN.
    generator : numpy.random.Generator
    resamples : int
    """
    return [generator.choice(values, len(values)).mean() for _ in range(resamples)]


def resampled_condition_means(table, generator, resamples):
    """Resamples recordings, each in all its conditions.

    Arguments
    ---------
    table : numpy.ndarray
        [recordings, conditions]; NaN where there is no score.
    generator : numpy.random.Generator
    resamples : int

    Returns
    -------
    mean : float
        Of the conditions' means; NaN if there is no score at all.
    samples : numpy.ndarray
        That of each sample, [resamples].
    """
    defined = ~np.isnan(table)
    scores = np.where(defined, table, 0.0)
    even = [1 / len(table)] * len(table)
    times = generator.multinomial(len(table), even, resamples)
    samples = mean_of_conditions(times @ scores, times @ defined.astype(float))
    (mean,) = mean_of_conditions(
        scores.sum(0, keepdims=True), defined.sum(0, keepdims=True)
    )
    return mean, samples


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


def recording_weights(recordings):
    """Returns bootstrap samples of recordings as shares, [RESAMPLES, recordings]."""
    generator = keyed.generator("bootstrap", "recordings", recordings)
    even = np.full(recordings, 1 / recordings)
    return generator.multinomial(recordings, even, size=RESAMPLES) / recordings


def resampled_means(scores, weights, key):
    """Resamples seeds, then recordings, and returns the mean of each sample.

    Of n seeds n - 1 are drawn, with replacement: so the means of the samples have the
    variance of the mean of n seeds, where n draws would give (n - 1) / n of it, a third
    too little with three seeds (Rao & Wu 1988, "Resampling inference with complex
    survey data").

    Arguments
    ---------
    scores : numpy.ndarray
        [seeds, recordings]
    weights : numpy.ndarray
        From ``recording_weights``. Settings that share them share the recordings of
        each sample, so that the differences of their means are paired.
    key : str
        What the draws of the seeds depend on.

    Returns
    -------
    numpy.ndarray
        [RESAMPLES]
    """
    means = weights @ scores.T
    seeds = len(scores)
    draws = keyed.generator("bootstrap", "seeds", key).integers(
        seeds, size=(len(weights), max(seeds - 1, 1))
    )
    return np.take_along_axis(means, draws, axis=1).mean(axis=1)


def bootstrap_interval(values):
    """Returns the 95 % percentile interval of the mean of recordings' values."""
    if len(values) < 2:
        return np.nan, np.nan
    return percentile_interval(
        recording_weights(len(values)) @ np.asarray(values, float)
    )


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


def signed_ranks(differences):
    """Returns p of the Wilcoxon signed-rank test, and the rank-biserial correlation.

    Arguments
    ---------
    differences : numpy.ndarray
        One a recording; zeros are passed over.

    Returns
    -------
    p : float
    correlation : float
        (W+ - W-) / (W+ + W-), from -1 to 1 (Kerby 2014, "The simple difference
        formula").
    """
    differences = differences[differences != 0]
    if not len(differences):
        return 1.0, 0.0
    ranks = stats.rankdata(np.abs(differences))
    correlation = float(np.sum(np.sign(differences) * ranks) / np.sum(ranks))
    return float(stats.wilcoxon(differences).pvalue), correlation
