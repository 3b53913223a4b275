"""Tests of the plate reverb against the recursion it solves and its parameters."""

from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.reverb import PlateParameters, impulse_response, plate_reverb

RATE = 8000
ROOM = PlateParameters(
    pre_delay=0.01, high_cut=16000.0, diffusion=0.5, decay=0.4, freq_damp=0.3
)
# The plainest legal plate: pure delays in a lossless loop.
DELAYS = PlateParameters(
    pre_delay=0.0, high_cut=1e6, diffusion=0.0, decay=0.0, freq_damp=0.0
)
unit = st.floats(0.0, 1.0)


def noise(samples, seed=0):
    """Returns white noise."""
    return np.random.default_rng(seed).standard_normal(samples)


def recursive_plate(signal, params, rate):
    """Dattorro's figure 1 and table 2 sample by sample; nodes have his numbers."""

    def k(length):
        return round(length * rate / 29761)

    names = "13 15 19 21 23 24 31 33 46 48 55 59 lp30 lp54 out39 out63".split()
    node = {name: np.zeros(len(signal)) for name in names}

    def past(name, length, n):
        return node[name][n - k(length)] if n >= k(length) else 0.0

    def allpass(name, x, c, length, n):
        delayed = past(name, length, n)
        node[name][n] = x - c * delayed
        return delayed + c * node[name][n]

    gain, c, damp = 1 - params.decay, params.diffusion, params.freq_damp
    cut = np.exp(-2 * np.pi * params.high_cut / rate)
    delay = round(params.pre_delay * rate)
    output, low = np.zeros(len(signal)), 0.0
    for n in range(len(signal)):
        x = signal[n - delay] if n >= delay else 0.0
        low = (1 - cut) * x + cut * low
        x = low
        for name, length in (("13", 142), ("19", 107), ("15", 379), ("21", 277)):
            x = allpass(name, x, c, length, n)
        left = x + gain * past("out63", 3163, n)
        right = x + gain * past("out39", 3720, n)
        node["24"][n] = allpass("23", left, -c, 672, n)
        node["48"][n] = allpass("46", right, -c, 908, n)
        for name, line, length in (("lp30", "24", 4453), ("lp54", "48", 4217)):
            before = node[name][n - 1] if n else 0.0
            node[name][n] = (1 - damp) * past(line, length, n) + damp * before
        node["out39"][n] = allpass("31", gain * node["lp30"][n], c, 1800, n)
        node["out63"][n] = allpass("55", gain * node["lp54"][n], c, 2656, n)
        y_left = past("48", 266, n) + past("48", 2974, n) - past("55", 1913, n)
        y_left += past("out63", 1996, n) - past("24", 1990, n)
        y_left -= past("31", 187, n) + past("out39", 1066, n)
        y_right = past("24", 353, n) + past("24", 3627, n) - past("31", 1228, n)
        y_right += past("out39", 2673, n) - past("48", 2111, n)
        y_right -= past("55", 335, n) + past("out63", 121, n)
        output[n] = (0.6 * y_left + 0.6 * y_right) / 2
    return output


def assert_close(actual, expected, relative=1e-6):
    """Compares with a tolerance relative to the expected peak."""
    assert actual.shape == expected.shape
    peak = np.abs(expected).max()
    assert peak > 0
    assert np.abs(actual - expected).max() <= relative * peak


def decay_time(response, drop_db=40.0):
    """Returns after how many samples the energy to come has fallen by drop_db."""
    to_come = np.cumsum(response[::-1] ** 2)[::-1]
    return int(np.argmax(to_come < to_come[0] * 10 ** (-drop_db / 10)))


def centroid(response):
    """Returns the spectral centroid in Hz."""
    power = np.abs(np.fft.rfft(response)) ** 2
    return (np.fft.rfftfreq(len(response), 1 / RATE) * power).sum() / power.sum()


