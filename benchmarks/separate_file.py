"""Measures separate_file against SpeechBrain's: seconds and peak memory.

    python benchmarks/separate_file.py [--minutes 1 10]

Separates noise at 8 kHz with a full-size DPRNN of random weights on two threads, each
case in a process of its own that may take 16 GB of address space, and prints a Markdown
table.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch

from recipe_path import RECIPE

LIMIT = 16 * 2**30  # bytes
RATE = 8000
CLASSES = {"separate.py": "ours", "SepformerSeparation": "stock"}


def write_export(folder):
    """Exports an untrained DPRNN of dprnn.yaml."""
    from hyperpyyaml import load_hyperpyyaml, resolve_references

    from export import export_model

    overrides = {"output_folder": str(folder / "run")}
    (folder / "run").mkdir()
    text = (RECIPE / "separation" / "hparams" / "dprnn.yaml").read_text()
    resolved = folder / "run" / "hyperparams.yaml"
    resolved.write_text(resolve_references(text, overrides).read())
    modules = load_hyperpyyaml(text, overrides)["modules"]
    return export_model(resolved, modules, folder / "export", {"corpus": "none"})


def separate(which, export, file):
    """Separates a file and prints seconds and peak memory as JSON."""
    torch.set_num_threads(2)
    if which == "ours":
        from inference import Separator

        model = Separator.from_export(export)
        run = model.separate_file
    else:
        from speechbrain.inference.separation import SepformerSeparation

        cache = str(Path(file).parent / "cache")
        model = SepformerSeparation.from_hparams(source=export, savedir=cache)

        def run(path):
            return model.separate_file(path, savedir=cache)

    start = time.perf_counter()
    run(file)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "peak": peak}))


def limit_memory():
    """Lets a case fail rather than the machine."""
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))


def measure(which, export, file):
    """Runs one case in its own process and returns its row of the table."""
    done = subprocess.run(
        [sys.executable, __file__, "--case", which, str(export), str(file)],
        preexec_fn=limit_memory,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        reason = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return f"failed within 16 GB: {reason[-1]} | |"
    case = json.loads(done.stdout.splitlines()[-1])
    return f"{case['seconds']:.0f} | {case['peak'] / 2**30:.2f} |"


def main():
    """Runs all cases, or the one that --case names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 10])
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        return separate(*options.case)
    with tempfile.TemporaryDirectory() as folder:
        export = write_export(Path(folder))
        print("| minutes of audio | class | seconds | peak GiB |\n|---|---|---|---|")
        for minutes in options.minutes:
            file = Path(folder) / f"{minutes:g}.wav"
            frames = round(minutes * 60 * RATE)
            noise = np.random.default_rng(0).standard_normal(frames)
            soundfile.write(file, 0.1 * noise, RATE)
            for name, which in CLASSES.items():
                row = measure(which, export, file)
                print(f"| {minutes:g} | {name} | {row}", flush=True)


if __name__ == "__main__":
    main()
