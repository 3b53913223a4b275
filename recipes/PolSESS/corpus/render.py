"""From a row's plan to its layers and their sum, the mix, as 16-bit samples."""

from functools import lru_cache
from math import gcd
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import firwin, resample_poly

from corpus.reverb import plate_reverb

LIMIT = 0.999  # hard limit of every component and of the mix
SILENCE_RMS = 1e-3  # -60 dBFS: a quieter speech segment counts as silent
FULL_SCALE = 32768  # of 16-bit samples

LAYERS = (
    "clean1",
    "clean2",
    "sp1_reverb",
    "sp2_reverb",
    "scene",
    "event",
    "ev_reverb",
)


def rms(signal):
    """Returns the root mean square of a signal."""
    return float(np.sqrt(np.mean(np.square(signal))))


def read_segment(segment, folder, sample_rate):
    """Reads a segment, mixed down to mono, at the corpus' rate.

    Arguments
    ---------
    segment : Segment
    folder : str or Path
        Where relative source paths start.
    sample_rate : int
        Of the corpus, Hz.

    Returns
    -------
    numpy.ndarray
        float64, [round(seconds * sample_rate)].

    Raises
    ------
    ValueError
        Naming the file that could not be read in full.
    """
    pieces, missing, skip = [], segment.frames, segment.start
    for clip in segment.clips:
        path = Path(folder) / clip.path
        try:
            with soundfile.SoundFile(str(path)) as file:
                file.seek(skip)
                piece = file.read(missing, dtype="float64", always_2d=True)
        except (RuntimeError, OSError) as error:
            raise ValueError(
                f"{path}: cannot be read as audio ({error}). Mend the file, or take "
                "its row out of the source list"
            ) from error
        if (
            len(piece) < min(missing, clip.frames - skip)
            or not np.isfinite(piece).all()
        ):
            raise ValueError(
                f"{path}: ends early or holds samples that are no numbers; the source "
                f"list says {clip.frames} samples. Mend the file, or take its row out"
            )
        pieces.append(piece.mean(axis=1))
        missing, skip = missing - len(piece), 0
    return _resample(np.concatenate(pieces), segment.rate, sample_rate)


def _resample(signal, rate, sample_rate):
    if rate == sample_rate:
        return signal
    common = gcd(rate, sample_rate)
    up, down = sample_rate // common, rate // common
    length = round(len(signal) * sample_rate / rate)
    return resample_poly(signal, up, down, window=_low_pass(up, down))[:length]


@lru_cache(maxsize=32)
def _low_pass(up, down):
    """Returns scipy's own default filter for resample_poly, designed once."""
    widest = max(up, down)
    return firwin(20 * widest + 1, 1 / widest, window=("kaiser", 5.0))


def render(plan, folder, sample_rate):
    """Renders a plan.

    Arguments
    ---------
    plan : RowPlan
    folder : str or Path
        Where relative source paths start.
    sample_rate : int
        Of the corpus, Hz.

    Returns
    -------
    layers : dict or None
        int16 arrays by name (LAYERS and "mix"; outdoors without the reverb layers).
        The mix is the sum of the layers to the last bit. None if the row must be
        drawn again: a silent speaker, a second speaker whose level the limiter would
        change, or a mix beyond the limit. (The published generator throws mixes away
        at 0.9999, after limiting them at 0.999; stopping at the limit itself is what
        keeps the sum exact.)
    scene_gain : float
        Linear gain applied to the scene; 0 for None.
    """
    first, second = (read_segment(s, folder, sample_rate) for s in plan.speech)
    if min(rms(first), rms(second)) < SILENCE_RMS:
        return None, 0.0
    second = second * (rms(first) / rms(second) * 10 ** (-plan.ssr / 20))
    if max(np.abs(first).max(), np.abs(second).max()) > LIMIT:
        return None, 0.0
    scene = read_segment(plan.scene, folder, sample_rate)
    level = rms(first + second) * 10 ** (plan.scene_offset / 20)
    scene_gain = level / max(rms(scene), 1e-12)
    event = read_segment(plan.event, folder, sample_rate)
    parts = {"clean1": first, "clean2": second, "scene": scene * scene_gain}
    parts["event"] = event
    dry = {"sp1_reverb": first, "sp2_reverb": second, "ev_reverb": event}
    for (name, signal), plate in zip(dry.items(), plan.plates, strict=False):
        parts[name] = plate_reverb(signal, plate, sample_rate)
    layers = {
        name: np.round(np.clip(part, -LIMIT, LIMIT) * FULL_SCALE).astype(np.int16)
        for name, part in parts.items()
    }
    mix = np.sum([layer.astype(np.int32) for layer in layers.values()], axis=0)
    if np.abs(mix).max() > LIMIT * FULL_SCALE:
        return None, 0.0
    return layers | {"mix": mix.astype(np.int16)}, scene_gain
