"""Published lists: whatever they say is done, leaks included."""

import gzip
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from corpus.providers.polsess import make_sources
from corpus.published import COLLECTIONS, MISSING, read_published
from corpus.tables import event_classes
from imitation import ESC_LEFT_OUT, VOICES, audio_files, write_list

SECONDS = 0.02


@pytest.fixture
def rows(downloads, tmp_path):
    return write_list(tmp_path / "list.csv", downloads)


def write(path, rows):
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def test_subsets_and_classes_are_those_of_the_list(downloads, rows, tmp_path):
    sources, rejected = make_sources(downloads, SECONDS, tmp_path / "list.csv")
    assert not rejected
    listed = {(COLLECTIONS[row["source"]], row["filePath"]): row for row in rows}
    for source in sources:
        root = downloads[source.source] / ("audio" if source.source == "esc50" else "")
        file = Path(source.path).relative_to(root).as_posix()
        row = listed.pop((source.source, file))
        assert source.subset == row["subset"]
        if source.role == "event":
            known = [c for c in row["class"].split(",") if c in event_classes()]
            assert list(source.classes) == known and known
        else:
            assert source.class_ == row["class"]
    left_out = {row["class"] for row in listed.values()}
    assert left_out == {*ESC_LEFT_OUT, "Music"}


def test_sessions_leak_as_listed_and_voices_stay(downloads, rows, tmp_path):
    sources, _ = make_sources(downloads, SECONDS, tmp_path / "list.csv")
    sessions = defaultdict(set)
    for source in sources:
        if source.source == "emu":
            sessions[source.speaker].add(source.subset)
    assert len(sessions) == 48
    assert sum(len(subsets) > 1 for subsets in sessions.values()) > 24
    classes = {source.path.rsplit("/", 1)[1]: source.classes for source in sources}
    assert classes["128005.wav"] == ("Bell",) and 128005 in VOICES
    assert set(classes["319365.wav"]) == {"Bark", "Dog"}


def test_file_listed_in_two_subsets_is_in_both_but_not_twice_in_one(
    downloads, rows, tmp_path
):
    row = next(row for row in rows if row["source"] == "tau")
    other = {"train": "val"}.get(row["subset"], "train")
    path = write(tmp_path / "twice.csv", [*rows, row, row | {"subset": other}])
    sources, _ = make_sources(downloads, SECONDS, path)
    twice = [s.subset for s in sources if s.path.endswith(row["filePath"])]
    assert sorted(twice) == sorted([row["subset"], other])


def test_listed_files_that_are_missing_count_as_rejected(downloads, rows, tmp_path):
    gone = [dict(rows[n], filePath=f"SES9{n:03d}_ses/a_bndl/a.wav") for n in range(3)]
    path = write(tmp_path / "more.csv", [*gone, *rows])
    sources, rejected = make_sources(downloads, SECONDS, path)
    assert [(one.path, one.reason) for one in rejected] == [
        (row["filePath"], MISSING) for row in gone
    ]
    with pytest.raises(ValueError, match=rf"3 of {len(sources) + 3} sources.*SES9000"):
        make_sources(downloads, SECONDS, path, max_rejected=0.001)
    # Those of collections that were not given are not missing.
    some = {name: root for name, root in downloads.items() if name != "emu"}
    assert make_sources(some, SECONDS, path)[1] == []


def test_unlisted_files_are_left_out(downloads, rows, tmp_path, caplog):
    path = write(tmp_path / "less.csv", [row for row in rows if row["source"] != "tut"])
    sources, rejected = make_sources(downloads, SECONDS, path)
    assert not rejected and not [s for s in sources if s.source == "tut2017"]
    assert f"{len(audio_files(downloads['tut2017']))} of tut2017" in caplog.text


def test_other_forms_of_the_list_read_alike(downloads, rows, tmp_path):
    expected = read_published(tmp_path / "list.csv")
    text = (tmp_path / "list.csv").read_bytes()
    with gzip.open(tmp_path / "list.csv.gz", "wb") as file:
        file.write(text)
    assert read_published(tmp_path / "list.csv.gz") == expected
    windows = [row | {"filePath": row["filePath"].replace("/", "\\")} for row in rows]
    for row in windows:
        row["class"] = row["class"] or np.nan
        row["channels"] = 1.0  # there are more columns, and they may be empty
    assert read_published(write(tmp_path / "windows.csv", windows)) == expected


@pytest.mark.parametrize("version", ["v7", "v7.3"])
def test_matlab_table_reads_like_a_csv(downloads, rows, tmp_path, version):
    matio = pytest.importorskip("matio")
    frame = pd.DataFrame(rows)
    frame["channels"] = 1.0
    frame["subset"] = frame["subset"].astype("category")
    frame["source"] = [np.array([name]) for name in frame["source"]]  # as cellstr
    frame["class"] = [np.array([name]) if name else "" for name in frame["class"]]
    path = tmp_path / "dataSources.mat"
    matio.save_to_mat(path, {"dataSources": frame, "n": np.eye(2)}, version=version)
    assert read_published(path) == read_published(tmp_path / "list.csv")
    matio.save_to_mat(path, {"n": np.eye(2)}, version=version)
    with pytest.raises(ValueError, match="expected one table in it, found 0"):
        read_published(path)


def test_what_is_no_list_is_explained(rows, tmp_path, monkeypatch):
    frame = pd.DataFrame(rows)
    for wrong, message in (
        (frame.drop(columns="class"), "wrong.csv: lacks the columns class; found"),
        (frame.replace("val", "dev"), "subset 'dev' is not one of train, val, test"),
        (frame.replace("tau", "tau2"), "source 'tau2' is not one of emu, libriSpeech"),
    ):
        with pytest.raises(ValueError, match=message):
            read_published(write(tmp_path / "wrong.csv", wrong))
    for name, message in (
        ("no.csv", "no.csv, line 1: holds a NUL"),
        ("no.csv.gz", "no.csv.gz: not a readable CSV .* Expected a published list"),
    ):
        (tmp_path / name).write_bytes(b"\xff\xfe no list \x00")
        with pytest.raises(ValueError, match=message):
            read_published(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="any.mat: no such file"):
        read_published(tmp_path / "any.mat")
    (tmp_path / "any.mat").touch()
    monkeypatch.setitem(sys.modules, "matio", None)
    with pytest.raises(ValueError, match=r"needs the package mat-io: .*\[mat\]"):
        read_published(tmp_path / "any.mat")
