"""A simulated separator and conversations of synthetic voices.

The separator knows the sources. Chunk by chunk it puts them out in a random order, with
a leak of the others, at a random level and polarity: what a trained model's scale-free
loss leaves open.
"""

import functools
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import torch
from scipy.signal import butter, lfilter, sosfilt

from exported.inference import Separator
from recipekit.files import keyed
from scoring.si_sdr import si_sdr

RATE = 8000
SECONDS = 60
SYLLABLES = 5  # a second
PITCHES = (110, 210, 150, 260)  # Hz, of the voices
FORMANTS = ((600, 1200, 2400), (850, 1750, 3000), (450, 1900, 2700), (1000, 1500, 3500))


@dataclass
class Case:
    """A conversation and how it is separated.

    Arguments
    ---------
    turns : (float, float)
        Shortest and longest turn in seconds.
    pause : float
        Seconds between turns.
    speakers : int
    leak : float
        Level in dB at which each source is in the others' estimates.
    flips : float
        Probability that a chunk's outputs are in another order than the last one's.
    gain : float
        Largest gain of an estimate in dB, drawn for each chunk.
    polarity : bool
        Whether an estimate's polarity is drawn, too.
    noise : float
        Level in dB of what each estimate holds besides, against its sources.
    """

    turns: tuple = (10, 10)
    pause: float = 0
    speakers: int = 2
    leak: float = -12
    flips: float = 0.5
    gain: float = 0
    polarity: bool = False
    noise: float = -np.inf


@functools.cache
def voice(number, file):
    """Returns SECONDS of a synthetic voice [T], like no other number's.

    Pulses of its pitch and breath, through resonances that move with each syllable
    about the voice's own; syllables have levels of their own and gaps between them.
    """
    draw = keyed.generator("voice", number, file)
    frames, size = SECONDS * RATE, RATE // SYLLABLES
    pitch = PITCHES[number] * np.exp2(0.15 * draw.standard_normal(frames // size))
    phase = np.cumsum(np.repeat(pitch, size)) / RATE
    source = np.diff(np.floor(phase), prepend=0) + 0.03 * draw.standard_normal(frames)
    signal = np.empty(frames)
    state = np.zeros(6)
    for start in range(0, frames, size):
        poles = []
        for formant in FORMANTS[number]:
            angle = 2 * np.pi * formant * draw.uniform(0.8, 1.25) / RATE
            poles += [0.96 * np.exp(1j * angle), 0.96 * np.exp(-1j * angle)]
        piece, state = lfilter(
            [1.0], np.poly(poles).real, source[start : start + size], zi=state
        )
        envelope = np.hanning(size) * draw.uniform(0.2, 1)
        signal[start : start + size] = piece * envelope
    signal = sosfilt(butter(2, 80, "high", fs=RATE, output="sos"), signal)
    return 0.1 * signal / signal.std()


def conversation(case, file):
    """Returns sources [T, S] that take turns."""
    draw = keyed.generator("turns", file)
    sources = np.zeros((SECONDS * RATE, case.speakers), np.float32)
    start, speaker = 0, 0
    while start < len(sources):
        end = start + round(draw.uniform(*case.turns) * RATE)
        turn = slice(start, min(end, len(sources)))
        sources[turn, speaker] = voice(speaker, file)[turn]
        start, speaker = end + round(case.pause * RATE), (speaker + 1) % case.speakers
    return sources


class Simulated(Separator):
    """Puts out chunks of known sources [T, S], as a case says."""

    def __init__(self, sources, case, file=0, chunk=8.0, overlap=2.0):
        super().__init__({}, RATE, sources.shape[1])
        self.sources, self.case, self.file = sources, case, file
        self.hop = round((chunk - overlap) * RATE)
        self.chunks = 0
        self.order = np.arange(sources.shape[1])

    def estimate(self, mixtures):
        """Returns the next chunk's estimates."""
        case, draw = self.case, keyed.generator("chunk", self.file, self.chunks)
        start = self.chunks * self.hop
        sources = self.sources[start : start + mixtures.shape[1]]
        self.chunks += 1
        speakers = sources.shape[1]
        leaks = 10 ** (case.leak / 20) * (1 - np.eye(speakers)) + np.eye(speakers)
        estimates = sources @ leaks
        noise = draw.standard_normal(estimates.shape) * estimates.std(0)
        estimates = estimates + 10 ** (case.noise / 20) * noise
        gains = 10 ** (draw.uniform(-case.gain, case.gain, speakers) / 20)
        if case.polarity:
            gains *= draw.choice([-1, 1], speakers)
        if speakers > 1 and draw.uniform() < 2 * case.flips:  # half of them change it
            self.order = draw.permutation(speakers)
        return torch.from_numpy((estimates * gains)[None, :, self.order]).float()


def changes(sources, estimates, seconds=0.5):
    """Counts how often a source moves from one stream to another.

    Arguments
    ---------
    sources, estimates : array
        [T, S]; a window counts for the sources that speak in it.
    """
    size, count = round(seconds * RATE), 0
    last = [None] * sources.shape[1]
    level = (sources**2).mean(0)
    for start in range(0, len(sources) - size + 1, size):
        part = sources[start : start + size]
        products = np.abs(part.T @ estimates[start : start + size])
        for speaker in np.flatnonzero((part**2).mean(0) > 0.1 * level):
            stream = products[speaker].argmax()
            count += last[speaker] not in (None, stream)
            last[speaker] = stream
    return count


def score(sources, estimates):
    """Returns the SI-SDR in dB of the best order of streams."""
    sources, estimates = (
        torch.from_numpy(s.T.copy()).double() for s in (sources, estimates)
    )
    return max(
        si_sdr(estimates[list(order)], sources).mean().item()
        for order in permutations(range(len(sources)))
    )
