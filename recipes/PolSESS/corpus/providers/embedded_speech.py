"""Synthesises read Polish with espeak-ng: many speakers, the same bytes everywhere.

espeak-ng (https://github.com/espeak-ng/espeak-ng) comes with the PyPI package
espeakng-loader and is called through ctypes. Its synthesiser keeps state that no call
resets (the place in its table of pitch flutter, for one), so an utterance would depend
on those before it. The library is therefore loaded anew for each utterance, which
takes milliseconds.
"""

import ctypes
from _ctypes import dlclose
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.signal import resample_poly

from corpus.tables import TABLES
from recipekit.files import keyed

SAMPLE_RATE = 16000
SENTENCES = TABLES / "sentences.txt"

# espeak-ng's voice variants by subset, female and male. A subset has variants of its
# own, and variants that differ in little more than pitch stay together. Left out:
# whispering, creaking, robotic, echoing and child-like ones, near-copies, and
# those that clip (antonio) or draw breath noise from the C library (Reed, caleb).
VARIANTS = {
    "train": (
        ("f1", "f2", "Andrea", "aunty", "f3", "steph", "f5"),
        ("m1", "Alex", "Diogo", "m7", "adam", "max", "Gene", "m5", "robert", "edward2"),
    ),
    "val": (("Annie", "anika"), ("michel", "m8", "david", "Andy")),
    "test": (("linda", "shelby"), ("gustave", "Nguyen", "travis", "paul")),
}
# A variant lends itself to several speakers, this far apart in espeak's pitch (0-99).
PITCHES = (50, 62, 40, 72, 30)

# From espeak-ng's speak_lib.h.
AUDIO_OUTPUT_SYNCHRONOUS = 2
INITIALIZE_DONT_EXIT = 0x8000
RATE, VOLUME, PITCH, RANGE = 1, 2, 3, 4
CHARS_UTF8 = 1
SYNTH_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


@dataclass(frozen=True)
class Speaker:
    """A synthetic speaker.

    Arguments
    ---------
    name : str
        Unique over all subsets.
    variant : str
        espeak-ng's voice variant.
    pitch, pitch_range : int
        espeak-ng's units, 0 to 99.
    rate : int
        Words per minute.
    """

    name: str
    variant: str
    pitch: int
    pitch_range: int
    rate: int


def speakers(subset, count, seed):
    """Returns the first speakers of a subset, women and men in turn.

    Arguments
    ---------
    subset : str
        train, val or test.
    count : int
        How many.
    seed : int
        Varies pitch, pitch range and rate.

    Returns
    -------
    list of Speaker

    Raises
    ------
    ValueError
        If there are not so many voices.
    """
    limit = 2 * len(PITCHES) * min(len(names) for names in VARIANTS[subset])
    if not 0 <= count <= limit:
        raise ValueError(
            f"num_speakers: {count} for {subset}, expected 0 to {limit} there "
            f"(embedded voices: {len(PITCHES)} pitches of each variant)"
        )
    chosen = []
    for number in range(count):
        variants = VARIANTS[subset][number % 2]
        again, place = divmod(number // 2, len(variants))
        variant = variants[place]
        key = (seed, "embedded", "speaker", variant, again)
        chosen.append(
            Speaker(
                f"{variant}-{again + 1}",
                variant,
                PITCHES[again] + keyed.randint(-2, 2, *key, "pitch"),
                keyed.randint(35, 70, *key, "range"),
                keyed.randint(135, 170, *key, "rate"),
            )
        )
    return chosen


@lru_cache(maxsize=1)
def sentences():
    """Returns the sentences as a tuple; any speaker takes 4.3 to 8 s for each."""
    return tuple(SENTENCES.read_text(encoding="utf-8").splitlines())


def utterance(speaker, text, level):
    """Synthesises an utterance.

    Arguments
    ---------
    speaker : Speaker
    text : str
        Polish text.
    level : float
        RMS wanted, in dB re full scale; lower where the peak would exceed 0.89.

    Returns
    -------
    np.ndarray
        [samples] at SAMPLE_RATE, no silence before and after.

    Raises
    ------
    OSError
        If espeak-ng cannot be loaded.
    """
    samples, rate = _espeak(speaker, text)
    samples = resample_poly(samples, SAMPLE_RATE, rate)
    heard = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max())
    margin = SAMPLE_RATE // 100
    samples = samples[max(heard[0] - margin, 0) : heard[-1] + margin]
    rms = np.sqrt(np.mean(samples**2))
    return samples * min(10 ** (level / 20) / rms, 0.89 / np.abs(samples).max())


def _espeak(speaker, text):
    """Returns samples [samples] at full scale 1 and their rate in Hz."""
    espeak, rate = _load()
    chunks = []

    @SYNTH_CALLBACK
    def collect(samples, count, _):
        if samples and count:
            chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    try:
        espeak.espeak_SetSynthCallback(collect)
        # Seeds espeak's own generator, which starts from the clock.
        espeak.espeak_ng_SetRandSeed(ctypes.c_long(1))
        voice = f"pl+{speaker.variant}"
        failed = espeak.espeak_SetVoiceByName(voice.encode())
        for parameter, value in (
            (RATE, speaker.rate),
            (VOLUME, 40),  # louder, some variants would clip inside espeak
            (PITCH, speaker.pitch),
            (RANGE, speaker.pitch_range),
        ):
            espeak.espeak_SetParameter(parameter, value, 0)
        data = text.encode()
        size = ctypes.c_size_t(len(data) + 1)
        failed |= espeak.espeak_Synth(data, size, 0, 1, 0, CHARS_UTF8, None, None)
    finally:
        espeak.espeak_Terminate()
        dlclose(espeak._handle)
    if failed or not chunks:
        raise OSError(f"espeak-ng could not say {text!r} as {voice}")
    return np.concatenate(chunks) / 32768, rate


def _load():
    """Returns the espeak-ng library in its initial state and its rate in Hz."""
    try:
        import espeakng_loader

        library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path().encode()
    except (ImportError, OSError, RuntimeError) as error:
        raise OSError(
            f"Embedded speech needs espeak-ng, which cannot be loaded ({error}). "
            "Install it again: pip install --force-reinstall espeakng-loader"
        ) from error
    rate = library.espeak_Initialize(
        AUDIO_OUTPUT_SYNCHRONOUS, 0, data, INITIALIZE_DONT_EXIT
    )
    if rate <= 0:
        raise OSError(f"espeak-ng cannot read its voices in {data.decode()}")
    return library, rate
