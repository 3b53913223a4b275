"""Writes wav files that appear under their names only when complete."""

import os
from io import BytesIO

import soundfile


def write_wav(path, samples, sample_rate):
    """Writes a 16-bit wav file.

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
    wav = BytesIO()
    soundfile.write(wav, samples, sample_rate, "PCM_16", format="WAV")
    temporary = path.with_suffix(".part")
    try:
        temporary.write_bytes(wav.getbuffer())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(
            f"{path}: could not be written ({error.strerror}). Make room or choose "
            "another folder; started again, the command goes on after the files that "
            "are done"
        ) from error
