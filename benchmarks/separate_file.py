"""Measures separate_file against SpeechBrain's: seconds and peak memory.

    python benchmarks/separate_file.py [--minutes 1 10]

Separates noise at 8 kHz with a full-size DPRNN of random weights, each case in a
process of its own.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
from hyperpyyaml import load_hyperpyyaml, resolve_references
from speechbrain.inference.separation import SepformerSeparation

import recipe_path
from exported.export import export_model
from exported.inference import Separator
from measuring import REFERENCE, compare, isolated, peak_memory, write_report

RATE = 8000


def write_export(folder):
    """Exports an untrained DPRNN of dprnn.yaml."""
    overrides = {"output_folder": str(folder / "run")}
    (folder / "run").mkdir()
    text = (recipe_path.RECIPE / "separation" / "hparams" / "dprnn.yaml").read_text()
    resolved = folder / "run" / "hyperparams.yaml"
    resolved.write_text(resolve_references(text, overrides).read())
    modules = load_hyperpyyaml(text, overrides)["modules"]
    return export_model(resolved, modules, folder / "export", {"corpus": "none"})


def separate(name, export, file):
    """Separates a file; returns seconds and the peak memory of this process in bytes.

    Arguments
    ---------
    name : str
        ``REFERENCE`` for SpeechBrain's class.
    export, file : Path
    """
    if name == REFERENCE:
        cache = str(file.parent / "cache")
        model = SepformerSeparation.from_hparams(source=str(export), savedir=cache)

        def run(path):
            return model.separate_file(str(path), savedir=cache)

    else:
        run = Separator.from_export(export).separate_file
    start = time.perf_counter()
    run(file)
    return time.perf_counter() - start, peak_memory()


def main():
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 10])
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        export = write_export(Path(folder))
        for minutes in options.minutes:
            file = Path(folder) / f"{minutes:g}.wav"
            frames = round(minutes * 60 * RATE)
            noise = np.random.default_rng(0).standard_normal(frames)
            soundfile.write(file, 0.1 * noise, RATE)
            what, times, peaks = f"{minutes:g} min", {}, {}
            for name in (REFERENCE, "ours"):
                result, failure = isolated(separate, name, export, file)
                seconds, peak = result or (None, None)
                times[name], peaks[name] = (seconds, failure), (peak, failure)
            rows += compare(f"time, {what}", "s", times, {})
            rows += compare(f"peak memory, {what}", "GB", peaks, {}, 1e-9)
    title = "separate_file beside SpeechBrain's SepformerSeparation, DPRNN"
    write_report("separate_file", title, rows)


if __name__ == "__main__":
    main()
