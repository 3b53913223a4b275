"""Joins separated chunks: each at its level, every speaker in one stream."""

from itertools import permutations

import numpy as np

from exported.levels import Levels
from exported.voices import Voices

FLOOR = 10**-2.5  # of the usual power: quieter overlaps hardly tell orders apart
MARGIN = 0.05  # least lead in misfit by which the overlap alone decides


def misfit(before, after, floor):
    """Returns how badly estimates of a chunk continue those of the chunk before.

    Both are at their levels in the mixture. Where one speaker is silent, all estimates
    hold the same waveform, as a voice and its leaks, and only their levels tell them
    apart: so nothing here is normalised source by source.

    Arguments
    ---------
    before, after : array
        Estimates of both chunks where they overlap, [T, S].
    floor : float
        Energy that would be nothing to go by.

    Returns
    -------
    float
        Energy of the difference, of both: 0 for equal, 1 for unrelated ones.
    """
    energy = np.sum(before**2) + np.sum(after**2)
    return np.sum((after - before) ** 2) / max(energy + floor, np.finfo(float).tiny)


class Chunks:
    """Finds order and gains of the chunks of one recording, one after the other.

    Arguments
    ---------
    streams : int
        Number of sources, S.
    sample_rate : int
        Rate in Hz.
    """

    def __init__(self, streams, sample_rate):
        self.sample_rate = sample_rate
        self.levels = Levels(streams)
        self.voices = Voices(streams, sample_rate)
        self.order = tuple(range(streams))

    def arrange(self, mixture, estimates, before):
        """Returns the estimates of the next chunk, ordered and scaled.

        The order is that which continues the last chunk best; of several that do so
        about equally, the one in which the voices are those of the streams; if these
        do not tell either, that of the last chunk.

        Arguments
        ---------
        mixture : array
            The chunk, [T].
        estimates : array
            What the model makes of it, [T, S].
        before : array or None
            End of the last chunk's arranged estimates, which this one overlaps; None
            for the first.
        """
        signals = estimates.astype(np.float64)
        gram = signals.T @ signals / len(signals)
        cross = signals.T @ mixture / len(signals)
        spectra = self.voices.spectra(estimates)
        orders = [self.order] if before is None else permutations(self.order)
        found, misfits = {}, {}
        for order in orders:
            found[order] = self.levels.fit(gram[np.ix_(order, order)], cross[[*order]])
            if before is not None:
                after = signals[: len(before), order] * found[order][0]
                floor = FLOOR * self.levels.power.sum() * len(before)
                misfits[order] = misfit(before, after, floor)
        described = {}

        def unlikeness(order):
            described[order] = self.voices.describe(spectra[:, order], found[order][0])
            return np.trace(self.voices.unlikeness(described[order]))

        least = min(misfits.values(), default=0)
        near = [order for order in found if misfits.get(order, 0) <= least + MARGIN]
        order = self.order = min(near, key=lambda o: (unlikeness(o), o != self.order))
        seconds = len(mixture) / self.sample_rate
        self.levels.add(*found[order], np.diag(gram)[[*order]], seconds)
        self.voices.add(described[order])
        return estimates[:, order] * found[order][0].astype(np.float32)


def join_chunks(chunks, overlap, sample_rate):
    """Cross-fades overlapping chunks, each scaled and in the order of the last.

    Triangular weights that sum to one join the chunks, so gains change in a straight
    line from one to the next.

    Arguments
    ---------
    chunks : iterable of (array, array)
        Mixture [T] and estimates [T, S] of each of ``streaming.overlapping_chunks``.
    overlap : int
        Samples shared by neighbours.
    sample_rate : int
        Rate in Hz.

    Yields
    ------
    array
        Consecutive pieces [T, S] of the joined estimates.
    """
    fade = ((np.arange(overlap, dtype=np.float32) + 0.5) / overlap)[:, None]
    tail = arranger = None
    for mixture, estimates in chunks:
        arranger = arranger or Chunks(estimates.shape[1], sample_rate)
        estimates = arranger.arrange(mixture, estimates, tail)
        if tail is not None:
            estimates[:overlap] = tail + fade * (estimates[:overlap] - tail)
        yield estimates[:-overlap]
        tail = estimates[-overlap:]
    yield tail
