"""Pictures of searches: progress, searched values, importance."""

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from recipekit.reporting.ledgers import (
    FIDELITY,
    PREFIX,
    format_value,
    is_logarithmic,
    on_scale,
    searched_keys,
)

RANK_COLORS = matplotlib.colormaps["viridis"]


def draw_progress(course, validated, column, label, unit=""):
    """Draws the best score so far of each study, and its validated configurations.

    Arguments
    ---------
    course, validated : pandas.DataFrame
        As from ``searches.progress`` and ``searches.validations``.
    column : str
        Column of both with the cost: examples or hours.
    label : str
        Of the axis.
    unit : str
        Of the scores.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([], [], "o", color="gray", label="several seeds: mean, 95 %")
    axes.plot([], [], "*", color="gray", ms=11, label="the strategy's best of these")
    for number, (study, trials) in enumerate(course.groupby("study", sort=False)):
        color = f"C{number}"
        axes.plot([], [], color=color, label=study)
        for place, (_, stage) in enumerate(trials.groupby("stage", sort=False), 1):
            stage = stage.dropna(subset=["best"])
            axes.step(
                stage[column], stage["best"], where="post", color=color, lw=1, alpha=0.7
            )
            if len(stage):
                axes.annotate(
                    str(place),
                    (stage[column].iloc[-1], stage["best"].iloc[-1]),
                    xytext=(2, 2),
                    textcoords="offset points",
                    color=color,
                    fontsize=8,
                )
        for best, marker in ((False, "o"), (True, "*")):
            rows = validated[
                (validated["study"] == study) & (validated["best"] == best)
            ]
            axes.errorbar(
                rows[column],
                rows["mean"],
                yerr=[rows["mean"] - rows["low"], rows["high"] - rows["mean"]],
                fmt=marker,
                ms=13 if best else 5,
                color=color,
                mec="black" if best else color,
                capsize=3,
                lw=1,
            )
    # First trials far below the others and intervals of two seeds would flatten all.
    scores = pd.concat([course["best"], validated["mean"]])
    bottom, top = scores.quantile(0.05), scores.max()
    margin = 0.2 * (top - bottom) or 1.0
    axes.set(
        xlabel=label,
        ylabel=f"best validation score ({unit})" if unit else "best validation score",
        ylim=(bottom - margin, top + margin),
    )
    if column == "examples":
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=4, fontsize=8)
    return figure


def draw_parallel(trials):
    """Draws each configuration as a line across its searched values.

    One panel for each stage. The colour is the configuration's rank in its stage: by
    the highest fidelity it reached, then by score.

    Arguments
    ---------
    trials : pandas.DataFrame
        Completed trials of one study's searches, as from ``searches.progress``.

    Returns
    -------
    matplotlib.figure.Figure
    """
    names = searched_keys(trials)
    stages = list(trials.groupby("stage", sort=False))
    figure = Figure(figsize=(9, 0.8 + 2.2 * len(stages)), layout="constrained")
    panels = figure.subplots(len(stages), squeeze=False)[:, 0]
    scaled = pd.DataFrame({name: on_scale(trials[name]) for name in names})
    heights = (scaled - scaled.min()) / (scaled.max() - scaled.min())
    for axes, (stage, members) in zip(panels, stages, strict=True):
        ranked = members.assign(train_items=members["train_items"].fillna(np.inf))
        ranked = ranked.sort_values([*FIDELITY, "score"])
        ranked = ranked.drop_duplicates("configuration", keep="last")
        for place, row in enumerate(ranked.index):
            rank = place / max(len(ranked) - 1, 1)
            axes.plot(
                range(len(names)),
                heights.loc[row],
                color=RANK_COLORS(rank),
                alpha=0.15 + 0.75 * rank,
                lw=0.8,
            )
        for place, name in enumerate(names):
            axes.axvline(place, color="black", lw=0.6)
            for height, text in _ticks(trials[name]):
                axes.annotate(
                    text,
                    (place, height),
                    xytext=(3, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=7,
                    bbox={"fc": "white", "ec": "none", "alpha": 0.7, "pad": 0.5},
                )
        axes.set_title(f"{stage}: {len(ranked)} configurations", fontsize=9)
        axes.set_xticks(range(len(names)), [n.removeprefix(PREFIX) for n in names])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
    colors = matplotlib.cm.ScalarMappable(cmap=RANK_COLORS)
    bar = figure.colorbar(colors, ax=panels, ticks=[0, 1], aspect=40)
    bar.ax.set_yticklabels(["worst", "best"])
    bar.set_label("rank in the stage")
    return figure


def _ticks(values):
    """Returns heights (0..1) and texts of a key's axis: its ends and the middle."""
    values = values.dropna().infer_objects()
    if not pd.api.types.is_numeric_dtype(values):
        texts = sorted(values.unique())
        return list(zip(np.linspace(0, 1, len(texts)), texts, strict=True))
    low, high = values.min(), values.max()
    middle = np.sqrt(low * high) if is_logarithmic(values) else (low + high) / 2
    return [
        (height, format_value(float(f"{value:.2g}")))
        for height, value in ((0, low), (0.5, middle), (1, high))
    ]


def draw_importance(tables):
    """Draws the importance of keys with intervals, a panel for each study.

    Arguments
    ---------
    tables : dict of str to pandas.DataFrame
        Study -> as from ``importance.importance``.

    Returns
    -------
    matplotlib.figure.Figure
    """
    keys = sum(len(table) for table in tables.values())
    figure = Figure(
        figsize=(7, 0.6 + 0.6 * len(tables) + 0.25 * keys), layout="constrained"
    )
    panels = figure.subplots(
        len(tables),
        squeeze=False,
        sharex=True,
        height_ratios=[len(table) for table in tables.values()],
    )[:, 0]
    for axes, (study, table) in zip(panels, tables.items(), strict=True):
        table = table.iloc[::-1]
        means = table["importance"]
        spread = [means - table["low"], table["high"] - means]
        axes.errorbar(means, table["key"], xerr=spread, fmt="o", capsize=3)
        axes.axvline(0, color="black", lw=0.8)
        axes.margins(y=0.5 / len(table))
        axes.grid(alpha=0.3)
        axes.set_title(study, fontsize=9)
    panels[-1].set_xlabel("share of the scores' variance, 95 % interval")
    return figure
