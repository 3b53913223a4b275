"""The command line does what it can and reports the rest."""

import json
import logging

import numpy as np
import pytest
import soundfile
from tiny_model import tiny_export

import separate
from exported.inference import Separator

RATE = 8000


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Folder of a tiny exported model."""
    return str(tiny_export(tmp_path_factory.mktemp("model"))[0])


@pytest.fixture
def noise(tmp_path):
    """A whole audio file."""
    signal = 0.1 * np.random.default_rng(0).standard_normal(RATE // 2)
    soundfile.write(tmp_path / "noise.wav", signal, RATE)
    return str(tmp_path / "noise.wav")


def test_failing_files_do_not_stop_the_others(exported, noise, tmp_path, capsys):
    text = tmp_path / "text.wav"
    text.write_text("no audio")
    out = tmp_path / "out"
    gone = str(tmp_path / "gone.wav")
    code = separate.main([exported, str(text), gone, noise, "--out", str(out)])
    printed = capsys.readouterr()
    assert code == 1
    assert printed.out.split() == [str(out / f"noise_source{n}.wav") for n in (1, 2)]
    lines = printed.err.strip().splitlines()[-2:]
    assert lines[0].startswith(f"{text}: expected audio")
    assert lines[1].startswith(f"{gone}: does not exist")


def test_rate_and_overwrite(exported, noise, tmp_path, capsys):
    assert separate.main([exported, noise, "--rate", "16000"]) == 0
    first = capsys.readouterr().out.split()[0]
    assert soundfile.info(first).samplerate == 16000
    assert separate.main([exported, noise]) == 1
    assert "exists already" in capsys.readouterr().err
    assert soundfile.info(first).samplerate == 16000
    assert separate.main([exported, noise, "--overwrite", "--threads", "1"]) == 0
    assert soundfile.info(first).samplerate == 8000


def test_files_of_one_name_do_not_replace_each_other(exported, noise, tmp_path, capsys):
    (tmp_path / "b").mkdir()
    other = tmp_path / "b" / "noise.flac"
    soundfile.write(other, np.zeros(100), RATE)
    out = str(tmp_path / "out")
    code = separate.main([exported, noise, str(other), "--out", out, "--overwrite"])
    printed = capsys.readouterr()
    assert code == 1 and str(other) in printed.err
    assert soundfile.info(printed.out.split()[0]).frames == RATE // 2


def test_bad_model_and_bad_rate(noise, tmp_path, capsys):
    assert separate.main([str(tmp_path), noise]) == 1
    assert "hyperparams.yaml" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        separate.main([str(tmp_path), noise, "--rate", "0"])
    assert "file, model or Hz" in capsys.readouterr().err


def write(path, seconds=0.1, rate=RATE, channels=1):
    """Writes noise and returns the path as text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (round(seconds * rate), channels)
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(shape), rate)
    return str(path)


def summary(folder):
    """Returns the records of a summary.json by the files' names."""
    records = json.loads((folder / "summary.json").read_text("utf-8"))["files"]
    return {record["file"].rpartition("/")[2]: record for record in records}


def test_folders_keep_their_structure(exported, tmp_path, capsys):
    """Sources, hidden files and what is no audio are passed over."""
    talks = tmp_path / "talks"
    for name in ("a.wav", "b/a.flac", "b/c/ą ę.ogg", ".hidden/x.wav", "b/._a.wav"):
        write(talks / name)
    (talks / "notes.txt").write_text("who said what")
    (talks / "empty.wav").mkdir()
    out = talks / "separated"
    arguments = [exported, str(talks), "--out", str(out)]
    assert separate.main(arguments) == 0
    printed = capsys.readouterr().out.splitlines()
    stems = ["a", "b/a", "b/c/ą ę"]
    expected = [str(out / f"{stem}_source{n}.wav") for stem in stems for n in (1, 2)]
    assert printed == expected
    wavs = {str(file) for file in out.rglob("*") if file.is_file()}
    assert wavs == {*expected, str(out / "summary.json")}
    # Again: the sources are not separated in turn.
    assert separate.main([*arguments, "--overwrite"]) == 0
    assert capsys.readouterr().out.splitlines() == expected


def test_summary_says_what_became_of_each_file(exported, tmp_path, capsys):
    out = tmp_path / "out"
    good = write(tmp_path / "good.wav", seconds=0.5, rate=16000)
    bad = tmp_path / "bad.wav"
    bad.write_text("no audio")
    assert separate.main([exported, good, str(bad), "--out", str(out)]) == 1
    records = summary(out)
    found = records["good.wav"]
    assert found["outputs"] == [str(out / f"good_source{n}.wav") for n in (1, 2)]
    assert (found["seconds"], found["sample_rate"]) == (0.5, 16000)
    assert found["model"] == Separator.from_export(exported).fingerprint
    assert 0 < found["took_seconds"] < 600 and "error" not in found
    assert "expected audio" in records["bad.wav"]["error"]
    assert "outputs" not in records["bad.wav"]
    # Later calls add to it, and a refusal does not hide what is there.
    other = write(tmp_path / "other.wav")
    assert separate.main([exported, good, other, "--out", str(out)]) == 1
    records = summary(out)
    assert set(records) == {"good.wav", "bad.wav", "other.wav"}
    assert records["good.wav"] == found


def test_fingerprints_tell_models_apart(exported, tmp_path):
    other = tiny_export(tmp_path, task="ES")[0]
    fingerprints = [Separator.from_export(f).fingerprint for f in (exported, other)]
    assert len(set(fingerprints)) == 2
    assert all(len(fingerprint) == 16 for fingerprint in fingerprints)
    assert Separator.from_export(other).fingerprint == fingerprints[1]


def test_options_may_stand_between_the_files(exported, tmp_path, capsys):
    files = [write(tmp_path / name) for name in ("a.wav", "b.wav")]
    out = str(tmp_path / "out")
    assert separate.main([exported, files[0], "--out", out, files[1]]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_the_stereo_rule_is_said(exported, tmp_path, caplog, capsys):
    stereo = write(tmp_path / "stereo.wav", channels=2)
    assert separate.main([exported, stereo]) == 0
    assert f"{stereo}: 2 channels averaged to one" in caplog.text
    with pytest.raises(SystemExit):
        separate.main(["--help"])
    assert "channels are averaged" in " ".join(capsys.readouterr().out.split())


@pytest.fixture(autouse=True)
def loggers():
    """Leaves the root logger as it was."""
    handlers = logging.root.handlers[:]
    yield
    logging.root.handlers[:] = handlers
