"""Test-time scores of each mixture, and their summary, table and files.

``python evaluation.py FOLDER`` prints the table of a run's ``summary.json``.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pystoi import stoi
from torchmetrics.functional.audio import signal_distortion_ratio

from corpus import keyed
from corpus.atomic import replacing
from metrics import improvable_si_sdr, permute_to_best
from variants import FULL_MIX, VARIANTS

try:
    from pesq import PesqError, pesq
except ImportError:  # optional: needs a C compiler to install
    pesq = None

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
PESQ_MODES = {8000: "nb", 16000: "wb"}  # ITU-T P.862 and P.862.2

# Keeps the filter of BSS-eval solvable for targets with empty bands. On real speech
# at 8 and 16 kHz, scores of -20..60 dB moved by at most 0.0002 dB (0.01 dB at 1e-10).
SDR_LOAD = 1e-12


@torch.no_grad()
def score(mixtures, estimates, targets, sample_rate):
    """Returns the scores of a batch, whatever its size, one dict per item.

    The estimates are put into the order of the targets by SI-SDR first. Improvements
    (SI-SDRi, SDRi) are the estimate's score minus the mixture's against the same
    target. SDR is BSS-eval's, with a distortion filter of 512 taps. What is undefined
    is NaN: all scores of a silent target, improvements of a mixture that is the target
    itself (variant C of the enhancement tasks), STOI and PESQ of a silent estimate or
    of too little speech, PESQ without the package ``pesq`` or at rates other than 8 kHz
    (narrow band) and 16 kHz (wide band).

    Arguments
    ---------
    mixtures : torch.Tensor
        Inputs of the model, shape [B, T].
    estimates : torch.Tensor
        Estimated sources in any order and at any level, shape [B, S, T].
    targets : torch.Tensor
        True sources, shape [B, S, T].
    sample_rate : int
        Of all signals, in Hz.

    Returns
    -------
    list of dict
        B dicts with si_sdr, si_sdri, sdri (dB), stoi (0..1) and pesq (MOS), each the
        mean over the sources; for S > 1 also those of each source: si_sdr_1, ...
    """
    estimates, targets = estimates.float(), targets.float()
    estimates, best = permute_to_best(estimates, targets)
    mixtures = mixtures.float()[:, None].expand_as(targets)

    undefined = torch.where(targets.any(-1), 0.0, torch.nan)
    columns = {
        "si_sdr": best + undefined,
        "si_sdri": best - improvable_si_sdr(mixtures, targets) + undefined,
        "sdri": _sdr(estimates, targets) - _sdr(mixtures, targets) + undefined,
    }
    columns["sdri"] += 0 * columns["si_sdri"]  # undefined alike
    columns = {name: values.cpu().numpy() for name, values in columns.items()}

    pairs = [
        signals.cpu().numpy().reshape(-1, targets.shape[-1])
        for signals in (targets, estimates)
    ]
    perceptual = [
        _stoi_and_pesq(*pair, sample_rate) for pair in zip(*pairs, strict=True)
    ]
    perceptual = np.reshape(perceptual, (*best.shape, 2))
    columns |= {"stoi": perceptual[..., 0], "pesq": perceptual[..., 1]}

    return [
        _item({name: values[item] for name, values in columns.items()})
        for item in range(len(best))
    ]


def _item(scores):
    """Returns means over the sources and, where there are several, the sources'."""
    row = {name: float(values.mean()) for name, values in scores.items()}
    if len(scores["si_sdr"]) > 1:
        for name, values in scores.items():
            row |= {f"{name}_{i}": float(v) for i, v in enumerate(values, start=1)}
    return row


def _sdr(estimates, targets):
    """Returns BSS-eval's SDR in dB within -100..100, shape [B, S]."""
    ratios = signal_distortion_ratio(
        estimates.double(), targets.double(), load_diag=SDR_LOAD
    )
    return ratios.clamp(-100, 100)


def _stoi_and_pesq(target, estimate, sample_rate):
    """Returns STOI and PESQ of one source, NaN where they are undefined."""
    if not (target.any() and estimate.any() and np.isfinite(estimate).all()):
        return np.nan, np.nan
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Not enough STFT frames", RuntimeWarning)
        try:
            intelligibility = float(stoi(target, estimate, sample_rate))
        except RuntimeWarning:
            intelligibility = np.nan
    quality = np.nan
    if pesq and sample_rate in PESQ_MODES:
        try:
            quality = pesq(sample_rate, target, estimate, PESQ_MODES[sample_rate])
        except PesqError:  # too short, or no utterance found
            pass
    return intelligibility, quality


def summarise(rows, seed=0, resamples=1000):
    """Returns the mean of each metric with its 95 % percentile bootstrap interval.

    Arguments
    ---------
    rows : pandas.DataFrame
        One row per recording and variant: columns variant and those of METRICS.
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
        VARIANTS, then SER+SE (the full mixtures), each where it has rows.
    """
    groups = {variant: rows[rows["variant"] == variant] for variant in VARIANTS}
    groups[FULL_MIX_GROUP] = rows[rows["variant"].isin(FULL_MIX)]
    return {
        group: {
            "rows": len(members),
            **{
                metric: _interval(
                    members[metric].to_numpy(float),
                    keyed.generator(seed, "bootstrap", group, metric),
                    resamples,
                )
                for metric in METRICS
            },
        }
        for group, members in groups.items()
        if len(members)
    }


def _interval(values, generator, resamples):
    """Returns mean, interval and number of missing values of one metric."""
    defined = values[~np.isnan(values)]
    result = {"mean": None, "low": None, "high": None}
    if len(defined):
        means = [
            generator.choice(defined, len(defined)).mean() for _ in range(resamples)
        ]
        low, high = np.percentile(means, [2.5, 97.5])
        result = {"mean": float(defined.mean()), "low": float(low), "high": float(high)}
    return {**result, "missing": len(values) - len(defined)}


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
        STOI, PESQ; "–" where no score is defined.
    """
    titles = [
        f"{title} [95 % CI]" if metric in WITH_INTERVAL else title
        for metric, (title, _) in METRICS.items()
    ]
    lines = [["variant", "n", *titles]]
    for group, scores in report["scores"].items():
        cells = [_cell(scores[metric], metric) for metric in METRICS]
        lines.append([group, str(scores["rows"]), *cells])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["─" * width for width in widths])
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


def _cell(score, metric):
    """Returns one metric of one group as text."""
    if score["mean"] is None:
        return "–"
    decimals = METRICS[metric][1]
    text = f"{score['mean']:.{decimals}f}"
    if metric in WITH_INTERVAL:
        text += f" [{score['low']:.{decimals}f}, {score['high']:.{decimals}f}]"
    return text


def main(arguments):
    """Prints the table of a run."""
    if len(arguments) != 1:
        sys.exit("usage: python evaluation.py FOLDER")
    path = Path(arguments[0]) / "summary.json"
    if not path.is_file():
        sys.exit(f"{path} is not there; train or test the run first")
    print(format_table(json.loads(path.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main(sys.argv[1:])