@pytest.mark.parametrize(
    ("changes", "samples", "rate"),
    [
        ({}, 7919, 8000),  # a prime; one round trip of the tank is 5,800 samples
        ({"pre_delay": 0.1}, 7001, 8000),
        ({"pre_delay": 0.0, "decay": 0.0, "freq_damp": 0.0}, 8000, 8000),
        ({"decay": 0.0, "diffusion": 0.9, "freq_damp": 0.05}, 7919, 8000),
        ({"high_cut": 500.0, "decay": 0.1}, 6007, 8000),
        ({"diffusion": 0.0, "decay": 0.0}, 7000, 8000),
        ({"diffusion": 1.0}, 4001, 8000),
        ({"freq_damp": 1.0}, 4000, 8000),
        ({"decay": 1.0}, 4000, 8000),
        ({}, 5003, 16000),
        ({"decay": 0.0}, 4096, 4000),
    ],
)
def test_equals_the_recursive_filter(changes, samples, rate):
    """The closed form is the recursion, for any length and at the ranges' ends."""
    params = replace(ROOM, **changes)
    signal = noise(samples)
    signal[1000:] = 0.0  # the rest is tail only
    expected = recursive_plate(signal, params, rate)
    assert_close(plate_reverb(signal, params, rate), expected)


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_lines_come_back_after_a_round_trip(decay):
    """Without diffusion and damping each round trip scales by the four gains."""
    response = impulse_response(replace(DELAYS, decay=decay), RATE, 20000)
    lengths = (672, 4453, 1800, 3720, 908, 4217, 2656, 3163)
    trip = sum(round(length * RATE / 29761) for length in lengths)
    # After the first trip, all paths into the tank have been taken.
    before, after = response[trip : 2 * trip], response[2 * trip : 3 * trip]
    assert np.abs(before).max() > 0.01
    np.testing.assert_allclose(after, (1 - decay) ** 4 * before, atol=1e-7)


def test_tail_does_not_wrap_around():
    """A tail that never ends is as if the signal had been long enough for it."""
    params = replace(ROOM, decay=0.0, freq_damp=0.0)
    signal = noise(8000)
    longer = np.concatenate([signal, np.zeros(40000)])
    expected = plate_reverb(longer, params, RATE)[:8000]
    assert_close(plate_reverb(signal, params, RATE), expected, 1e-7)


@pytest.mark.parametrize("diffusion", [0.2, 0.5, 0.8])
def test_impulse_response_decays(diffusion):
    """Energy falls from second to second, by far more than rounding."""
    params = replace(ROOM, diffusion=diffusion, decay=0.2)
    seconds = impulse_response(params, RATE, 6 * RATE).reshape(6, RATE)
    energy = (seconds**2).sum(axis=1)
    assert (energy[1:] < 0.5 * energy[:-1]).all()
    assert energy[-1] < 1e-3 * energy[0]


@pytest.mark.parametrize(("diffusion", "freq_damp"), [(0.5, 0.1), (0.8, 0.5)])
def test_higher_decay_factor_is_a_shorter_tail(diffusion, freq_damp):
    """The decay time falls strictly over the whole range of PolSESS' tables."""
    factors = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.99)
    times = [
        decay_time(
            impulse_response(
                PlateParameters(0.0, 18000.0, diffusion, factor, freq_damp),
                RATE,
                16 * RATE,
            )
        )
        for factor in factors
    ]
    assert all(
        later < sooner for sooner, later in zip(times[:-1], times[1:], strict=True)
    ), times


@pytest.mark.parametrize("shift", [1, 80, 799, 4001])
def test_pre_delay_shifts_by_whole_samples(shift):
    """A pre-delay of k samples moves the response by k samples, bit for bit."""
    signal = noise(6001)
    at_once = plate_reverb(signal, replace(ROOM, pre_delay=0.0), RATE)
    delayed = plate_reverb(signal, replace(ROOM, pre_delay=shift / RATE), RATE)
    assert np.array_equal(delayed[shift:], at_once[:-shift])
    assert not delayed[:shift].any()


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("pre_delay", [0.0, 0.0501])
def test_response_starts_after_pre_delay_and_shortest_path(rate, pre_delay):
    """The first sample that is not zero has come through tap 266 and no other line."""
    params = replace(ROOM, pre_delay=pre_delay)
    response = impulse_response(params, rate, rate)
    first = round(pre_delay * rate) + round(266 * rate / 29761)
    assert np.flatnonzero(response)[0] == first
    # Four allpasses pass 0.5, the tank's first -0.5 and the lowpass almost 1 at once.
    cut = 1 - np.exp(-2 * np.pi * 16000 / rate)
    assert response[first] == pytest.approx(-0.3 * 0.5**5 * cut, rel=1e-6)


def test_pre_delay_beyond_the_end_is_silence():
    """Nothing is heard of a signal that is shorter than the pre-delay."""
    silent = plate_reverb(noise(500), replace(ROOM, pre_delay=1.0), RATE)
    assert silent.shape == (500,)
    assert not silent.any()


