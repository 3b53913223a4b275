"""Learning curves of several runs, from the histories that they write."""

import matplotlib.image
import pytest

from recipekit.reporting import learning_curve
from recipekit.scoring.measures import Measures, Metric
from recipekit.training.history import read_history, write_history

MEASURES = Measures(
    {"si_sdr": Metric("SI-SDR")},
    *(("id", "set"), "set", ("all",), ("all",), "si_sdr"),
    unit="dB",
)


def write_run(folder, epochs, score=-1.5):
    folder.mkdir()
    entries = [
        {
            "epoch": epoch,
            "examples": 50 * epoch,
            "lr": 1e-3,
            "skipped": 0,
            "score": score,
            "seconds": 1.0,
            "train": {"loss": -epoch, "si_sdr": epoch},
            "valid": {"loss": 1.5, "si_sdr": score, "si_sdri": float("nan")},
        }
        for epoch in range(1, epochs + 1)
    ]
    write_history(folder, entries)
    return folder


def test_history_is_read_back(tmp_path):
    entries = read_history(write_run(tmp_path / "run", 2))
    assert [entry["examples"] for entry in entries] == [50, 100]
    assert [entry["train"]["si_sdr"] for entry in entries] == [1, 2]
    assert entries[1]["valid"]["si_sdr"] == -1.5 and entries[1]["lr"] == 1e-3


def test_overlay_has_a_colour_for_each_run(tmp_path):
    scores = {"dprnn": -1.5, "spmamba": -0.5}
    runs = [write_run(tmp_path / name, 3, scores[name]) for name in scores]
    picture = tmp_path / "curves.png"
    arguments = [*map(str, runs), "--out", str(picture)]
    learning_curve.draw_overlay(arguments, MEASURES)
    pixels = matplotlib.image.imread(picture)[..., :3]
    for color in ((0x1F, 0x77, 0xB4), (0xFF, 0x7F, 0x0E)):  # C0, C1
        near = abs(pixels * 255 - color).max(-1) < 2
        assert near.sum() > 100


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved, in place of saving them."""
    figures = []

    def keep(figure, path, **_):
        figures.append(figure)
        path.touch()

    monkeypatch.setattr(learning_curve.Figure, "savefig", keep)
    return figures


def test_runs_are_drawn_over_the_examples_they_saw(tmp_path, drawn):
    runs = [write_run(tmp_path / "one", 3), write_run(tmp_path / "two", 2)]
    arguments = [*map(str, runs), "--out", str(tmp_path / "curves.png")]
    learning_curve.draw_overlay(arguments, MEASURES)
    (axes,) = drawn[0].axes
    assert axes.get_xlabel() == "training examples"
    assert axes.get_ylabel() == "SI-SDR (dB)"
    lines = [[*line.get_xdata()] for line in axes.lines]
    assert lines == [[50, 100, 150]] * 2 + [[50, 100]] * 2
    assert [[*line.get_ydata()] for line in axes.lines[:2]] == [[1, 2, 3], [-1.5] * 3]


def test_a_curve_has_the_score_that_training_and_validation_share(tmp_path, drawn):
    history = read_history(write_run(tmp_path / "run", 3))
    marks = [(1, "easy"), (2, "hard"), (9, "later")]
    path = tmp_path / "curve.png"
    learning_curve.plot_learning_curve(history, 2, marks, path, "A run", MEASURES)
    axes = drawn[0].axes[0]
    assert axes.get_ylabel() == "SI-SDR (dB)" and axes.get_title() == "A run"
    training, validation, best = (line.get_xydata().tolist() for line in axes.lines[:3])
    assert training == [[1, 1], [2, 2], [3, 3]]
    assert validation == [[1, -1.5], [2, -1.5], [3, -1.5]] and best == [[2, -1.5]]
    assert [text.get_text() for text in axes.texts] == ["easy", "hard"]


def test_the_loss_is_drawn_where_nothing_else_is_shared():
    entries = [{"train": {"loss": 1}, "valid": {"loss": 2, "accuracy": 0.5}}]
    assert learning_curve.shared_score(entries) == "loss"
    with pytest.raises(ValueError, match="no score"):
        learning_curve.shared_score([*entries, {"train": {}, "valid": {"loss": 1}}])


def test_runs_without_an_epoch_are_named(tmp_path):
    write_history(tmp_path, [])
    with pytest.raises(ValueError, match="history.json: no epoch"):
        learning_curve.plot_overlay([tmp_path], tmp_path / "curves.png", MEASURES)
    assert not (tmp_path / "curves.png").exists()
