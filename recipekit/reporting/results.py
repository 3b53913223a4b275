"""The results of settings: scores over seeds, test scores, learning curves."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from recipekit.reporting.document import Picture, Section, Table, Text
from recipekit.reporting.learning_curve import mark_epochs
from recipekit.scoring import statistics


def section(settings, left_out, measures):
    """Returns the section of results, or None if there are none.

    Arguments
    ---------
    settings : list of Setting
    left_out : list of str
        Runs that are not in the report, and why.
    measures : Measures

    Returns
    -------
    Section or None
    """
    blocks = [Text(f"Left out: {reason}") for reason in left_out]
    if settings:
        unit = f", in {measures.unit}" if measures.unit else ""
        blocks += [
            Text(
                "A setting is what its runs share; they differ in their seed. It is "
                "named by what differs between the settings of its model. Scores are "
                f"the best validation scores of the runs{unit}: {measures.monitored}. "
                "Mean, standard deviation and 95 % interval (Student's t) are over "
                "seeds; hours are those of all seeds together, where they are known."
            ),
            Table("results", "Best validation scores", validation_table(settings)),
        ]
        if any(setting.tested for setting in settings):
            blocks += [
                Text(
                    f"Test scores by {measures.condition}, and of the recordings as "
                    f"they are ({measures.whole_name}): means over recordings and "
                    f"seeds; std is that of the {_gain_title(measures)} over seeds. In "
                    f"the {measures.mean_name} each counts alike, however many "
                    "recordings it has; it is empty for tests of earlier versions."
                ),
                Table("test", "Test scores", test_table(settings, measures)),
            ]
        blocks += [
            Picture(
                f"curve_{number:02}",
                _heading(setting),
                learning_curves(setting, measures.unit),
            )
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
                "epochs": max(len(run.history) for run in setting.runs),
                "of": setting.runs[0].settings.get("N_epochs"),
                "hours": sum(seconds) / 3600 if known else np.nan,
            }
        )
    return pd.DataFrame(rows)


def test_table(settings, measures):
    """Returns a row for each setting and group of its test results."""
    condition = measures.condition
    groups = {name: (name,) for name in measures.conditions}
    groups[measures.whole_name] = measures.whole
    rows = []
    for setting in settings:
        for group, members in groups.items():
            tables = [run[run[condition].isin(members)] for run in setting.tested]
            tables = [table for table in tables if len(table)]
            if not tables:
                continue
            means = [table[list(measures.metrics)].mean() for table in tables]
            row = {"setting": setting.label, condition: group}
            row |= {"seeds": len(tables), "recordings": tables[0]["id"].nunique()}
            rows.append(row | _over_seeds(means, measures))
        if setting.tested:
            means = [run.means for run in setting.runs if run.means]
            row = {"setting": setting.label, condition: measures.mean_name}
            row["seeds"] = len(means) or None
            rows.append(row | _over_seeds(means, measures))
    return pd.DataFrame(rows)


def _over_seeds(means, measures):
    """Returns the means of each metric over seeds, and std of the gain."""
    table = pd.DataFrame(means, columns=list(measures.metrics), dtype=float)
    row = {each.title: table[name].mean() for name, each in measures.metrics.items()}
    return row | {"std": table[measures.gain].std()}


def _gain_title(measures):
    return measures.metrics[measures.gain].title


def learning_curves(setting, unit):
    """Draws the runs of a setting, with its marks and where the rate has fallen."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for number, run in enumerate(setting.runs):
        epochs = [entry["epoch"] for entry in run.history]
        color = f"C{number % 10}"
        trained = [entry["train"][run.shared] for entry in run.history]
        axes.plot(epochs, trained, ":", color=color)
        scores = [entry["score"] for entry in run.history]
        axes.plot(epochs, scores, color=color, label=f"seed {run.seed}")
        axes.plot(run.best["epoch"], run.score, "o", mfc="none", color=color)
        for before, after in zip(run.history, run.history[1:], strict=False):
            if after["lr"] < before["lr"]:
                place = {"transform": axes.get_xaxis_transform(), "clip_on": False}
                axes.plot(after["epoch"], 0, "v", color=color, ms=5, **place)
    last = max(len(run.history) for run in setting.runs)
    mark_epochs(axes, setting.runs[0].marks, last, "tab:gray", "--")
    axes.set(
        xlabel="epoch (triangles: the learning rate has fallen)",
        ylabel=f"{unit or 'score'} (lines: validation, dots: training)",
    )
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")
    return figure


def _heading(setting):
    name = "" if setting.name in setting.label else f": {setting.name}"
    return f"Learning curves of {setting.label}{name}"
