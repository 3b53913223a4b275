"""Test mixtures to listen to: the best, the worst and some others."""

import numpy as np
import torch
from matplotlib.figure import Figure

from exported.inference import Separator
from mixtures.dataset import VariantDataset, read_manifest
from recipe import MEASURES
from recipekit.files import keyed
from recipekit.reporting.comparison import SAME_RECORDING
from recipekit.reporting.document import Picture, Section, Sound, Text
from recipekit.scoring.summary import TEST_AGAIN
from scoring.si_sdr import improvable_si_sdr, permute_to_best

EACH = 5
WINDOW = 256  # samples of a spectrogram's frame


def section(run, data_folder):
    """Separates test mixtures once more, with the export of a run.

    Arguments
    ---------
    run : Run
        Tested, and with its folders ``export`` and ``save``.
    data_folder : str or Path
        The corpus that it was tested on.

    Returns
    -------
    Section
        With the recordings in full.

    Raises
    ------
    ValueError
        If the run was not tested, or on another corpus.
    """
    if run.tested is None:
        raise ValueError(f"{run.folder}: no test_results.csv. {TEST_AGAIN}")
    separator = Separator.from_export(run.folder / "export")
    rows = read_manifest(run.folder / "save" / "test.csv", data_folder)
    indices = {row["id"]: index for index, row in enumerate(rows)}
    dataset = VariantDataset(rows, run.settings["task"])
    blocks = [
        Text(
            f"Full mixtures of the test set, separated by {run.folder}: the {EACH} "
            f"with the highest SI-SDRi, the {EACH} with the lowest, and {EACH} drawn "
            "at random. The recordings are in this page: check their licences before "
            "you pass it on."
        )
    ]
    for kind, chosen in choose(run.tested).items():
        for number, tested in enumerate(chosen.to_dict("records"), start=1):
            if tested["id"] not in indices:
                raise ValueError(
                    f"{run.folder / 'save' / 'test.csv'}: lacks {tested['id']}, which "
                    f"test_results.csv has. {TEST_AGAIN}"
                )
            key = indices[tested["id"]], tested["variant"]
            mixture, targets, _ = dataset[key]
            _check(run, tested, mixture, targets, data_folder)
            signals = _separate(separator, mixture, targets)
            title = (
                f"{kind} {number}: {tested['id']}, {tested['variant']}, "
                f"{tested['scene_class']}, {tested['event_class']}, SSR "
                f"{tested['ssr']} dB, SI-SDRi {tested['si_sdri']:.2f} dB"
            )
            name = f"{kind}_{number}"
            figure = spectrograms(signals, separator.sample_rate)
            blocks.append(Picture(name, title, figure, raster=True))
            blocks += [
                Sound(what, samples, separator.sample_rate)
                for what, samples in signals.items()
            ]
    return Section("listening", "Listening", tuple(blocks))


def choose(tested):
    """Returns test rows of full mixtures by kind: best, worst and random.

    None is in two kinds; the random ones are drawn by their names, so they stay the
    same for other runs on the corpus as far as they are neither best nor worst.
    """
    rows = tested[tested["variant"].isin(MEASURES.whole)].dropna(subset=["si_sdri"])
    rows = rows.sort_values("si_sdri", ascending=False)
    count = min(EACH, len(rows) // 3 or 1)
    best, rest = rows[:count], rows[count:]
    worst, rest = rest[::-1][:count], rest[::-1][count:]
    drawn = keyed.shuffled([*rest["id"]], "listening")[:count]
    random = rest.set_index("id", drop=False).loc[drawn]
    return {"best": best, "worst": worst, "random": random}


def _check(run, tested, mixture, targets, data_folder):
    """Raises ValueError if a mixture is not the one that was tested."""
    score = float(
        improvable_si_sdr(torch.from_numpy(mixture), torch.from_numpy(targets)).mean()
    )
    stated = tested["si_sdr"] - tested["si_sdri"]
    if abs(score - stated) > SAME_RECORDING:
        raise ValueError(
            f"{data_folder}: the mixture {tested['id']} has {score:.2f} dB SI-SDR, but "
            f"{run.folder} was tested with {stated:.2f} dB. Give the corpus of that "
            "test"
        )


def _separate(separator, mixture, targets):
    """Returns mixture, targets and estimates, in the order of targets, by title."""
    estimates = separator.separate_batch(torch.from_numpy(mixture)[None])
    estimates, scores = permute_to_best(
        estimates.mT.cpu(), torch.from_numpy(targets)[None]
    )
    signals = {"mixture": mixture}
    pairs = zip(targets, estimates[0].numpy(), scores[0].tolist(), strict=True)
    for number, (target, estimate, score) in enumerate(pairs, start=1):
        signals[f"target {number}"] = target
        signals[f"estimate {number} ({score:.1f} dB)"] = estimate
    return {title: np.clip(samples, -1, 1) for title, samples in signals.items()}


def spectrograms(signals, rate):
    """Draws the spectrograms of signals by title, at one scale of levels."""
    figure = Figure(figsize=(9, 2.2), layout="constrained")
    panels = figure.subplots(1, len(signals), sharey=True)
    for axes, (title, samples) in zip(panels, signals.items(), strict=True):
        quiet = np.finfo(np.float32).eps  # silence has a level, too
        *_, image = axes.specgram(
            samples + quiet * keyed.generator("dither").standard_normal(len(samples)),
            NFFT=WINDOW,
            Fs=rate,
            noverlap=WINDOW * 3 // 4,
            vmin=-120,
            vmax=-40,
            cmap="magma",
        )
        axes.set_title(title, fontsize=8)
        axes.tick_params(labelsize=7)
        axes.set_xlabel("s", fontsize=7)
    panels[0].set_ylabel("Hz", fontsize=7)
    figure.colorbar(image, ax=panels, label="dB").ax.tick_params(labelsize=7)
    return figure
