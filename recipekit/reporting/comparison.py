"""Compares settings on the test recordings that they share, and says it in words."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from recipekit.reporting.document import Section, Table, Text
from recipekit.scoring import statistics
from recipekit.scoring.statistics import Estimate
from recipekit.scoring.summary import over

# Between the scores of one unprocessed recording in two tables, which are rounded to
# four decimals.
SAME_RECORDING = 0.01
DIFFERENT, EQUIVALENT, UNDECIDED = "different", "equivalent", "undecided"

METHOD = (
    "The error of a difference has two sources. Seeds: those of equal number are pairs "
    "within a model, since they draw the same data in the same order; the residuals of "
    "all its settings with these seeds (two-way layout of settings and seeds) give one "
    "spread for all of them, or the pair's own where it is larger. Where seeds or "
    "models differ, each setting has its own "
    "spread (Welch's test). Recordings: the same for both settings, so their "
    "differences count, averaged over seeds; recordings that share a unit, such as "
    "those named above a table, are alike, and the interval speaks of other such "
    "units. The 95 % interval is the difference ± the quantile of Student's t "
    "(Satterthwaite's degrees of freedom) times the error."
)
MEANING = (
    "Different: that there is no difference is rejected (p < "
    f"{statistics.ALPHA} after Holm's correction for the number of pairs), so that "
    "other seeds and recordings would show one, too. Equivalent: that the difference "
    "is as large as the margin is rejected (two one-sided tests, corrected likewise). "
    "Undecided: neither. With one seed neither can be asked. Seeds needed, each "
    "setting's, are those for a power of "
    f"{statistics.POWER:.0%}, were gap and spread those observed, at the strictest of "
    "Holm's levels, for a difference or for equivalence, whichever takes fewer. Who "
    "adds them and tests again has looked twice: a difference is then found where "
    "there is none in about 10 % of cases instead of 5 % (6 to 13 % by simulation). "
    "Asking for p < 0.025 at both looks keeps 5 %."
)


@dataclass(frozen=True)
class TestSet:
    """Settings that were tested on the same recordings.

    Attributes
    ----------
    rows : pandas.DataFrame
        What describes each row of a test, whatever the model.
    units : dict
        Kind of unit -> names [recordings, columns].
    scores : dict
        Label of the setting -> its scores of the recordings as they are,
        [seeds, recordings].
    seeds : dict
        Label -> list of seeds.
    models : dict
        Label -> model.
    """

    __test__ = False  # not one of pytest's

    rows: pd.DataFrame
    units: dict
    scores: dict
    seeds: dict
    models: dict


@dataclass(frozen=True)
class Gap:
    """The difference of two settings.

    Attributes
    ----------
    labels : (str, str)
    estimate : Estimate
        Of first - second, with all its errors.
    seeds : (int, int)
        How many each setting has.
    of_seeds : Estimate or None
        The same with the error that is due to seeds; None where it is not known.
    """

    labels: tuple
    estimate: Estimate
    seeds: tuple
    of_seeds: Estimate | None


def section(settings, measures):
    """Returns the section of comparisons, or None if no two share a test set."""
    metric = measures.metrics[measures.compared].title
    blocks = []
    for number, test_set in enumerate(find_test_sets(settings, measures), start=1):
        if len(test_set.scores) > 1:
            count = next(iter(test_set.scores.values())).shape[1]
            of = f" in {measures.unit}" if measures.unit else ""
            title = f"Differences{of} on {count} recordings"
            counts = {kind: len(set(n.flat)) for kind, n in test_set.units.items()}
            text = f"{title}: intervals are over seeds, and over "
            blocks.append(Text(f"{text}{over(counts or {'recordings': count})}."))
            table = compare_settings(test_set, measures)
            blocks.append(Table(f"comparison_{number}", title, table, decimals=3))
    if not blocks:
        return None
    compared = f"Differences of {metric} on the recordings as they are "
    compared += f"({measures.whole_name}), the same for both settings. "
    texts = Text(compared + METHOD), Text(MEANING)
    return Section("comparison", "Comparison", (*texts, *blocks))


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
        for run in setting.runs:
            if run.tested is None:
                continue
            tested = run.tested.sort_values(order, ignore_index=True)
            rows = _recordings(tested, measures)
            whole = tested[tested[measures.condition].isin(measures.whole)]
            test_set = next((t for t in found if _same(t.rows, rows)), None)
            if test_set is None:
                units = measures.units_of(whole.drop_duplicates("id"))
                test_set = TestSet(rows, units, {}, {}, {})
                found.append(test_set)
            scores = whole.groupby("id")[measures.compared].mean().to_numpy()
            members.setdefault(id(test_set), {})[run.seed] = scores
        for test_set in found:
            if by_seed := members.get(id(test_set)):
                test_set.scores[setting.label] = np.stack([*by_seed.values()])
                test_set.seeds[setting.label] = [*by_seed]
                test_set.models[setting.label] = setting.model
    return found


def compare_settings(test_set, measures):
    """Compares each two settings of a test set.

    Arguments
    ---------
    test_set : TestSet
        Of at least two settings; scores are NaN where undefined.
    measures : Measures

    Returns
    -------
    pandas.DataFrame
        As from ``judge``, the best settings first.
    """
    scores = test_set.scores
    defined = ~np.isnan(np.concatenate([*scores.values()])).any(axis=0)
    units = [names[defined] for names in test_set.units.values()]
    scores = {label: values[:, defined] for label, values in scores.items()}
    ordered = sorted(scores, key=lambda label: -scores[label].mean())
    by_seed = {
        label: dict(zip(test_set.seeds[label], scores[label].mean(axis=1), strict=True))
        for label in ordered
    }
    of_seeds = statistics.crossed(by_seed, test_set.models)
    gaps = []
    for pair in combinations(ordered, 2):
        first, second = (scores[label].mean(axis=0) for label in pair)
        estimate = statistics.mean_of(first - second, units)
        if pair in of_seeds:
            parts = [estimate.part, of_seeds[pair].part]
            estimate = statistics.pooled(estimate.value, parts)
        seeds = tuple(len(scores[label]) for label in pair)
        gaps.append(Gap(pair, estimate, seeds, of_seeds.get(pair)))
    return judge(gaps, measures.unit, measures.margin)


def judge(gaps, unit, margin):
    """Says of differences what they allow to say, corrected for their number.

    Arguments
    ---------
    gaps : list of Gap
    unit : str
        Of the scores.
    margin : float
        Within which settings are equivalent.

    Returns
    -------
    pandas.DataFrame
        One row a gap: in words, judgement (DIFFERENT, EQUIVALENT, UNDECIDED, or empty
        where seeds are not known), difference, low, high, seeds, and the p-values of no
        difference and of one as large as the margin, corrected.
    """
    judged = [gap.of_seeds is not None for gap in gaps]
    p = np.where(judged, [gap.estimate.p for gap in gaps], np.nan)
    beyond = np.where(judged, [gap.estimate.p_beyond(margin) for gap in gaps], np.nan)
    corrected = zip(statistics.holm(p), statistics.holm(beyond), strict=True)
    rows = []
    for gap, (p_none, p_margin) in zip(gaps, corrected, strict=True):
        low, high = gap.estimate.interval
        judgement = EQUIVALENT if p_margin < statistics.ALPHA else UNDECIDED
        judgement = DIFFERENT if p_none < statistics.ALPHA else judgement
        rows.append(
            {
                "in words": verdict(gap, unit, p_none, p_margin, margin, sum(judged)),
                "judgement": judgement if gap.of_seeds else "",
                "difference": gap.estimate.value,
                "low": low,
                "high": high,
                "seeds": "{}, {}".format(*gap.seeds),
                "p of none, Holm": p_none,
                f"p of {margin:g} or more, Holm": p_margin,
            }
        )
    return pd.DataFrame(rows)


def verdict(gap, unit, p, p_beyond, margin, pairs=1):
    """Returns what a comparison of two settings allows to say, as a sentence.

    Arguments
    ---------
    gap : Gap
    unit : str
        Of the scores.
    p, p_beyond : float
        Of there being no difference, and of one as large as the margin, corrected for
        the number of pairs.
    margin : float
    pairs : int
        How many pairs are compared.
    """
    (first, second), (low, high) = gap.labels, gap.estimate.interval
    unit = f" {unit}" if unit else ""
    numbers = f"{gap.estimate.value:.2f}{unit} [{low:.2f}, {high:.2f}]"
    sentence = f"{first} − {second} = {numbers.replace('-', '−')}"
    if gap.of_seeds is None:
        return (
            f"{sentence} over recordings alone: with one seed, whether it would be so "
            "with other seeds cannot be judged"
        )
    within = f"equivalent within {margin:g}{unit}"
    if p < statistics.ALPHA:
        but = f", but {within}" if p_beyond < statistics.ALPHA else ""
        return f"{sentence}, different{but}"
    if p_beyond < statistics.ALPHA:
        return f"{sentence}, {within}"
    have = " and ".join(map(str, sorted(set(gap.seeds)))) + " seeds"
    if low > 0 or high < 0:  # as one comparison it would be different
        have += f" among {pairs} comparisons"
    needed = _seeds_needed(gap, margin, statistics.ALPHA / pairs)
    if needed is None:
        advice = f"more than {statistics.MOST_SEEDS}, or more recordings, needed"
    else:
        more = max(needed - min(gap.seeds), 1)
        advice = f"about {more} more of each needed"
    return f"{sentence}, undecided with {have}: {advice}"


def _seeds_needed(gap, margin, level):
    """Returns the seeds that a difference or equivalence needs, the fewer of both."""
    value = abs(gap.estimate.value)
    fixed = max(gap.estimate.error**2 - gap.of_seeds.error**2, 0)
    needed = [
        statistics.seeds_needed(distances, gap.of_seeds, min(gap.seeds), tail, fixed)
        for distances, tail in (
            ((value,), level / 2),
            ((margin - value, margin + value), level),
        )
    ]
    return min((seeds for seeds in needed if seeds), default=None)


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
