"""Separator: level, length, order of the speakers, and the files it refuses."""

import io
import logging
import tracemalloc

import numpy as np
import pytest
import soundfile
import torch
from tiny_model import tiny_export

from exported import inference
from exported.inference import Separator
from exported.streaming import SeparationError

RATE = 8000


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Folder of a tiny exported model; not to be changed."""
    return tiny_export(tmp_path_factory.mktemp("model"))[0]


class Oracle(Separator):
    """Splits a mixture of a low and a high tone by its spectrum, with odd habits.

    ``gains`` are the levels of its outputs; ``swaps`` says call by call whether the
    outputs change places.
    """

    def __init__(self, gains=(1.0, 1.0), swaps=()):
        super().__init__({}, RATE, 2)
        self.gains = torch.tensor(gains)
        self.swaps = iter(swaps)
        self.calls = []

    def estimate(self, mixtures):
        """Splits at 1 kHz."""
        self.calls.append(mixtures.shape)
        spectrum = torch.fft.rfft(mixtures)
        split = 1000 * mixtures.shape[1] // RATE
        low, high = spectrum.clone(), spectrum.clone()
        low[:, split:], high[:, :split] = 0, 0
        parts = [torch.fft.irfft(part, mixtures.shape[1]) for part in (low, high)]
        estimates = torch.stack(parts, dim=-1) * self.gains
        return estimates.flip(-1) if next(self.swaps, False) else estimates


def tone(hertz, seconds, rate=RATE, level=0.3):
    """Sine tone [T]."""
    time = np.arange(round(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def level_db(signal, reference):
    """Energy of a signal against a reference in dB."""
    return 10 * np.log10(np.sum(signal**2) / np.sum(reference**2))


# Batches


@pytest.mark.parametrize("frames", [1, 15, 16, 17, 100, 2401])
def test_any_length_is_separated(exported, frames):
    estimates = Separator.from_export(exported).separate_batch(torch.randn(3, frames))
    assert estimates.shape == (3, frames, 2)
    assert estimates.isfinite().all()


def test_batch_is_scaled_to_the_mixture():
    mixture = torch.from_numpy(np.stack([tone(300, 1) + tone(2000, 1, level=0.1)] * 2))
    mixture[1] *= 0.01
    estimates = Oracle(gains=(17.0, 0.03)).separate_batch(mixture)
    torch.testing.assert_close(estimates.sum(-1), mixture, rtol=1e-3, atol=1e-4)
    lone = estimates[0, :, 1].numpy()
    assert abs(level_db(lone, tone(2000, 1, level=0.1))) < 0.02


def test_batch_silence_gives_silence(exported):
    mixtures = torch.stack([torch.zeros(800), torch.randn(800)])
    estimates = Separator.from_export(exported).separate_batch(mixtures)
    assert (estimates[0] == 0).all() and (estimates[1] != 0).any()


# Files


def test_short_file_is_separated_as_the_batch_is(exported, tmp_path):
    mixture = tone(440, 0.3) + tone(1500, 0.3)
    soundfile.write(tmp_path / "a.wav", mixture, RATE, "FLOAT")
    separator = Separator.from_export(exported)
    outputs = separator.separate_file(tmp_path / "a.wav", tmp_path / "out")
    batch = separator.separate_batch(torch.from_numpy(mixture)[None])[0].numpy()
    for source, output in enumerate(outputs):
        separated, rate = soundfile.read(output)
        assert rate == RATE
        np.testing.assert_allclose(separated, batch[:, source], atol=1 / 32768)


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 11025])
@pytest.mark.parametrize("seconds", [0.3, 13.7])
def test_arrays_are_separated_as_files_are(tmp_path, rate, seconds):
    mixture = tone(300, seconds, rate) + tone(1500, seconds, rate, level=0.1)
    soundfile.write(tmp_path / "a.wav", mixture, rate, "FLOAT")
    outputs = Oracle(gains=(17.0, 0.03)).separate_file(tmp_path / "a.wav")
    sources = Oracle(gains=(17.0, 0.03)).separate(mixture, rate)
    assert sources.shape == (len(mixture), 2) and sources.dtype == np.float32
    for source, output in zip(sources.T, outputs, strict=True):
        np.testing.assert_allclose(source, soundfile.read(output)[0], atol=1 / 16384)


def test_arrays_of_any_kind_are_taken_and_given_back():
    left, right = tone(300, 2), tone(1500, 2)
    stereo = np.stack([left, right], axis=1)
    sources = Oracle().separate(stereo, RATE)  # channels are averaged
    np.testing.assert_allclose(sources, stereo / 2, atol=0.01)
    np.testing.assert_array_equal(Oracle().separate(stereo.mean(1), RATE), sources)
    double = Oracle().separate(stereo.astype(np.float64), RATE)
    np.testing.assert_allclose(double, sources, atol=1e-6)
    tensor = Oracle().separate(torch.from_numpy(stereo).requires_grad_(), RATE)
    assert torch.is_tensor(tensor)
    np.testing.assert_array_equal(tensor.numpy(), sources)
    assert Oracle().separate(np.zeros(1), 44100).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    "audio, rate, said",
    [
        (np.zeros((2, 8000)), RATE, "shape is .2, 8000., expected .*transpose"),
        (np.zeros((800, 1, 1)), RATE, "expected .time. or"),
        (np.zeros(0), RATE, "at least one sample"),
        (np.zeros((800, 0)), RATE, "at least one sample"),
        (np.zeros(800, np.int16), RATE, "int16.*divide 16-bit integers by 32768"),
        (np.full(800, np.nan), RATE, "finite"),
        (np.zeros(800), 0, "rate: 0"),
        (np.zeros(800), 44100.5, "rate: 44100.5"),
    ],
)
def test_unusable_arrays_are_refused(audio, rate, said):
    with pytest.raises(ValueError, match=said):
        Oracle().separate(audio, rate)


def test_open_files_are_separated(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(300, 0.5), RATE)
    data = io.BytesIO((tmp_path / "a.wav").read_bytes())
    with pytest.raises(ValueError, match="has no name"):
        Oracle().separate_file(data, tmp_path / "out")
    data.name = "call 7.wav"
    outputs = Oracle().separate_file(data, tmp_path / "out")
    assert [output.name for output in outputs] == [
        "call 7_source1.wav",
        "call 7_source2.wav",
    ]
    with open(tmp_path / "a.wav", "rb") as file:
        again = Oracle().separate_file(file)
    assert [output.parent for output in again] == [tmp_path] * 2
    for first, second in zip(outputs, again, strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_mp3_is_read(tmp_path):
    soundfile.write(tmp_path / "a.mp3", tone(300, 2), RATE, format="MP3")
    outputs = Oracle().separate_file(tmp_path / "a.mp3")
    assert (
        soundfile.info(outputs[0]).frames == soundfile.info(tmp_path / "a.mp3").frames
    )
    low = soundfile.read(outputs[0])[0]
    assert level_db(low, tone(300, 2)) == pytest.approx(0, abs=0.2)


def test_formats_that_are_not_read_say_how_to_convert(tmp_path):
    (tmp_path / "memo.m4a").write_bytes(b"\0\0\0\x1cftypM4A \0\0\0\0M4A mp42isom")
    with pytest.raises(SeparationError, match="ffmpeg -i memo.m4a memo.wav"):
        Oracle().separate_file(tmp_path / "memo.m4a")


def test_chunks_have_gains_of_their_own(tmp_path):
    """The model's scale changes within the file; one gain a file would not do."""

    class Drifting(Oracle):
        def estimate(self, mixtures):
            count = len(self.calls)
            self.gains = torch.tensor([(-1) ** count * 10.0 ** (count % 3 - 1), 1.0])
            return super().estimate(mixtures)

    mixture = tone(300, 20) + tone(2000, 20)
    soundfile.write(tmp_path / "a.wav", mixture, RATE, "FLOAT")
    outputs = Drifting().separate_file(tmp_path / "a.wav", chunk_seconds=4)
    for output, hertz in zip(outputs, (300, 2000), strict=True):
        error = soundfile.read(output, dtype="float32")[0] - tone(hertz, 20)
        assert level_db(error, tone(hertz, 20)) < -25


