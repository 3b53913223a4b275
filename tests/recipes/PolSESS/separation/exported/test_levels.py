"""Gains are those of the mixture; leaks, residue and silence are never amplified."""

import numpy as np
import pytest

from exported.levels import Levels, fit_gains, independent


def products(estimates, mixture):
    """Returns mean products of estimates [T, S] with each other and the mixture [T]."""
    return estimates.T @ estimates / len(mixture), estimates.T @ mixture / len(mixture)


@pytest.fixture
def voices():
    """Two unrelated signals [T, 2] of power 1."""
    return np.random.default_rng(0).standard_normal((4000, 2))


def heard(voices, chunks=8, gains=(1.0, 1.0)):
    """Returns Levels that have heard both voices for some chunks of 8 s."""
    levels = Levels(2)
    for _ in range(chunks):
        gram, cross = products(voices / gains, voices.sum(1))
        levels.add(*levels.fit(gram, cross), np.diag(gram), 8)
    return levels


@pytest.mark.parametrize("wanted", [[0.3, 2.0], [0.3, -2.0], [-0.3, -2.0]])
def test_gains_are_least_squares(voices, wanted):
    gram, cross = products(voices, voices @ wanted)
    np.testing.assert_allclose(fit_gains(gram, cross), wanted, rtol=1e-5)
    gains, fitted = Levels(2).fit(gram, cross)
    np.testing.assert_allclose(gains, wanted, rtol=1e-5)
    assert fitted.all()


def test_silence_gets_no_gain(voices):
    assert (fit_gains(np.zeros((2, 2)), np.zeros(2)) == 0).all()
    gram, _ = products(voices, voices.sum(1))
    for levels in (Levels(2), heard(voices)):
        for power in (np.zeros((2, 2)), gram, 1e-12 * gram):
            assert (levels.fit(power, np.zeros(2))[0] == 0).all()


def test_what_a_model_makes_of_near_silence_stays_below_it(voices):
    silence = 1e-4 * voices[::-1].sum(1)
    garbage = 0.1 * voices
    gram, cross = products(garbage, silence)
    gains, _ = heard(voices).fit(gram, cross)
    assert (gains**2 * np.diag(gram) <= np.mean(silence**2)).all()


def test_gains_of_alike_estimates_stay_small(voices):
    voice, noise = voices.T
    equal = np.stack([voice, voice], axis=1)
    for fit in (fit_gains, lambda *pair: Levels(2).fit(*pair)[0]):
        np.testing.assert_allclose(fit(*products(equal, voice)), [0.5, 0.5], rtol=1e-5)
    alike = np.stack([voice, voice + 0.01 * noise], axis=1)
    gains = fit_gains(*products(alike, alike @ [11, -10]))  # one would be subtracted
    np.testing.assert_allclose(gains, [1, 0], atol=0.05)


@pytest.mark.parametrize("scale", [1, -1, 0.1])
def test_leaks_are_told_from_voices_by_what_is_their_own(voices, scale):
    leaks = np.column_stack([voices, scale * voices @ [0.2, 0.1]])
    gram = leaks.T @ leaks
    mask = independent(gram, np.sqrt(np.diag(gram)))
    assert mask.tolist() == [True, True, False]
    assert independent(gram[:2, :2], np.ones(2)).all()


def test_a_leak_with_a_clean_waveform_does_not_win(voices):
    """Of a noisy voice and its clean leak, least squares would take the leak."""
    voice, noise = voices.T
    estimates = np.stack([voice + 0.2 * noise, 0.25 * voice], axis=1)
    gram, cross = products(estimates, voice)
    assert fit_gains(gram, cross)[1] > 3.5
    for levels in (Levels(2), heard(voices)):
        gains, fitted = levels.fit(gram, cross)
        assert fitted.tolist() == [True, False]
        assert 0.85 < gains[0] < 1 and 0 < gains[1] <= 1.01


@pytest.mark.parametrize("usual", [(1.0, 1.0), (0.2, 5.0)])
def test_residue_keeps_the_usual_gain(voices, usual):
    """Noise left in a silent stream would explain the noise of the mixture."""
    voice, noise = voices.T
    levels = heard(voices, gains=usual)
    estimates = np.stack([voice, 0.05 * noise], axis=1) / usual
    gram, cross = products(estimates, voice + 0.3 * noise)
    assert fit_gains(gram, cross)[1] > 5 * usual[1]
    gains, fitted = levels.fit(gram, cross)
    np.testing.assert_allclose(gains, usual, rtol=0.05)
    assert fitted.tolist() == [True, False]


def test_a_single_stream_does_not_bring_noise_back(voices):
    """Enhancement: one estimate, and a chunk in which nobody speaks."""
    voice, noise = voices.T
    levels = Levels(1)
    for _ in range(4):
        gram, cross = products(voice[:, None], voice + 0.3 * noise)
        levels.add(*levels.fit(gram, cross), np.diag(gram), 8)
    gram, cross = products(0.03 * noise[:, None], 0.3 * noise)
    np.testing.assert_allclose(levels.fit(gram, cross)[0], 1, rtol=0.05)


def test_gains_that_always_stray_are_fitted_where_steady_ones_are_held(voices):
    quiet = voices * [1, 0.15]  # 16 dB below the usual
    steady, straying = heard(voices), Levels(2)
    for chunk in range(8):
        scales = 10 ** (np.random.default_rng(chunk).uniform(-1, 1, 2) * 0.5)
        gram, cross = products(voices * scales, voices.sum(1))
        straying.add(*straying.fit(gram, cross), np.diag(gram), 8)
    pair = products(quiet, voices.sum(1))
    assert steady.fit(*pair)[1].tolist() == [True, False]
    gains, fitted = straying.fit(*pair)
    assert fitted.all()
    np.testing.assert_allclose(gains, [1, 1 / 0.15], rtol=1e-4)
