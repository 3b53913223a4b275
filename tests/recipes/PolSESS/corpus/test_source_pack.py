"""Packed sources are the files' own samples, and notice when those change."""

import os
import pickle
import shutil
from collections import namedtuple

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus import source_pack
from corpus.plan import Segment
from corpus.render import Redraw, read_segment
from corpus.source_pack import SourcePack, pack_sources
from corpus.sources import Source

RATE = 8000
LSB = 2.0**-15


def tone(rate, seconds, pitch=500.0, start=0):
    """Returns a tone of 0.5 full scale from a sample on."""
    time = (start + np.arange(round(seconds * rate))) / rate
    return 0.5 * np.sin(2 * np.pi * pitch * time)


def write(folder, name, samples, rate, role="speech", **fields):
    """Writes a file and returns its Source."""
    soundfile.write(folder / name, samples, rate, **fields)
    class_ = {"speech": "", "scene": "park", "event": "Bark"}[role]
    return Source(
        str(folder / name),
        role,
        "train",
        class_,
        "",
        "test",
        rate,
        len(samples),
        name=name,
    )


@pytest.fixture
def folder(tmp_path):
    return tmp_path


@pytest.fixture
def sources(folder):
    noise = np.random.default_rng(0).uniform(-0.9, 0.9, (4, 6000))
    return [
        write(folder, "a.wav", noise[0], RATE),
        write(folder, "b.flac", noise[1], RATE),
        write(folder, "c.wav", noise[2], RATE, "scene"),
        write(folder, "d.wav", noise[3], RATE, "event"),
        write(folder, "e.wav", tone(16000, 1.0), 16000),
    ]


@pytest.fixture
def pack(folder, sources):
    pack_sources(folder / "pack", sources, RATE, workers=1)
    return SourcePack(folder / "pack", sources, RATE)


def test_files_of_the_corpus_rate_are_the_same_to_the_bit(folder, sources, pack):
    a, b, c, d, _ = sources
    for segment in (
        Segment((a,), 0, 6000),
        Segment((b,), 1234, 4000),
        Segment((c,), 2000, 4000),
        Segment((d,), 1, 17),
        Segment((b, a), 0, 9000),
    ):
        assert np.array_equal(pack.read(segment), read_segment(segment, folder, RATE))
    assert len(pickle.dumps(pack)) < 6000  # workers open the arrays themselves


def test_another_rate_differs_by_rounding_away_from_the_edges(folder, sources, pack):
    segment = Segment((sources[4],), 4000, 8000)
    packed, read = pack.read(segment), read_segment(segment, folder, RATE)
    assert packed.shape == read.shape == (4000,)
    assert abs(packed - read)[100:-100].max() <= 0.51 * LSB
    # The pack has the tone at the segment's edges, too; what is read there has not.
    wanted = tone(RATE, 0.5, start=2000)
    assert abs(packed - wanted).max() < 2e-3 < abs(read - wanted).max()


def test_channels_are_mixed_and_samples_rounded_and_limited(folder):
    samples = np.random.default_rng(0).uniform(-1.2, 1.2, (500, 2))
    source = write(folder, "x.wav", samples, RATE, subtype="FLOAT")
    pack_sources(folder / "pack", [source], RATE, workers=1)
    pack = SourcePack(folder / "pack", [source], RATE)
    wanted = np.clip(samples.mean(axis=1), -1, 1 - LSB)
    assert abs(pack.read(Segment((source,), 0, 500)) - wanted).max() <= 0.51 * LSB


