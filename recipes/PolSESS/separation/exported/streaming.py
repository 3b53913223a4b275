"""Audio files as streams: checked mono blocks, resampled and cut in chunks.

Everything here holds a few seconds of audio, however long the file is.
"""

import logging
import math
import os
import re
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

logger = logging.getLogger(__name__)

BLOCK_SECONDS = 10
FILTER_PERIODS = 10  # half length of resample_poly's filter, in the slower rate
CHUNK_SECONDS = 8.0  # twice the length trained on: fewer joints, little memory
OVERLAP = 0.25  # of a chunk
UNKNOWN_SIZE = 2**32 - 1  # what programs writing into a pipe put into a WAV header
SHORT_DATA = re.compile(r"(?:data|SSND|[Rr]iff|Riff size) : (\d+) \(should be (\d+)\)")


class SeparationError(Exception):
    """A file or an export cannot be used; the message names it and says why."""


def open_audio(source):
    """Opens an audio file that is whole and not empty.

    A compressed stream (OGG, MP3) that was cut short does not say so and is read as
    far as it goes.

    Arguments
    ---------
    source : Path or binary file object
        The latter must be seekable.

    Returns
    -------
    soundfile.SoundFile

    Raises
    ------
    SeparationError
        If it is not a file, not audio, empty or truncated.
    """
    name, path = name_of(source), isinstance(source, Path)
    if path and not source.is_file():
        what = "is not a regular file" if source.exists() else "does not exist"
        what = "is a folder" if source.is_dir() else what
        raise SeparationError(f"{name}: {what}, expected an audio file")
    try:  # as bytes, since a name need not be text
        file = soundfile.SoundFile(os.fsencode(source) if path else source)
    except (OSError, TypeError, ValueError, soundfile.SoundFileError) as error:
        reason = getattr(error, "error_string", None) or error
        raise SeparationError(
            f"{name}: expected audio (WAV, FLAC, OGG, MP3, AIFF): {reason} "
            f"Convert other formats first: ffmpeg -i {Path(name).name} "
            f"{Path(name).stem}.wav"
        ) from error
    for promised, found in SHORT_DATA.findall(file.extra_info):
        if int(found) < int(promised) != UNKNOWN_SIZE:
            file.close()
            raise SeparationError(
                f"{name}: truncated, {found} of {promised} bytes are there; "
                "copy or record it again"
            )
    if not file.frames:
        file.close()
        raise SeparationError(f"{name}: empty, expected at least one sample")
    return file


def name_of(source):
    """Returns what to call a path or an open file."""
    if isinstance(source, Path):
        return str(source)
    name = getattr(source, "name", None)
    return os.fsdecode(name) if isinstance(name, (str, bytes)) else "the open file"


def mono_blocks(file, name):
    """Yields the channels' mean of an open file in float32 blocks of shape [T].

    Arguments
    ---------
    file : soundfile.SoundFile
    name : str
        What to call it.

    Raises
    ------
    SeparationError
        If samples are not finite or the file ends early.
    """
    if file.channels > 1:
        logger.warning("%s: %d channels averaged to one", name, file.channels)
    frames = 0
    for block in file.blocks(
        BLOCK_SECONDS * file.samplerate, dtype="float32", always_2d=True
    ):
        if not np.isfinite(block).all():
            raise SeparationError(
                f"{name}: NaN or infinite samples between {frames} and "
                f"{frames + len(block)}, expected finite ones"
            )
        frames += len(block)
        yield block.mean(axis=1)
    if frames != file.frames:
        raise SeparationError(
            f"{name}: truncated, {frames} of {file.frames} samples are there; "
            "copy or record it again"
        )


def resampled_length(frames, rate_in, rate_out):
    """Returns how many samples ``resample`` makes of ``frames``."""
    return -(-frames * rate_out // rate_in)


def resample(blocks, rate_in, rate_out):
    """Resamples a stream; the result is that of resampling the whole signal at once.

    Segments start at whole periods of the rates' ratio, where the sampling grids
    meet, and carry as much context on both sides as the filter of
    ``scipy.signal.resample_poly`` (zero phase, so nothing is delayed) is long. What
    the context alone has influenced is cut off.

    Arguments
    ---------
    blocks : iterable of arrays
        Consecutive pieces of one signal, each [T].
    rate_in : int
        Their rate in Hz.
    rate_out : int
        The wanted rate in Hz.

    Yields
    ------
    array
        Pieces of the signal at ``rate_out``, ``resampled_length`` samples in all.
    """
    if rate_in == rate_out:
        yield from blocks
        return
    divisor = math.gcd(rate_in, rate_out)
    up, down = rate_out // divisor, rate_in // divisor
    reach = FILTER_PERIODS * max(up, down) / up  # in samples at rate_in
    context = math.ceil(reach / down + 1) * down
    step = math.ceil(BLOCK_SECONDS * rate_in / down) * down
    start = context * up // down

    buffer = np.zeros(context, np.float32)
    for block in blocks:
        buffer = np.concatenate([buffer, block])
        while len(buffer) >= step + 2 * context:
            piece = resample_poly(buffer[: step + 2 * context], up, down)
            yield piece[start : start + step * up // down]
            buffer = buffer[step:]
    rest = resampled_length(len(buffer) - context, rate_in, rate_out)
    buffer = np.concatenate([buffer, np.zeros(context, np.float32)])
    yield resample_poly(buffer, up, down)[start : start + rest]


def overlapping_chunks(blocks, length, overlap):
    """Cuts a stream into chunks of ``length`` samples that overlap by ``overlap``.

    The last chunk is shorter where the signal ends; chunks that would hold nothing
    new are not made.
    """
    buffer = np.zeros(0, np.float32)
    covered = 0  # samples at the buffer's start that the last chunk held, too
    for block in blocks:
        buffer = np.concatenate([buffer, block])
        while len(buffer) >= length:
            yield buffer[:length]
            buffer = buffer[length - overlap :]
            covered = overlap
    if len(buffer) > covered:
        yield buffer
