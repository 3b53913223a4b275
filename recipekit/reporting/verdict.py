"""The verdict of a report: the best setting, how sure that is, and what it cost."""

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
    over on the validation must not win by the test. Of one study alone they are its
    best, then the others.

    Arguments
    ---------
    settings : list of Setting
        Of one corpus.
    measures : Measures
    """
    ordered = ranked(settings, measures)
    chosen = [setting for setting in ordered if setting.best_of or not setting.studies]
    if len(chosen) > 1:
        return ordered if len(chosen) == len(ordered) else ranked(chosen, measures)
    return sorted(ordered, key=lambda setting: not setting.best_of)


def compare_seeds(first, second, unit):
    """Says in words how the validation scores of two settings differ.

    Arguments
    ---------
    first, second : Setting
    unit : str
        Of the scores.

    Returns
    -------
    str
        Difference of the means with Welch's interval, and what it allows to say.
    """
    scores, labels = (first.scores, second.scores), (first.label, second.label)
    if min(map(len, scores)) > 1:
        gap = statistics.welch(*scores)
        return f"{comparison.verdict(labels, gap, unit, gap.p, scores)}."
    value = f"{np.mean(scores[0]) - np.mean(scores[1]):.2f} {unit}".rstrip()
    return (
        f"{labels[0]} − {labels[1]} = {value.replace('-', '−')}: with one seed, "
        "whether it would be so with other seeds cannot be judged."
    )


def speakers(settings, measures):
    """Returns how many speakers the test recordings of settings have.

    Arguments
    ---------
    settings : list of Setting
    measures : Measures

    Returns
    -------
    int or None
        None where the tests do not name them.
    """
    named = set()
    for table in (table for setting in settings for table in setting.tested):
        columns = [name for name in measures.speakers if name in table]
        for column in columns:
            named |= set(table[column].dropna())
    return len(named) or None


def _sentences(settings, studies, measures):
    """Returns what a verdict says: the best, how sure that is, what it rests on."""
    chosen = contenders(settings, measures)
    tested = all(setting.tested for setting in chosen)
    sentences = [_first(chosen, settings, tested, measures)]
    if len(chosen) > 1:
        sentences.append(_difference(chosen, tested, measures))
    return [*sentences, _basis(chosen, studies, tested, measures)]


def _first(chosen, settings, tested, measures):
    """Returns which setting is best, its scores, and what the recordings have."""
    best = chosen[0]
    first, *others = _levels(best, tested, measures)
    before = unprocessed(settings, measures)[int(tested)]
    if not np.isnan(before):
        others.append(f"{_value(before, measures)} unprocessed")
    rank = f"Of {len(chosen)}, {best.label} scores highest"
    text = f"{rank if len(chosen) > 1 else best.label}: {first}"
    text += " on the test recordings" if tested else " in the validation"
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


def _difference(chosen, tested, measures):
    """Returns how the best and the next differ."""
    for test_set in comparison.find_test_sets(chosen, measures) if tested else ():
        if all(setting.label in test_set.scores for setting in chosen):
            pairs = test_set.scores
            if any(setting.studies for setting in chosen) and not all(
                setting.best_of or not setting.studies for setting in chosen
            ):
                pairs = {each.label: pairs[each.label] for each in chosen[:2]}
            table = comparison.compare_settings(pairs, measures.unit)
            return f"{table['in words'].iloc[0]}."
    return compare_seeds(*chosen[:2], measures.unit)


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
    rests = f"{many} seed{'s' if many != '1' else ''} each"
    if tested:
        table = chosen[0].tested[0]
        whole = table[table[measures.condition].isin(measures.whole)]
        rests += f", {whole['id'].nunique()} test recordings"
        found = speakers(chosen, measures)
        rests += f" and {found} speakers" if found else ""
    return f"{told}. This rests on {rests}."


def _as_text(examples, hours):
    known = "" if np.isnan(hours) else f" ({hours:.2g} h)"
    return f"{examples:,.0f} training examples{known}"
