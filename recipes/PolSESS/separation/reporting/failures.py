"""Where models fail: the improvement by what a test recording is made of."""

import pandas as pd
from matplotlib.figure import Figure

from recipe import MEASURES
from recipekit.files.csvs import read_table
from recipekit.reporting.document import Picture, Section, Table, Text
from recipekit.scoring import statistics
from recipekit.scoring.summary import TEST_AGAIN

FACTORS = {  # column -> its title
    "variant": "variant",
    "ssr": "SSR (dB, speaker 1 over speaker 2)",
    "scene_class": "scene class",
    "event_class": "event class",
    "gender": "speakers' gender",
}
FEWEST = 5  # recordings behind a point of the picture; the tables show all
MOST = 12  # points of a panel, the lowest


def section(settings, genders):
    """Returns the section, or None if nothing was tested.

    Arguments
    ---------
    settings : list of Setting
    genders : dict
        Speaker -> gender, where known.
    """
    chosen = {}
    for setting in settings:
        if not setting.tested:
            continue
        rows = scored(setting, genders)
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
    blocks = (
        Text(
            "SI-SDRi in dB of the best setting of each model on each corpus, averaged "
            "over its seeds: by variant, and by the rest on the full mixtures "
            f"({MEASURES.whole_name}). Intervals are over recordings (95 %, "
            f"percentiles of {statistics.RESAMPLES} bootstrap samples); those of few "
            "recordings are too narrow. The picture shows groups of at least "
            f"{FEWEST} recordings, of classes the {MOST} worst."
        ),
        Picture("failures", "SI-SDRi by what is in the recording", draw(tables)),
        *(
            Table(f"by_{factor}", f"SI-SDRi by {FACTORS[factor]}", table)
            for factor, table in tables.items()
        ),
    )
    return Section("failures", "Where it fails", blocks)


def read_genders(path):
    """Returns the gender of each speaker that a CSV names, a dict."""
    columns = ("speaker", "gender")
    remedy = "Give a CSV with a row for each speaker"
    table = read_table(path, columns, remedy, only=True, dtype=str).dropna()
    return dict(zip(table["speaker"], table["gender"], strict=True))


def scored(setting, genders):
    """Returns the mean SI-SDRi over seeds of each recording and variant.

    The column ``gender`` says whether both speakers have the same one, where the run's
    manifest names speakers whose gender is known.
    """
    rows = pd.concat(setting.tested)
    rows = rows.groupby(list(MEASURES.describing), as_index=False)["si_sdri"].mean()
    manifests = [run.folder / "save" / "test.csv" for run in setting.runs]
    manifest = next((path for path in manifests if path.is_file()), None)
    if not genders or manifest is None:
        return rows.assign(gender=None)
    columns = ("ID", "speaker1", "speaker2")
    speakers = read_table(manifest, columns, TEST_AGAIN, only=True, dtype=str)
    speakers = speakers.set_index("ID")
    first, second = (
        rows["id"].map(speakers[name]).map(genders) for name in ("speaker1", "speaker2")
    )
    same = (first == second).map({True: "same", False: "different"})
    return rows.assign(gender=same.where(first.notna() & second.notna()))


def grouped(rows, factor):
    """Returns count, mean and interval of the improvement by one factor.

    Variants and SSRs are in their order, classes from the worst on.
    """
    if factor != "variant":
        rows = rows[rows["variant"].isin(MEASURES.whole)]
    groups = []
    for value, group in rows.dropna(subset=[factor, "si_sdri"]).groupby(factor):
        scores = group["si_sdri"].to_numpy()
        low, high = statistics.bootstrap_interval(scores)
        row = {factor: value, "recordings": len(scores), "SI-SDRi": scores.mean()}
        groups.append(row | {"low": low, "high": high})
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
        axes.set_yticks(range(len(values)), values, fontsize=8)
        axes.invert_yaxis()
        axes.grid(alpha=0.3, axis="x")
    for axes in panels:
        axes.set_axis_off()
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    return figure
