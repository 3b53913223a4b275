"""Where models fail: the improvement by what a test recording is made of."""

import pandas as pd
from matplotlib.figure import Figure

from recipe import MEASURES
from recipekit.reporting.document import Picture, Section, Table, Text
from recipekit.scoring import statistics
from recipekit.scoring.summary import count_units, estimate_mean

FACTORS = {  # column -> its title
    "variant": "variant",
    "ssr": "SSR (dB, speaker 1 over speaker 2)",
    "scene_class": "scene class",
    "event_class": "event class",
    "gender": "speakers' genders",
    "language": "speakers' languages",
}
FEWEST = 5  # recordings behind a point of the picture; the tables show all
MOST = 12  # points of a panel, the lowest
WIDTH = 2.0  # dB on either side of the points, at least


def section(settings):
    """Returns the section on a list of Setting, or None if nothing was tested."""
    chosen = {}
    for setting in settings:
        if not setting.tested:
            continue
        rows = scored(setting)
        level = rows.loc[rows["variant"].isin(MEASURES.whole), "si_sdri"].mean()
        key = setting.model, setting.runs[0].settings["corpus"]
        if key not in chosen or level > chosen[key][0]:
            chosen[key] = level, setting.label, rows
    if not chosen:
        return None
    tables = {}
    for factor in FACTORS:
        table = pd.concat(
            {label: grouped(rows, factor) for _, label, rows in chosen.values()},
            names=["setting", None],
        )
        if len(table):
            tables[factor] = table.reset_index("setting")
    kinds = " and ".join(MEASURES.units)
    blocks = (
        Text(
            "SI-SDRi in dB of the best setting of each model on each corpus, averaged "
            "over its seeds: by variant, and by the rest on the full mixtures "
            f"({MEASURES.whole_name}). Intervals (95 %, Student's t) are over {kinds} "
            f"where a test names them, else over recordings; below "
            f"{statistics.FEW_UNITS} of a kind they are rough. The picture shows "
            f"groups of at least {FEWEST} recordings, of classes the {MOST} worst."
        ),
        Picture("failures", "SI-SDRi by what is in the recording", draw(tables)),
        *(
            Table(f"by_{factor}", f"SI-SDRi by {FACTORS[factor]}", table)
            for factor, table in tables.items()
        ),
    )
    return Section("failures", "Where it fails", blocks)


def scored(setting):
    """Returns the mean SI-SDRi over seeds of each recording and variant.

    The columns ``gender`` and ``language`` have those of both speakers, in the order of
    the alphabet, where both are known.
    """
    rows = pd.concat(setting.tested)
    columns = [name for name in MEASURES.columns if name in rows]
    scores = rows.groupby(columns, as_index=False, dropna=False)["si_sdri"].mean()
    for name in ("gender", "language"):
        both = scores.reindex(columns=[f"{name}1", f"{name}2"]).dropna().astype(str)
        pairs = [" + ".join(sorted(pair)) for pair in both.to_numpy()]
        scores[name] = pd.Series(pairs, both.index, dtype=object)
    return scores


def grouped(rows, factor):
    """Returns count, mean and interval of the improvement by one factor.

    Variants and SSRs are in their order, classes from the worst on.
    """
    if factor != "variant":
        rows = rows[rows["variant"].isin(MEASURES.whole)]
    groups = []
    for value, group in rows.dropna(subset=[factor, "si_sdri"]).groupby(factor):
        estimate = estimate_mean(group, "si_sdri", MEASURES)
        low, high = estimate.interval
        row = {factor: value, "recordings": len(group), **count_units(group, MEASURES)}
        groups.append(row | {"SI-SDRi": estimate.value, "low": low, "high": high})
    if factor == "variant":
        groups.sort(key=lambda row: MEASURES.conditions.index(row["variant"]))
    elif factor != "ssr":
        groups.sort(key=lambda row: row["SI-SDRi"])
    return pd.DataFrame(groups)


def draw(tables):
    """Draws a panel for each factor, with a point for each setting and group.

    Arguments
    ---------
    tables : dict
        Factor -> table of ``grouped`` with a column ``setting``.
    """
    lines = -(-len(tables) // 2)
    figure = Figure(figsize=(9, 3.8 * lines), layout="constrained")
    panels = figure.subplots(lines, 2, squeeze=False).flat
    for axes, (factor, table) in zip(panels, tables.items(), strict=False):
        table = table[table["recordings"] >= FEWEST]
        values = [*dict.fromkeys(table[factor])]
        if factor == "ssr":
            values.sort()
        elif factor != "variant":
            means = table.groupby(factor)["SI-SDRi"].mean().sort_values()
            values = [*means.index[:MOST]]
        for number, (label, part) in enumerate(table.groupby("setting", sort=False)):
            part = part[part[factor].isin(values)]
            places = [values.index(v) + 0.12 * number for v in part[factor]]
            reach = [part["SI-SDRi"] - part["low"], part["high"] - part["SI-SDRi"]]
            axes.errorbar(
                part["SI-SDRi"], places, xerr=reach, fmt="o", ms=4, lw=1, label=label
            )
        axes.set(title=f"by {FACTORS[factor]}", xlabel="SI-SDRi (dB)")
        shown = table.loc[table[factor].isin(values), "SI-SDRi"]
        around = max(
            shown.max() - shown.min(), WIDTH
        )  # intervals of two may be endless
        axes.set_xlim(shown.min() - around, shown.max() + around)
        axes.set_yticks(range(len(values)), values, fontsize=8)
        axes.invert_yaxis()
        axes.grid(alpha=0.3, axis="x")
    for axes in panels:
        axes.set_axis_off()
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    return figure
