"""Learning curves of several runs, read from SpeechBrain's own log."""

import re
import subprocess
import sys

import matplotlib.image
import pytest
from speechbrain.utils.train_logger import FileTrainLogger

from recipekit.reporting import learning_curve


def write_log(folder, epochs, score=-1.5):
    folder.mkdir()
    logger = FileTrainLogger(str(folder / "train_log.txt"), precision=3)
    for epoch in range(1, epochs + 1):
        logger.log_stats(
            {"epoch": epoch, "examples": 50 * epoch, "lr": 1e-3, "skipped": 0},
            train_stats={"loss": -epoch, "si_sdr": epoch},
            valid_stats={"loss": 1.5, "si_sdr": score, "si_sdri": float("nan")},
        )
    return folder


def test_log_is_read_back(tmp_path):
    entries = learning_curve.read_log(write_log(tmp_path / "run", 2))
    assert [entry["examples"] for entry in entries] == [50, 100]
    assert [entry["train si_sdr"] for entry in entries] == [1, 2]
    assert entries[1]["valid si_sdr"] == -1.5 and entries[1]["lr"] == 1e-3


def test_overlay_is_drawn_from_the_command_line(tmp_path):
    scores = {"dprnn": -1.5, "spmamba": -0.5}
    runs = [write_log(tmp_path / name, 3, scores[name]) for name in scores]
    picture = tmp_path / "curves.png"
    subprocess.run(
        [sys.executable, learning_curve.__file__, *runs, "--out", picture], check=True
    )
    pixels = matplotlib.image.imread(picture)[..., :3]
    for color in ((0x1F, 0x77, 0xB4), (0xFF, 0x7F, 0x0E)):  # C0, C1
        near = abs(pixels * 255 - color).max(-1) < 2
        assert near.sum() > 100


def test_runs_without_examples_are_drawn_over_epochs(tmp_path, monkeypatch):
    new = write_log(tmp_path / "new", 3)
    old = write_log(tmp_path / "old", 2)
    text = (old / "train_log.txt").read_text()
    (old / "train_log.txt").write_text(re.sub(r"examples: \d+, ", "", text))
    drawn = {}

    def keep(figure, path, **_):
        (axes,) = figure.axes
        drawn[axes.get_xlabel()] = [[*line.get_xdata()] for line in axes.lines]
        path.touch()

    monkeypatch.setattr(learning_curve.Figure, "savefig", keep)
    learning_curve.main([str(new), "--out", str(tmp_path / "curves.png")])
    learning_curve.main([str(new), str(old), "--out", str(tmp_path / "curves.png")])
    assert drawn == {
        "training examples": [[50, 100, 150]] * 2,
        "epoch": [[1, 2, 3]] * 2 + [[1, 2]] * 2,
    }


def test_runs_without_an_epoch_are_named(tmp_path):
    (tmp_path / "train_log.txt").write_text("")
    with pytest.raises(ValueError, match="train_log.txt: no epoch"):
        learning_curve.plot_overlay([tmp_path], tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()
