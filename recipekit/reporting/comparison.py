"""Compares settings on the test recordings that they share, and says it in words."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from recipekit.reporting.document import Section, Table, Text
from recipekit.scoring import statistics

# Between the scores of one unprocessed recording in two tables, which are rounded to
# four decimals.
SAME_RECORDING = 0.01

METHOD = (
    "The standard error is from a hierarchical bootstrap "
    f"({statistics.RESAMPLES} samples): of each setting's n seeds n - 1 are drawn, "
    "then recordings, the same for all seeds and settings. The 95 % interval is the "
    "difference ± the quantile of Student's t (Satterthwaite's degrees of freedom) "
    "times that error, since percentiles of three seeds are too narrow. Seeds of equal "
    "number are not pairs: the settings' seeds are drawn independently. Recordings "
    "count as independent, though some may have a source in common: where sources are "
    "few, the interval is too narrow."
)
MEANING = (
    "Significant means that both tests reject, after Holm's correction for the number "
    f"of pairs (p < {statistics.ALPHA}), that there is no difference: that of the "
    "interval, which asks whether it would last with other seeds and recordings (so "
    "the interval excludes 0), and Wilcoxon's signed-rank test of the recordings' "
    "differences, averaged over seeds, which asks whether these runs differ on most of "
    "them. Holm corrects the larger p of the two. With one seed the first cannot be "
    "asked: the interval is over recordings alone, and nothing is significant. The "
    "effect size is the rank-biserial correlation: 1 if every recording gains, -1 if "
    "every one loses. Seeds needed are each setting's for a power of "
    f"{statistics.POWER:.0%}, were gap and spread those observed, at the strictest of "
    "Holm's levels."
)


@dataclass(frozen=True)
class TestSet:
    """Settings that were tested on the same recordings.

    Attributes
    ----------
    rows : pandas.DataFrame
        What describes each recording, whatever the model.
    scores : dict
        Label of the setting -> its scores of the recordings as they are,
        [seeds, recordings].
    """

    __test__ = False  # not one of pytest's

    rows: pd.DataFrame
    scores: dict


def section(settings, measures):
    """Returns the section of comparisons, or None if no two share a test set."""
    metric = measures.metrics[measures.compared].title
    tables = []
    for number, test_set in enumerate(find_test_sets(settings, measures), start=1):
        if len(test_set.scores) > 1:
            count = next(iter(test_set.scores.values())).shape[1]
            of = f" in {measures.unit}" if measures.unit else ""
            title = f"Differences{of} on {count} recordings"
            table = compare_settings(test_set.scores, measures.unit)
            tables.append(Table(f"comparison_{number}", title, table, decimals=3))
    if not tables:
        return None
    compared = f"Differences of {metric} on the recordings as they are "
    compared += f"({measures.whole_name}), the same for both settings. "
    texts = Text(compared + METHOD), Text(MEANING)
    return Section("comparison", "Comparison", (*texts, *tables))


def find_test_sets(settings, measures):
    """Groups tested settings by their test recordings.

    Names of recordings may recur in another corpus. So rows must agree in all that
    describes them and, where it is known, in the score of the unprocessed recording.

    Arguments
    ---------
    settings : list of Setting
    measures : Measures

    Returns
    -------
    list of TestSet
    """
    order = ["id", measures.condition]
    found = []
    for setting in settings:
        members = {}
        for tested in setting.tested:
            tested = tested.sort_values(order, ignore_index=True)
            rows = _recordings(tested, measures)
            test_set = next((t for t in found if _same(t.rows, rows)), None)
            if test_set is None:
                test_set = TestSet(rows, {})
                found.append(test_set)
            whole = tested[tested[measures.condition].isin(measures.whole)]
            scores = whole[measures.compared].to_numpy()
            members.setdefault(id(test_set), []).append(scores)
        for test_set in found:
            if id(test_set) in members:
                test_set.scores[setting.label] = np.stack(members[id(test_set)])
    return found


def compare_settings(scores, unit):
    """Compares each two settings of a test set.

    Arguments
    ---------
    scores : dict
        Label -> [seeds, recordings], at least two settings; NaN where undefined.
    unit : str
        Of the scores.

    Returns
    -------
    pandas.DataFrame
        One row a pair: in words, the difference with its interval, p-values (those of
        seeds NaN where a setting has one seed only), effect size.
    """
    defined = ~np.isnan(np.concatenate(list(scores.values()))).any(axis=0)
    scores = {label: values[:, defined] for label, values in scores.items()}
    weights = statistics.recording_weights(int(defined.sum()))
    samples = {
        label: statistics.resampled_means(values, weights, label)
        for label, values in scores.items()
    }
    ordered = sorted(scores, key=lambda label: -scores[label].mean())
    rows, estimates = [], []
    for first, second in combinations(ordered, 2):
        pair = scores[first], scores[second]
        error = float(np.std(samples[first] - samples[second], ddof=1))
        gaps = pair[0].mean(axis=0) - pair[1].mean(axis=0)
        recordings = statistics.mean_part(gaps)
        seeds = [statistics.mean_part(s.mean(axis=1)) for s in pair if len(s) > 1]
        judged = len(seeds) == 2
        parts = [recordings, *seeds] if judged else [recordings]
        estimate = statistics.pooled(float(gaps.mean()), parts, error)
        p_ranks, effect = statistics.signed_ranks(gaps)
        estimates.append((estimate, pair, recordings[0]))
        low, high = estimate.interval
        rows.append(
            {
                "first": first,
                "second": second,
                "difference": estimate.value,
                "low": low,
                "high": high,
                "seeds": f"{len(pair[0])}, {len(pair[1])}",
                "p of seeds": estimate.p if judged else np.nan,
                "p of Wilcoxon": p_ranks,
                "rank-biserial": effect,
            }
        )
    table = pd.DataFrame(rows)
    both = table[["p of seeds", "p of Wilcoxon"]]
    table["p, Holm"] = statistics.holm(both.max(axis=1, skipna=False))
    judged = int(table["p, Holm"].notna().sum())
    sentences = [
        verdict(
            (row["first"], row["second"]),
            estimate,
            unit,
            row["p, Holm"],
            [values.mean(axis=1) for values in pair],
            judged,
            fixed,
        )
        for (_, row), (estimate, pair, fixed) in zip(
            table.iterrows(), estimates, strict=True
        )
    ]
    table.insert(0, "in words", sentences)
    return table.drop(columns=["first", "second"])


def verdict(labels, estimate, unit, p, scores, pairs=1, fixed=0.0):
    """Returns what a comparison of two settings allows to say, as a sentence.

    Arguments
    ---------
    labels : (str, str)
    estimate : Estimate
        Of the difference.
    unit : str
        Of the scores.
    p : float
        After the correction for the number of pairs.
    scores : list of array
        Mean scores of the seeds of both settings.
    pairs : int
        How many pairs are compared.
    fixed : float
        Variance of the difference that is due to the recordings.
    """
    low, high = estimate.interval
    first, second = labels
    value = f"{estimate.value:.2f} {unit}".rstrip()
    numbers = f"{value} [{low:.2f}, {high:.2f}]".replace("-", "−")
    difference = f"{first} − {second} = {numbers}"
    seeds = [len(values) for values in scores]
    if min(seeds) < 2:
        return (
            f"{difference} over recordings alone: with one seed, whether it would be "
            "so with other seeds cannot be judged"
        )
    if p < statistics.ALPHA:
        return f"{difference}, significant"
    have = " and ".join(map(str, sorted(set(seeds))))
    judgement = "cannot be told apart"
    if low > 0 or high < 0:
        judgement = f"not significant among {pairs} comparisons"
    sentence = f"{difference}, {judgement} with {have} seeds: "
    variances = [np.var(values, ddof=1) for values in scores]
    needed = statistics.seeds_needed(
        estimate.value, variances, statistics.ALPHA / pairs, fixed
    )
    if needed is None:
        return (
            f"{sentence}more than {statistics.MOST_SEEDS}, or more recordings, needed"
        )
    return f"{sentence}about {max(needed - min(seeds), 1)} more of each needed"


def _recordings(tested, measures):
    """Returns what a test table says of its recordings, whatever the model."""
    unprocessed = 0.0
    if measures.improvement:
        unprocessed = tested[measures.compared] - tested[measures.improvement]
    return tested[list(measures.describing)].assign(unprocessed=unprocessed)


def _same(first, second):
    """Returns whether two tables are of the same recordings."""
    first, second = first.copy(), second.copy()
    levels = first.pop("unprocessed"), second.pop("unprocessed")
    return first.equals(second) and np.allclose(
        *levels, rtol=0, atol=SAME_RECORDING, equal_nan=True
    )
