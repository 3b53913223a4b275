"""Provider `folder`: any folder of recordings with a manifest.

The manifest is a CSV in that folder with the columns path, role (or kind), class,
speaker (or speaker_id) and optionally gender, language, source (or source_repo),
transcript, licence (or license) and recording. Speakers and the original recordings of
scenes and events are split disjointly over train, val and test. Files that share the
stem up to the first dash count as parts of one original recording, unless the column
recording says otherwise.
"""

import logging
import math
import os
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from corpus.scan import check_rejected, read_headers
from corpus.sources import MEASURED, SUBSETS, TOLD, Source, check
from recipekit.files import keyed
from recipekit.files.csvs import read_rows

ALIASES = {
    "role": ("role", "kind"),
    "speaker": ("speaker", "speaker_id"),
    "source": ("source", "source_repo"),
    "licence": ("licence", "license"),
}
logger = logging.getLogger(__name__)

COPIED = (
    *("path", "role", "speaker", "source", "transcript", "licence", "recording"),
    *TOLD,
)


def make_sources(
    folder,
    manifest="manifest.csv",
    split=(80, 10, 10),
    treat=None,
    max_rejected=0.01,
    workers=None,
):
    """Returns the source list of a folder with a manifest.

    Arguments
    ---------
    folder : str or Path
        Where the recordings and the manifest are.
    manifest : str
        The manifest's name in it.
    split : tuple of float
        Shares of the speakers and recordings of each group for train, val, test. A
        group is the speakers of one language and source (of their first file), or the
        recordings of a class; one with fewer than three goes to train as a whole.
    treat : dict, optional
        Class names of the manifest that are to be treated as a known class.
    max_rejected : float
        Share of the recordings that may be unusable.
    workers : int, optional
        Processes; default: as many as there are cores.

    Returns
    -------
    list of Source
        With absolute paths.
    list of Rejected
        Recordings that cannot be used.

    Raises
    ------
    ValueError
        Naming the manifest's line, for a class that the tables do not know or a missing
        column; if more recordings than max_rejected cannot be used.
    """
    folder = Path(folder).resolve()
    path = folder / manifest
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no manifest. Expected a CSV with the columns path, role, class, "
            "speaker"
        )
    rows = read_rows(path, ["path"], "path, role, class, speaker")
    if not (min(split) >= 0 and 0 < split[0] and sum(split) < math.inf):  # NaN neither
        raise ValueError(f"split {split}: expected shares, that of train above 0")
    named = {name for row in rows for name in _classes(row)}
    unused = sorted(set(treat or {}) - named)
    if unused:
        raise ValueError(f"{path}: no row has the class {', '.join(unused)} to treat")
    units, lines, unnamed = defaultdict(list), {}, 0
    for number, row in enumerate(rows, start=2):
        where = f"{path}, line {number}"
        fields, role, kind, unit = _read_row(row, where, treat or {})
        audio = Path(os.path.normpath(folder / fields["path"])).as_posix()
        if audio in lines:
            raise ValueError(
                f"{where}: {fields['path']} is in line {lines[audio]} already. Keep one"
            )
        lines[audio] = number
        unnamed += role == "speech" and not fields["speaker"]
        units[role, unit].append((fields, kind, where))
    if unnamed:
        logger.warning(
            f"{path}: {unnamed} speech files have no speaker. Each counts as a speaker "
            "of its own: one person may be in several subsets, and twice in a recording"
        )
    placed = []
    for unit, subset in _split(units, split).items():
        for fields, _, where in units[unit]:
            fields |= {"name": fields["path"], "subset": subset}
            fields["path"] = (folder / fields["path"]).as_posix()
            placed.append((fields, where))
    paths = [fields["path"] for fields, _ in placed]
    headers, refused = read_headers(folder, paths, workers)
    check_rejected(refused, len(paths), max_rejected)
    names = {fields["path"]: fields["name"] for fields, _ in placed}
    rejected = [replace(source, path=names[source.path]) for source in refused]
    sources = []
    for fields, where in placed:
        if fields["path"] in headers:
            measured = dict(zip(MEASURED, headers[fields["path"]], strict=True))
            sources.append(Source(**fields, **measured))
            check(sources[-1], where)
    return sorted(sources, key=lambda source: source.name), rejected


def _read_row(row, where, treat):
    """Returns a row's Source fields, and its unit not to be split: what and which.

    Between them the kind of which each subset is to get its share.
    """

    def cell(name):
        for alias in ALIASES.get(name, (name,)):
            if row.get(alias):
                return row[alias].strip()
        return ""

    fields = {name: cell(name) for name in COPIED}
    fields["path"] = fields["path"].replace("\\", "/")
    if not fields["path"] or not fields["role"]:
        raise ValueError(
            f"{where}: columns path and role (or kind) must be there and not be empty"
        )
    fields["class_"] = ",".join(treat.get(name, name) for name in _classes(row))
    stem = Path(fields["path"]).stem
    if fields["role"] == "speech":
        kind = (fields["source"], fields["language"])
        return fields, "speech", kind, fields["speaker"] or fields["path"]
    # One original recording may hold scenes and events; it still must not be split.
    fields["recording"] = fields["recording"] or stem.split("-")[0]
    return fields, "sound", (fields["class_"],), fields["recording"]


def _classes(row):
    names = (row.get("class") or "").split(",")
    return [name.strip() for name in names if name.strip()]


def _split(units, split):
    """Returns a dict from unit to subset; a unit is of the kind of its first member."""
    groups = defaultdict(list)
    for (role, unit), members in units.items():
        _, kind, _ = members[0]
        groups[(role, *kind)].append(unit)
    return {
        (group[0], unit): subset
        for group, members in groups.items()
        for unit, subset in _deal(members, group, split).items()
    }


def _deal(units, group, split):
    """Deals units to subsets in keyed order: seedless, at least one where any is due.

    One more unit moves at most one other at each end of a subset.
    """
    order = keyed.shuffled(units, "split", *group)
    if len(order) < len(SUBSETS):
        return dict.fromkeys(order, "train")
    held_out = [
        max(1, round(len(order) * share / sum(split))) if share else 0
        for share in split[1:]
    ]
    ends = {"test": held_out[1], "val": sum(held_out)}
    return {
        unit: next((name for name, end in ends.items() if n < end), "train")
        for n, unit in enumerate(order)
    }
