"""Speakers stay in their streams, at their levels, whatever each chunk does.

A simulated separator puts known sources out in another order, at another level and with
other polarity in each chunk; see ``simulated``.
"""

import numpy as np
import pytest
from simulated import RATE, Case, Simulated, changes, conversation, score, voice

from exported.joining import join_chunks

FILES = 12
# Conversation -> the least mean SI-SDR in dB. A leak of -12 dB alone leaves 12 dB, to
# which turns add where a leak's source is silent for a chunk.
SOMEBODY_SPEAKS = {
    "turns of 10 s, leak -12 dB": (Case(), 11.4),
    "turns of 10 s, leak -20 dB": (Case(leak=-20), 19.4),
    "turns of 2 to 6 s, 20 % flips, 3 dB": (Case((2, 6), flips=0.2, gain=3), 9.9),
    "any order and polarity, 6 dB": (Case((2, 6), gain=6, polarity=True), 9.9),
    "pauses of 1 s": (Case((2, 6), pause=1, gain=3), 9.9),
    "turns of 10 s, pauses of 1 s": (Case(pause=1, gain=3), 9.9),
    "noisy estimates, turns of 10 s": (Case(noise=-15, gain=3), 8),
    "noisier estimates": (Case((2, 6), noise=-10, gain=3), 7),
    "three speakers, turns of 10 s": (Case(speakers=3), 8),
    "three speakers, turns of 2 to 6 s": (Case((2, 6), speakers=3, gain=3), 8),
}
ALL_ARE_SILENT = {
    "silence of 3 s": (Case((4, 8), pause=3), 11.4),
    "silence of 10 s": (Case((6, 10), pause=10), 11.4),
    "silence of 10 s, leak -20 dB": (Case((6, 10), pause=10, leak=-20, gain=3), 19.4),
}
CASES = SOMEBODY_SPEAKS | ALL_ARE_SILENT


@pytest.mark.parametrize("name", CASES)
def test_speakers_keep_their_streams(name):
    case, least = CASES[name]
    scores = []
    for file in range(FILES):
        sources = conversation(case, file)
        separator = Simulated(sources, case, file)
        estimates = separator.separate(sources.sum(axis=1), RATE)
        assert separator.chunks > 1
        assert changes(sources, estimates) == 0, f"file {file}"
        scores.append(score(sources, estimates))
    assert np.mean(scores) >= least


def test_the_simulation_sees_what_goes_wrong():
    """Chunks set one after the other, as the separator gives them, are no result."""
    case = Case()
    sources = conversation(case, 0)
    separator, hop = Simulated(sources, case, 0), 6 * RATE
    parts = []
    for start in range(0, len(sources), hop):
        chunk = np.zeros((1, len(sources[start : start + hop])), np.float32)
        parts.append(separator.estimate(chunk)[0].numpy())
    assert changes(sources, np.concatenate(parts)) > 2
    assert score(sources, np.concatenate(parts)) < 3
    assert changes(sources, sources) == 0 and score(sources, sources) > 99


def dialogue(file):
    """Returns two voices [T, 2] who talk at the same time all the time."""
    return np.stack([voice(0, file), voice(1, file)], axis=1).astype(np.float32)


@pytest.mark.parametrize("leak, gain", [(-np.inf, 10), (-20, 10), (-12, 10)])
def test_levels_and_polarity_are_the_same_throughout(leak, gain):
    for file in range(3):
        sources = dialogue(file)
        case = Case(leak=leak, gain=gain, polarity=True)
        estimates = Simulated(sources, case, file).separate(sources.sum(axis=1), RATE)
        matches = np.abs(sources.T @ estimates)
        seconds = sources.reshape(-1, RATE, 2), estimates.reshape(-1, RATE, 2)
        for source, stream in enumerate(matches.argmax(axis=1)):
            true, found = seconds[0][..., source], seconds[1][..., stream]
            gains = (true * found).sum(1) / (true**2).sum(1)
            decibels = 20 * np.log10(gains)  # NaN if inverted
            assert np.abs(decibels - decibels.mean()).max() < 0.5
            # Estimates with leaks sum to more than the mixture at their own levels.
            assert decibels.mean() == pytest.approx(
                -20 * np.log10(1 + 10 ** (leak / 20)), abs=0.3
            )


