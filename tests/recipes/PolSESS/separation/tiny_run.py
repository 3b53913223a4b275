"""Runs of train.py with a tiny model on a tiny corpus."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import torch
from hyperpyyaml import load_hyperpyyaml

SEPARATION = Path(__file__).parents[4] / "recipes" / "PolSESS" / "separation"
PYTHONPATH = os.pathsep.join([str(SEPARATION), str(SEPARATION.parents[2])])
HPARAMS = SEPARATION / "hparams" / "dprnn.yaml"
TINY = {
    "N_channels": 8,
    "hidden_channels": 8,
    "num_layers": 1,
    "chunk_size": 20,
    "batch_size": 2,
    "test_batch_size": 2,
    "num_workers": 0,
    "N_epochs": 3,
    "curriculum": [
        {"epoch": 1, "variants": ["C", "R"]},
        {
            "epoch": 2,
            "variants": ["SER", "SE", "C", "R"],
            "plateau": True,
            "lr_scale": 0.5,
        },
    ],
    "lr_patience": 0,
}


def overrides(corpus, output_folder, **changes):
    """Returns the overrides of a tiny run as a dict."""
    folders = {"data_folder": str(corpus), "output_folder": str(output_folder)}
    return TINY | folders | {"seed": 7} | changes


def arguments(corpus, output_folder, **changes):
    """Returns the command line of a tiny run, after ``train.py``."""
    line = [str(HPARAMS)]
    for key, value in overrides(corpus, output_folder, **changes).items():
        line += [f"--{key}", value if isinstance(value, str) else json.dumps(value)]
    return line


def load(corpus, output_folder, **changes):
    """Returns the loaded hparams of a tiny run."""
    with open(HPARAMS, encoding="utf-8") as file:
        text = json.dumps(overrides(corpus, output_folder, **changes))
        return load_hyperpyyaml(file, text)


def environment():
    """Returns an environment for scripts that run from the separation folder."""
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": PYTHONPATH}


def run(line, before="", check=True, launcher=(sys.executable,)):
    """Runs train.py in a process of its own.

    Arguments
    ---------
    line : list of str
        From arguments().
    before : str
        Code to run before main, with ``train`` imported; to break something.
    check : bool
        Whether the process must end well.
    launcher : tuple of str
        What starts Python scripts.

    Returns
    -------
    subprocess.CompletedProcess
        With what it printed, errors included, in ``stdout``.
    """
    script = [str(SEPARATION / "train.py")]
    if before:
        code = f"import os, signal, sys, torch, train\n{textwrap.dedent(before)}\n"
        code += "from recipekit.studies import trial\n"
        code += "with trial.reported_failures():\n    train.main(sys.argv[1:])\n"
        script = ["-c", code]
    done = subprocess.run(
        [*launcher, *script, *line],
        cwd=SEPARATION,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert not check or done.returncode == 0, done.stdout[-3000:]
    return done


def last_checkpoint(output_folder):
    """Returns the files of the newest checkpoint, loaded, by name."""
    newest = max(
        Path(output_folder, "save").glob("CKPT+*"),
        key=lambda path: (path / "CKPT.yaml").read_text().split("unixtime: ")[1],
    )
    found = {}
    for path in newest.glob("*.ckpt"):
        try:
            found[path.stem] = torch.load(path, weights_only=True)
        except Exception:  # text files
            found[path.stem] = path.read_text(encoding="utf-8")
    found["state"] = json.loads((newest / "state.ckpt").read_text(encoding="utf-8"))
    for entry in found["state"]["history"]:
        del entry["seconds"]
    return found


def assert_same(first, second, where=""):
    """Asserts that two nested values are equal to the last bit."""
    assert type(first) is type(second), where
    if isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            assert_same(first[key], second[key], f"{where}/{key}")
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second), where
        for number, pair in enumerate(zip(first, second, strict=True)):
            assert_same(*pair, f"{where}/{number}")
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second), where
    else:
        assert first == second, f"{where}: {first} != {second}"
