"""What stands against a report's verdict, computed from its runs and studies."""

import numpy as np
import pandas as pd
from scipy import stats

from recipekit.reporting.document import Section, Text
from recipekit.reporting.ledgers import FIDELITY, PREFIX, format_value
from recipekit.reporting.verdict import unit_counts

EDGE = 0.05  # share of a space from its bound that counts as at the bound
FEW_SEEDS = 3  # below which a spread between seeds is hardly known
FEW_UNITS = 10  # of what recordings share, below which scores are of these alone
MOST_NAMED = 4  # settings that a sentence names
CHECKED = (
    "optima at a bound of their space, settings with equal scores, settings that "
    "differ no more than seeds, studies' bests chosen by the seeds that are reported, "
    "few seeds, test recordings of few origins"
)


def section(settings, studies, measures, more):
    """Returns the section of warnings.

    Arguments
    ---------
    settings : list of Setting
    studies : Studies or None
    measures : Measures
    more : list of str
        What else is to be said, such as which runs were left out.
    """
    found = [
        *(at_bounds(studies) if studies else ()),
        *equal_scores(settings),
        *flat(settings, measures.unit),
        *(chosen_by_reported_seeds(studies) if studies else ()),
        *(unvalidated(studies) if studies else ()),
        *few_seeds(settings),
        *few_units(settings, measures),
        *more,
    ]
    texts = found or [f"None. Looked for: {CHECKED}."]
    tone = "warning" if found else ""
    return Section("warnings", "Warnings", tuple(map(Text, texts)), tone)


def at_bounds(studies):
    """Names the keys whose best value lies at a bound of the space it was found in.

    That is of each key the space of the last stage that searched it, up to the one that
    found a study's best.
    """
    found, validated = [], studies.validated
    for study, trials in studies.searched.groupby("study", sort=False):
        ordered = trials.sort_values([*FIDELITY, "score"])
        best = ordered.iloc[-1]["configuration"]
        chosen = validated[(validated["study"] == study) & validated["best"]]
        best = best if chosen.empty else chosen["configuration"].iloc[0]
        rows = trials[trials["configuration"] == best]
        if rows.empty:
            continue
        row, priors = rows.iloc[-1], {}
        for stage in trials["stage"].unique():
            priors |= studies.bounds.get((study, stage), {})
            if stage == row["stage"]:
                break
        named = []
        for key, prior in priors.items():
            value = row.get(f"{PREFIX}{key}")
            if prior.choices is not None or pd.isna(value):
                continue
            if not EDGE < prior.unit(value) < 1 - EDGE:
                bounds = " to ".join(map(format_value, (prior.low, prior.high)))
                named.append(f"{key} {format_value(value)} ({bounds})")
        if named:
            found.append(
                f"{study}: its best is at a bound of what was searched: "
                f"{_listed(named)}. Better values may lie beyond."
            )
    return found


def equal_scores(settings):
    """Names settings whose scores are equal though they differ."""
    groups = {}
    for setting in settings:
        key = tuple((run.seed, round(run.score, 9)) for run in setting.runs)
        groups.setdefault((setting.model, key), []).append(setting)
    return [
        f"{_names(members)} have equal scores with every seed: what they differ in did "
        "nothing, so they count as one."
        for members in groups.values()
        if len(members) > 1
    ]


def flat(settings, unit):
    """Names models whose settings differ no more than seeds do.

    Compared are the standard deviations of the means of three or more settings of a
    model on one corpus, and of the seeds of one; the F test is that of the analysis of
    variance (Fisher 1925, "Statistical Methods for Research Workers").

    Arguments
    ---------
    settings : list of Setting
    unit : str
        Of the scores.
    """
    groups = {}
    for setting in settings:
        if len(setting.runs) > 1:
            groups.setdefault((setting.model, setting.corpus), []).append(setting)
    found = []
    for (model, _), members in groups.items():
        scores = [setting.scores for setting in members]
        within = np.sqrt(np.mean([np.var(each, ddof=1) for each in scores]))
        if len(members) < 3 or within == 0:
            continue
        between = np.std([np.mean(each) for each in scores], ddof=1)
        if between <= within:
            p = stats.f_oneway(*scores).pvalue
            spread = f"{between:.2f}", f"{within:.2f} {unit}".rstrip()
            found.append(
                f"{model}: its {len(members)} settings differ no more than seeds do: "
                f"standard deviation {spread[0]} between their means, {spread[1]} "
                f"between seeds of one (F test, p = {p:.2f}). Which of them is best "
                "matters little."
            )
    return found


def chosen_by_reported_seeds(studies):
    """Names the studies whose best was chosen by the seeds that its mean is of.

    That is among several with these seeds, or by a search that ran one of them.
    """
    rivals = studies.validated["study"].value_counts()
    searched, among, reused = studies.searched, [], []
    for row in studies.validated[studies.validated["best"]].to_dict("records"):
        study = row["study"]
        if rivals[study] > 1:
            among.append(f"{study} (one of {rivals[study]})")
        same = (searched["study"] == study) & searched["run"].isin(row["runs"])
        if same.any():
            seeds = sorted(set(searched.loc[same, "seed"]))
            named = ", ".join(f"{seed:.0f}" for seed in seeds)
            reused.append(f"{study} (its search ran seed {named})")
    if not among + reused:
        return []
    return [
        "Chosen by seeds that count in the validation mean, which is a little too high "
        f"therefore: the best of {_listed(among + reused)}."
    ]


def unvalidated(studies):
    """Names the studies that ran no configuration with several seeds."""
    lacking = dict.fromkeys(studies.course["study"])
    return [
        f"{study}: no configuration has been completed with several seeds, so it is "
        "not ranked."
        for study in lacking
        if study not in set(studies.validated["study"])
    ]


def few_seeds(settings):
    """Names the settings that have few seeds."""
    few = [setting for setting in settings if len(setting.runs) < FEW_SEEDS]
    if not few:
        return []
    return [
        f"Fewer than {FEW_SEEDS} seeds: {_names(few)}. How much seeds differ is hardly "
        "known."
    ]


def few_units(settings, measures):
    """Names the corpora whose test recordings share few units."""
    found = []
    for corpus in dict.fromkeys(setting.corpus for setting in settings):
        members = [setting for setting in settings if setting.corpus == corpus]
        found += [
            f"The test recordings of {corpus} have {count} {kind}: scores say little "
            "of others."
            for kind, count in unit_counts(members, measures).items()
            if count < FEW_UNITS
        ]
    return found


def _names(settings):
    labels = [setting.label for setting in settings]
    if len(labels) > MOST_NAMED:
        labels = [*labels[:MOST_NAMED], f"{len(labels) - MOST_NAMED} more"]
    return _listed(labels)


def _listed(words):
    return " and ".join([", ".join(words[:-1])] * (len(words) > 1) + words[-1:])
