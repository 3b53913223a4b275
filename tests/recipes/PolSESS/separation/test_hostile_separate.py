"""Wrong input for separate.py: named, explained, and nothing half-done."""

import json
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import soundfile
import torch
from tiny_model import tiny_export

import separate
from hostile import Case, files_below, refused

RATE = 8000
SCRIPT = Path(separate.__file__)
NOT_TEXT = os.fsdecode(b"rozmowa_\xb1.wav")  # ISO-8859-2
SOURCES = ("good_source1.wav", "good_source2.wav")


def noise(frames=2000, channels=1, seed=0):
    """Quiet noise [frames, channels]."""
    return 0.1 * np.random.default_rng(seed).standard_normal((frames, channels))


def spoilt(wav, position, data):
    """Returns the bytes of a WAV file with some of them replaced."""
    return wav[:position] + data + wav[position + len(data) :]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Folder of exports and audio, nearly all of it spoilt; not to be changed."""
    folder = tmp_path_factory.mktemp("world")
    export = tiny_export(folder / "run_of_dprnn")[0]
    shutil.move(export, folder / "export")
    soundfile.write(folder / "good.wav", noise(), RATE)
    whole = (folder / "good.wav").read_bytes()

    bad = folder / "bad"
    bad.mkdir()
    not_finite = noise()
    not_finite[700] = np.nan
    soundfile.write(bad / "nan.wav", not_finite, RATE, "FLOAT")
    not_finite[700] = np.inf
    soundfile.write(bad / "inf.wav", not_finite, RATE, "FLOAT")
    soundfile.write(bad / "no_samples.wav", np.zeros(0), RATE)
    for name in ("cut.flac", "cut.aiff"):
        soundfile.write(bad / name, noise(20000), RATE)
        data = (bad / name).read_bytes()
        (bad / name).write_bytes(data[: len(data) // 2])
    for name, data in {
        "text.wav": b"Litwo! Ojczyzno moja! " * 50,
        "empty.wav": b"",
        "cut.wav": whole[:2000],
        "header_only.wav": whole[:20],
        "no_channels.wav": spoilt(whole, 22, b"\0\0"),
        "no_rate.wav": spoilt(whole, 24, b"\0\0\0\0"),
        "unknown_codec.wav": spoilt(whole, 20, b"\x34\x12"),
        "zeros.wav": bytes(4000),
        "memo.m4a": b"\0\0\0\x1cftypM4A \0\0\0\0M4A mp42isom" + bytes(500),
        "film.mp4": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(500),
        "page.mp3": b"<!DOCTYPE html><title>404</title>" * 20,
        "pointer.wav": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "list.csv": b"path,role\na.wav,speech\n",
    }.items():
        (bad / name).write_bytes(data)
    os.symlink(bad / "nowhere.wav", bad / "dangling.wav")
    os.symlink(bad / "loop.wav", bad / "loop.wav")
    os.mkfifo(bad / "pipe.wav")
    (bad / "folder.wav").mkdir()
    (bad / "no_audio").mkdir()
    (bad / "no_audio" / "notes.txt").write_text("nothing to hear")

    hparams = (folder / "export" / "hyperparams.yaml").read_text()
    weights = (folder / "export" / "model.safetensors").read_bytes()
    tensors = safetensors.torch.load(weights)
    renamed = {f"other.{name}": value for name, value in tensors.items()}
    larger = {**tensors, "encoder.conv1d.weight": torch.zeros(99, 1, 16)}
    for name, (text, data) in {
        "no_hparams": (None, weights),
        "no_weights": (hparams, None),
        "cut_weights": (hparams, weights[: len(weights) // 2]),
        "empty_weights": (hparams, b""),
        "pickled_weights": (hparams, b"\x80\x02}q\x00."),
        "other_names": (hparams, safetensors.torch.save(renamed)),
        "other_shapes": (hparams, safetensors.torch.save(larger)),
        "empty_hparams": ("", weights),
        "broken_hparams": ("modules: {", weights),
        "binary_hparams": (b"\xff\xfe\0\1".decode("latin-1"), weights),
        "code_in_hparams": (hparams + "\nx: !apply:os.system [id]\n", weights),
        "no_rate": (hparams.replace("sample_rate:", "rate:"), weights),
        "three_sources": (hparams.replace("num_spks: 2", "num_spks: 3", 1), weights),
    }.items():
        (folder / name).mkdir()
        if text is not None:
            (folder / name / "hyperparams.yaml").write_text(text, encoding="latin-1")
        if data is not None:
            (folder / name / "model.safetensors").write_bytes(data)
    run = folder / "run"
    run.mkdir()
    shutil.copytree(folder / "export", run / "export")
    (run / "hyperparams.yaml").write_text("x: !apply:os.system [id]\n")
    return folder


@pytest.fixture(autouse=True)
def loggers():
    """Leaves the root logger as it was."""
    handlers = logging.root.handlers[:]
    yield
    logging.root.handlers[:] = handlers


# Files: each is given together with a good one, which is separated nevertheless.

FILES = [
    ("text.wav", ["expected audio", "WAV, FLAC"]),
    ("empty.wav", ["expected audio"]),
    ("cut.wav", ["truncated", "copy or record it again"]),
    ("header_only.wav", ["expected audio"]),
    ("cut.flac", []),
    ("cut.aiff", ["truncated"]),
    ("no_samples.wav", ["empty", "at least one sample"]),
    ("no_channels.wav", ["expected audio"]),
    ("no_rate.wav", ["expected audio"]),
    ("unknown_codec.wav", ["expected audio"]),
    ("zeros.wav", ["expected audio"]),
    ("nan.wav", ["NaN", "expected finite"]),
    ("inf.wav", ["infinite", "expected finite"]),
    ("memo.m4a", ["ffmpeg -i memo.m4a memo.wav"]),
    ("film.mp4", ["ffmpeg -i film.mp4 film.wav"]),
    ("page.mp3", ["expected audio"]),
    ("pointer.wav", ["expected audio"]),
    ("list.csv", ["expected audio"]),
    ("dangling.wav", ["does not exist"]),
    ("loop.wav", ["does not exist"]),
    ("pipe.wav", ["not a regular file"]),
    ("nowhere.wav", ["does not exist"]),
    ("folder.wav", ["holds no audio files"]),
    ("no_audio", ["holds no audio files", ".flac"]),
    ("text.wav/inner.wav", ["does not exist"]),
    ("a" * 300 + ".wav", ["name too long"]),
]


@pytest.mark.parametrize("name, says", FILES, ids=[name[:20] for name, _ in FILES])
def test_bad_files(world, tmp_path, capsys, name, says):
    bad, out = world / "bad" / name, tmp_path / "out"
    arguments = [world / "export", bad, world / "good.wav", "--out", out]
    printed = refused(separate.main, arguments, capsys, [str(bad), *says])
    assert set(files_below(out)) == {*SOURCES, "summary.json"}
    assert soundfile.info(out / SOURCES[0]).frames == 2000
    (failed,) = (
        record
        for record in json.loads((out / "summary.json").read_text("utf-8"))["files"]
        if "error" in record
    )
    assert failed["file"] == str(bad) and failed["error"] in printed


# Command lines: nothing is written.

COMMANDS = [
    Case("no arguments", [], ["model", "required"]),
    Case("no file", ["{export}"], ["FILE", "required"]),
    Case(
        "no model", ["{world}/nowhere", "{good}"], ["nowhere", "expected an exported"]
    ),
    Case("file as model", ["{good}", "{good}"], ["good.wav", "expected an exported"]),
    Case("run as model", ["{world}/run", "{good}"], ["did you mean", "run/export"]),
    Case(
        "empty model name",
        ["", "{good}"],
        ["model", "not a file or folder name"],
    ),
    Case("empty file name", ["{export}", ""], ["not a file or folder name"]),
    Case(
        "NUL in a name",
        ["{export}", "a\0.wav"],
        ["not a file or folder name"],
    ),
    Case(
        "empty --out",
        ["{export}", "{good}", "--out", ""],
        ["--out", "not a file or folder name"],
    ),
    Case("--out without value", ["{export}", "{good}", "--out"], ["--out"]),
    Case("--out is a file", ["{export}", "{good}", "--out", "{good}"], ["is a file"]),
    Case(
        "--out below a file",
        ["{export}", "{good}", "--out", "{good}/x"],
        ["good.wav/x", "cannot be made", "choose another"],
    ),
    Case(
        "--out where nobody may write",
        ["{export}", "{good}", "--out", "/proc/out"],
        ["/proc/out", "cannot be made", "choose another"],
    ),
    Case("folder without --out", ["{export}", "{world}/bad"], ["is a folder", "--out"]),
    Case("rate 0", ["{export}", "{good}", "--rate", "0"], ["--rate", "Hz"]),
    Case("rate of letters", ["{export}", "{good}", "--rate", "8k"], ["'8k'", "Hz"]),
    Case("rate -8000", ["{export}", "{good}", "--rate=-8000"], ["--rate", "Hz"]),
    Case("rate 1e12", ["{export}", "{good}", "--rate", "9" * 12], ["--rate", "Hz"]),
    Case("Arabic digits", ["{export}", "{good}", "--rate", "٨٠٠٠"], ["--rate", "Hz"]),
    Case(
        "chunks of 0 s", ["{export}", "{good}", "--chunk_seconds", "0"], ["1 and 3600"]
    ),
    Case("chunks of NaN", ["{export}", "{good}", "--chunk_seconds", "nan"], ["3600"]),
    Case("chunks of text", ["{export}", "{good}", "--chunk_seconds", "x"], ["3600"]),
    Case("0 threads", ["{export}", "{good}", "--threads", "0"], ["--threads", "1024"]),
    Case("1.5 threads", ["{export}", "{good}", "--threads", "1.5"], ["--threads"]),
    Case("device of Mars", ["{export}", "{good}", "--device", "mars"], ["cpu", "cuda"]),
    Case("unknown option", ["{export}", "{good}", "--speed", "9"], ["--speed"]),
    Case("no hparams", ["{world}/no_hparams", "{good}"], ["hyperparams.yaml"]),
    Case("no weights", ["{world}/no_weights", "{good}"], ["model.safetensors"]),
    Case("cut weights", ["{world}/cut_weights", "{good}"], ["safetensors", "again"]),
    Case("empty weights", ["{world}/empty_weights", "{good}"], ["model.safetensors"]),
    Case("pickle", ["{world}/pickled_weights", "{good}"], ["model.safetensors"]),
    Case("other names", ["{world}/other_names", "{good}"], ["do not make a model"]),
    Case("other shapes", ["{world}/other_shapes", "{good}"], ["do not make a model"]),
    Case("empty hparams", ["{world}/empty_hparams", "{good}"], ["expected a mapping"]),
    Case("broken YAML", ["{world}/broken_hparams", "{good}"], ["hyperparams.yaml"]),
    Case("binary YAML", ["{world}/binary_hparams", "{good}"], ["hyperparams.yaml"]),
    Case(
        "code", ["{world}/code_in_hparams", "{good}"], ["!apply:os.system", "refused"]
    ),
    Case("no rate", ["{world}/no_rate", "{good}"], ["sample_rate is None", "again"]),
    Case("wrong count", ["{world}/three_sources", "{good}"], ["export it again"]),
]


@pytest.mark.parametrize("case", COMMANDS, ids=lambda case: case.name)
def test_bad_command_lines(world, tmp_path, monkeypatch, capsys, case):
    monkeypatch.chdir(tmp_path)
    names = {"world": world, "export": world / "export", "good": tmp_path / "good.wav"}
    shutil.copy(world / "good.wav", names["good"])
    before = files_below(tmp_path)
    arguments = [argument.format(**names) for argument in case.arguments]
    printed = refused(separate.main, arguments, capsys, case.says)
    assert len(printed) < 3000
    assert files_below(tmp_path) == before


def test_no_gpu(world, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    arguments = [world / "export", world / "good.wav", "--device", "cuda"]
    refused(separate.main, arguments, capsys, ["--device cuda", "no GPU"])


def test_a_summary_of_something_else_is_kept(world, tmp_path, capsys):
    for text in ('{"scores": {}}', "[]", "{", '{"files": [1]}', '{"files": 7}'):
        (tmp_path / "summary.json").write_text(text)
        arguments = [world / "export", world / "good.wav", "--out", tmp_path]
        says = [tmp_path / "summary.json", "choose another --out"]
        refused(separate.main, arguments, capsys, says)
        assert files_below(tmp_path) == {"summary.json": text.encode()}


def test_folder_into_itself(world, tmp_path, capsys):
    shutil.copy(world / "good.wav", tmp_path)
    arguments = [world / "export", tmp_path, "--out", tmp_path]
    refused(separate.main, arguments, capsys, ["give another folder"])
    assert not list(tmp_path.glob("*source*"))


def test_a_file_given_twice(world, tmp_path, capsys):
    good = world / "good.wav"
    arguments = [world / "export", good, good, "--out", tmp_path, "--overwrite"]
    refused(separate.main, arguments, capsys, [good, "is that of"])
    assert set(files_below(tmp_path)) == {*SOURCES, "summary.json"}


@pytest.mark.parametrize("bytes_left, rate", [(4096, "file"), (20_000, "96000")])
def test_full_disk(world, tmp_path, capsys, bytes_left, rate):
    """Full while chunks are joined, or while the sources are written."""
    arguments = [world / "export", world / "good.wav", "--out", tmp_path]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, limits[1]))
    try:
        says = ["good.wav", f"cannot write to {tmp_path}", "make room"]
        refused(separate.main, [*arguments, "--rate", rate], capsys, says)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert set(files_below(tmp_path)) == {"summary.json"}


def test_names_that_are_no_text(world, tmp_path, capsys):
    shutil.copy(world / "good.wav", tmp_path / NOT_TEXT)
    (tmp_path / "talks").mkdir()
    shutil.copy(world / "good.wav", tmp_path / "talks" / NOT_TEXT)
    for name, out in ((tmp_path / NOT_TEXT, "one"), (tmp_path / "talks", "two")):
        out = tmp_path / out
        files = [world / "bad" / "text.wav", name, world / "good.wav"]
        refused(separate.main, [world / "export", *files, "--out", out], capsys)
        stem = NOT_TEXT.removesuffix(".wav")
        outputs = {f"{stem}_source1.wav", f"{stem}_source2.wav"}
        assert set(files_below(out)) == {*outputs, *SOURCES, "summary.json"}
        records = json.loads((out / "summary.json").read_text("utf-8"))["files"]
        assert any(record["file"].endswith(NOT_TEXT) for record in records)


# Real processes


def run(arguments, **environment):
    """Runs separate.py in a process of its own."""
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments],
        env={**os.environ, "TQDM_DISABLE": "0", **environment},
        capture_output=True,
    )


@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "iso-8859-2"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}],
    ids=["ISO-8859-2", "C"],
)
def test_terminals_that_cannot_show_a_name(world, tmp_path, environment):
    names = [NOT_TEXT, "łódź 漢字.wav"]
    for name in names:
        shutil.copy(world / "good.wav", os.fsencode(tmp_path / name))
    files = [os.fsencode(tmp_path / name) for name in names]
    bad = os.fsencode(tmp_path / "żaden.wav")
    out = tmp_path / "out"
    done = run([world / "export", *files, bad, "--out", out], **environment)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 4
    assert b"does not exist" in done.stderr and b"Traceback" not in done.stderr
    assert len(list(out.glob("*.wav"))) == 4


def test_interrupt_is_one_line(world, tmp_path):
    """Ctrl-C while the second file is separated: the first stays, nothing else."""
    long = tmp_path / "long.wav"
    soundfile.write(long, noise(1800 * RATE), RATE)
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, SCRIPT, world / "export", world / "good.wav", long]
        + ["--out", out],
        env={**os.environ, "TQDM_DISABLE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline().strip() == str(out / SOURCES[0])
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    lines = [line for line in errors.splitlines() if line]
    assert len(lines) == 1 and lines[0].startswith("Interrupted")
    assert set(files_below(out)) == {*SOURCES, "summary.json"}


def test_only_wav_headers_are_trusted_that_hold(tmp_path):
    """The spoilt files above are spoilt where they should be."""
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, RATE, 100, "NONE", ""))
        file.writeframes(bytes(200))
    data = (tmp_path / "a.wav").read_bytes()
    assert int.from_bytes(data[20:22], "little") == 1
    assert int.from_bytes(data[22:24], "little") == 1
    assert int.from_bytes(data[24:28], "little") == RATE
