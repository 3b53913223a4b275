"""Pictures of searches: progress, scores against searched keys, importance."""

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator

from recipekit.reporting.ledgers import (
    FIDELITY,
    PREFIX,
    fidelity_name,
    format_value,
    searched_keys,
)

PANEL = (2.6, 1.9)  # inches
# Of fidelities, from the lowest to the highest: not the pale end of the map.
FIDELITY_COLORS = matplotlib.colormaps["plasma"]
HIGHEST_COLOR = 0.65
MARGIN = 0.04  # of an axis beyond the bounds, as a share of what is within
MANY_STEPS = 50  # from the lowest to the highest value: ticks at powers of ten alone


def draw_progress(course, validated, unit=""):
    """Draws the best score so far of each study, and its validated configurations.

    Arguments
    ---------
    course, validated : pandas.DataFrame
        As from ``searches.progress`` and ``searches.validations``.
    unit : str
        Of the scores.

    Returns
    -------
    figure : matplotlib.figure.Figure
    legend : dict
        Study -> colour.
    """
    figure = Figure(figsize=(6, 3.8), layout="constrained")
    axes = figure.subplots()
    legend = {}
    for number, (study, trials) in enumerate(course.groupby("study", sort=False)):
        color = legend[study] = f"C{number % 10}"
        for place, (_, stage) in enumerate(trials.groupby("stage", sort=False), 1):
            stage = stage.dropna(subset=["best"])
            axes.step(
                *(stage["examples"], stage["best"]),
                where="post",
                color=color,
                lw=1.2,
                alpha=0.7,
            )
            if len(stage):
                axes.annotate(
                    str(place),
                    (stage["examples"].iloc[-1], stage["best"].iloc[-1]),
                    xytext=(2, 2),
                    textcoords="offset points",
                    color=color,
                    fontsize=9,
                )
        for best, marker in ((False, "o"), (True, "*")):
            rows = validated[
                (validated["study"] == study) & (validated["best"] == best)
            ]
            axes.errorbar(
                rows["examples"],
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
        xlabel="training examples",
        ylabel=f"best validation score ({unit})" if unit else "best validation score",
        ylim=(bottom - margin, top + margin),
    )
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(alpha=0.3)
    return figure, legend


def draw_keys(trials, spaces, unit=""):
    """Draws the scores of trials against each key that they differ in.

    Arguments
    ---------
    trials : pandas.DataFrame
        Completed trials of one study's searches, as from ``searches.progress``.
    spaces : dict
        (study, stage) -> dict from key to Prior. The axis of a key is as wide as the
        widest of its priors, and logarithmic where that is; lines mark the bounds of
        the others. A key without a prior has the range of its values.
    unit : str
        Of the scores.

    Returns
    -------
    figures : list of matplotlib.figure.Figure
        One for each key.
    legend : dict
        Fidelity -> colour.
    """
    trials = trials.assign(train_items=trials["train_items"].fillna(np.inf))
    trials = trials.sort_values([*FIDELITY, "score"])
    fidelities = list(dict.fromkeys(trials[FIDELITY].itertuples(index=False)))
    shades = np.linspace(0, HIGHEST_COLOR, max(len(fidelities), 2))[: len(fidelities)]
    legend = {
        fidelity_name(*fidelity): FIDELITY_COLORS(shade)
        for fidelity, shade in zip(fidelities, shades, strict=True)
    }
    figures = []
    for name in searched_keys(trials):
        figure = Figure(figsize=PANEL, layout="constrained")
        axes = figure.subplots()
        key = name.removeprefix(PREFIX)
        study = trials["study"].iloc[0]
        # In the order of stages, each once.
        priors = dict.fromkeys(
            spaces.get((study, stage), {}).get(key) for stage in trials["stage"]
        )
        priors = [prior for prior in priors if prior is not None]
        known = trials.dropna(subset=[name]).infer_objects()
        values = known[name]
        if not pd.api.types.is_numeric_dtype(values):
            texts = sorted(values.unique())
            values = values.map(texts.index)
            axes.set_xticks(range(len(texts)), texts)
        elif priors:
            _set_bounds(axes, priors)
        for fidelity, color in zip(fidelities, legend.values(), strict=True):
            here = (known[FIDELITY] == fidelity).all(axis=1)
            axes.plot(
                *(values[here], known["score"][here]),
                "o",
                color=color,
                ms=3.5,
                mew=0,
                alpha=0.7,
            )
        best = known.index[-1]
        axes.plot(values[best], known["score"][best], "*", ms=11, mec="black", mfc="w")
        axes.set_xlabel(key, fontsize=8)
        axes.set_ylabel(f"score ({unit})" if unit else "score", fontsize=8)
        axes.tick_params(which="both", labelsize=7)
        axes.grid(alpha=0.3)
        figures.append(figure)
    return figures, legend


def _set_bounds(axes, priors):
    """Makes a key's axis as wide as its widest prior; lines are the others' bounds."""
    low = min(prior.low for prior in priors)
    high = max(prior.high for prior in priors)
    for prior in priors:
        for bound in {prior.low, prior.high} - {low, high}:
            axes.axvline(bound, color="gray", lw=0.8, ls=":")
    if all(prior.log for prior in priors):
        axes.set_xscale("log")
        steps = (1,) if high / low > MANY_STEPS else (1, 2, 5)
        axes.xaxis.set_major_locator(LogLocator(subs=steps))
        axes.xaxis.set_major_formatter(lambda value, _: format_value(value))
        margin = (high / low) ** MARGIN
        axes.set_xlim(low / margin, high * margin)
    else:
        margin = MARGIN * (high - low)
        axes.set_xlim(low - margin, high + margin)
        axes.xaxis.get_major_locator().set_params(nbins=5)
    axes.minorticks_off()
    for bound in (low, high):
        axes.axvline(bound, color="black", lw=0.8)


def draw_importance(tables):
    """Draws the importance of keys with intervals, a panel for each search.

    Arguments
    ---------
    tables : dict of str to pandas.DataFrame
        Name of the search -> as from ``importance.importance``.

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
    for axes, (name, table) in zip(panels, tables.items(), strict=True):
        table = table.iloc[::-1]
        means = table["importance"]
        spread = [means - table["low"], table["high"] - means]
        axes.errorbar(means, table["key"], xerr=spread, fmt="o", capsize=3)
        axes.axvline(0, color="black", lw=0.8)
        axes.margins(y=0.5 / len(table))
        axes.grid(alpha=0.3)
        axes.set_title(name, fontsize=9)
    panels[-1].set_xlabel("share of the scores' variance, 95 % interval")
    return figure
