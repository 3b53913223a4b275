"""Streams give what whole signals would: resampled and cut."""

import math

import numpy as np
import pytest
from scipy.signal import resample_poly

from exported.streaming import overlapping_chunks, resample


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
def test_chunks_cover_everything_once_but_for_the_overlaps(frames):
    signal = np.arange(1, frames + 1, dtype=np.float32)
    chunks = list(overlapping_chunks(np.array_split(signal, 3), 100, 25))
    assert all(len(chunk) <= 100 for chunk in chunks)
    for before, after in zip(chunks, chunks[1:], strict=False):
        np.testing.assert_array_equal(before[-25:], after[:25])
        assert len(after) > 25
    new = [chunks[0], *(chunk[25:] for chunk in chunks[1:])]
    np.testing.assert_array_equal(np.concatenate(new), signal)
