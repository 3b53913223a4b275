"""Provider `polsess`: the seven public collections that PolSESS is made of."""

import logging
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import pandas as pd

from corpus.providers import (
    emu,
    esc50,
    fsd50k,
    mls_polish,
    tau2019,
    tut2017,
    wham_noise,
)
from corpus.published import place, read_published
from corpus.scan import check_rejected, read_headers
from corpus.sources import MEASURED, ROLES, Source
from corpus.splits import speaker_disjoint

logger = logging.getLogger(__name__)

COLLECTIONS = {
    "emu": emu.find,
    "mls_polish": mls_polish.find,
    "tut2017": tut2017.find,
    "tau2019": tau2019.find,
    "wham_noise": wham_noise.find,
    "esc50": esc50.find,
    "fsd50k": fsd50k.find,
}
SPEAKERS = (emu.SPEAKER, mls_polish.SPEAKER)
RECORDINGS = (tau2019.PATTERN, tut2017.PATTERN, esc50.PATTERN, fsd50k.PATTERN)


def speakers_in(paths):
    """Returns the speakers that paths of speech tell, as speaker or session.

    Arguments
    ---------
    paths : pandas.Series
        Of files of the collections, wherever these were, with ``/``.

    Returns
    -------
    pandas.Series
        Empty texts where a path tells none.
    """
    return _first_match(SPEAKERS, "speaker", paths)


def recordings_in(paths):
    """Returns the places or Freesound clips that paths tell, like speakers_in."""
    return _first_match(RECORDINGS, "recording", paths)


def _first_match(patterns, group, paths):
    """Returns a group of the first pattern that fits each path and has the group."""
    names = paths.str.replace(r"\.(?:wav|flac)$", "", regex=True)
    found = pd.Series("", index=paths.index)
    for pattern in patterns:
        match = names.str.extract(rf"(?:^|/){pattern}$")[group].fillna("")
        found = found.where(found != "", match)
    return found


def make_sources(roots, seconds, published=None, max_rejected=0.01, workers=None):
    """Returns the source list of unpacked downloads.

    Arguments
    ---------
    roots : dict of str to str or Path
        The download's folder of each collection of COLLECTIONS that is to be used.
    seconds : float
        Length of a recording; shorter sources are left out.
    published : str or Path, optional
        A published list that says what is in which subset. Default: no speaker, place
        or clip of Freesound is in two.
    max_rejected : float
        Share of the sources that may be unusable.
    workers : int, optional
        Processes; default: as many as there are cores.

    Returns
    -------
    list of Source
        With absolute paths.
    list of Rejected
        Sources that cannot be used.

    Raises
    ------
    ValueError
        If a folder is not what it should be, a role has no collection, or more sources
        than max_rejected cannot be used.
    """
    found = [file for name, root in roots.items() for file in COLLECTIONS[name](root)]
    lacking = [role for role in ROLES if role not in {file.role for file in found}]
    if lacking:
        raise ValueError(
            f"no collection given has any {', '.join(lacking)}; expected speech "
            "(--emu, --mls_polish), scenes (--tut2017, --tau2019, --wham_noise) and "
            "events (--esc50, --fsd50k)"
        )
    if published:
        placed, rejected = place(found, read_published(published))
    else:
        placed, rejected = list(zip(found, speaker_disjoint(found), strict=True)), []
    used = [pair for pair in placed if pair[0].role == "speech" or pair[0].class_]
    folders = {name: Path(root).resolve() for name, root in roots.items()}
    paths = defaultdict(dict)  # of dicts: a published list may have a file twice
    for file, _ in used:
        paths[file.source][file.path] = None
    headers = {}
    for name, root in roots.items():
        read, refused = read_headers(root, list(paths[name]), workers)
        headers |= read
        rejected += [replace(r, path=_name(r.path, name, folders)) for r in refused]
    check_rejected(rejected, len(headers) + len(rejected), max_rejected)
    unused = [file for file in found if file.path not in paths[file.source]]
    _log_left_out(unused, "not listed, with voices, or of no class that is known")
    # In an order that does not depend on where the downloads are.
    used.sort(key=lambda pair: (pair[0].source, pair[0].name, pair[1]))
    sources = [
        Source(
            path=file.path,
            role=file.role,
            subset=subset,
            class_=file.class_,
            speaker=file.speaker,
            source=file.source,
            **dict(zip(MEASURED, headers[file.path], strict=True)),
            recording=file.recording,
            official=file.official,
            licence=file.licence,
            transcript=file.transcript,
            name=_name(file.path, file.source, folders),
        )
        for file, subset in used
        if file.path in headers
    ]
    short = [source for source in sources if source.seconds < seconds]
    _log_left_out(short, f"shorter than {seconds} s")
    return [source for source in sources if source.seconds >= seconds], rejected


def _name(path, collection, folders):
    """Returns what names a file wherever the downloads are."""
    return f"{collection}/{Path(path).relative_to(folders[collection]).as_posix()}"


def _log_left_out(recordings, reason):
    if recordings:
        counts = Counter(recording.source for recording in recordings)
        text = ", ".join(f"{count} of {name}" for name, count in counts.items())
        logger.warning(f"left out, {reason}: {text}")
