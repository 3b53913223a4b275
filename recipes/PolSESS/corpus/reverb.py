"""Plate reverberation of a signal, wet only, in closed form.

The reverberator is the one of J. Dattorro, "Effect Design, Part 1: Reverberator and
Other Filters", J. Audio Eng. Soc. 45(9), 1997, pp. 660-684 (figure 1, tables 1 and 2),
steered by the five parameters of MATLAB's ``reverberator``, which PolSESS uses:

    pre-delay -> high cut -> 4 input diffusers -> tank -> mean of both outputs

The tank has two branches. Each adds the input to what the other branch feeds over, and
passes it through an allpass (decay diffusion 1), a delay, a lowpass (damping), the
decay gain, an allpass (decay diffusion 2), a delay and the decay gain again. Both
outputs are signed sums of taps on these lines.

Decisions, where the paper and MATLAB differ or leave a choice:

- The paper's decay diffusers 1 are modulated; here they keep their nominal lengths, so
  that the reverb is linear and time-invariant and a layer is the same on every run.
- ``diffusion`` is the coefficient of all eight allpasses; the paper suggests 0.75 and
  0.625 (input), 0.70 and 0.50 (decay). Decay diffusion 1 has the opposite sign, as in
  the paper.
- Both decay gains of a branch are 1 - ``decay``: a higher factor is a shorter tail,
  as in MATLAB. Neither this nor the diffusion was compared with MATLAB's own output.
- The high cut is MATLAB's one-pole lowpass, a = exp(-2 pi fc / fs). It is defined for
  any fc > 0; PolSESS' 15-20 kHz lie above half the sample rate of 8 kHz corpora.
- Lengths are scaled from 29761 Hz to the sample rate and rounded to whole samples.

Every block is rational in z, so the transfer function is evaluated per frequency and
the two crossed branches are a 2 x 2 linear system per frequency. To keep a long tail
from wrapping around the FFT, this is done on the circle |z| = r > 1, which is the FFT
of signals weighted by r^-n. What wraps around an FFT of N samples is weighted by
r^-N = ``ALIASING``.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from types import SimpleNamespace

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

# Lengths in samples at the paper's rate; pairs are (left branch, right branch).
REFERENCE_RATE = 29761
INPUT_DIFFUSERS = (142, 107, 379, 277)
DECAY_DIFFUSERS_1 = (672, 908)
DELAYS_1 = (4453, 4217)
DECAY_DIFFUSERS_2 = (1800, 2656)
DELAYS_2 = (3720, 3163)

# Table 2, both outputs together: where each line is tapped, negative if subtracted.
DELAY_1_TAPS = ((353, 3627, -1990), (266, 2974, -2111))
DECAY_DIFFUSER_2_TAPS = ((-187, -1228), (-1913, -335))
DELAY_2_TAPS = ((-1066, 2673), (1996, -121))
# Each output is 0.6 x the sum of its taps; the mean of both takes half of that.
TAP_GAIN = 0.6 / 2
# No path to the outputs is shorter: this tap has only allpasses before it.
SHORTEST_PATH = 266

# Wrapped tail and amplified rounding (1e-16 / ALIASING) are equally small here: an
# error of about 1e-8 of the peak, 160 dB below it, even where the tail never decays.
ALIASING = 1e-8


@dataclass(frozen=True)
class PlateParameters:
    """Parameters of the reverb, named as the columns of a PolSESS corpus.

    Arguments
    ---------
    pre_delay : float
        Seconds before the reverb sets in, 0..1, rounded to whole samples.
    high_cut : float
        Cutoff of the lowpass before the reverb, in Hz, above 0.
    diffusion : float
        Coefficient of the allpasses, 0..1: higher is denser.
    decay : float
        Decay factor, 0..1: higher is a shorter tail. At 0 and without damping the tail
        never ends, at 1 the tank does not feed back.
    freq_damp : float
        Coefficient of the lowpasses in the tank, 0..1: higher is a darker tail. At 1
        they let nothing pass, so that the tank does not feed back.

    Raises
    ------
    ValueError
        If a value is out of its range; names the field, the value and the range.
    """

    pre_delay: float
    high_cut: float
    diffusion: float
    decay: float
    freq_damp: float

    def __post_init__(self):
        for field in ("pre_delay", "diffusion", "decay", "freq_damp"):
            value = getattr(self, field)
            if not 0 <= value <= 1:  # is true of NaN, too
                raise ValueError(f"{field}: {value} is not in the legal range [0, 1]")
        if not 0 < self.high_cut < np.inf:
            raise ValueError(
                f"high_cut: {self.high_cut} Hz is not in the legal range (0, inf)"
            )


def transfer_function(params, sample_rate, size):
    """Returns the mean output over the input, without the pre-delay.

    Arguments
    ---------
    params : PlateParameters
    sample_rate : int
        Hz.
    size : int
        Length of the FFT, of signals weighted by the window.

    Returns
    -------
    numpy.ndarray, [size // 2 + 1], complex128
    """
    lines = _lines(sample_rate, size)
    gain = 1 - params.decay
    high_cut = _lowpass(
        np.exp(-2 * np.pi * params.high_cut / sample_rate), lines.one_sample
    )
    diffusers = _allpass(params.diffusion, lines.input_diffusers).prod(axis=0)
    damping = gain * _lowpass(params.freq_damp, lines.one_sample)

    # From a branch's input to the input and inside of its second allpass, and beyond.
    diffused_1 = _allpass(-params.diffusion, lines.decay_diffusers_1)
    damped = diffused_1 * lines.delays_1 * damping
    inside = damped / (1 + params.diffusion * lines.decay_diffusers_2)
    diffused_2 = inside * (params.diffusion + lines.decay_diffusers_2)

    heard = (
        diffused_1 * lines.delay_1_taps
        + inside * lines.decay_diffuser_2_taps
        + diffused_2 * lines.delay_2_taps
    )
    # A branch's input is u = x + over' u', with u' and over' those of the other branch.
    over = gain * diffused_2 * lines.delays_2
    inputs = (1 + over[::-1]) / (1 - over.prod(axis=0))
    return TAP_GAIN * diffusers * high_cut * (heard * inputs).sum(axis=0)


def plate_reverb(signal, params, sample_rate, transfer=transfer_function):
    """Returns the reverberation of a signal without the signal itself.

    Arguments
    ---------
    signal : array, [time]
        Any real numbers; computed in float64.
    params : PlateParameters
        The reverb's parameters.
    sample_rate : int
        Sample rate of the signal in Hz.
    transfer : callable
        transfer_function, or one that keeps what it returned for parameters that
        differ in their pre-delay only.

    Returns
    -------
    numpy.ndarray, [time], float64
        As long as the signal: what the tail adds after it is cut off.

    Raises
    ------
    ValueError
        If the signal is empty or not of one dimension, or the rate is not positive.
    """
    signal = np.asarray(signal, dtype=np.float64)
    if signal.ndim != 1 or not signal.size:
        raise ValueError(
            f"signal: shape {signal.shape}, expected [time] with at least one sample"
        )
    if sample_rate <= 0:
        raise ValueError(f"sample_rate: {sample_rate} Hz, expected more than 0")
    time = signal.size
    size = next_fast_len(time, real=True)
    window = _lines(sample_rate, size).window[:time]
    spectrum = rfft(signal * window, size)
    spectrum *= transfer(replace(params, pre_delay=0.0), sample_rate, size)
    wet = irfft(spectrum, size)[:time] / window

    # Exactly zero before the first path, where the FFT leaves rounding.
    quiet = _scaled(SHORTEST_PATH, sample_rate)
    onset = round(params.pre_delay * sample_rate) + quiet
    output = np.zeros(time)
    output[onset:] = wet[quiet : quiet + max(0, time - onset)]
    return output


def impulse_response(params, sample_rate, num_samples):
    """Returns the first samples of the reverb's impulse response.

    Arguments
    ---------
    params : PlateParameters
        The reverb's parameters.
    sample_rate : int
        Sample rate in Hz.
    num_samples : int
        How many samples to return, at least 1.

    Returns
    -------
    numpy.ndarray, [num_samples], float64
    """
    return plate_reverb(np.arange(num_samples) == 0, params, sample_rate)


def _scaled(lengths, sample_rate):
    """Returns lengths at the paper's rate as whole samples at another, at least 1."""
    scaled = np.rint(np.abs(lengths) * (sample_rate / REFERENCE_RATE)).astype(int)
    return np.maximum(1, scaled)


@lru_cache(maxsize=4)
def _lines(sample_rate, size):
    """Returns what depends on no parameter: the window and z^-k of all lines and taps.

    Arguments
    ---------
    sample_rate : int
        Sample rate in Hz.
    size : int
        Length of the FFT.

    Returns
    -------
    SimpleNamespace of arrays
        window is [size]; lines are [bins], [diffusers, bins] or [branches, bins].
    """
    bins = np.arange(size // 2 + 1)

    def delayed(samples):
        samples = np.asarray(samples)[..., None]
        # The phase is reduced as an integer: no precision is lost in long delays.
        phase = 2 * np.pi / size * (samples * bins % size)
        return ALIASING ** (samples / size) * np.exp(-1j * phase)

    def line(lengths):
        return delayed(_scaled(lengths, sample_rate))

    def tap(taps):
        return (np.sign(taps)[..., None] * line(taps)).sum(axis=-2)

    return SimpleNamespace(
        window=ALIASING ** (np.arange(size) / size),
        one_sample=delayed(1),
        input_diffusers=line(INPUT_DIFFUSERS),
        decay_diffusers_1=line(DECAY_DIFFUSERS_1),
        delays_1=line(DELAYS_1),
        decay_diffusers_2=line(DECAY_DIFFUSERS_2),
        delays_2=line(DELAYS_2),
        delay_1_taps=tap(DELAY_1_TAPS),
        decay_diffuser_2_taps=tap(DECAY_DIFFUSER_2_TAPS),
        delay_2_taps=tap(DELAY_2_TAPS),
    )


def _allpass(coefficient, delay):
    """Returns (c + z^-k) / (1 + c z^-k), where delay is z^-k."""
    return (coefficient + delay) / (1 + coefficient * delay)


def _lowpass(coefficient, one_sample):
    """Returns (1 - a) / (1 - a z^-1), where one_sample is z^-1."""
    return (1 - coefficient) / (1 - coefficient * one_sample)