def test_chunks_are_joined_along_a_straight_line():
    source, error = np.random.default_rng(0).standard_normal((2, 500, 1))
    estimates = [(source + error)[:300], (source - error)[200:]]
    mixtures = [source[:300, 0], source[200:, 0]]
    chunks = zip(mixtures, [estimate.copy() for estimate in estimates], strict=True)
    result = np.concatenate(list(join_chunks(chunks, 100, RATE)))
    first, second = (
        estimate * (estimate[:, 0] @ mixture) / (estimate**2).sum()
        for mixture, estimate in zip(mixtures, estimates, strict=True)
    )
    fade = (np.arange(100)[:, None] + 0.5) / 100
    between = (1 - fade) * first[200:] + fade * second[:100]
    expected = np.concatenate([first[:200], between, second[100:]])
    np.testing.assert_allclose(result, expected, atol=1e-5)


def test_residue_of_a_silent_speaker_is_not_amplified():
    """The model removes noise; where nobody speaks, it must not come back."""
    draw = np.random.default_rng(0)
    sources = dialogue(0).copy()
    sources[24 * RATE : 40 * RATE] = 0
    noise = 0.03 * draw.standard_normal((len(sources), 1)).astype(np.float32)

    class Denoiser(Simulated):
        def estimate(self, mixtures):
            start = self.chunks * self.hop
            residue = 0.1 * noise[start : start + mixtures.shape[1]]
            return super().estimate(mixtures) + residue.astype(np.float32)

    case = Case(leak=-20, gain=1)
    mixture = sources.sum(axis=1) + noise[:, 0]
    estimates = Denoiser(sources, case).separate(mixture, RATE)
    silence = slice(26 * RATE, 38 * RATE)
    level = 10 * np.log10((estimates[silence] ** 2).mean() / (noise**2).mean())
    assert -25 < level < -17  # 0.1 times the noise, shared or not


def joined(chunks, overlap, rate=8000):
    """Returns chunks of estimates [T, S] joined, with their sums as mixtures."""
    pairs = [(chunk.sum(1), chunk.copy()) for chunk in chunks]
    return np.concatenate(list(join_chunks(pairs, overlap, rate)))


@pytest.mark.parametrize("frames", [60, 61, 101, 500])
def test_joining_what_was_cut_gives_it_again(frames):
    signals = np.random.default_rng(0).standard_normal((frames, 2)).astype(np.float32)
    starts = range(0, max(1, frames - 20), 40)
    chunks = [signals[start : start + 60] for start in starts]
    np.testing.assert_allclose(joined(chunks, 20), signals, atol=1e-5)


def test_near_silent_joints_do_not_decide_the_order():
    speech = np.random.default_rng(0).standard_normal((100, 2)).astype(np.float32)
    first, second = speech[:60].copy(), speech[40:].copy()
    first[40:] *= 1e-4
    second[:20] = first[40:, ::-1]  # what is left of both speakers, exchanged
    result = joined([first, second], 20)
    np.testing.assert_allclose(result[60:], speech[60:], atol=1e-5)


def test_ambiguous_joints_keep_the_last_clear_order():
    speech = np.random.default_rng(0).standard_normal((140, 2)).astype(np.float32)
    speech[80:100, 1] = speech[80:100, 0] + 0.1 * speech[80:100, 1]  # either fits
    chunks = [speech[:60], speech[40:100, ::-1], speech[80:, ::-1].copy()]
    chunks[2][:20] = speech[80:100]  # and the wrong order a little better
    result = joined(chunks, 20)
    np.testing.assert_allclose(result[:80], speech[:80], atol=1e-5)
    np.testing.assert_allclose(result[100:], speech[100:], atol=1e-5)
