"""Tells which stream a voice belongs to by its spectrum, with nothing learnt before.

A voice is described by the mean and the covariance of its mel cepstra while it speaks
and is louder than the other streams; two of them are compared by the distance of their
means in units of the covariance they share (Mahalanobis).
"""

import numpy as np

FRAME_SECONDS = 0.032
BANDS = 24
LOWEST, HIGHEST = 50.0, 0.475  # Hz; of the sample rate
COEFFICIENTS = 20  # without the first, which is the level
ACTIVE_DB = -25.0  # of a chunk's loud frames
LEAST_FRAMES = 10
RIDGE = 0.01  # of the mean variance
# The distance at which two samples of n and m frames are as likely to be of one speaker
# as of two: SAME + SCATTER * (1 / n + 1 / m). See benchmarks/speaker_order.py.
SAME, SCATTER = 3.0, 200.0
UNKNOWN = 0.5


def mel_bands(size, sample_rate):
    """Returns triangular weights [bins, BANDS] of a power spectrum of ``size``."""
    ends = np.array([LOWEST, HIGHEST * sample_rate])
    mels = np.linspace(*np.log1p(ends / 700), BANDS + 2)
    edges = 700 * np.expm1(mels)
    bins = np.fft.rfftfreq(size, 1 / sample_rate)[:, None]
    rise = (bins - edges[:-2]) / np.diff(edges)[:-1]
    fall = (edges[2:] - bins) / np.diff(edges)[1:]
    return np.maximum(0, np.minimum(rise, fall))


class Voices:
    """What each stream of a recording has held so far; its size does not grow.

    Arguments
    ---------
    streams : int
        Number of sources, S.
    sample_rate : int
        Rate in Hz.
    """

    def __init__(self, streams, sample_rate):
        self.size = round(FRAME_SECONDS * sample_rate)
        self.bands = mel_bands(self.size, sample_rate)
        places = (
            np.pi
            / BANDS
            * np.outer(np.arange(BANDS) + 0.5, np.arange(1, COEFFICIENTS + 1))
        )
        self.cosines = np.cos(places) * np.sqrt(2 / BANDS)
        self.known = [None] * streams

    def spectra(self, estimates):
        """Returns power in bands [frames, S, BANDS] of estimates [T, S]."""
        if len(estimates) < self.size:
            return np.zeros((0, estimates.shape[1], BANDS))
        frames = np.lib.stride_tricks.sliding_window_view(estimates, self.size, axis=0)
        frames = frames[:: self.size // 2] * np.hanning(self.size).astype(np.float32)
        return np.abs(np.fft.rfft(frames)) ** 2 @ self.bands

    def describe(self, spectra, gains):
        """Returns what the sources of a chunk sound like.

        Arguments
        ---------
        spectra : array
            As from ``spectra``.
        gains : array
            Of the estimates, [S]: they say which source is louder.

        Returns
        -------
        list of (int, array, array) or None
            Number of frames, sum of their cepstra, sum of the cepstra's outer products
            of each source; None for one that does not speak.
        """
        powers = spectra.sum(2) * gains**2
        count = len(powers) // 10 + 1
        loud = np.sort(powers.max(1))[-count:].sum() / count
        speaks = powers > loud * 10 ** (ACTIVE_DB / 10)
        speaks &= powers == powers.max(1, keepdims=True)
        described = []
        for source, chosen in enumerate(speaks.T):
            if chosen.sum() < LEAST_FRAMES:
                described.append(None)
                continue
            bands = spectra[chosen, source]
            cepstra = np.log(bands + 1e-6 * bands.mean()) @ self.cosines
            described.append((len(cepstra), cepstra.sum(0), cepstra.T @ cepstra))
        return described

    def unlikeness(self, described):
        """Returns how unlike each stream's voice each described one is, in 0..1.

        Of shape [S, S], streams first; UNKNOWN where one of the two has not spoken and
        where the same voice is as likely as another.
        """
        return np.array(
            [[self._compare(known, new) for new in described] for known in self.known]
        )

    def add(self, described):
        """Counts voices described in the streams' order."""
        for stream, new in enumerate(described):
            if new and self.known[stream]:
                new = tuple(a + b for a, b in zip(self.known[stream], new, strict=True))
            self.known[stream] = new or self.known[stream]

    def _compare(self, known, new):
        """Returns the unlikeness of two voices."""
        if not (known and new):
            return UNKNOWN
        away = known[1] / known[0] - new[1] / new[0]
        scatter = sum(outer - np.outer(s, s) / n for n, s, outer in (known, new))
        covariance = scatter / (known[0] + new[0])
        ridge = RIDGE * np.trace(covariance) / COEFFICIENTS
        covariance += ridge * np.eye(COEFFICIENTS)
        distance = away @ np.linalg.solve(covariance, away)
        even = SAME + SCATTER * (1 / known[0] + 1 / new[0])
        return distance / (distance + even)
