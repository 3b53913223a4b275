"""Reads the headers of many audio files: in parallel, and once.

What was read is kept in the user's cache folder, a file for each root; a file that has
changed in size or time of change is read again.
"""

import json
import os
from hashlib import blake2b
from pathlib import Path

from corpus.sources import COARSE, MAX_CHANNELS, SOURCE_RATES, Rejected, read_header
from recipekit.console import progress_bar
from recipekit.files.atomic import replacing
from recipekit.files.workers import worker_pool

CACHE_VARIABLE = "POLSESS_CACHE"
CHUNK = 128  # files handed to a worker at a time


def read_headers(root, paths, workers=None):
    """Returns what the headers of audio files say, and the files that are no sources.

    Arguments
    ---------
    root : str or Path
        The folder whose cache is used.
    paths : list of str
    workers : int, optional
        Processes; default: as many as there are cores.

    Returns
    -------
    dict of str to tuple of int
        Rate in Hz, length in samples and channels of each path that can be a source.
    list of Rejected
        The others, with the reason.
    """
    cache = _cache_path(root)
    known = _read_cache(cache)
    stamps = {path: _stamp(path) for path in paths}
    new = [
        path
        for path, stamp in stamps.items()
        if stamp is None or known.get(path, [None])[0] != stamp
    ]
    kept = {path: known[path] for path in stamps.keys() - set(new)}
    rejected = []
    if new:
        bar = progress_bar(desc=f"{Path(root).name}: reading headers", total=len(new))
        with worker_pool(workers) as pool, bar:
            answers = pool.map(_try_header, new, chunksize=CHUNK)
            for path, answer in zip(new, answers, strict=True):
                if isinstance(answer, str):
                    rejected.append(Rejected(path, answer))
                else:
                    kept[path] = [stamps[path], answer]
                bar.update()
        _write_cache(cache, known | kept)
    return {path: tuple(kept[path][1]) for path in paths if path in kept}, rejected


def check_rejected(rejected, count, max_rejected):
    """Raises ValueError if too many sources cannot be used.

    Arguments
    ---------
    rejected : list of Rejected
    count : int
        Of all sources, these among them.
    max_rejected : float
        The greatest share that is borne.
    """
    if len(rejected) > max_rejected * count:
        examples = "; ".join(f"{one.path}: {one.reason}" for one in rejected[:3])
        if len(rejected) > 3:
            examples += f"; and {len(rejected) - 3} more"
        raise ValueError(
            f"{len(rejected)} of {count} sources ({len(rejected) / count:.1%}) cannot "
            f"be used, more than {max_rejected:.1%}: {examples}. Repair or remove "
            "them, or allow for more with --max_rejected"
        )


def _try_header(path):
    try:
        return read_header(path)
    except ValueError as error:
        return str(error)


def _stamp(path):
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _cache_path(root):
    folder = os.environ.get(CACHE_VARIABLE)
    if not folder:
        caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(caches) / "polsess"
    rules = (str(Path(root).resolve()), MAX_CHANNELS, SOURCE_RATES, COARSE)
    key = blake2b(repr(rules).encode(), digest_size=12).hexdigest()
    return Path(folder) / f"headers-{key}.json"


def _read_cache(path):
    """Returns a dict from path to [stamp, header]; empty if there is no sound cache."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        sound = all(
            len(stamp) == 2 and len(header) == 3 and all(map(int, header))
            for stamp, header in known.values()
        )
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
    return known if sound else {}


def _write_cache(path, known):
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(known), encoding="utf-8")
    except OSError:
        pass  # the next scan takes as long as this one
