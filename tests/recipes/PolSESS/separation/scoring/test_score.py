"""score.py: known ratios, sources in any order, and input that does not fit."""

import json

import numpy as np
import pandas as pd
import pytest
import soundfile

import score
from hostile import files_below, refused

RATE = 8000


def tone(frequency, seconds=2.0):
    return 0.2 * np.sin(2 * np.pi * frequency * np.arange(int(RATE * seconds)) / RATE)


def write(path, samples, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="FLOAT")


@pytest.fixture
def folders(tmp_path):
    """Two recordings whose estimates are in swapped order, with noise at -20 dB."""
    for name, pair in (("a", (440, 700)), ("sub/b", (300, 1000))):
        sources = [tone(frequency) for frequency in pair]
        for number, source in enumerate(sources, 1):
            write(tmp_path / f"references/{name}_s{number}.wav", source)
            noisy = source + 0.1 * tone(1700)
            write(tmp_path / f"estimates/{name}_source{3 - number}.wav", noisy)
        write(tmp_path / f"mixtures/{name}.wav", sum(sources))
    return tmp_path


def line(folder, *more):
    return [str(folder / "estimates"), str(folder / "references"), *map(str, more)]


@pytest.mark.parametrize("mixtures", [True, False])
def test_scores_in_closed_form(folders, capsys, mixtures):
    """Noise a tenth as large as a source: 20 dB; a source in their sum: 0 dB."""
    more = ["--mixtures", folders / "mixtures"] if mixtures else []
    score.main(line(folders, *more, "--out", folders / "out", "--workers", 2))
    table = pd.read_csv(folders / "out" / "scores.csv")
    assert list(table.id) == ["a", "sub/b"]
    for name in ("si_sdr", "si_sdr_1", "si_sdr_2", "si_sdri"):
        assert table[name].to_numpy() == pytest.approx(20, abs=0.01)
    report = json.loads((folders / "out" / "summary.json").read_text())
    assert report["scores"]["all"]["si_sdr"]["mean"] == pytest.approx(20, abs=0.01)
    assert "20.0" in capsys.readouterr().out


def test_sources_in_folders_of_their_own(folders, capsys):
    """The layout of LibriMix: s1/NAME.wav."""
    for path in sorted((folders / "references").rglob("*_s?.wav")):
        name = path.relative_to(folders / "references").as_posix()[:-7]
        moved = folders / "layers" / f"s{path.stem[-1]}" / f"{name}.wav"
        moved.parent.mkdir(parents=True, exist_ok=True)
        path.rename(moved)
    found = score.find_sources(folders / "layers")
    assert [len(files) for files in found.values()] == [2, 2]


def remove(folder):
    next((folder / "estimates").glob("a_source1.wav")).unlink()


def remove_all_of_one(folder):
    for path in (folder / "estimates").glob("a_*"):
        path.unlink()


WRONG = {
    "an estimate less": (remove, ["a: 1 estimates", "2 references"]),
    "no estimates": (remove_all_of_one, ["no estimate of 1 among 2", ": a"]),
    "another rate": (
        lambda f: write(f / "estimates/a_source1.wav", tone(440), 16000),
        ["a_source1.wav", "16000 Hz", "8000 Hz"],
    ),
    "another length": (
        lambda f: write(f / "estimates/a_source1.wav", tone(440, 1)),
        ["a_source1.wav", "8000 samples", "16000"],
    ),
    "stereo": (
        lambda f: write(f / "estimates/a_source1.wav", np.zeros((16000, 2))),
        ["a_source1.wav", "2 channels, expected one"],
    ),
    "not finite": (
        lambda f: write(f / "estimates/a_source1.wav", tone(440) * np.nan),
        ["a_source1.wav", "not finite"],
    ),
    "no audio": (
        lambda f: (f / "estimates/a_source1.wav").write_text("no audio"),
        ["a_source1.wav", "not readable as audio"],
    ),
    "twice": (
        lambda f: write(f / "estimates/a_s1.wav", tone(440)),
        ["source 1 of a", "already"],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_named_and_nothing_written(name, folders, capsys):
    change, says = WRONG[name]
    change(folders)
    before = files_below(folders)
    refused(score.main, line(folders, "--out", folders / "out"), capsys, says)
    assert files_below(folders) == before


def test_folders_that_are_none(folders, capsys):
    (folders / "empty").mkdir()
    empty, file = str(folders / "empty"), str(folders / "references" / "a_s1.wav")
    for pair, says in (
        ((empty, str(folders / "references")), [empty, "NAME_source1.wav"]),
        ((file, empty), [file, "expected a folder"]),
    ):
        refused(score.main, [*pair], capsys, says)
    more = ["--mixtures", folders / "empty"]
    refused(score.main, line(folders, *more), capsys, ["no mixture of 2 among 2"])
    refused(score.main, line(folders, "--workers", "0"), capsys, ["--workers"])
