"""Tests polsess_prepare on small corpora: manifests, errors, keeping and redoing."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from speechbrain.dataio.dataio import load_data_csv

import polsess_prepare
from corpus.layout import REVERBS, STORED
from polsess_prepare import __file__ as prepare_file
from polsess_prepare import prepare_polsess
from tiny_corpus import SPEECH, csv_path, layer_path, plant, read_rows, write_rows

COLUMNS = (
    "ID,duration,sample_rate,mix,s1,s2,scene,event,ev_reverb,sp1_reverb,sp2_reverb,"
    "indoor,scene_class,event_class,ssr,speaker1,speaker2,scene_recording,"
    "gender1,gender2,language1,language2"
)


# Manifests


def test_manifest_has_the_columns_and_loads(corpus, prepare, manifests, load):
    prepare()
    for subset, count in (("train", 6), ("val", 3), ("test", 3)):
        header = (manifests / f"{subset}.csv").open().readline()
        assert header.strip() == COLUMNS
        rows = load(subset)
        raw = read_rows(corpus, subset)
        assert len(rows) == count
        for index, row in enumerate(rows):
            assert row["duration"] == 0.25
            assert row["indoor"] == str(index % 2 == 0)
            assert row["scene_class"] == ("tram", "park")[index % 2]
            assert row["event_class"] == raw["eventClass"][index]
            assert row["ssr"] == raw["SSR"][index]
            assert row["speaker1"] == raw["speech1OryginalPath"][index][:7]
            assert (row["sp1_reverb"] == "") == (index % 2 == 1)
    ids = load_data_csv(manifests / "train.csv", {"data_root": ""})
    assert list(ids) == [Path(name).stem for name in read_rows(corpus, "train").mixFile]


def test_layers_of_the_manifest_sum_to_its_mix(corpus, prepare, load):
    prepare()
    for row in load("train"):
        mix, *layers = (
            sf.read(row[layer.name], dtype="int16")[0]
            for layer in STORED
            if row[layer.name]
        )
        assert len(layers) == (7 if row["indoor"] == "True" else 4)
        assert np.array_equal(mix, np.sum(layers, axis=0))
        assert all(np.abs(layer).max() > 10 for layer in layers)


def test_repeated_mix_gets_an_ordinal(corpus, prepare, manifests):
    rows = read_rows(corpus, "val")
    write_rows(corpus, "val", pd.concat([rows, rows[:1], rows[:1]]))
    prepare()
    ids = pd.read_csv(manifests / "val.csv")["ID"]
    assert [name.removeprefix(ids[0]) for name in ids[3:]] == ["_2", "_3"]


def test_headers_of_a_few_rows_are_opened_and_no_audio(
    corpus, prepare, load, monkeypatch
):
    opened, header = [], sf.info

    def info(path):
        opened.append(path)
        return header(path)

    monkeypatch.setattr(sf, "info", info)
    monkeypatch.setattr(sf, "read", None)
    monkeypatch.setattr(polsess_prepare, "SAMPLED", 2)
    prepare()
    assert len(load("train")) == 6
    mixes = {path for path in opened if path.parent.name == "mix"}
    assert 3 <= len(mixes) <= 3 * 3
    opened.clear()
    prepare()  # up to date
    assert not opened


@pytest.mark.parametrize("layer", ["mix", "s2", "scene"])
@pytest.mark.parametrize(
    "shape, rate, found",
    [
        ((2000,), 16000, "16000 Hz, 1 channel(s), 2000 samples"),
        ((2000, 8), 8000, "8000 Hz, 8 channel(s), 2000 samples"),
        ((1000,), 8000, "8000 Hz, 1 channel(s), 1000 samples"),
    ],
)
def test_odd_file_is_named_and_the_sound_ones_are_not(
    corpus, prepare, manifests, layer, shape, rate, found
):
    odd = layer_path(corpus, "train", 0, layer)
    sf.write(odd, np.zeros(shape), rate)
    with pytest.raises(ValueError) as error:
        prepare()
    expected = "expected 8000 Hz, 1 channel(s), 2000 samples"
    assert f"{odd.name}: found {found}, {expected}" in str(error.value)
    assert str(error.value).count("found") == 1
    assert not list(manifests.iterdir())


@pytest.mark.parametrize(
    "column, cell", [("SSR", "loud"), ("speech1Start", "x"), ("speech2End", "1-2")]
)
def test_cell_that_is_no_number(corpus, prepare, column, cell):
    rows = read_rows(corpus, "val")
    rows.loc[1, column] = cell
    write_rows(corpus, "val", rows)
    message = rf"val_final.csv: row 2 \(line 3\), {column}: '{cell}'; expected a number"
    with pytest.raises(ValueError, match=message):
        prepare()


def test_nul_byte(corpus, prepare):
    path = csv_path(corpus, "test")
    lines = path.read_bytes().splitlines()
    lines[2] = lines[2][:5] + b"\0" + lines[2][5:]
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(ValueError, match="test_final.csv, line 3: holds a NUL"):
        prepare()


def test_old_corpora_and_windows_paths(corpus, prepare, load):
    expected = prepare()
    before = load("train")
    rows = read_rows(corpus, "train")
    rows = rows.drop(columns=["sceneRandomDB", "sceneOffsetDB", "sceneVolumeGain"])
    for column in (name for name in rows if name.endswith("OryginalPath")):
        rows[column] = "D:\\data\\" + rows[column].str.replace("/", "\\")
    rows["speaker1File"] = "train\\clean\\" + rows["speaker1File"]
    rows["mixFile"] = "somewhere/mix/" + rows["mixFile"]
    rows["reverbForSpeaker1"] = rows["reverbForSpeaker1"].replace("", "NaN")
    rows["reverbForEvent"] = rows["reverbForEvent"].replace("", "NaN")
    write_rows(corpus, "train", rows)
    report = prepare()
    assert load("train") == before
    assert report["indoor_rows"] == expected["indoor_rows"]


def test_all_outdoor_corpus_without_reverb_folders(corpus, prepare):
    for subset in ("train", "val", "test"):
        write_rows(corpus, subset, read_rows(corpus, subset)[1::2])
        for folder in (corpus / subset).glob("*_reverb"):
            shutil.rmtree(folder)
    assert prepare()["indoor_rows"] == {"train": 0, "val": 0, "test": 0}


def test_renamed_corpus_is_found_and_said(corpus, tmp_path, caplog, manifests, load):
    renamed = corpus.rename(tmp_path / "other")
    with caplog.at_level("INFO"):
        prepare_polsess(renamed, manifests)
    assert "'other'" in caplog.text
    assert "corpus_tiny_train_final.csv" in caplog.text
    assert len(load("test")) == 3


# Errors before training


def test_missing_or_ambiguous_csv(corpus, prepare):
    path = csv_path(corpus, "val")
    for name in ("corpus_a_val_final.csv", "corpus_b_val_final.csv"):
        shutil.copy(path, path.with_name(name))
    prepare()  # the name that fits the folder's counts
    path.unlink()
    with pytest.raises(FileNotFoundError, match="corpus_a_val.*corpus_b_val"):
        prepare()
    for other in path.parent.glob("*.csv"):
        other.unlink()
    with pytest.raises(FileNotFoundError, match="corpus_tiny_val_final.csv"):
        prepare()


def test_missing_files_are_counted_and_named(corpus, prepare, manifests):
    gone = layer_path(corpus, "train", 4, "event")
    gone.unlink()
    layer_path(corpus, "test", 1, "s2").unlink()
    for mix in (corpus / "val" / "mix").iterdir():
        mix.unlink()
    with pytest.raises(FileNotFoundError) as error:
        prepare()
    assert str(error.value).startswith("5 file(s)")
    assert f"train/event/{gone.name}, row 5 (line 6) of corpus_" in str(error.value)
    assert "remove their rows" in str(error.value)
    assert not list(manifests.iterdir())


@pytest.mark.parametrize("header", [True, False])
def test_empty_csv(corpus, prepare, header):
    path = csv_path(corpus, "test")
    path.write_text(path.read_text().splitlines()[0] + "\n" if header else "")
    with pytest.raises(ValueError, match="corpus_tiny_test_final.csv"):
        prepare()


def test_missing_columns(corpus, prepare):
    write_rows(corpus, "val", read_rows(corpus, "val").drop(columns=["SSR", "mixFile"]))
    with pytest.raises(ValueError, match=r"tiny_val_final.csv.*SSR, mixFile"):
        prepare()


def test_missing_cell(corpus, prepare):
    rows = read_rows(corpus, "train")
    rows.loc[2, "sceneFile"] = ""
    write_rows(corpus, "train", rows)
    with pytest.raises(ValueError, match=r"row 3 \(line 4\) states no sceneFile"):
        prepare()


@pytest.mark.parametrize("column", [layer.column for layer in REVERBS])
def test_some_reverbs_only(corpus, prepare, column):
    rows = read_rows(corpus, "train")
    rows.loc[4, column] = "NaN"
    write_rows(corpus, "train", rows)
    with pytest.raises(ValueError, match=r"train_final.csv: row 5 \(line 6\) has only"):
        prepare()


def test_wrong_rate(corpus, prepare):
    mix = layer_path(corpus, "train", 0, "mix").name
    with pytest.raises(ValueError, match=f"{mix}: found 8000 Hz, expected 16000 Hz"):
        prepare(sample_rate=16000)


def test_rate_of_each_subset_counts(corpus, prepare):
    for row in range(3):
        sf.write(layer_path(corpus, "test", row, "mix"), np.zeros(100), 16000)
    with pytest.raises(ValueError, match="sample_rate=16000"):
        prepare()


@pytest.mark.parametrize("samples", [None, 0])
def test_first_mix_that_is_no_audio(corpus, prepare, samples):
    path = layer_path(corpus, "val", 0, "mix")
    path.write_text("no audio")
    if samples is not None:
        sf.write(path, np.zeros(samples), 8000)
    with pytest.raises(ValueError, match=path.name):
        prepare()


def test_speakers_of_the_provenance_csv_win(corpus, prepare, load):
    rows = read_rows(corpus, "train")
    listed = pd.DataFrame({"mixFile": rows["mixFile"][::-1], "speaker1": "Anna"})
    listed["speaker2"] = ["", "Ola", "Jan", "Ela", "Iza", "Jan"]
    listed["sceneRecording"] = listed["eventRecording"] = ""
    listed["transcript1"] = listed["transcript2"] = 'Dzień dobry, "Anno"!'
    path = corpus / "train" / "corpus_tiny_train_provenance.csv"
    listed[:5].to_csv(path, index=False)
    prepare()
    rows = load("train")
    assert [r["speaker1"] for r in rows] == ["SES0001"] + ["Anna"] * 5
    assert [r["speaker2"] for r in rows[3:]] == ["Jan", "Ola", "SES0012"]


# Keeping, redoing and interrupting


def test_up_to_date_manifests_are_kept(corpus, prepare, caplog, manifests):
    plant(corpus, ("train", 0), ("train", 1), SPEECH)
    prepare()
    manifest = manifests / "train.csv"
    time = manifest.stat().st_mtime_ns
    caplog.clear()
    with caplog.at_level("INFO"):
        prepare()
    assert manifest.stat().st_mtime_ns == time
    assert "up to date" in caplog.text
    assert "1 of 12 rows that repeat" in caplog.text  # said again

    write_rows(corpus, "train", read_rows(corpus, "train")[1:])
    assert prepare()["rows"]["train"] == 5
    layer_path(corpus, "test", 1, "scene").unlink()
    with pytest.raises(FileNotFoundError, match="test/scene"):
        prepare()
    assert not manifest.exists()


def test_other_settings_prepare_again(corpus, prepare):
    prepare()
    plant(corpus, ("train", 0), ("train", 1), SPEECH)
    prepare()
    with pytest.raises(ValueError, match="strict"):
        prepare(strict=True)
    with pytest.raises(ValueError, match="strict"):
        prepare(strict=True)


def test_nothing_half_written_is_left(corpus, prepare, monkeypatch, manifests, load):
    prepare()
    write_rows(corpus, "train", read_rows(corpus, "train")[1:])

    def disk_full(self, path, **_):
        Path(path).write_text("ID,dur")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pd.DataFrame, "to_csv", disk_full)
        with pytest.raises(OSError, match="No space"):
            prepare()
    left = [path.name for path in manifests.iterdir()]
    assert left == ["audit.json"]
    prepare()
    assert len(load("train")) == 5


# Command line


def test_command_line(corpus, manifests, load, read_audit):
    command = [sys.executable, prepare_file, corpus, manifests, "--verify_audio"]
    command += ["--strict", "--sample_rate", "8000", "--pack"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "0 of 24 speakers in more than one subset" in done.stderr
    assert len(load("train")) == 6
    assert read_audit()["audio"] == {}
    assert read_audit()["fingerprint"]["strict"]
    assert len(np.load(corpus / "packed" / "train" / "mix.npy")) == 6
