"""The command line does what it can and reports the rest."""

import logging

import numpy as np
import pytest
import soundfile
from tiny_model import tiny_export

import separate

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
    code = separate.main([exported, str(text), str(tmp_path), noise, "--out", str(out)])
    printed = capsys.readouterr()
    assert code == 1
    assert printed.out.split() == [str(out / f"noise_source{n}.wav") for n in (1, 2)]
    lines = printed.err.strip().splitlines()[-2:]
    assert lines[0].startswith(f"{text}: expected audio")
    assert lines[1].startswith(f"{tmp_path}: is a folder")


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


@pytest.fixture(autouse=True)
def loggers():
    """Leaves the root logger as it was."""
    handlers = logging.root.handlers[:]
    yield
    logging.root.handlers[:] = handlers
