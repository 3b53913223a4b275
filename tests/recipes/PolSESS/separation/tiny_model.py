"""Exports a DPRNN of dprnn.yaml that is small enough for tests."""

from pathlib import Path

from hyperpyyaml import load_hyperpyyaml, resolve_references

import variants
from export import export_model

DPRNN = Path(variants.__file__).parent / "hparams" / "dprnn.yaml"


def tiny_model(folder, task="SB"):
    """Returns the resolved hparams file and the modules of a tiny DPRNN."""
    overrides = {
        "task": task,
        "output_folder": str(folder / "run"),
        "dropout": 0.3,
        "N_channels": 8,
        "hidden_channels": 8,
        "num_layers": 1,
        "chunk_size": 20,
    }
    (folder / "run").mkdir(parents=True, exist_ok=True)
    hparams_file = folder / "run" / "hyperparams.yaml"
    with open(DPRNN) as yaml:
        hparams_file.write_text(resolve_references(yaml, overrides).read())
    with open(DPRNN) as yaml:
        modules = load_hyperpyyaml(yaml, overrides)["modules"]
    return hparams_file, modules


def tiny_export(folder, task="SB"):
    """Writes the export of a tiny DPRNN and returns its folder and modules."""
    hparams_file, modules = tiny_model(folder, task)
    provenance = {"corpus": "noise", "seed": 1234, "epoch": 3, "score": 4.5}
    return export_model(hparams_file, modules, folder / "export", provenance), modules
