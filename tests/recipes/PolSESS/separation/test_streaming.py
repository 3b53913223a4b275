"""Streams give what whole signals would: resampled, cut, and joined in order."""

import math

import numpy as np
import pytest
from scipy.signal import resample_poly

from streaming import join_chunks, overlapping_chunks, resample


@pytest.mark.parametrize("rates", [(44100, 8000), (8000, 44100), (16000, 8000)])
@pytest.mark.parametrize("frames", [1, 700, 1_000_003])
def test_resampled_stream_is_the_resampled_signal(rates, frames):
    signal = np.random.default_rng(0).standard_normal(frames).astype(np.float32)
    blocks = np.array_split(signal, 7)
    pieces = list(resample(blocks, *rates))
    divisor = math.gcd(*rates)
    whole = resample_poly(signal, rates[1] // divisor, rates[0] // divisor)
    assert frames < 1_000_000 or len(pieces) > 1
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-6)


@pytest.mark.parametrize("frames", [1, 25, 99, 100, 101, 175, 176, 1000])
def test_chunks_cover_everything_and_join_to_the_same(frames):
    signal = np.arange(1, frames + 1, dtype=np.float32)
    chunks = list(overlapping_chunks(np.array_split(signal, 3), 100, 25))
    assert all(len(chunk) <= 100 for chunk in chunks)
    pairs = ((chunk, np.stack([chunk, -chunk], axis=1)) for chunk in chunks)
    mixture, estimates = zip(*join_chunks(pairs, 25), strict=True)
    np.testing.assert_array_equal(np.concatenate(mixture), signal)
    np.testing.assert_allclose(np.concatenate(estimates)[:, 0], signal, rtol=1e-6)


def test_near_silent_joints_do_not_decide_the_order():
    speech = np.random.default_rng(0).standard_normal((100, 2)).astype(np.float32)
    first, second = speech[:60].copy(), speech[40:].copy()
    first[40:] *= 1e-4
    second[:20] = first[40:, ::-1]  # what is left of both speakers, exchanged
    pairs = [(first.sum(1), first), (second.sum(1), second)]
    joined = np.concatenate([piece for _, piece in join_chunks(pairs, 20)])
    np.testing.assert_array_equal(joined[60:], speech[60:])


def test_ambiguous_joints_keep_the_last_clear_order():
    speech = np.random.default_rng(0).standard_normal((140, 2)).astype(np.float32)
    speech[80:100, 1] = speech[80:100, 0] + 0.1 * speech[80:100, 1]  # either fits
    chunks = [speech[:60], speech[40:100, ::-1], speech[80:, ::-1].copy()]
    chunks[2][:20] = speech[80:100]  # and the wrong order a little better
    pairs = [(chunk.sum(1), chunk) for chunk in chunks]
    joined = np.concatenate([piece for _, piece in join_chunks(pairs, 20)])
    np.testing.assert_allclose(joined[:80], speech[:80], atol=1e-6)
    np.testing.assert_allclose(joined[100:], speech[100:], atol=1e-6)
