"""Reads a published source list, for corpora comparable with published ones.

The list says which file of the collections is in which subset, and of which class; it
leaks speakers, and so will the corpus.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from corpus.providers.download import name_in_collection
from corpus.sources import SUBSETS, Rejected
from corpus.tables import event_classes, scene_classes
from recipekit.files.csvs import check_columns, read_table

COLUMNS = ("subset", "filePath", "source", "class")
COLLECTIONS = {
    "emu": "emu",
    "libriSpeech": "mls_polish",
    "tut": "tut2017",
    "tau": "tau2019",
    "wham": "wham_noise",
    "esc50": "esc50",
    "fsd50": "fsd50k",
}
EXPECTED = f"Expected a published list with the columns {', '.join(COLUMNS)}"
MISSING = "in the published list, but not on disk"


@dataclass(frozen=True)
class Listed:
    """A row of a published list.

    Arguments
    ---------
    subset : str
        train, val or test.
    path : str
        As listed, with ``/``.
    source : str
        Our name of the collection.
    classes : tuple of str
        As listed; empty for speech.
    """

    subset: str
    path: str
    source: str
    classes: tuple


def read_published(path):
    """Reads a published source list.

    Arguments
    ---------
    path : str or Path
        CSV, plain or gzipped, or a .mat file with a MATLAB table, with the columns
        COLUMNS.

    Returns
    -------
    list of Listed

    Raises
    ------
    ValueError
        Naming the file and what was expected of it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a published list")
    frame = _read_mat(path) if path.suffix == ".mat" else _read_csv(path)
    check_columns(path, frame.columns, COLUMNS, EXPECTED)
    frame = frame[list(COLUMNS)].astype("object").map(_text)
    for name, known in (("subset", SUBSETS), ("source", COLLECTIONS)):
        unknown = sorted(set(frame[name]) - set(known))
        if unknown:
            raise ValueError(
                f"{path}: {name} {unknown[0]!r} is not one of {', '.join(known)}"
            )
    return [
        Listed(
            subset,
            file.replace("\\", "/"),
            COLLECTIONS[source],
            tuple(name for name in classes.split(",") if name),
        )
        for subset, file, source, classes in frame.itertuples(index=False)
    ]


def place(found, listed):
    """Puts recordings where a published list has them.

    Arguments
    ---------
    found : list of Found
    listed : list of Listed

    Returns
    -------
    list of (Found, str)
        Recording, with those of the list's classes that the tables know, and subset. A
        scene or event of no known class is left out; so is what is not listed.
    list of Rejected
        What the list has of the collections found, and the disk has not.
    """
    by_name = {(file.source, file.name): file for file in found}
    collections = {file.source for file in found}
    known = {"speech": (), "scene": scene_classes(), "event": event_classes()}
    placed, rejected = {}, []
    for row in listed:
        if row.source not in collections:
            continue
        file = by_name.get((row.source, name_in_collection(row.path)))
        if file is None:
            rejected.append(Rejected(row.path, MISSING))
            continue
        classes = [name for name in row.classes if name in known[file.role]]
        if file.role == "speech" or classes:
            # A dict's key, for the published list repeats a few rows.
            placed[replace(file, class_=",".join(classes)), row.subset] = None
    return list(placed), rejected


def _text(cell):
    """Returns a cell as text; cell arrays of MATLAB come as nested arrays."""
    if isinstance(cell, np.ndarray):
        return ",".join(_text(item) for item in cell.ravel())
    return "" if pd.isna(cell) else str(cell)


def _read_csv(path):
    return read_table(path, COLUMNS, EXPECTED, dtype=str)


def _read_mat(path):
    try:
        from matio import load_from_mat
    except ImportError as error:
        raise ValueError(
            f"{path}: reading MATLAB tables needs the package mat-io: pip install "
            "'.[mat]' in the repository, or mat-io"
        ) from error
    tables = [
        value
        for value in load_from_mat(path).values()
        if isinstance(value, pd.DataFrame)
    ]
    if len(tables) != 1:
        raise ValueError(f"{path}: expected one table in it, found {len(tables)}")
    return tables[0]
