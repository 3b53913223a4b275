"""Formats and rates of corpora; writes audio files, which appear when complete."""

from io import BytesIO

import soundfile

from recipekit.files.atomic import replacing

FORMATS = ("wav", "flac")
CORPUS_RATES = (8000, 16000)  # Hz, of which a corpus has one
DEFAULT_RATE = 8000  # Hz, of the published corpus


def write_audio(path, samples, sample_rate):
    """Writes a 16-bit wav or FLAC file, as its name ends.

    Arguments
    ---------
    path : Path
        Its folder must be there.
    samples : numpy.ndarray
        int16, or float within -1..1.
    sample_rate : int
        Hz.

    Raises
    ------
    OSError
        Naming the file, for example when the disk is full.
    """
    # By way of memory: soundfile does not say why a write to disk failed.
    audio = BytesIO()
    kind = path.suffix[1:].upper()
    soundfile.write(audio, samples, sample_rate, "PCM_16", format=kind)
    # A copy, not getbuffer(): Python 3.12.1 crashes when writing a buffer's view fails.
    with replacing(path) as temporary:
        temporary.write_bytes(audio.getvalue())
