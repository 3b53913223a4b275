"""The results of settings: a row for each, tests by condition, each run, its curve."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from recipekit.reporting.document import Folded, Panels, Section, Table, Text
from recipekit.scoring import statistics

PANEL = (2.8, 2.0)  # inches


def section(settings, studies, measures):
    """Returns the section of settings, or None if there are none.

    Arguments
    ---------
    settings : list of Setting
    studies : Studies or None
    measures : Measures

    Returns
    -------
    Section or None
    """
    if not settings:
        return None
    unit = f", in {measures.unit}" if measures.unit else ""
    table = overview(settings, studies, measures)
    blocks = [
        Table("settings", "Settings, the best first", table),
        Text(
            "A setting is what its runs share; they differ in their seed. Means are "
            "over seeds, with their 95 % interval (Student's t; of one tested seed "
            "over what its recordings share). Validation scores are the best of "
            f"each run{unit}: {measures.monitored}. Test scores are of the recordings "
            f"as they are ({measures.whole_name}). Examples and hours are those of a "
            "setting's runs together; of a study's best those of all its trials. A "
            "record is that of the best seed."
        ),
    ]
    if any(setting.tested for setting in settings):
        blocks.append(
            Folded(
                f"Test scores by {measures.condition}",
                (
                    Text(
                        f"Means over recordings and seeds; std is that of the "
                        f"{_title(measures.gain, measures)} over seeds. In the "
                        f"{measures.mean_name} each counts alike, however many "
                        "recordings it has."
                    ),
                    Table("test", "Test scores", test_table(settings, measures)),
                ),
            )
        )
    table = Table("runs", "Runs", runs_table(settings, measures))
    blocks.append(Folded("Each run", (table,)))
    return Section("settings", "Settings", tuple(blocks))


def ranked(settings, measures):
    """Returns settings by corpus, the best first.

    That is by the compared metric in the test where all settings of the corpus were
    tested, else by the monitored score of the validation.

    Arguments
    ---------
    settings : list of Setting
    measures : Measures
    """
    untested = {setting.corpus for setting in settings if not setting.tested}

    def key(setting):
        level = np.mean(setting.scores)
        if setting.corpus not in untested:
            level = tested_level(setting, measures.compared, measures)[0]
        return setting.corpus, -level

    return sorted(settings, key=key)


def validation_level(setting, name=None):
    """Returns mean, low and high of a validation score over the runs of a setting.

    Arguments
    ---------
    setting : Setting
    name : str, optional
        Of a metric; without it the monitored score.

    Returns
    -------
    (float, float, float)
        NaN where it is not known; the interval is Student's t over the seeds.
    """
    if name is None:
        return _over_seeds(setting.scores)
    return _over_seeds([run.valid.get(name, np.nan) for run in setting.runs])


def tested_level(setting, name, measures):
    """Returns mean, low and high of a test metric on the recordings as they are.

    Arguments
    ---------
    setting : Setting
        Tested.
    name : str
        Of the metric.
    measures : Measures

    Returns
    -------
    (float, float, float)
        The interval is Student's t over the seeds; of one seed, that of summary.json
        over the recordings.
    """
    level = _over_seeds(
        [
            table.loc[table[measures.condition].isin(measures.whole), name].mean()
            for table in setting.tested
        ]
    )
    if len(setting.tested) == 1:
        scores = next(run.scores for run in setting.runs if run.tested is not None)
        found = scores.get(measures.whole_name, {}).get(name, {})
        bounds = [found.get(bound) for bound in ("low", "high")]
        if None not in bounds:
            level = level[0], *bounds
    return level


def compute(setting, studies):
    """Returns the training examples and the hours that led to a setting.

    Arguments
    ---------
    setting : Setting
    studies : Studies or None

    Returns
    -------
    (float, float)
        Of all trials of the study whose best it is, hours with the workers' start-up;
        else of its runs. NaN where hours are not known.
    """
    if setting.best_of:
        return min(studies.spent(study) for study in setting.best_of)
    seconds = [run.seconds for run in setting.runs]
    hours = np.nan if None in seconds else sum(seconds) / 3600
    return sum(run.examples for run in setting.runs), hours


def unprocessed(settings, measures):
    """Returns what the recordings score as they are, in the validation and the test.

    Arguments
    ---------
    settings : list of Setting
        Of one corpus.
    measures : Measures

    Returns
    -------
    (float, float)
        The compared metric minus the improvement, the median over the runs; NaN where
        it is not known.
    """
    compared, improvement = measures.compared, measures.improvement
    valid, test = [], []
    for run in (run for setting in settings for run in setting.runs):
        if improvement in run.valid and compared in run.valid:
            valid.append(run.valid[compared] - run.valid[improvement])
        if run.tested is not None and improvement:
            whole = run.tested[run.tested[measures.condition].isin(measures.whole)]
            test.append((whole[compared] - whole[improvement]).mean())
    return tuple(float(np.median(each)) if each else np.nan for each in (valid, test))


def overview(settings, studies, measures):
    """Returns a row for each setting: its scores, its compute, what it differs in.

    Arguments
    ---------
    settings : list of Setting
    studies : Studies or None
    measures : Measures

    Returns
    -------
    pandas.DataFrame
        Without the columns of which nothing is known.
    """
    rows = []
    names = list(dict.fromkeys((measures.gain, measures.compared)))
    tested = all(setting.tested for setting in settings)
    gains = [validation_level(setting, measures.gain)[0] for setting in settings]
    for setting in ranked(settings, measures):
        row = {"setting": setting.label, "differs in": setting.name or None}
        row["corpus"] = setting.corpus or None
        if setting.tested:
            for name in names:
                row |= _columns(
                    f"test {_title(name, measures)}",
                    tested_level(setting, name, measures),
                    name == names[0],
                )
        if measures.improvement and not tested:
            row |= _columns(
                f"validation {_title(measures.gain, measures)}",
                validation_level(setting, measures.gain),
                True,
            )
        best = max(setting.runs, key=lambda run: run.score)
        level = validation_level(setting)
        interval = not tested and bool(np.isnan(gains).any())
        row |= _columns("validation score", level, interval)
        row["seeds"] = len(setting.runs)
        row["examples"], row["hours"] = compute(setting, studies)
        rows.append(row | {"record": best.record})
    columns = dict.fromkeys(name for row in rows for name in row)
    table = pd.DataFrame(rows, columns=sorted(columns, key=_place)).dropna(
        axis=1, how="all"
    )
    if len({setting.corpus for setting in settings}) == 1:
        table = table.drop(columns="corpus", errors="ignore")
    return table


def _place(name):
    """Returns where a column of the overview belongs."""
    told = ["seeds", "examples", "hours", "differs in", "record"]
    order = ["setting", "corpus", "test", "validation", *told]
    return order.index(name if name in order else name.split()[0])


def _columns(title, level, interval):
    """Returns the columns of a level, with or without its interval."""
    mean, low, high = level
    if not interval:
        return {title: mean}
    return {title: mean, f"{title}, low": low, f"{title}, high": high}


def runs_table(settings, measures):
    """Returns a row for each run: what it reached, how, and where its record is."""
    rows = []
    for setting in ranked(settings, measures):
        for run in setting.runs:
            reached = [entry["score"] for entry in run.history]
            rows.append(
                {
                    "setting": setting.label,
                    "study": ", ".join(setting.studies) or None,
                    "seed": run.seed,
                    "validation score": run.score,
                    "best epoch": int(np.argmax(reached)) + 1 if reached else None,
                    "epochs": len(reached) or None,
                    "of": run.settings.get("N_epochs"),
                    "examples": run.examples,
                    "hours": np.nan if run.seconds is None else run.seconds / 3600,
                    "device": run.provenance.get("device"),
                    "version": run.provenance.get("recipe"),
                    "revision": run.provenance.get("revision"),
                    "record": run.record,
                }
            )
    return pd.DataFrame(rows).dropna(axis=1, how="all")


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
            rows.append(row | _means(means, measures))
        found = [run.scores.get(measures.mean_name) for run in setting.runs]
        means = [
            {name: group[name]["mean"] for name in measures.metrics}
            for group in found
            if group
        ]
        if means:
            row = {"setting": setting.label, condition: measures.mean_name}
            row["seeds"] = len(means)
            rows.append(row | _means(means, measures))
    return pd.DataFrame(rows)


def _over_seeds(values):
    """Returns the mean of values and its t interval, NaN where it has none."""
    if len(values) == 1 or np.isnan(values).any():
        return float(np.mean(values)), np.nan, np.nan
    found = statistics.mean_of(values)
    return found.value, *found.interval


def _means(means, measures):
    """Returns the means of each metric over seeds, and std of the gain."""
    table = pd.DataFrame(means, columns=list(measures.metrics), dtype=float)
    row = {each.title: table[name].mean() for name, each in measures.metrics.items()}
    return row | {"std": table[measures.gain].std()}


def _title(name, measures):
    return measures.metrics[name].title


def curves_section(settings, measures):
    """Returns the section of learning curves, or None if no history is known.

    Arguments
    ---------
    settings : list of Setting
    measures : Measures
    """
    by_model = {}
    for setting in ranked(settings, measures):
        if setting.runs[0].history:
            by_model.setdefault(setting.model, []).append(setting)
    blocks = []
    for number, (model, members) in enumerate(by_model.items(), start=1):
        seeds = sorted({run.seed for setting in members for run in setting.runs})
        colors = {seed: f"C{place % 10}" for place, seed in enumerate(seeds)}
        panels = Panels(
            f"curves_{number}",
            "Lines: validation; dots: training; circle: the best epoch; triangle: the "
            "learning rate has fallen; dashed: epochs that the recipe marks",
            learning_curves(members, colors, measures.unit),
            {f"seed {seed}": color for seed, color in colors.items()},
        )
        count = f"{len(members)} setting{'s' if len(members) > 1 else ''}"
        blocks.append(Folded(f"{model}: {count}", (panels,)))
    if not blocks:
        return None
    return Section("curves", "Learning curves", tuple(blocks))


def learning_curves(settings, colors, unit):
    """Draws the runs of settings, a panel for each, on common axes.

    Arguments
    ---------
    settings : list of Setting
        Of one model, with histories.
    colors : dict
        Seed -> colour.
    unit : str
        Of the scores.

    Returns
    -------
    list of matplotlib.figure.Figure
    """
    figures, drawn = [], []
    for setting in settings:
        figure = Figure(figsize=PANEL, layout="constrained")
        axes = figure.subplots()
        for run in setting.runs:
            epochs = [entry["epoch"] for entry in run.history]
            color = colors[run.seed]
            trained = [entry["train"][run.shared] for entry in run.history]
            scores = [entry["score"] for entry in run.history]
            axes.plot(epochs, trained, ":", color=color, lw=1)
            axes.plot(epochs, scores, color=color, lw=1.2)
            best = int(np.argmax(scores))
            axes.plot(epochs[best], scores[best], "o", mfc="none", color=color, ms=5)
            for before, after in zip(run.history, run.history[1:], strict=False):
                if after["lr"] < before["lr"]:
                    place = {"transform": axes.get_xaxis_transform(), "clip_on": False}
                    axes.plot(after["epoch"], 0, "v", color=color, ms=3, **place)
            drawn += [*trained, *scores]
        for epoch, _ in setting.runs[0].marks:
            if 1 < epoch <= max(len(run.history) for run in setting.runs):
                axes.axvline(epoch, color="gray", lw=0.8, ls="--")
        axes.set_title(setting.label, fontsize=8)
        axes.set_xlabel("epoch", fontsize=8)
        axes.set_ylabel(unit or "score", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        figures.append(figure)
    margin = 0.05 * np.ptp(drawn) or 1.0
    longest = max(len(run.history) for setting in settings for run in setting.runs)
    for figure in figures:
        figure.axes[0].set(
            ylim=(min(drawn) - margin, max(drawn) + margin),
            xlim=(0.5, longest + 0.5),
        )
    return figures