def test_stereo_at_44100_hz_keeps_rate_length_names_and_level(tmp_path, caplog):
    left, right = tone(300, 2.5, 44100), tone(1500, 2.5, 44100)
    soundfile.write(tmp_path / "a.v.wav", np.stack([left, right], 1), 44100)
    with caplog.at_level(logging.WARNING):
        outputs = Oracle(gains=(17.0, 0.03)).separate_file(tmp_path / "a.v.wav")
    assert "2 channels" in caplog.text
    names = [output.name for output in outputs]
    assert names == ["a.v_source1.wav", "a.v_source2.wav"]
    for output, expected in zip(outputs, (left / 2, right / 2), strict=True):
        separated, rate = soundfile.read(output)
        assert rate == 44100 and len(separated) == len(left)
        inner = slice(4410, -4410)
        np.testing.assert_allclose(separated[inner], expected[inner], atol=0.01)
    left_over = {file.name for file in tmp_path.iterdir()} - {*names, "a.v.wav"}
    assert not left_over


@pytest.mark.parametrize(
    "wanted, rate", [("model", 8000), ("file", 11025), (16000,) * 2]
)
def test_output_rate_and_exact_duration(tmp_path, wanted, rate):
    soundfile.write(tmp_path / "a.wav", tone(500, 0.9001, 11025), 11025)
    frames = soundfile.info(tmp_path / "a.wav").frames
    for output in Oracle().separate_file(tmp_path / "a.wav", output_rate=wanted):
        info = soundfile.info(output)
        assert (info.samplerate, info.frames) == (rate, round(frames * rate / 11025))


