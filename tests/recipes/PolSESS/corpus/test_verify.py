"""Tests that verify finds planted defects of audio files, one at a time."""

import shutil

import numpy as np
import pytest
import soundfile as sf

from tiny_corpus import SPEECH, layer_path, plant


def change(path, edit, subtype="PCM_16"):
    """Rewrites a wav with what edit makes of its int16 samples."""
    samples, rate = sf.read(path, dtype="int16")
    sf.write(path, edit(samples), rate, subtype=subtype)


def verify(prepare, read_audit, kind, path):
    """Asserts that exactly one finding of the kind is an error naming the file."""
    with pytest.raises(ValueError, match=f"{path.name}: {kind}"):
        prepare(verify_audio=True, workers=1)
    audio = read_audit()["audio"]
    assert audio[kind]["count"] == 1
    assert audio[kind]["examples"][0]["file"].endswith(path.name)
    return audio


def test_verify_sound_corpus(prepare):
    assert prepare(verify_audio=True, workers=2)["audio"] == {}


@pytest.mark.parametrize(("row", "allowed"), [(0, 4), (1, 2)])
def test_verify_sum_within_rounding(
    corpus, prepare, row, allowed, manifests, read_audit
):
    # 7 layers and the mix indoors: 8 / 2 = 4 LSB; 4 and the mix outdoors: 2.5 LSB
    path = layer_path(corpus, "train", row, "mix")
    change(path, lambda mix: mix + (np.arange(len(mix)) == 99) * np.int16(allowed))
    assert prepare(verify_audio=True, workers=1)["audio"] == {}
    shutil.rmtree(manifests)
    change(path, lambda mix: mix + (np.arange(len(mix)) == 99) * np.int16(1))
    verify(prepare, read_audit, "sum", path)


def test_verify_accepts_the_limiter(corpus, prepare, manifests, read_audit):
    files = {
        layer: layer_path(corpus, "train", 1, layer)
        for layer in ("mix", "s1", "s2", "scene", "event")
    }
    levels = {"s1": 20000, "s2": 19999, "scene": -3000, "event": 0}
    levels["mix"] = round(0.999 * 2**15) - 3000  # speech was limited, then mixed
    for layer, path in files.items():
        change(path, lambda old, level=levels[layer]: np.full_like(old, level))
    assert prepare(verify_audio=True, workers=1)["audio"] == {}
    shutil.rmtree(manifests)
    change(files["mix"], lambda mix: mix - np.int16(4))
    verify(prepare, read_audit, "sum", files["mix"])


def test_verify_layer_taken_from_another_row(corpus, prepare, read_audit):
    path = layer_path(corpus, "val", 0, "sp2_reverb")
    change(path, lambda old: old[::-1])
    verify(prepare, read_audit, "sum", layer_path(corpus, "val", 0, "mix"))


@pytest.mark.parametrize(
    ("kind", "write"),
    [
        ("sample_rate", lambda path, audio: sf.write(path, audio, 16000)),
        ("channels", lambda path, audio: sf.write(path, audio[:, [0, 0]], 8000)),
        ("length", lambda path, audio: sf.write(path, audio[:-1], 8000)),
        (
            "non_finite",
            lambda path, audio: sf.write(path, audio * np.nan, 8000, subtype="FLOAT"),
        ),
        ("unreadable", lambda path, audio: path.write_bytes(b"RIFF")),
    ],
)
def test_verify_file(corpus, prepare, kind, write, read_audit):
    path = layer_path(corpus, "test", 1, "scene")
    write(path, sf.read(path, always_2d=True)[0])
    assert set(verify(prepare, read_audit, kind, path)) == {kind}


@pytest.mark.parametrize("subset", ["train", "val"])
def test_truncated_first_mix_blames_itself_alone(corpus, prepare, read_audit, subset):
    path = layer_path(corpus, subset, 0, "mix")
    change(path, lambda mix: mix[:999])
    found = verify(prepare, read_audit, "length", path)
    assert set(found) == {"length"}
    assert found["length"]["examples"][0]["found"] == "999 samples, not 2000"


def copy_first_speaker(corpus, source, target):
    """Replaces (subset, row)'s s1 by another row's, in its mix too."""
    old, new = (layer_path(corpus, *row, "s1") for row in (target, source))
    difference = sf.read(new, dtype="int16")[0] - sf.read(old, dtype="int16")[0]
    change(layer_path(corpus, *target, "mix"), lambda mix: mix + difference)
    shutil.copy(new, old)
    return new


def test_verify_identical_clean_files(corpus, prepare, read_audit):
    path = copy_first_speaker(corpus, ("train", 3), ("val", 1))
    found = verify(prepare, read_audit, "identical_clean_files", path)
    assert set(found) == {"identical_clean_files"}
    copy = layer_path(corpus, "val", 1, "s1").name
    assert found["identical_clean_files"]["examples"][0]["found"].endswith(copy)


def test_verify_segment_used_twice_is_no_error(corpus, prepare):
    copy_first_speaker(corpus, ("train", 3), ("train", 5))
    plant(corpus, ("train", 3), ("train", 5), SPEECH[:3])
    found = prepare(verify_audio=True, workers=1, strict=True)["audio"]
    assert found["repeated_clean_files"]["count"] == 1
    assert set(found) == {"repeated_clean_files"}