def test_damping_darkens_the_tail():
    """The tail's spectral centroid falls as the damping rises."""
    centroids = [
        centroid(
            impulse_response(replace(ROOM, freq_damp=damp), RATE, 2 * RATE)[RATE // 2 :]
        )
        for damp in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
    ]
    assert (np.diff(centroids) < -50).all(), centroids


def test_high_cut_is_a_one_pole_lowpass():
    """The response is that of a plate without high cut, filtered."""
    bright = impulse_response(replace(ROOM, high_cut=1e6), RATE, 8000)
    filtered, state = np.zeros(8000), 0.0
    pole = np.exp(-2 * np.pi * 1000 / RATE)
    for n, value in enumerate(bright):
        state = filtered[n] = (1 - pole) * value + pole * state
    assert_close(impulse_response(replace(ROOM, high_cut=1000.0), RATE, 8000), filtered)


def test_is_linear_and_time_invariant():
    """Sums and shifts of signals are sums and shifts of their reverberations."""
    one, two = noise(9001, 1), noise(9001, 2)
    reverbed = plate_reverb(one, ROOM, RATE)
    both = plate_reverb(2 * one - 3 * two, ROOM, RATE)
    assert_close(both, 2 * reverbed - 3 * plate_reverb(two, ROOM, RATE))
    shifted = np.concatenate([np.zeros(1234), one[:-1234]])
    expected = np.concatenate([np.zeros(1234), reverbed[:-1234]])
    assert_close(plate_reverb(shifted, ROOM, RATE), expected)


def test_is_a_convolution_with_its_impulse_response():
    """An impulse response made beforehand gives the same reverb."""
    signal = noise(5003)
    response = impulse_response(ROOM, RATE, 5003)
    expected = np.convolve(signal, response)[:5003]
    assert_close(plate_reverb(signal, ROOM, RATE), expected)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(unit, st.floats(1e-3, 1e6), unit, unit, unit, st.integers(1, 1500))
def test_equals_the_recursive_filter_for_all_legal_parameters(
    pre_delay, high_cut, diffusion, decay, freq_damp, samples
):
    """No legal parameter and no length makes the closed form diverge."""
    params = PlateParameters(pre_delay, high_cut, diffusion, decay, freq_damp)
    signal = noise(samples)
    reverbed = plate_reverb(signal, params, 1000)  # 1,500 samples: two round trips
    assert reverbed.dtype == np.float64
    expected = recursive_plate(signal, params, 1000)
    np.testing.assert_allclose(reverbed, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("diffusion", [0.0, 1.0])
@pytest.mark.parametrize("decay", [0.0, 1.0])
@pytest.mark.parametrize("freq_damp", [0.0, 1.0])
def test_is_finite_at_the_corners(diffusion, decay, freq_damp):
    """Four seconds at the ends of all ranges together stay finite and in bounds."""
    params = PlateParameters(0.0, 20000.0, diffusion, decay, freq_damp)
    response = impulse_response(params, RATE, 4 * RATE)
    assert np.isfinite(response).all()
    assert 0 < np.abs(response).max() <= 1


def test_is_deterministic():
    """The same input gives the same bits, whatever was computed in between."""
    signal = noise(4001)
    kept = signal.copy()
    first = plate_reverb(signal, ROOM, RATE)
    plate_reverb(noise(4003), replace(ROOM, diffusion=0.9), 16000)
    assert plate_reverb(signal, ROOM, RATE).tobytes() == first.tobytes()
    assert np.array_equal(signal, kept)


@pytest.mark.parametrize("samples", [1, 2, 72, 997, 2001, 7919])
def test_first_samples_do_not_depend_on_the_length(samples):
    """Any length, odd or prime, is the beginning of a longer reverb."""
    signal = noise(10007)
    params = replace(ROOM, pre_delay=0.0)
    longer = plate_reverb(signal, params, RATE)
    shorter = plate_reverb(signal[:samples], params, RATE)
    assert shorter.shape == (samples,)
    np.testing.assert_allclose(shorter, longer[:samples], atol=1e-7)


@pytest.mark.parametrize("field", ["pre_delay", "diffusion", "decay", "freq_damp"])
@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan"), float("inf")])
def test_refuses_values_out_of_range(field, value):
    """Errors name the field, the value and the legal range."""
    with pytest.raises(ValueError, match=rf"{field}: {value} .*\[0, 1\]"):
        replace(ROOM, **{field: value})


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_refuses_a_bad_high_cut(value):
    """The cutoff has to be positive and finite."""
    with pytest.raises(ValueError, match=rf"high_cut: {value} Hz .*\(0, inf\)"):
        replace(ROOM, high_cut=value)


def test_accepts_the_ends_of_the_ranges():
    """Zero and one are legal."""
    assert astuple(PlateParameters(1, 20000, 1, 1, 1)) == (1, 20000, 1, 1, 1)
    assert astuple(PlateParameters(0, 1, 0, 0, 0)) == (0, 1, 0, 0, 0)


def test_refuses_bad_signals_and_rates():
    """A batch, an empty signal and a rate of zero are errors, not surprises."""
    for signal in (np.zeros((2, 100)), np.zeros(0)):
        with pytest.raises(ValueError, match="signal: shape"):
            plate_reverb(signal, ROOM, RATE)
    with pytest.raises(ValueError, match="sample_rate: 0"):
        plate_reverb(np.zeros(100), ROOM, 0)