def test_three_minutes_keep_speakers_in_order_in_flat_memory(tmp_path):
    swaps = np.random.default_rng(0).integers(2, size=1000).astype(bool)
    peaks, outputs = [], []
    for minutes in (1, 3):
        file = tmp_path / f"{minutes}.wav"
        low, high = tone(300, 60 * minutes), tone(2000, 60 * minutes, level=0.1)
        soundfile.write(file, low + high, RATE)
        del low, high
        separator = Oracle(gains=(-5.0, -0.2), swaps=[False, *swaps])
        tracemalloc.start()
        outputs = separator.separate_file(file, chunk_seconds=4)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(separator.calls) == minutes * 20
        assert max(frames for _, frames in separator.calls) == 4 * RATE
    assert peaks[1] < 1.1 * peaks[0]
    for output, expected in zip(
        outputs, (tone(300, 180), tone(2000, 180, level=0.1)), strict=True
    ):
        error = soundfile.read(output, dtype="float32")[0] - expected
        assert level_db(error, expected) < -25


def test_silent_joints_keep_the_last_clear_order(tmp_path):
    mixture = tone(300, 13) + tone(2000, 13, level=0.1)
    mixture[int(5.5 * RATE) : int(7.5 * RATE)] = 0  # chunks join from 6 s to 7 s
    soundfile.write(tmp_path / "a.wav", mixture, RATE)
    separator = Oracle(swaps=[False, True, True, True])
    outputs = separator.separate_file(tmp_path / "a.wav", chunk_seconds=4)
    assert len(separator.calls) == 4
    low = soundfile.read(outputs[0])[0]
    assert level_db(low[8 * RATE :], tone(300, 5)) == pytest.approx(0, abs=0.1)


def test_silence_gives_silence(exported, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(3 * RATE), RATE)
    separator = Separator.from_export(exported)
    for output in separator.separate_file(tmp_path / "a.wav", chunk_seconds=1):
        assert (soundfile.read(output)[0] == 0).all()


def test_sources_above_full_scale_are_not_clipped(tmp_path):
    low, high = tone(300, 1, level=1.5), tone(2000, 1, level=1.5)
    soundfile.write(tmp_path / "a.wav", low + high, RATE, "FLOAT")
    outputs = Oracle().separate_file(tmp_path / "a.wav")
    assert soundfile.info(outputs[0]).subtype == "FLOAT"
    assert np.abs(soundfile.read(outputs[0])[0]).max() == pytest.approx(1.5, abs=0.02)


