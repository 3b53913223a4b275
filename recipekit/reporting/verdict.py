"""The verdict of a report: the best setting, how sure that is, and what it cost."""

from itertools import combinations

import numpy as np

from recipekit.reporting import comparison
from recipekit.reporting.document import Section, Text
from recipekit.reporting.results import (
    compute,
    ranked,
    tested_level,
    unprocessed,
    validation_level,
)
from recipekit.scoring import statistics


def section(settings, studies, measures):
    """Returns the section of the verdict, or None if there is no setting.

    Arguments
    ---------
    settings : list of Setting
    studies : Studies or None
    measures : Measures
    """
    by_corpus = {}
    for setting in ranked(settings, measures):
        by_corpus.setdefault(setting.corpus, []).append(setting)
    blocks = []
    for corpus, members in by_corpus.items():
        sentences = _sentences(members, studies, measures)
        if len(by_corpus) > 1:
            sentences[0] = f"{corpus or 'Corpus not known'}: {sentences[0]}"
        blocks += map(Text, sentences)
    if not blocks:
        return None
    return Section("verdict", "Verdict", tuple(blocks), tone="lead")


def contenders(settings, measures):
    """Returns the settings that a verdict ranks, the best first.

    These are the best of each study and what belongs to no study: what a study passed
    over on the validation must not win by the test. Where that is a single one, the
    next by the validation comes second.

    Arguments
    ---------
    settings : list of Setting
        Of one corpus.
    measures : Measures
    """
    chosen = [each for each in settings if _stands_for_itself(each)] or settings
    others = [each for each in settings if each not in chosen]
    if len(chosen) == 1 and others:
        return [*chosen, max(others, key=lambda setting: np.mean(setting.scores))]
    return ranked(chosen, measures)


def _stands_for_itself(setting):
    return bool(setting.best_of or not setting.studies)


def compare_seeds(chosen, settings, measures):
    """Says in words how the validation scores of the best two settings differ.

    Arguments
    ---------
    chosen : list of Setting
        Those that are ranked, the best first.
    settings : list of Setting
        All of the corpus: seeds that they share tell how much seeds spread.
    measures : Measures

    Returns
    -------
    str
        As from ``comparison.judge``, of all pairs that are ranked.
    """
    labels = [setting.label for setting in chosen]
    ordered = [*chosen, *(each for each in settings if each not in chosen)]
    scores = {
        each.label: {run.seed: run.score for run in each.runs} for each in ordered
    }
    found = statistics.crossed(scores, {each.label: each.model for each in ordered})
    gaps = [
        comparison.Gap(
            pair, found[pair], tuple(len(scores[x]) for x in pair), found[pair]
        )
        for pair in combinations(labels, 2)
        if pair in found
    ]
    if tuple(labels[:2]) in found:
        judged = comparison.judge(gaps, measures.unit, measures.margin)
        return f"{judged['in words'].iloc[0]}."
    value = np.mean(chosen[0].scores) - np.mean(chosen[1].scores)
    return (
        f"{' − '.join(labels[:2])} = {_value(value, measures)}: with one seed, whether "
        "it would be so with other seeds cannot be judged."
    )


def unit_counts(settings, measures):
    """Counts what the test recordings of settings share.

    Arguments
    ---------
    settings : list of Setting
    measures : Measures

    Returns
    -------
    dict
        Kind of ``measures.units`` -> how many there are, where the tests name them.
    """
    tables = [table for setting in settings for table in setting.tested]
    counts = {}
    for kind, columns in measures.units.items():
        named = {
            name
            for table in tables
            for column in columns
            if column in table
            for name in table[column].dropna()
        }
        if named:
            counts[kind] = len(named)
    return counts


def _sentences(settings, studies, measures):
    """Returns what a verdict says: the best, how sure that is, what it rests on."""
    chosen = contenders(settings, measures)
    test_sets = comparison.find_test_sets(chosen, measures)
    # Without a test that all of them share, only the validation compares them.
    shared = next((t for t in test_sets if len(t.scores) == len(chosen)), None)
    sentences = [_first(chosen, settings, bool(shared), measures)]
    if len(chosen) > 1 and shared:
        table = comparison.compare_settings(shared, measures)
        sentences.append(f"{table['in words'].iloc[0]}.")
    elif len(chosen) > 1:
        sentences.append(compare_seeds(chosen, settings, measures))
    return [*sentences, _basis(chosen, studies, bool(shared), measures)]


def _first(chosen, settings, tested, measures):
    """Returns which setting is best, its scores, and what the recordings have."""
    best = chosen[0]
    first, *others = _levels(best, tested, measures)
    before = unprocessed(settings, measures)[int(tested)]
    if not np.isnan(before):
        others.append(f"{_value(before, measures)} unprocessed")
    text = best.label
    if len(chosen) > 1:
        text = f"Of {len(chosen)}, {text} scores highest"
        if not _stands_for_itself(chosen[1]):
            text = f"{best.label}, chosen from {len(settings)} in the validation"
    text += f": {first} {'on the test recordings' if tested else 'in the validation'}"
    text += f" ({', '.join(others)})" if others else ""
    if best.name and best.name not in best.label:
        text += f", with {best.name}"
    return f"{text}."


def _levels(setting, tested, measures):
    """Returns what a setting scores, as texts: the gain with its interval first."""
    found = []
    for name in dict.fromkeys((measures.gain, measures.compared)):
        level = validation_level(setting, name)
        if tested:
            level = tested_level(setting, name, measures)
        if not np.isnan(level[0]):
            found.append((*level, f" {measures.metrics[name].title}"))
    found = found or [(*validation_level(setting), "")]
    texts = []
    for mean, low, high, title in found:
        interval = f" [{low:.2f}, {high:.2f}]".replace("-", "−")
        interval = "" if texts or np.isnan(low) else interval
        texts.append(f"{_value(mean, measures)}{interval}{title}")
    return texts


def _value(value, measures):
    return measures.with_unit(value).replace("-", "−")


def _basis(chosen, studies, tested, measures):
    """Returns what the verdict cost and rests on."""
    costs = [compute(setting, studies) for setting in chosen]
    told = f"It took {_as_text(*costs[0])}"
    if len(chosen) > 1:
        told += f", the next {_as_text(*costs[1])}"
    cheapest = min(range(len(chosen)), key=lambda place: costs[place][0])
    if cheapest > 1:
        level = _levels(chosen[cheapest], tested, measures)[0]
        told += f", the cheapest, {chosen[cheapest].label} with {level}, "
        told += _as_text(*costs[cheapest])
    seeds = sorted({len(setting.runs) for setting in chosen})
    many = " to ".join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))
    rests = f"{many} seed{'s' if many != '1' else ''}"
    rests += " each" if len(chosen) > 1 else ""
    if tested:
        table = chosen[0].tested[0]
        whole = table[table[measures.condition].isin(measures.whole)]
        counts = {"test recordings": whole["id"].nunique()}
        counts |= unit_counts(chosen, measures)
        rests += "".join(f", {count} {kind}" for kind, count in counts.items())
    return f"{told}. This rests on {rests}."


def _as_text(examples, hours):
    known = "" if np.isnan(hours) else f" ({hours:.2g} h)"
    return f"{examples:,.0f} training examples{known}"
