"""From a row's plan to its layers and their sum, the mix, as 16-bit samples."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
import soxr

from corpus.layout import (
    EV_REVERB,
    EVENT,
    MIX,
    S1,
    S2,
    SCENE,
    SP1_REVERB,
    SP2_REVERB,
)
from corpus.plan import RowPlan
from corpus.reverb import plate_reverb, transfer_function

LIMIT = 0.999  # hard limit of every component and of the mix
FULL_SCALE = 32768  # of 16-bit samples
# RMS below which a segment counts as silent: -60 dBFS for what keeps its level or sets
# that of others; a scene's own level does not matter as long as there is a signal.
SILENCE = {"speech": 1e-3, "event": 1e-3, "scene": 1e-5}
MAX_ATTEMPTS = 200
REASONS = ("silent", "limited", "unreadable")  # to redraw


class Redraw(Exception):
    """A plan does not make a recording.

    Arguments
    ---------
    reason : str
        One of REASONS.
    name : str
        Of the source that is unreadable.
    detail : str
        What is wrong with it.
    """

    def __init__(self, reason, name="", detail=""):
        super().__init__(reason, name, detail)
        self.reason, self.name, self.detail = reason, name, detail


@dataclass(frozen=True)
class Recording:
    """A rendered row.

    Arguments
    ---------
    plan : RowPlan
    layers : dict
        int16 arrays by name of the layer, the mix among them; outdoors without the
        reverbs. The mix is the sum of the layers to the last bit.
    scene_gain : float
        Linear gain of the scene.
    snr : float
        Both speakers' dry sum over the background (scene, event and its reverb), in dB
        of RMS.
    redraws : tuple of tuple
        Reason, name and detail of each attempt before this one.
    """

    plan: RowPlan
    layers: dict
    scene_gain: float
    snr: float
    redraws: tuple = ()


def rms(signal):
    """Returns the root mean square of a signal."""
    return float(np.sqrt(np.mean(np.square(signal))))


def read_segment(segment, folder, sample_rate):
    """Reads a segment, mixed down to mono, at the corpus' rate.

    Arguments
    ---------
    segment : Segment
    folder : str or Path
        Where relative source paths start.
    sample_rate : int
        Of the corpus, Hz.

    Returns
    -------
    numpy.ndarray
        float64, [time], within a sample of the plan's seconds.

    Raises
    ------
    ValueError
        Naming the file that is missing.
    Redraw
        If a file is no audio of the listed rate, holds less than its header says, or
        samples that are no numbers.
    """
    pieces, missing, skip = [], segment.frames, segment.start
    for clip in segment.clips:
        path = Path(folder) / clip.path
        if not path.is_file():
            raise ValueError(
                f"{path}: no such file. Bring it back, or take its row out of the "
                "source list"
            )
        expected = min(missing, clip.frames - skip)
        try:
            with soundfile.SoundFile(str(path)) as file:
                rate = file.samplerate
                file.seek(skip)
                piece = file.read(expected, dtype="float32", always_2d=True)
        except (RuntimeError, OSError) as error:
            raise Redraw("unreadable", clip.name, "cannot be decoded") from error
        if rate != clip.rate:
            wrong = f"is of {rate} Hz, not of {clip.rate} Hz as listed"
            raise Redraw("unreadable", clip.name, wrong)
        if len(piece) < expected:
            raise Redraw("unreadable", clip.name, "ends before its header says")
        if not np.isfinite(piece).all():
            raise Redraw("unreadable", clip.name, "holds samples that are no number")
        pieces.append(sum(piece.T) / piece.shape[1])  # sums along rows are slow
        missing, skip = missing - expected, 0
    joined = np.concatenate(pieces)
    return resample(joined, segment.rate * segment.speed, sample_rate * 100)


def resample(signal, rate, sample_rate):
    """Returns a float32 signal at another rate, as float64.

    By soxr's 20-bit linear-phase filter, better than the 16 bits that are written.
    """
    if rate != sample_rate:
        length = round(len(signal) * sample_rate / rate)
        signal = soxr.resample(signal, rate, sample_rate)[:length]
    return signal.astype(np.float64)


class Renderer:
    """Makes recordings of one rate.

    Arguments
    ---------
    read : callable
        Of a Segment; returns it like read_segment.
    sample_rate : int
        Hz.
    kept : int
        Reverb settings to keep ready: 1, which the layers of a row share, or the
        number of settings from which rows draw.
    """

    def __init__(self, read, sample_rate, kept=1):
        self.read, self.sample_rate = read, sample_rate
        self.transfer = lru_cache(maxsize=kept)(transfer_function)

    def render_row(self, planner, row, also=()):
        """Returns a row's Recording: that of the first attempt that makes one.

        Arguments
        ---------
        planner : Planner
        row : int
        also : sequence of Renderer
            For which the attempt must make one, too.

        Raises
        ------
        ValueError
            If MAX_ATTEMPTS attempts made none.
        """
        redraws = []
        for attempt in range(MAX_ATTEMPTS):
            try:
                plan = planner.plan(row, attempt)
                recording = self.render(plan, tuple(redraws))
                for other in also:
                    other.render(plan)
                return recording
            except Redraw as error:
                redraws.append((error.reason, error.name, error.detail))
        reasons = ", ".join(sorted({reason for reason, _, _ in redraws}))
        blamed = {f"{name} {detail}" for _, name, detail in redraws if name}
        raise ValueError(
            f"{planner.subset} row {row} ({planner.scene_class(row)}): {MAX_ATTEMPTS} "
            f"draws were {reasons}. "
            + (f"E.g. {min(blamed)}. " if blamed else "")
            + "Are the sources damaged, far too loud, or empty?"
        )

    def render(self, plan, redraws=()):
        """Renders a plan.

        Arguments
        ---------
        plan : RowPlan
        redraws : tuple
            Of the Recording.

        Returns
        -------
        Recording

        Raises
        ------
        Redraw
            For a silent segment, a speaker whose level the limiter would change, or a
            mix beyond the limit. (The published generator throws mixes away at 0.9999,
            after limiting them at 0.999; stopping at the limit itself is what keeps
            the sum exact.)
        """
        length = round(plan.seconds * self.sample_rate)
        first, second = (self._read("speech", s, length) for s in plan.speech)
        gain = 10 ** (plan.gain / 20)
        second = second * (gain * rms(first) / rms(second) * 10 ** (-plan.ssr / 20))
        first = first * gain
        if max(np.abs(first).max(), np.abs(second).max()) > LIMIT:
            raise Redraw("limited")
        scene = self._read("scene", plan.scene, length)
        event = self._read("event", plan.event, length)
        speech_level = rms(first + second)
        scene_gain = speech_level * 10 ** (plan.scene_offset / 20) / rms(scene)
        parts = {S1: first, S2: second, SCENE: scene * scene_gain, EVENT: event}
        dry = {SP1_REVERB: first, SP2_REVERB: second, EV_REVERB: event}
        for (layer, signal), plate in zip(dry.items(), plan.plates, strict=False):
            parts[layer] = plate_reverb(signal, plate, self.sample_rate, self.transfer)
        layers = {layer.name: _to_16_bits(part) for layer, part in parts.items()}
        mix = np.sum([*layers.values()], axis=0, dtype=np.int32)
        if np.abs(mix).max() > LIMIT * FULL_SCALE:
            raise Redraw("limited")
        layers[MIX.name] = mix.astype(np.int16)
        background = parts[SCENE] + event + parts.get(EV_REVERB, 0.0)
        snr = 20 * np.log10(speech_level / rms(background))
        return Recording(plan, layers, float(scene_gain), float(snr), redraws)

    def _read(self, role, segment, length):
        signal = self.read(segment)[:length]
        if len(signal) < length:  # by a sample, where rates have no whole ratio
            signal = np.pad(signal, (0, length - len(signal)))
        if rms(signal) < SILENCE[role]:
            raise Redraw("silent")
        return signal


def _to_16_bits(signal):
    limited = np.clip(signal, -LIMIT, LIMIT)
    return np.round(limited * FULL_SCALE).astype(np.int16)
