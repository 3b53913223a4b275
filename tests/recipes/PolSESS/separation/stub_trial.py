"""A stand-in for train.py in tests of studies: epochs that take no time.

The score of an epoch is a closed form of ``lr`` and the epoch. Each epoch is a line of
``epochs.txt`` in the output folder, which is the checkpoint, too. What shall go wrong
stands in ``wrong.json`` in the working directory: {"kind": ..., "times": n}.
"""

import json
import math
import os
import signal
import sys
import time
from pathlib import Path

from recipekit.files.locks import hold
from recipekit.studies import trial


def value(lr, epoch):
    """Returns the score (dB) of an epoch: best at lr 1e-3, better with each epoch."""
    return epoch - 10 * abs(math.log10(float(lr) / 1e-3))


class TrainingStopped(RuntimeError):
    """As train.py's: the fault of the configuration."""


def main(arguments):
    if arguments[-1] == "--test_only":
        folder = Path(arguments[arguments.index("--output_folder") + 1])
        go_wrong(1)
        (folder / "test_results.csv").touch()
        return
    names = [name.removeprefix("--") for name in arguments[1::2]]
    given = dict(zip(names, arguments[2::2], strict=True))
    folder = Path(given["output_folder"])
    with hold(folder):  # as train.py
        train(given, folder)


def train(given, folder):
    """Trains the epochs that are left, and reports."""
    done = folder / "epochs.txt"
    done.touch()
    began = len(done.read_text().splitlines())
    rows = folder / "rows.txt"  # as train.py, refuses to go on with other ones
    if rows.is_file() and rows.read_text() != given.get("data_folder", ""):
        raise ValueError("begun with other rows")
    for epoch in range(began + 1, int(given["N_epochs"]) + 1):
        time.sleep(float(given.get("seconds", 0)))
        go_wrong(epoch)
        with open(done, "a") as file:
            file.write(f"{epoch} {given.get('seed')} {os.getpid()}\n")
        rows.write_text(given.get("data_folder", ""))  # with the checkpoint
    last = int(given["N_epochs"])
    statistics = {
        "epoch": last,
        "items": last * int(given["train_items"]),
        "seconds": 2.0 * last,
        "device": "cpu",
        "rows_digest": given.get("data_folder", ""),
    }
    trial.report(-value(given.get("lr", 1e-3), last), statistics)


def go_wrong(epoch):
    """Does once, or a number of times, what wrong.json asks for."""
    path = Path("wrong.json")
    if not path.is_file():
        return
    wrong = json.loads(path.read_text())
    if wrong["times"] == 0 or epoch < wrong.get("epoch", 1):
        return
    path.write_text(json.dumps(wrong | {"times": wrong["times"] - 1}))
    if wrong["kind"] == "exception":
        raise ValueError("planted")
    if wrong["kind"] == "stopped":
        raise TrainingStopped("planted")
    if wrong["kind"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if wrong["kind"] == "kill worker":
        os.kill(os.getppid(), signal.SIGKILL)
        wait()
    if wrong["kind"] == "wait":
        Path("waiting").write_text(str(os.getpid()))
        wait()


def wait():
    """Waits until this process is killed."""
    while True:
        time.sleep(1)


if __name__ == "__main__":
    with trial.reported_failures():
        main(sys.argv[1:])
