"""Summary, table and files of test scores.

``python evaluation.py FOLDER`` prints the table of a run's ``summary.json``.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from mixtures.variants import FULL_MIX, VARIANTS
from recipekit.console import plain_errors
from recipekit.files import keyed
from recipekit.files.atomic import replacing

METRICS = {  # column -> title and decimals in the table
    "si_sdr": ("SI-SDR", 2),
    "si_sdri": ("SI-SDRi", 2),
    "sdri": ("SDRi", 2),
    "stoi": ("STOI", 3),
    "pesq": ("PESQ", 2),
}
WITH_INTERVAL = ("si_sdr", "si_sdri")  # columns whose interval the table shows
ROW_COLUMNS = ("id", "variant", "indoor", "ssr", "scene_class", "event_class")
FULL_MIX_GROUP = "+".join(FULL_MIX)
MEAN_GROUP = "mean of variants"


def summarise(rows, seed=0, resamples=1000):
    """Returns the mean of each metric with its 95 % percentile bootstrap interval.

    Arguments
    ---------
    rows : pandas.DataFrame
        One row per recording and variant: columns id, variant and those of METRICS.
        NaN are left out and counted.
    seed : int
        Of the resampling, which also depends on group and metric, not on what else
        is summarised.
    resamples : int
        Number of bootstrap samples.

    Returns
    -------
    dict
        Group -> {"rows": n, metric: {"mean", "low", "high", "missing"}, ...}; a value
        is None where no score is defined. Groups are the variants, in the order of
        VARIANTS, then SER+SE (the full mixtures), each where it has rows; where there
        are several variants, the mean of their means comes last, in which each counts
        alike however many rows it has.
    """
    groups = {variant: rows[rows["variant"] == variant] for variant in VARIANTS}
    groups[FULL_MIX_GROUP] = rows[rows["variant"].isin(FULL_MIX)]
    if rows["variant"].nunique() > 1:
        groups[MEAN_GROUP] = rows
    return {
        group: {
            "rows": len(members),
            **describe(
                members,
                METRICS,
                (seed, "bootstrap", group),
                _interval_of_means if group == MEAN_GROUP else _interval,
                resamples,
            ),
        }
        for group, members in groups.items()
        if len(members)
    }


def describe(rows, metrics, key=(), interval=None, resamples=1000):
    """Returns mean, 95 % interval and number of missing values of each metric.

    Arguments
    ---------
    rows : pandas.DataFrame
        A row per recording, with a column for each metric.
    metrics : iterable of str
    key : tuple
        Of the resampling, to which the metric is added.
    interval : callable
        How it is resampled; by default rows are.
    resamples : int
        Number of bootstrap samples.
    """
    interval = interval or _interval
    return {
        metric: interval(rows, metric, keyed.generator(*key, metric), resamples)
        for metric in metrics
    }


def _interval(rows, metric, generator, resamples):
    """Returns mean, interval and number of missing values of one metric."""
    values = rows[metric].to_numpy(float)
    defined = values[~np.isnan(values)]
    missing = len(values) - len(defined)
    if not len(defined):
        return _described(None, [], missing)
    means = [generator.choice(defined, len(defined)).mean() for _ in range(resamples)]
    return _described(defined.mean(), means, missing)


def _interval_of_means(rows, metric, generator, resamples):
    """Returns those of the mean of the variants' means.

    Recordings are drawn, each with all its variants, since these are much alike.
    """
    table = rows.pivot_table(metric, "id", "variant", dropna=False).to_numpy(float)
    defined = ~np.isnan(table)
    times = generator.multinomial(len(table), [1 / len(table)] * len(table), resamples)
    means = mean_of_variants(
        times @ np.where(defined, table, 0.0), times @ defined.astype(float)
    )
    (mean,) = mean_of_variants(
        np.where(defined, table, 0.0).sum(0, keepdims=True),
        defined.sum(0, keepdims=True),
    )
    missing = int(rows[metric].isna().sum())
    return _described(None if np.isnan(mean) else mean, means, missing)


def mean_of_variants(sums, counts):
    """Returns the mean of the variants' means; a variant without a count is left out.

    Arguments
    ---------
    sums, counts : array
        Of the scores of each variant, [..., variants].

    Returns
    -------
    array
        [...], NaN where there is no score at all.
    """
    with np.errstate(invalid="ignore"):
        means = np.divide(sums, counts)
        there = np.asarray(counts) > 0
        return np.where(there, means, 0.0).sum(-1) / there.sum(-1)


def _described(mean, resampled, missing):
    if mean is None:
        return {"mean": None, "low": None, "high": None, "missing": missing}
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return {
        "mean": float(mean),
        "low": float(low),
        "high": float(high),
        "missing": missing,
    }


def write_results(rows, folder, seed, provenance):
    """Writes test_results.csv (each row) and summary.json; returns the latter.

    The summary is made from the rounded rows as written, so that the CSV alone
    gives it again.

    Arguments
    ---------
    rows : list of dict
        One per recording and variant: ROW_COLUMNS and what ``score`` returns.
    folder : str or pathlib.Path
        Where to write; existing results there are replaced.
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
            "check that the test manifest has rows and that a variant fits them"
        )
    table = pd.DataFrame(rows)
    scores = [name for name in table.columns if name not in ROW_COLUMNS]
    table = table[[*ROW_COLUMNS, *scores]].round({name: 4 for name in scores})
    place = table["variant"].map(VARIANTS.index)
    table = table.assign(place=place).sort_values(["id", "place"]).drop(columns="place")
    summary = summarise(table, seed)

    Path(folder).mkdir(parents=True, exist_ok=True)
    with replacing(Path(folder) / "test_results.csv") as path:
        table.to_csv(path, index=False, float_format="%.4f", lineterminator="\n")
    report = {"provenance": provenance, "scores": summary}
    with replacing(Path(folder) / "summary.json") as path:
        text = json.dumps(report, indent=2, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")
    return report


def format_table(report):
    """Returns a report as a plain text table, one line per group, and its corpus.

    Arguments
    ---------
    report : dict
        As from ``write_results``.

    Returns
    -------
    str
        Columns variant, n, SI-SDR and SI-SDRi with their 95 % interval, SDRi (all dB),
        STOI, PESQ; "-" where no score is defined.
    """
    titles = [
        f"{title} [95 % CI]" if metric in WITH_INTERVAL else title
        for metric, (title, _) in METRICS.items()
    ]
    lines = [["variant", "n", *titles]]
    for group, scores in report["scores"].items():
        cells = [_cell(scores[metric], metric) for metric in METRICS]
        lines.append([group, _count(scores), *cells])
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


def _count(scores):
    """Returns how many rows have a score, of how many."""
    rows, missing = scores["rows"], scores["si_sdr"]["missing"]
    return f"{rows - missing} of {rows}" if missing else str(rows)


def _cell(score, metric):
    """Returns one metric of one group as text."""
    if score["mean"] is None:
        return "-"
    decimals = METRICS[metric][1]
    text = f"{score['mean']:.{decimals}f}"
    if metric in WITH_INTERVAL:
        text += f" [{score['low']:.{decimals}f}, {score['high']:.{decimals}f}]"
    return text


def main(arguments):
    """Prints the table of a run."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("run", type=Path, help="output_folder of train.py")
    path = parser.parse_args(arguments).run / "summary.json"
    if not path.is_file():
        raise ValueError(f"{path} is not there; train or test the run first")
    try:
        print(format_table(json.loads(path.read_text(encoding="utf-8"))))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: expected what train.py writes, found something else "
            f"({type(error).__name__}: {error}). Test the run again, with --test_only"
        ) from error


if __name__ == "__main__":
    with plain_errors():
        sys.exit(main(sys.argv[1:]))
