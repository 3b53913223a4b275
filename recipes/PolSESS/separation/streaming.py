"""Audio files as streams: checked mono blocks, resampled, cut in chunks and joined.

Everything here holds a few seconds of audio, however long the file is.
"""

import logging
import math
import re
from itertools import permutations

import numpy as np
import soundfile
from scipy.signal import resample_poly

logger = logging.getLogger(__name__)

BLOCK_SECONDS = 10
FILTER_PERIODS = 10  # half length of resample_poly's filter, in the slower rate
SILENCE = 1e-6  # energy of an overlap against the loudest chunk's: -60 dB
MARGIN = 0.1  # least lead in correlation of the best speaker order over the next
ORDER_FLOOR = 1e-3  # energy below which a speaker weighs less in the order: -30 dB
UNKNOWN_SIZE = 2**32 - 1  # what programs writing into a pipe put into a WAV header
SHORT_DATA = re.compile(r"(?:data|SSND|[Rr]iff|Riff size) : (\d+) \(should be (\d+)\)")


class SeparationError(Exception):
    """A file or an export cannot be used; the message names it and says why."""


def open_audio(path):
    """Opens an audio file that is whole and not empty.

    A compressed stream (OGG, MP3) that was cut short does not say so and is read as
    far as it goes.

    Arguments
    ---------
    path : Path

    Returns
    -------
    soundfile.SoundFile

    Raises
    ------
    SeparationError
        If the path is no file, no audio, empty or truncated.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise SeparationError(f"{path}: {what}, expected an audio file")
    try:
        file = soundfile.SoundFile(path)
    except (OSError, TypeError, soundfile.SoundFileError) as error:
        raise SeparationError(
            f"{path}: expected audio (WAV, FLAC, OGG, MP3, AIFF): {error}"
        ) from error
    for promised, found in SHORT_DATA.findall(file.extra_info):
        if int(found) < int(promised) != UNKNOWN_SIZE:
            file.close()
            raise SeparationError(
                f"{path}: truncated, {found} of {promised} bytes are there"
            )
    if not file.frames:
        file.close()
        raise SeparationError(f"{path}: empty, expected at least one sample")
    return file


def mono_blocks(file):
    """Yields the channels' mean of an open file in float32 blocks of shape [T].

    Raises
    ------
    SeparationError
        If samples are not finite or the file ends early.
    """
    if file.channels > 1:
        logger.warning("%s: %d channels mixed down to one", file.name, file.channels)
    frames = 0
    for block in file.blocks(
        BLOCK_SECONDS * file.samplerate, dtype="float32", always_2d=True
    ):
        if not np.isfinite(block).all():
            raise SeparationError(
                f"{file.name}: NaN or infinite samples between {frames} and "
                f"{frames + len(block)}, expected finite ones"
            )
        frames += len(block)
        yield block.mean(axis=1)
    if frames != file.frames:
        raise SeparationError(
            f"{file.name}: truncated, {frames} of {file.frames} samples are there"
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


def speaker_order(before, after):
    """Finds which estimates of a chunk continue which of the chunk before.

    Arguments
    ---------
    before : array
        The earlier chunk's estimates where both overlap, [T, S].
    after : array
        The later chunk's, [T, S].

    Returns
    -------
    list of int or None
        ``after[:, order]`` continues ``before``; None if no order is clearly better
        than the others.
    """
    products = before.T @ after
    energies = np.outer((before**2).sum(0), (after**2).sum(0))
    norms = np.sqrt(energies) + ORDER_FLOOR * np.sqrt(energies.max())
    correlations = products / np.maximum(norms, np.finfo(np.float32).tiny)
    speakers = range(len(correlations))
    scores = sorted(
        (sum(correlations[i, j] for i, j in zip(speakers, order, strict=True)), order)
        for order in permutations(speakers)
    )
    if len(scores) > 1 and scores[-1][0] - scores[-2][0] < MARGIN:
        return None
    return list(scores[-1][1])


def join_chunks(chunks, overlap):
    """Cross-fades overlapping chunks and keeps the speakers in order between them.

    Triangular weights that sum to one join the chunks. A chunk whose overlap is near
    silent or fits in any order keeps the order of the last chunk that was clear.

    Arguments
    ---------
    chunks : iterable of (array, array)
        Mixture [T] and estimates [T, S] of each of ``overlapping_chunks``.
    overlap : int
        Samples shared by neighbours.

    Yields
    ------
    (array, array)
        Consecutive pieces of the mixture and of the joined estimates.
    """
    fade = ((np.arange(overlap, dtype=np.float32) + 0.5) / overlap)[:, None]
    tail = order = None
    loudest = 0.0
    for mixture, estimates in chunks:
        loudest = max(loudest, np.mean(mixture**2))
        if tail is None:
            order = list(range(estimates.shape[1]))
        else:
            if np.mean(mixture[:overlap] ** 2) > SILENCE * loudest:
                order = speaker_order(tail, estimates[:overlap]) or order
            estimates = estimates[:, order]
            estimates[:overlap] = tail + fade * (estimates[:overlap] - tail)
        yield mixture[:-overlap], estimates[:-overlap]
        rest, tail = mixture[-overlap:], estimates[-overlap:]
    yield rest, tail
