"""Keeps the sources of each role in one int16 array at the corpus' rate.

    <pack>/sources/<role>.npy     [samples], the role's files end to end, mono
    <pack>/sources/<role>.json    what it was packed from; written last

Opening, decoding and resampling files is then done once, not for every mixture. What is
read differs from what read_segment gives for the same segment in this:

- Samples are rounded to 16 bits, those beyond full scale limited. 16-bit mono files at
  the corpus' rate are the same to the bit.
- Files of another rate are resampled as a whole, so that a segment has no filter edges
  of its own, and begins up to one sample earlier.
- Segments of another speed are resampled twice.
- The last sample of a segment may be 0 where it ends with its file.
"""

import functools
import json
import logging
from pathlib import Path

import numpy as np

from corpus.pack import ELSEWHERE, NO_SPACE
from corpus.plan import Segment
from corpus.render import FULL_SCALE, Redraw, read_segment, resample
from corpus.sources import ROLES
from recipekit.console import progress_bar
from recipekit.files import keyed
from recipekit.files.arrays import (
    MappedArrays,
    check_space,
    make_folder,
    new_array,
    read_description,
)
from recipekit.files.atomic import replacing
from recipekit.files.locks import hold
from recipekit.files.workers import worker_pool

logger = logging.getLogger(__name__)

REMEDY = "Start again with pack to pack the sources again"


def pack_sources(folder, sources, sample_rate, workers=None):
    """Packs sources, or the roles of them whose packs are not complete and current.

    A source that cannot be decoded is left out with a warning: its place stays empty,
    and a row that draws it is redrawn.

    Arguments
    ---------
    folder : Path
        Where the arrays go. Nothing is written if they are there.
    sources : list of Source
        With absolute paths.
    sample_rate : int
        Hz.
    workers : int, optional
        Processes; default: as many as there are cores.

    Raises
    ------
    OSError
        If the folder cannot be written to, or the disk is too small.
    ValueError
        If a source cannot be opened.
    """
    roles = {role: [s for s in sources if s.role == role] for role in ROLES}
    wanted = {
        role: _describe(of_role, sample_rate) | {"files": _times(of_role)}
        for role, of_role in roles.items()
    }

    def missing():
        return [role for role in ROLES if not _is_current(folder, role, wanted[role])]

    if not missing():
        logger.info(f"The pack {folder} is up to date.")
        return
    make_folder(folder, ELSEWHERE)
    with hold(folder, wait=True):
        todo = missing()  # maybe packed by another process
        for role in todo:
            for name in _files(folder, role):
                name.unlink(missing_ok=True)
        check_space(folder, sum(wanted[role]["samples"] for role in todo), NO_SPACE)
        for role in todo:
            _write_role(folder, role, roles[role], wanted[role], workers)


class SourcePack:
    """Segments of sources, read from their pack.

    Arguments
    ---------
    folder : str or Path
        From pack_sources.
    sources : list of Source
        What was packed.
    sample_rate : int
        Hz.

    Raises
    ------
    FileNotFoundError
        If nothing, or not all, was packed.
    ValueError
        If the pack is of other sources or another rate.
    """

    def __init__(self, folder, sources, sample_rate):
        self.folder, self.sample_rate = Path(folder), sample_rate
        self.places, self.described = {}, {}
        for role in ROLES:
            of_role = [source for source in sources if source.role == role]
            self.places[role] = _places(of_role, sample_rate)
            self.described[role] = described = _read_description(folder, role)
            if not _matches(described, _describe(of_role, sample_rate)):
                raise ValueError(
                    f"{folder}: the {role} sources in it are not those of the source "
                    f"list. {REMEDY}"
                )
        self.arrays = MappedArrays(
            folder,
            {role: [found["samples"]] for role, found in self.described.items()},
            {f"{role}.json": found for role, found in self.described.items()},
            REMEDY,
        )

    def read(self, segment):
        """Returns a segment like read_segment, but for what the module says.

        Arguments
        ---------
        segment : Segment

        Returns
        -------
        numpy.ndarray, [time], float64

        Raises
        ------
        Redraw
            If one of its clips could not be decoded.
        """
        role = segment.clips[0].role
        for clip in segment.clips:
            if clip.name in self.described[role]["rejected"]:
                detail = self.described[role]["rejected"][clip.name]
                raise Redraw("unreadable", clip.name, detail)
        pieces = [self.arrays[role][self.places[role][c.name]] for c in segment.clips]
        whole = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        rate, speed = self.sample_rate, segment.speed
        length = round(segment.frames * rate * 100 / (segment.rate * speed))
        start = segment.start * rate // segment.rate
        piece = whole[start : start - (-length * speed // 100)]
        signal = resample(piece / np.float32(FULL_SCALE), speed, 100)[:length]
        if len(signal) < length:
            signal = np.pad(signal, (0, length - len(signal)))
        return signal


def _files(folder, role):
    return Path(folder, f"{role}.npy"), Path(folder, f"{role}.json")


def _places(sources, sample_rate):
    """Returns a dict from name to the slice of the role's array that holds a file."""
    places, end = {}, 0
    for source in sources:
        start, end = end, end + round(source.frames * sample_rate / source.rate)
        places[source.name] = slice(start, end)
    return places


def _describe(sources, sample_rate):
    """Returns what a role's array is a function of, beside the files' content."""
    listed = [(source.name, source.rate, source.frames) for source in sources]
    places = _places(sources, sample_rate).values()
    return {
        "sample_rate": sample_rate,
        "samples": max((place.stop for place in places), default=0),
        "sources": keyed.digest(listed),
    }


def _times(sources):
    """Returns a digest of the files' sizes and times."""
    try:
        stats = [Path(source.path).stat() for source in sources]
    except OSError as error:
        raise ValueError(
            f"{error.filename}: cannot be read ({error.strerror}). Repair the file, "
            "or take its row out of the source list"
        ) from error
    return keyed.digest([(stat.st_size, stat.st_mtime_ns) for stat in stats])


def _read_description(folder, role):
    _, path = _files(folder, role)
    return read_description(path, REMEDY)


def _is_current(folder, role, wanted):
    if not all(path.exists() for path in _files(folder, role)):
        return False
    return _matches(_read_description(folder, role), wanted)


def _matches(described, wanted):
    return all(described[key] == value for key, value in wanted.items())


def _write_role(folder, role, sources, description, workers):
    """Writes a role's array by all workers, then its description."""
    path, description_path = _files(folder, role)
    rate = description["sample_rate"]
    places = _places(sources, rate)
    files = list({source.name: source for source in sources}.values())
    rejected = {}
    with (
        new_array(path, (description["samples"],)) as write_samples,
        worker_pool(workers) as pool,
        progress_bar(desc=f"packing {role}", total=len(files), unit="file") as bar,
    ):
        write = functools.partial(_write, write_samples, rate)
        starts = [place.start for place in places.values()]
        for source, reason in pool.map(write, files, starts, chunksize=4):
            bar.update()
            if reason:
                rejected[source] = reason
                logger.warning(f"{source}: {reason}. It is left out of {path}")
    with replacing(description_path) as part:
        part.write_text(json.dumps(description | {"rejected": rejected}), "utf-8")


def _write(write_samples, sample_rate, source, start):
    """Writes a source to an array; returns its name and why it was left out, or ""."""
    whole = Segment((source,), 0, source.frames)
    try:
        signal = read_segment(whole, "", sample_rate)
    except Redraw as error:
        return source.name, error.detail
    limited = np.clip(np.round(signal * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1)
    write_samples(start, limited.astype(np.int16))
    return source.name, ""
