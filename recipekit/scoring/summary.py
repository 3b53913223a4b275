"""Summary, table and files of test scores, whatever the recipe measures."""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd

from recipekit.files import keyed
from recipekit.files.atomic import replacing
from recipekit.scoring import statistics

RESULTS = "test_results.csv"
SUMMARY = "summary.json"
TEST_AGAIN = "Test the run again: its command with --test_only True"


def summarise(rows, measures, seed=0, resamples=statistics.SUMMARY_RESAMPLES):
    """Returns the mean of each metric with its 95 % percentile bootstrap interval.

    Arguments
    ---------
    rows : pandas.DataFrame
        A row for each recording and condition, with the columns ``id``, that of the
        condition and those of the metrics. NaN are left out and counted.
    measures : Measures
    seed : int
        Of the resampling, which also depends on group and metric, not on what else
        is summarised.
    resamples : int
        Number of bootstrap samples.

    Returns
    -------
    dict
        Group -> {"rows": n, metric: {"mean", "low", "high", "missing"}, ...}; a value
        is None where no score is defined. Groups are the conditions, in their order,
        then the recordings as they are (``measures.whole_name``), each where it has
        rows; where there are several conditions, the mean of their means comes last,
        in which each counts alike however many rows it has.
    """
    condition = rows[measures.condition]
    groups = {name: rows[condition == name] for name in measures.conditions}
    groups[measures.whole_name] = rows[condition.isin(measures.whole)]
    summary = {
        group: {"rows": len(members)}
        | describe(members, measures, (seed, "bootstrap", group), resamples)
        for group, members in groups.items()
        if len(members)
    }
    if condition.nunique() > 1:
        group = measures.mean_name
        key = (seed, "bootstrap", group)
        summary[group] = {"rows": len(rows)} | {
            metric: _describe_mean(rows, measures, metric, key, resamples)
            for metric in measures.metrics
        }
    return summary


def describe(rows, measures, key=(), resamples=statistics.SUMMARY_RESAMPLES):
    """Returns mean, 95 % interval and number of missing values of each metric.

    Arguments
    ---------
    rows : pandas.DataFrame
        A row for each recording, with the columns of the metrics.
    measures : Measures
    key : tuple
        Of the resampling, to which the metric is added.
    resamples : int
        Number of bootstrap samples.

    Returns
    -------
    dict
        Metric -> {"mean", "low", "high", "missing"}.
    """
    described = {}
    for metric in measures.metrics:
        values = rows[metric].to_numpy(float)
        defined = values[~np.isnan(values)]
        mean, samples = np.nan, []
        if len(defined):
            generator = keyed.generator(*key, metric)
            mean = defined.mean()
            samples = statistics.resampled_row_means(defined, generator, resamples)
        described[metric] = _as_json(mean, samples, len(values) - len(defined))
    return described


def _describe_mean(rows, measures, metric, key, resamples):
    """Describes the mean of the conditions' means.

    Recordings are drawn, each in all its conditions, since these are much alike.
    """
    table = rows.pivot_table(metric, "id", measures.condition, dropna=False)
    mean, samples = statistics.resampled_condition_means(
        table.to_numpy(float), keyed.generator(*key, metric), resamples
    )
    return _as_json(mean, samples, int(rows[metric].isna().sum()))


def _as_json(mean, samples, missing):
    """Returns a mean with the interval of its bootstrap samples, None for NaN."""
    if np.isnan(mean):
        return {"mean": None, "low": None, "high": None, "missing": missing}
    low, high = statistics.percentile_interval(samples)
    return {
        "mean": float(mean),
        "low": float(low),
        "high": float(high),
        "missing": missing,
    }


