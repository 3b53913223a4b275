"""What this recipe tells the library: its keys, what it measures, its corpora."""

import functools
import os
from hashlib import blake2b
from pathlib import Path

from corpus.locate import find_csv
from corpus.sources import SUBSETS
from mixtures.curriculum import Curriculum
from mixtures.variants import FULL_MIX, TASKS, VARIANTS
from recipekit.recipe import Recipe
from recipekit.scoring.measures import Measures, Metric
from recipekit.training.hparams_keys import (
    OPTIONAL_PATH,
    PATH,
    TEXT,
    Kind,
    is_number,
    one_of,
    span,
    whole,
)

KINDS = {
    "source_list": OPTIONAL_PATH,
    "embedded_folder": PATH,
    "embedded_items": whole(1),
    "task": one_of(*TASKS),
    "sample_rate": whole(1000),
    "score_workers": whole(0, nullable=True),
    "pack": Kind(
        lambda v: isinstance(v, bool) or TEXT.fits(v), "True, False or a folder"
    ),
    "curricula": Kind(
        lambda v: isinstance(v, dict) and set(v) >= set(TASKS),
        f"a curriculum for each of {', '.join(TASKS)}",
    ),
    "curriculum": Kind(
        lambda v: isinstance(v, list) and v and all(isinstance(x, dict) for x in v),
        "a list of stages such as [{epoch: 1, variants: [SER, SE]}]",
    ),
    "speeds": Kind(
        lambda v: isinstance(v, list) and v and all(is_number(x) and x > 0 for x in v),
        "a list of percentages such as [95, 100, 105]",
    ),
    "ssr_range": span(whole_numbers=True),
    "scene_offset_range": span(),
    "gain_range": span(),
    "kernel_size": whole(2),  # its half is the stride
    "chunk_size": whole(2),
    "loss_floor": Kind(
        lambda v: is_number(v) and v < 0, "a number of dB below 0, or -.inf"
    ),
}
FREE_KEYS = (
    *("source_list", "embedded_folder", "embedded_items"),
    *("strict", "verify_audio", "pack", "scan_engine", "score_workers"),
)
MEASURES = Measures(
    metrics={
        "si_sdr": Metric("SI-SDR", interval=True),
        "si_sdri": Metric("SI-SDRi", interval=True),
        "sdri": Metric("SDRi"),
        "stoi": Metric("STOI", decimals=3),
        "pesq": Metric("PESQ"),
    },
    describing=("id", "variant", "indoor", "ssr", "scene_class", "event_class"),
    condition="variant",
    conditions=VARIANTS,
    whole=FULL_MIX,
    compared="si_sdr",
    improvement="si_sdri",
    unit="dB",
    monitored="SI-SDR on the full mixtures, or SI-SDRi where that was monitored",
    margin=0.1,
    units={
        "speakers": ("speaker1", "speaker2"),
        "scene recordings": ("scene_recording",),
    },
    noted=("gender1", "gender2", "language1", "language2"),
)
MODELS = {
    "SPMamba": "SPMamba",
    "TransformerBlock": "SepFormer",
    "RNNBlock": "DPRNN",
    "MaskNet": "Conv-TasNet",
}


@functools.cache
def corpus_digest(data_folder):
    """Returns what tells a corpus apart wherever it is: a digest of its CSVs (str)."""
    folder, csvs = Path(data_folder), []
    for subset in SUBSETS:
        try:
            csvs.append(find_csv(folder, subset).read_bytes())
        except FileNotFoundError:  # train.py says so, should it need it
            csvs.append(os.fsencode(folder))
    return blake2b(b"".join(csvs), digest_size=8).hexdigest()


def corpus_name(hparams):
    """Returns the name of the corpus' folder and the task: scores of two differ."""
    folder = Path(hparams["data_folder"] or hparams["embedded_folder"])
    return f"{folder.name} {hparams['task']}"


def epoch_marks(hparams):
    """Returns where the curriculum's stages begin, with their variants."""
    stages = Curriculum(hparams["curriculum"]).stages
    return [(stage["epoch"], " ".join(stage["variants"])) for stage in stages]


RECIPE = Recipe(
    folder=Path(__file__).resolve().parent,
    kinds=KINDS,
    free_keys=FREE_KEYS,
    measures=MEASURES,
    models=MODELS,
    corpus_digest=corpus_digest,
    corpus_name=corpus_name,
    epoch_marks=epoch_marks,
)
