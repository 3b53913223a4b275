"""Summary, table and files of test scores, whatever the recipe measures."""

import argparse
import json
from pathlib import Path

import pandas as pd

from recipekit.files.atomic import replacing
from recipekit.scoring import statistics

RESULTS = "test_results.csv"
SUMMARY = "summary.json"
TEST_AGAIN = "Test the run again: its command with --test_only True"


def summarise(rows, measures):
    """Returns the mean of each metric with its 95 % interval.

    Arguments
    ---------
    rows : pandas.DataFrame
        A row for each recording and condition, with the columns ``id``, that of the
        condition and those of the metrics; those of ``measures.units`` if known. NaN
        are left out and counted.
    measures : Measures

    Returns
    -------
    dict
        Group -> {"rows": n, metric: {"mean", "low", "high", "missing"}, ...}; a value
        is None where it is not defined. Groups are the conditions, in their order,
        then the recordings as they are (``measures.whole_name``), each where it has
        rows; where there are several conditions, the mean of their means comes last,
        in which each counts alike however many rows it has.
    """
    condition = rows[measures.condition]
    groups = {name: rows[condition == name] for name in measures.conditions}
    groups[measures.whole_name] = rows[condition.isin(measures.whole)]
    summary = {
        group: {"rows": len(members), **describe(members, measures)}
        for group, members in groups.items()
        if len(members)
    }
    if condition.nunique() > 1:
        described = describe(rows, measures, measures.condition)
        summary[measures.mean_name] = {"rows": len(rows), **described}
    return summary


def describe(rows, measures, by=None):
    """Returns mean, 95 % interval and number of missing values of each metric.

    Arguments
    ---------
    rows : pandas.DataFrame
        A row for each recording, or several, with the columns ``id`` and those of the
        metrics; those of ``measures.units`` if known.
    measures : Measures
    by : str, optional
        The column whose values count alike, however many rows they have. Default: each
        row counts alike.

    Returns
    -------
    dict
        Metric -> {"mean", "low", "high", "missing"}.
    """
    described = {}
    for metric in measures.metrics:
        found = dict.fromkeys(("mean", "low", "high"))
        defined = rows.dropna(subset=[metric])
        if len(defined):
            estimate = estimate_mean(defined, metric, measures, by)
            found["mean"] = estimate.value
            if estimate.freedom:
                found["low"], found["high"] = estimate.interval
        described[metric] = found | {"missing": len(rows) - len(defined)}
    return described


def estimate_mean(rows, metric, measures, by=None):
    """Returns the Estimate of a metric's mean over recordings and what they share.

    Arguments
    ---------
    rows, measures, by
        As of ``describe``.
    metric : str
        A column without NaN.
    """
    scores, groups = rows[metric], pd.Series(0, rows.index)
    if by:
        groups = rows[by]
    scores = scores.groupby(groups)
    weights = 1 / (scores.transform("size") * scores.ngroups)
    # What a recording adds to the deviation of the mean, in all its rows.
    deviations = weights * (rows[metric] - scores.transform("mean"))
    deviations = deviations.groupby(rows["id"]).sum()
    recordings = rows.drop_duplicates("id").set_index("id").loc[deviations.index]
    part = statistics.mean_part(
        deviations * len(deviations), [*measures.units_of(recordings).values()]
    )
    return statistics.pooled((weights * rows[metric]).sum(), [part])


def count_units(rows, measures):
    """Returns over what the intervals of rows are: kind of unit -> how many."""
    units = measures.units_of(rows)
    counts = {kind: len(set(names.flat)) for kind, names in units.items()}
    return counts or {"recordings": int(rows["id"].nunique())}


def over(counts):
    """Returns as words over what intervals are; ``counts`` as from ``count_units``."""
    texts = [
        f"{kind} (n = {count}" + (": few)" if count < statistics.FEW_UNITS else ")")
        for kind, count in counts.items()
    ]
    return " and ".join(texts)


def write_results(rows, folder, measures, provenance):
    """Writes test_results.csv (each row) and summary.json; returns the latter.

    The summary is made from the rounded rows as written, so that the CSV alone
    gives it again.

    Arguments
    ---------
    rows : list of dict
        One per recording and condition: ``measures.columns``, the metrics, and other
        scores if there are any.
    folder : str or Path
        Where to write; existing results there are replaced.
    measures : Measures
    provenance : dict
        What the scores came from (checkpoint, epoch, versions, ...), for summary.json.

    Returns
    -------
    dict
        ``provenance``, ``units`` (as from ``count_units``) and ``scores`` (as from
        ``summarise``).

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
    scores = [name for name in table.columns if name not in measures.columns]
    table = table[[*measures.columns, *scores]].round({name: 4 for name in scores})
    place = table[measures.condition].map(measures.conditions.index)
    table = table.assign(place=place).sort_values(["id", "place"]).drop(columns="place")
    report = {
        "provenance": provenance,
        "units": count_units(table, measures),
        "scores": summarise(table, measures),
    }
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
        ``provenance``, ``units`` as from ``count_units``, and ``scores`` as from
        ``summarise``.
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
        ``provenance``, ``units``, and ``scores``, each group with its rows and means.

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
    """Returns a summary as a plain text table, one line per group, with footnotes.

    Arguments
    ---------
    report : dict
        As from ``write_results``.
    measures : Measures

    Returns
    -------
    str
        Columns: the group, the number of rows, and each metric, with its 95 % interval
        where it has one; "-" where no score is defined. Below, over what the
        intervals are, and the corpus.
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
    intervals = f"Intervals: over {over(report['units'])}"
    return "\n".join([*rows, intervals, f"Corpus: {report['provenance']['corpus']}"])


def _count(scores, name):
    """Returns how many rows have a score, of how many."""
    rows, missing = scores["rows"], scores[name]["missing"]
    return f"{rows - missing} of {rows}" if missing else str(rows)


def _cell(score, metric):
    """Returns one metric of one group as text."""
    if score["mean"] is None:
        return "-"
    text = f"{score['mean']:.{metric.decimals}f}"
    if metric.interval and score["low"] is not None:
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