def write_results(rows, folder, measures, seed, provenance):
    """Writes test_results.csv (each row) and summary.json; returns the latter.

    The summary is made from the rounded rows as written, so that the CSV alone
    gives it again.

    Arguments
    ---------
    rows : list of dict
        One per recording and condition: ``measures.describing``, the metrics, and
        other scores if there are any.
    folder : str or Path
        Where to write; existing results there are replaced.
    measures : Measures
    seed : int
        Of the bootstrap.
    provenance : dict
        What the scores came from (checkpoint, epoch, versions, ...), for summary.json.

    Returns
    -------
    dict
        ``provenance`` and ``scores`` (as from ``summarise``).

    Raises
    ------
    ValueError
        If there are no rows.
    """
    if not rows:
        raise ValueError(
            f"No test rows were scored, so there is nothing to write to {folder}: "
            f"check that the test manifest has rows and that a {measures.condition} "
            "fits them"
        )
    table = pd.DataFrame(rows)
    scores = [name for name in table.columns if name not in measures.describing]
    table = table[[*measures.describing, *scores]].round({name: 4 for name in scores})
    place = table[measures.condition].map(measures.conditions.index)
    table = table.assign(place=place).sort_values(["id", "place"]).drop(columns="place")
    report = {"provenance": provenance, "scores": summarise(table, measures, seed)}
    write_scores(table, Path(folder) / RESULTS, report)
    return report


def write_scores(table, path, report):
    """Writes the scores of rows as a CSV, and summary.json beside it.

    Arguments
    ---------
    table : pandas.DataFrame
        Rounded to four decimals.
    path : Path
        Of the CSV; its folder is made if need be.
    report : dict
        ``provenance``, and ``scores`` as from ``summarise``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.4f", lineterminator="\n")
    with replacing(path.with_name(SUMMARY)) as temporary:
        text = json.dumps(report, indent=2, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def read_summary(folder, measures):
    """Reads the summary.json of a run.

    Arguments
    ---------
    folder : Path
    measures : Measures

    Returns
    -------
    dict
        ``provenance`` and ``scores``, each group with its rows and means.

    Raises
    ------
    ValueError
        Naming the file, if it is missing or not a summary.
    """
    path = Path(folder) / SUMMARY
    if not path.is_file():
        raise ValueError(f"{path}: no such file, as no test has ended. {TEST_AGAIN}")
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        report["provenance"].get("seconds")
        for group in report["scores"].values():
            int(group["rows"]), [group[name]["mean"] for name in measures.metrics]
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{path}: not a valid summary of a test ({error!r}). {TEST_AGAIN}"
        ) from error
    return report


def format_table(report, measures):
    """Returns a summary as a plain text table, one line per group, and its corpus.

    Arguments
    ---------
    report : dict
        As from ``write_results``.
    measures : Measures

    Returns
    -------
    str
        Columns: the group, the number of rows, and each metric, with its 95 % interval
        where it has one; "-" where no score is defined.
    """
    titles = [
        f"{metric.title} [95 % CI]" if metric.interval else metric.title
        for metric in measures.metrics.values()
    ]
    lines = [[measures.condition, "n", *titles]]
    for group, scores in report["scores"].items():
        cells = [_cell(scores[name], each) for name, each in measures.metrics.items()]
        lines.append([group, _count(scores, measures.compared), *cells])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    rows = [
        "  ".join(
            [
                line[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)),
            ]
        )
        for line in lines
    ]
    return "\n".join([*rows, f"Corpus: {report['provenance']['corpus']}"])


def _count(scores, name):
    """Returns how many rows have a score, of how many."""
    rows, missing = scores["rows"], scores[name]["missing"]
    return f"{rows - missing} of {rows}" if missing else str(rows)


def _cell(score, metric):
    """Returns one metric of one group as text."""
    if score["mean"] is None:
        return "-"
    text = f"{score['mean']:.{metric.decimals}f}"
    if metric.interval:
        text += f" [{score['low']:.{metric.decimals}f}, "
        text += f"{score['high']:.{metric.decimals}f}]"
    return text


def print_table(arguments, measures):
    """Prints the table of a run's test; ``arguments`` are those of the command."""
    parser = argparse.ArgumentParser(description="Prints the table of a run's test.")
    parser.add_argument("run", type=Path, help="output_folder of train.py")
    folder = parser.parse_args(arguments).run
    report = read_summary(folder, measures)
    try:
        print(format_table(report, measures))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{folder / SUMMARY}: not a valid summary of a test ({error!r}). "
            f"{TEST_AGAIN}"
        ) from error
