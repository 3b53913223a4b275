"""Folders of runs with made-up scores, as train.py leaves them."""

import json
from pathlib import Path

import pandas as pd
from hyperpyyaml import resolve_references

from mixtures import variants
from recipe import MEASURES
from recipekit.files import keyed
from recipekit.scoring.summary import summarise
from recipekit.training.history import write_history

HPARAMS = Path(variants.__file__).parents[1] / "hparams"
SCENES = ("tram", "park")


def write_run(folder, seed, score, gain=None, model="dprnn", corpus="real", **changes):
    """Writes a run.

    Arguments
    ---------
    folder : Path
    seed : int
    score : float
        Its best validation SI-SDR, in its second epoch of three; 8 dB more than that of
        the unprocessed recordings.
    gain : callable, optional
        Test recording and variant -> SI-SDRi; without it the run was not tested.
    model : str
        Stem of the hparams file.
    corpus : str
        Its test recordings have the same names in every corpus, but other levels.
    **changes
        Other keys of the hparams.

    Returns
    -------
    Path
        The folder.
    """
    folder.mkdir(parents=True)
    overrides = {"seed": seed, "output_folder": str(folder), "N_epochs": 3}
    overrides |= {"data_folder": f"/data/{corpus}"} | changes
    with open(HPARAMS / f"{model}.yaml", encoding="utf-8") as file:
        text = resolve_references(file, overrides).read()
    (folder / "hyperparams.yaml").write_text(text, encoding="utf-8")
    improves = overrides.get("valid_per_variant", False)
    entries = []
    for epoch, below in enumerate((2, 0, 1), start=1):
        valid = {"loss": 1.0, "si_sdr": score - below, "si_sdri": score - below + 8}
        entries.append(
            {
                "epoch": epoch,
                "examples": 50 * epoch,
                "lr": 1e-3 / epoch,
                "skipped": 0,
                "score": valid["si_sdri" if improves else "si_sdr"],
                "seconds": 600.0,
                "train": {"loss": 1.0, "si_sdr": score - 1},
                "valid": valid,
            }
        )
    write_history(folder, entries)
    if gain:
        table = results(gain, corpus)
        table.to_csv(folder / "test_results.csv", index=False)
        scores = summarise(table, MEASURES)
        summary = {"provenance": {"seconds": 1800}, "scores": scores}
        (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def results(gain, corpus="real", recordings=60):
    """Returns a table of test results, indoor and outdoor recordings in turn."""
    rows = []
    for number in range(recordings):
        indoor = number % 2 == 0
        for variant in variants.fitting(indoor):
            mixture = keyed.uniform(-10, 0, corpus, number, variant)
            improvement = gain(number, variant)
            rows.append(
                {
                    "id": f"{number:04}",
                    "variant": variant,
                    "indoor": indoor,
                    "ssr": number % 11 - 5,
                    "scene_class": SCENES[number % 2],
                    "event_class": f"event{number % 4}",
                    "si_sdr": mixture + improvement,
                    "si_sdri": improvement,
                    "sdri": improvement,
                    "stoi": 0.5,
                    "pesq": 1.5,
                }
            )
    return pd.DataFrame(rows)


def noisy(level, seed, recording_spread=1.0, name=""):
    """Returns a gain: a level, plus what is the recording's, and the seed's noise."""

    def gain(number, variant):
        shared = keyed.uniform(-1, 1, number, variant) * recording_spread
        return level + shared + keyed.uniform(-0.2, 0.2, name, seed, number, variant)

    return gain
