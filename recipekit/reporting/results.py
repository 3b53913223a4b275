"""The results of settings: scores over seeds, test scores, learning curves."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mixtures.curriculum import Curriculum
from mixtures.variants import FULL_MIX, VARIANTS
from recipekit.reporting.document import Picture, Section, Table, Text
from recipekit.reporting.learning_curve import mark_stages
from recipekit.scoring import statistics
from scoring.evaluation import FULL_MIX_GROUP, MEAN_GROUP, METRICS


def section(settings, left_out):
    """Returns the section of results, or None if there are none.

    Arguments
    ---------
    settings : list of Setting
    left_out : list of str
        Runs that are not in the report, and why.

    Returns
    -------
    Section or None
    """
    blocks = [Text(f"Left out: {reason}") for reason in left_out]
    if settings:
        blocks += [
            Text(
                "A setting is what its runs share; they differ in their seed. It is "
                "named by what differs between the settings of its model. Scores "
                "are the best validation scores of the runs in dB: SI-SDR on the full "
                "mixtures, or SI-SDRi where that was monitored. Mean, standard "
                "deviation and 95 % interval (Student's t) are over seeds; hours are "
                "those of all seeds together, where they are known."
            ),
            Table("results", "Best validation scores", validation_table(settings)),
        ]
        if any(setting.tested for setting in settings):
            blocks += [
                Text(
                    "Test scores by variant, and of the full mixtures "
                    f"({FULL_MIX_GROUP}): means over recordings and seeds; std is that "
                    f"of the SI-SDRi over seeds. In the {MEAN_GROUP} each variant "
                    "counts alike, however many recordings it has; tests of earlier "
                    "versions do not tell it."
                ),
                Table("test", "Test scores", test_table(settings)),
            ]
        blocks += [
            Picture(f"curve_{number:02}", _heading(setting), learning_curves(setting))
            for number, setting in enumerate(settings, start=1)
        ]
    return Section("results", "Results", tuple(blocks)) if blocks else None


def validation_table(settings):
    """Returns one row a setting: what each seed reached, and what that tells."""
    rows = []
    for setting in settings:
        scores = [run.score for run in setting.runs]
        low, high = (
            statistics.mean_of(scores).interval if len(scores) > 1 else (np.nan, np.nan)
        )
        seconds = [run.seconds for run in setting.runs]
        known = all(value is not None for value in seconds)
        rows.append(
            {
                "setting": setting.label,
                "differs in": setting.name or None,
                "seeds": " / ".join(str(run.seed) for run in setting.runs),
                "best of each": " / ".join(f"{score:.2f}" for score in scores),
                "n": len(scores),
                "mean": np.mean(scores),
                "std": np.std(scores, ddof=1) if len(scores) > 1 else np.nan,
                "low": low,
                "high": high,
                "epochs": max(len(run.log) for run in setting.runs),
                "of": setting.runs[0].settings.get("N_epochs"),
                "hours": sum(seconds) / 3600 if known else np.nan,
            }
        )
    return pd.DataFrame(rows)


def test_table(settings):
    """Returns a row for each setting and group of its test results."""
    rows = []
    for setting in settings:
        for group in (*VARIANTS, FULL_MIX_GROUP):
            members = FULL_MIX if group == FULL_MIX_GROUP else (group,)
            tables = [run[run["variant"].isin(members)] for run in setting.tested]
            tables = [table for table in tables if len(table)]
            if not tables:
                continue
            means = pd.DataFrame([table[list(METRICS)].mean() for table in tables])
            row = {"setting": setting.label, "variant": group}
            row |= {"seeds": len(tables), "recordings": tables[0]["id"].nunique()}
            row |= {METRICS[name][0]: means[name].mean() for name in METRICS}
            rows.append(row | {"std": means["si_sdri"].std()})
        if setting.tested:
            rows.append(_mean_of_variants(setting))
    return pd.DataFrame(rows)


def _mean_of_variants(setting):
    """Returns the row of a setting's mean of variants, NaN where no test tells it."""
    told = [run.means for run in setting.runs if run.means]
    means = pd.DataFrame(told, columns=list(METRICS), dtype=float)
    row = {"setting": setting.label, "variant": MEAN_GROUP, "seeds": len(told) or None}
    row |= {METRICS[name][0]: means[name].mean() for name in METRICS}
    return row | {"std": means["si_sdri"].std()}


def learning_curves(setting):
    """Draws the runs of a setting; the curriculum and falls of the rate are marked."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for number, run in enumerate(setting.runs):
        epochs = [entry["epoch"] for entry in run.log]
        color = f"C{number % 10}"
        for stats, style in (("train si_sdr", ":"), (run.monitored, "-")):
            label = f"seed {run.seed}" if style == "-" else None
            scores = [entry[stats] for entry in run.log]
            axes.plot(epochs, scores, style, color=color, label=label)
        axes.plot(run.best["epoch"], run.score, "o", mfc="none", color=color)
        for before, after in zip(run.log, run.log[1:], strict=False):
            if after["lr"] < before["lr"]:
                place = {"transform": axes.get_xaxis_transform(), "clip_on": False}
                axes.plot(after["epoch"], 0, "v", color=color, ms=5, **place)
    last = max(len(run.log) for run in setting.runs)
    curriculum = Curriculum(setting.runs[0].settings["curriculum"])
    mark_stages(axes, curriculum, last, "tab:gray", "--")
    axes.set(
        xlabel="epoch (triangles: the learning rate has fallen)",
        ylabel="dB (lines: validation, dots: training)",
    )
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")
    return figure


def _heading(setting):
    name = "" if setting.name in setting.label else f": {setting.name}"
    return f"Learning curves of {setting.label}{name}"
