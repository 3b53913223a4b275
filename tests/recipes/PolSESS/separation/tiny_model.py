"""Exports models that are small enough for tests."""

from pathlib import Path

from hyperpyyaml import load_hyperpyyaml, resolve_references

from exported.export import export_model
from mixtures import variants

HPARAMS = Path(variants.__file__).parents[1] / "hparams"
SIZES = {
    "convtasnet": {
        "N_channels": 8,
        "bottleneck_channels": 8,
        "hidden_channels": 16,
        "blocks_per_repeat": 3,
        "num_repeats": 2,
    },
    "dprnn": {
        "dropout": 0.3,
        "N_channels": 8,
        "hidden_channels": 8,
        "num_layers": 1,
        "chunk_size": 20,
    },
    "sepformer": {
        "dropout": 0.3,
        "N_channels": 8,
        "num_layers": 1,
        "num_transformers": 2,
        "num_heads": 2,
        "d_ffn": 16,
        "chunk_size": 20,
    },
    "spmamba": {
        "n_fft": 32,
        "hop_length": 16,
        "num_layers": 1,
        "emb_dim": 4,
        "qk_dim": 32,
        "d_state": 4,
        "expand": 2,
    },
}


def tiny_model(folder, task="SB", model="dprnn"):
    """Returns the resolved hparams file and the modules of a tiny model."""
    overrides = SIZES[model] | {"task": task, "output_folder": str(folder / "run")}
    (folder / "run").mkdir(parents=True, exist_ok=True)
    hparams_file = folder / "run" / "hyperparams.yaml"
    with open(HPARAMS / f"{model}.yaml") as yaml:
        hparams_file.write_text(resolve_references(yaml, overrides).read())
    with open(HPARAMS / f"{model}.yaml") as yaml:
        modules = load_hyperpyyaml(yaml, overrides)["modules"]
    return hparams_file, modules


def tiny_export(folder, task="SB", model="dprnn"):
    """Writes the export of a tiny model and returns its folder and modules."""
    hparams_file, modules = tiny_model(folder, task, model)
    provenance = {"corpus": "noise", "seed": 1234, "epoch": 3, "score": 4.5}
    return export_model(hparams_file, modules, folder / "export", provenance), modules