@pytest.fixture(scope="module")
def many_rates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rates")
    rates = (8000, 11025, 16000, 44100, 48000)
    sources = [write(folder, f"{r}.wav", tone(r, 0.3123), r) for r in rates]
    pack_sources(folder / "pack", sources, RATE, workers=1)
    return folder, sources, SourcePack(folder / "pack", sources, RATE)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_segment_has_the_length_and_the_tone_of_what_is_read(many_rates, data):
    folder, sources, pack = many_rates
    source = data.draw(st.sampled_from(sources))
    speed = data.draw(st.sampled_from([80, 93, 100, 105, 150]))
    frames = data.draw(st.integers(source.rate // 10, source.frames))
    start = data.draw(st.integers(0, source.frames - frames))
    segment = Segment((source,), start, frames, speed)
    packed, read = pack.read(segment), read_segment(segment, folder, RATE)
    assert packed.shape == read.shape
    # Up to one sample early, which is this much of a tone at most.
    early = 0.5 * 2 * np.pi * 500 * 1.5 / RATE
    assert abs(packed - read)[100:-100].max() < early + 1e-2


def test_the_length_is_right_where_files_end_between_samples(folder):
    clips = tuple(
        write(folder, name, tone(16000, 0.5)[:6001], 16000)
        for name in ("x.wav", "y.wav")
    )
    pack_sources(folder / "pack", clips, RATE, workers=1)
    segment = Segment(clips, 0, 12002)
    packed = SourcePack(folder / "pack", clips, RATE).read(segment)
    read = read_segment(segment, folder, RATE)
    assert packed.shape == read.shape == (6001,)
    assert packed[-1] == 0 and abs(packed - read)[:2900].max() <= 0.51 * LSB


def test_speed_is_tempo_and_pitch(folder, sources, pack):
    segment = Segment((sources[4],), 1600, 10000, 125)
    faster = pack.read(segment)
    assert faster.shape == (4000,)
    wanted = tone(RATE, 0.5, pitch=625.0, start=640)
    assert abs(faster - wanted)[100:-100].max() < 2e-3


def test_nothing_is_written_when_the_pack_is_current(folder, sources, pack):
    def times():
        return {path: path.stat().st_mtime_ns for path in pack.folder.iterdir()}

    before = times()
    pack_sources(pack.folder, sources, RATE, workers=1)
    assert times() == before


@pytest.mark.parametrize("change", ["time", "list", "order", "rate"])
def test_what_changed_is_packed_anew(folder, sources, pack, change):
    kept = pack.folder / "event.npy"
    before, rate = kept.stat().st_mtime_ns, RATE
    if change == "time":  # of overwriting
        samples = np.full(6000, 0.25)
        soundfile.write(folder / "a.wav", samples, RATE)
        os.utime(folder / "a.wav", (1, 1))
    elif change == "list":
        sources = sources[1:]
    elif change == "order":
        sources = [sources[1], sources[0], *sources[2:]]
    else:
        rate = 16000
    if change != "time":
        with pytest.raises(ValueError, match="speech sources in it are not those"):
            SourcePack(pack.folder, sources, rate)
    pack_sources(pack.folder, sources, rate, workers=1)
    anew = SourcePack(pack.folder, sources, rate)
    segment = Segment((sources[0],), 10, 100)
    samples, read = anew.read(segment), read_segment(segment, folder, rate)
    if change == "rate":  # the whole file is resampled
        assert samples.shape == read.shape == (200,)
    else:
        assert np.array_equal(samples, read)
    assert (kept.stat().st_mtime_ns == before) == (change != "rate")
    with pytest.raises(ValueError, match="packed again since this run began"):
        pack.read(segment)


def test_an_interrupted_pack_is_gone_on_with(folder, sources, monkeypatch):
    def interrupted(folder, role, *rest, write_role=source_pack._write_role):
        if role == "scene":
            raise KeyboardInterrupt
        write_role(folder, role, *rest)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(source_pack, "_write_role", interrupted)
        pack_sources(folder / "pack", sources, RATE, workers=1)
    with pytest.raises(FileNotFoundError, match="scene.json does not exist"):
        SourcePack(folder / "pack", sources, RATE)
    before = (folder / "pack" / "speech.npy").stat().st_mtime_ns
    (folder / "pack" / "scene.npy").write_bytes(b"without a description")
    pack_sources(folder / "pack", sources, RATE, workers=1)
    assert (folder / "pack" / "speech.npy").stat().st_mtime_ns == before
    segment = Segment((sources[2],), 5, 100)
    read = SourcePack(folder / "pack", sources, RATE).read(segment)
    assert np.array_equal(read, read_segment(segment, folder, RATE))


@pytest.mark.parametrize("workers", [1, 2])
def test_what_cannot_be_decoded_is_left_out_and_drawn_again(folder, sources, workers):
    whole = (folder / "b.flac").read_bytes()
    (folder / "b.flac").write_bytes(whole[: len(whole) // 2])
    pack_sources(folder / "pack", sources, RATE, workers)
    pack = SourcePack(folder / "pack", sources, RATE)
    with pytest.raises(Redraw) as error:
        pack.read(Segment((sources[1],), 0, 100))
    assert (error.value.reason, error.value.name) == ("unreadable", "b.flac")
    for source in (sources[0], sources[2]):
        segment = Segment((source,), 0, 6000)
        read = read_segment(segment, folder, RATE)
        assert np.array_equal(pack.read(segment), read)


def test_a_file_that_is_not_there_is_named(folder, sources):
    (folder / "a.wav").unlink()
    with pytest.raises(ValueError, match="a.wav: cannot be read .* take its row out"):
        pack_sources(folder / "pack", sources, RATE, workers=1)
    assert not list((folder / "pack").glob("*.npy*"))


def test_a_disk_that_is_too_small_is_noticed_before(folder, sources, monkeypatch):
    usage = namedtuple("usage", "free")(40_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match="packing takes 64.0kB, but 40.0kB are free"):
        pack_sources(folder / "pack", sources, RATE, workers=1)
    assert not list((folder / "pack").glob("*.npy*"))


def test_a_damaged_array_is_named(pack, sources):
    (pack.folder / "scene.npy").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="scene.npy: damaged .* Delete it"):
        pack.read(Segment((sources[0],), 0, 100))
