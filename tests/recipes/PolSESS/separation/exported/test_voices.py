"""A voice is known again by its spectrum, whatever its level."""

import numpy as np
import pytest
from simulated import RATE, voice

from exported.voices import LEAST_FRAMES, UNKNOWN, Voices

SECOND = RATE
ONES = np.ones(2)


def said(numbers, file, start, seconds):
    """Returns what voices say in a part of a file, [T, 2]; silence for None."""
    part = slice(round(start * SECOND), round((start + seconds) * SECOND))
    silence = np.zeros(round(seconds * SECOND))
    return np.stack(
        [silence if n is None else voice(n, file)[part] for n in numbers], axis=1
    )


def described(voices, estimates, gains=ONES):
    return voices.describe(voices.spectra(estimates), gains)


@pytest.mark.parametrize("gain", [1, 0.01, 30])
def test_voices_are_known_again(gain):
    voices = Voices(2, RATE)
    voices.add(described(voices, said((0, 1), 0, 0, 8)))
    for numbers, expected in (((0, 1), np.eye(2)), ((1, 0), 1 - np.eye(2))):
        unlike = voices.unlikeness(described(voices, gain * said(numbers, 1, 20, 4)))
        assert ((unlike < UNKNOWN) == (expected == 1)).all()


def test_who_is_silent_or_unheard_is_unknown():
    voices = Voices(2, RATE)
    voices.add(described(voices, said((0, None), 0, 0, 8)))
    assert voices.known[0] and voices.known[1] is None
    unlike = voices.unlikeness(described(voices, said((None, 1), 0, 10, 4)))
    assert (unlike[:, 0] == UNKNOWN).all() and unlike[1, 1] == UNKNOWN
    assert unlike[0, 1] > UNKNOWN
    unlike = voices.unlikeness(described(voices, said((None, 0), 0, 10, 4)))
    assert unlike[0, 1] < UNKNOWN


def test_leaks_and_quiet_frames_are_no_voice():
    voices = Voices(2, RATE)
    lone = said((0, None), 0, 0, 4)
    first, second = described(voices, lone + 0.25 * lone[:, ::-1])
    assert first[0] > 100 and second is None
    # The gains say which is the leak, not the levels that a model happens to give.
    scaled = (lone + 0.25 * lone[:, ::-1]) / [10, 0.1]
    first, second = described(voices, scaled, np.array([10, 0.1]))
    assert first[0] > 100 and second is None


def test_too_short_for_a_voice():
    voices = Voices(2, RATE)
    assert described(voices, np.ones((10, 2))) == [None, None]
    assert described(voices, np.zeros((SECOND, 2))) == [None, None]
    words = said((0, None), 0, 0, LEAST_FRAMES * voices.size / 2 / RATE)
    assert described(voices, words) == [None, None]


def test_what_is_known_of_voices_does_not_grow():
    voices = Voices(2, RATE)
    for start in range(0, 40, 8):
        voices.add(described(voices, said((0, 1), 0, start, 8)))
    whole = Voices(2, RATE)
    parts = [described(whole, said((0, 1), 0, start, 8)) for start in range(0, 40, 8)]
    for stream in range(2):
        frames = [part[stream] for part in parts]
        for known, *pieces in zip(voices.known[stream], *frames, strict=True):
            np.testing.assert_allclose(known, sum(pieces))