def test_existing_outputs_are_kept_unless_told(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(300, 0.3), RATE)
    (tmp_path / "a_source2.wav").write_text("precious")
    separator = Oracle()
    with pytest.raises(SeparationError, match="a_source2.wav"):
        separator.separate_file(tmp_path / "a.wav")
    assert not separator.calls  # refused before anything was computed
    assert (tmp_path / "a_source2.wav").read_text() == "precious"
    assert not (tmp_path / "a_source1.wav").exists()
    outputs = separator.separate_file(tmp_path / "a.wav", overwrite=True)
    assert soundfile.info(outputs[1]).frames == 2400


def test_failed_writing_leaves_the_earlier_outputs(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", tone(300, 0.3), RATE)
    outputs = Oracle().separate_file(tmp_path / "a.wav")
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    written = []

    def disk_full_at_the_second(file, *arguments):
        written.append(file)
        if len(written) == 2:
            raise OSError("No space left on device")
        return write_wav(file, *arguments)

    write_wav = inference._write_wav
    monkeypatch.setattr(inference, "_write_wav", disk_full_at_the_second)
    with pytest.raises(SeparationError, match="a.wav: cannot write to .*No space"):
        Oracle(swaps=[True]).separate_file(tmp_path / "a.wav", overwrite=True)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert set(outputs) < set(before)


def audio(tmp_path, name, **options):
    """Writes two seconds of noise and returns the file's bytes."""
    noise = 0.1 * np.random.default_rng(0).standard_normal(2 * RATE)
    soundfile.write(tmp_path / name, noise, RATE, **options)
    return (tmp_path / name).read_bytes()


@pytest.mark.parametrize(
    "name, said",
    [
        ("text.wav", "expected audio"),
        ("video.mp4", "expected audio"),
        ("noise.raw", "expected audio"),
        ("zero_bytes.wav", "expected audio"),
        ("no_samples.wav", "empty"),
        ("cut.wav", "truncated"),
        ("cut.aiff", "truncated"),
        ("cut.flac", "cut.flac"),
        ("nan.wav", "NaN"),
        ("folder", "folder"),
        ("absent.wav", "does not exist"),
    ],
)
def test_unusable_files_are_named(tmp_path, name, said):
    file = tmp_path / name
    if name == "text.wav":
        file.write_text("Litwo! Ojczyzno moja!" * 100)
    elif name == "video.mp4":
        file.write_bytes(b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(1000))
    elif name in ("noise.raw", "zero_bytes.wav"):
        file.write_bytes(bytes(1000 if name == "noise.raw" else 0))
    elif name == "no_samples.wav":
        soundfile.write(file, np.zeros(0), RATE)
    elif name.startswith("cut"):
        file.write_bytes(audio(tmp_path, name)[:-9000])
    elif name == "nan.wav":
        signal = tone(300, 1)
        signal[5000] = np.nan
        soundfile.write(file, signal, RATE, "FLOAT")
    elif name == "folder":
        file.mkdir()
    with pytest.raises(SeparationError, match=said) as raised:
        Oracle().separate_file(file, tmp_path / "out")
    assert name in str(raised.value) and "\n" not in str(raised.value)
    assert not list(tmp_path.glob("out/*"))


def test_wav_written_into_a_pipe_is_whole(tmp_path):
    data = bytearray(audio(tmp_path, "pipe.wav"))
    data[4:8] = data[40:44] = b"\xff" * 4  # sizes that were not known
    (tmp_path / "pipe.wav").write_bytes(data)
    outputs = Oracle().separate_file(tmp_path / "pipe.wav")
    assert soundfile.info(outputs[0]).frames == 2 * RATE


def test_models_that_diverge_are_named(tmp_path, exported):
    soundfile.write(tmp_path / "a.wav", tone(300, 0.3), RATE)
    separator = Separator.from_export(exported)
    with torch.no_grad():
        separator.modules["decoder"].weight.fill_(float("nan"))
    with pytest.raises(SeparationError, match="a.wav.*NaN"):
        separator.separate_file(tmp_path / "a.wav")
