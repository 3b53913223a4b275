"""Scales what a model puts out to the level it has in the mixture, chunk by chunk.

SI-SDR leaves the scale of an estimate free, its polarity included, and nothing makes a
model keep to one. Estimates are therefore scaled so that they sum to the mixture as
well as they can, never to their own peak.
"""

import numpy as np
import scipy.optimize

RIDGE = 1e-10  # of the estimates' energy: of equal estimates, each gets its share
# How far below its usual level (dB) a source counts as silent: where gains have been
# steady, and what is added to it for each dB of their standard deviation.
SILENT_DB, SILENT_DB_PER_DB = 8.0, 3.0
SPREAD_DB, SPREAD_SECONDS = 6.0, 8.0  # assumed of the gains, and the weight of that
ALIKE = 0.9  # correlation from which on estimates hold the same waveform
TINY = np.finfo(float).tiny


def fit_gains(gram, cross):
    """Finds the gains with which the estimates sum best to the mixture.

    A source sounds in its mixture as it is, not inverted, so the gain's sign is that
    which makes an estimate correlate positively with the mixture. No estimate
    may then be subtracted to correct another.

    Arguments
    ---------
    gram : array
        Inner products of the estimates with each other, [S, S].
    cross : array
        Inner products of the estimates with the mixture, [S].

    Returns
    -------
    array
        Gains [S], the ridge-regularised least-squares solution of these signs; zeros
        for silent estimates or a silent mixture.
    """
    ridge = RIDGE * np.trace(gram)
    if not ridge:
        return np.zeros(len(cross))
    signs = np.where(cross < 0, -1.0, 1.0)
    gram = gram * np.outer(signs, signs) + ridge * np.eye(len(cross))
    factor = np.linalg.cholesky(gram)
    target = np.linalg.solve(factor, signs * cross)
    return signs * scipy.optimize.nnls(factor.T, target)[0]


def independent(gram, levels):
    """Returns which estimates hold more than leaks of louder ones, a mask [S].

    Arguments
    ---------
    gram : array
        Inner products of the estimates with each other, [S, S].
    levels : array
        How loud they are at their usual gains, [S].
    """
    chosen = []
    for estimate in np.argsort(-levels, kind="stable"):
        own = gram[estimate, estimate]
        if chosen:
            among = gram[np.ix_(chosen, chosen)]
            shared = gram[chosen, estimate]
            own -= shared @ np.linalg.lstsq(among, shared, rcond=RIDGE)[0]
        if own > (1 - ALIKE**2) * gram[estimate, estimate]:
            chosen.append(estimate)
    return np.isin(np.arange(len(gram)), chosen)


class Levels:
    """The gains and powers that each stream of a recording usually has.

    A source that is silent in a chunk leaves residue there: leaks of the others, and
    noise. Scaling that to the mixture would bring back what the model removed. So the
    gains are fitted without estimates that are leaks of others and those that, at their
    source's usual gain, are far below its usual power. These keep that gain; leaks of a
    source that was not heard yet get less, the lower they are.

    Arguments
    ---------
    streams : int
        Number of sources, S.
    """

    def __init__(self, streams):
        # Sums and means over chunks weigh each by the source's energy in it.
        self.weight = np.zeros(streams)
        self.gain_db = np.zeros(streams)
        self.deviations = np.zeros(streams)  # of gain_db, squared
        self.power = np.zeros(streams)

    def fit(self, gram, cross):
        """Finds the gains of a chunk whose estimates are in the streams' order.

        Arguments
        ---------
        gram, cross : array
            As those of ``fit_gains``, divided by the number of samples.

        Returns
        -------
        gains : array
            [S]
        fitted : array
            Mask [S]: whose gains the mixture determines.
        """
        known = self.weight > 0
        typical = self.gain_db[known].mean() if known.any() else 0.0
        usual = 10 ** (np.where(known, self.gain_db, typical) / 20)
        assumed = self.power * SPREAD_SECONDS
        spread = np.sqrt(
            (assumed * SPREAD_DB**2 + self.deviations)
            / np.maximum(assumed + self.weight, TINY)
        )
        depth = 10 ** (-(SILENT_DB + SILENT_DB_PER_DB * spread) / 10)
        powers = np.diag(gram)
        levels = usual * np.sqrt(powers)
        audible = np.flatnonzero(levels**2 > depth * self.power)
        fitted = np.zeros(len(cross), bool)
        inner = gram[np.ix_(audible, audible)]
        fitted[audible] = independent(inner, levels[audible])
        # No more than the whole mixture would ask for, so silence stays silence.
        most = np.abs(cross) / np.maximum(powers, TINY)
        gains = np.sign(cross) * np.minimum(usual, most)
        gains[~known] *= levels[~known] / max(levels.max(), TINY)
        own = np.flatnonzero(fitted)
        gains[own] = fit_gains(gram[np.ix_(own, own)], cross[own])
        counted = fitted | ~known  # estimates that are all alike share the mixture
        whole = gains[counted] @ gram[np.ix_(counted, counted)] @ gains[counted]
        part = gains[counted] @ cross[counted] / max(whole, TINY)
        gains[counted] *= min(1.0, part)
        return gains, fitted

    def add(self, gains, fitted, powers, seconds):
        """Counts a chunk: what ``fit`` returned, the estimates' power and length."""
        heard = fitted & (gains != 0)
        power = gains[heard] ** 2 * powers[heard]
        weight = power * seconds
        decibels = 20 * np.log10(np.abs(gains[heard]))
        total = self.weight[heard] + weight
        away = decibels - self.gain_db[heard]
        self.deviations[heard] += self.weight[heard] * weight / total * away**2
        self.gain_db[heard] += weight / total * away
        self.power[heard] += weight / total * (power - self.power[heard])
        self.weight[heard] = total
