"""What an unpacked download holds, in whichever folder below it."""

import csv
import os
import re
from dataclasses import dataclass
from pathlib import Path

from recipekit.files.csvs import check_columns

AUDIO = (".wav", ".flac")
TABLES = (".csv", ".txt")
DEPTH = 7  # folders below the root that are looked into


@dataclass(frozen=True)
class Found:
    """A recording of a collection, as its path and the collection's tables tell.

    Arguments
    ---------
    path : str
        Absolute, with ``/``.
    role : str
        speech, scene or event.
    source : str
        The collection.
    class_ : str
        As in Source; empty for scenes and events that are of no use: of no class that
        the tables know, or with voices.
    speaker : str
    recording : str
        As in Source, unique over all collections.
    licence : str
    transcript : str
    official : str
        The subset where the collection's own split puts it, where that binds; else
        empty.
    """

    path: str
    role: str
    source: str
    class_: str = ""
    speaker: str = ""
    recording: str = ""
    licence: str = ""
    transcript: str = ""
    official: str = ""

    @property
    def name(self):
        """Its name in the collection: see name_in_collection."""
        return name_in_collection(self.path)

    @property
    def unit(self):
        """What must not be in two subsets: speaker, original recording, or itself."""
        if self.role == "speech":
            return f"{self.source} {self.speaker}"
        return self.recording or f"{self.source} {self.name}"


def name_in_collection(path):
    """Returns what names a file in its collection, wherever that is on disk.

    Arguments
    ---------
    path : str
        Absolute or not, with ``/``.

    Returns
    -------
    str
        Its name without the suffix; after the session's for EMU, whose sessions all
        have the same names of files.
    """
    folder, _, name = path.rpartition("/")
    stem = name.rpartition(".")[0]
    if folder.endswith(f"_ses/{stem}_bndl"):
        return f"{folder.split('/')[-2]}/{stem}"
    return stem


class Download:
    """The files of an unpacked download.

    Arguments
    ---------
    root : str or Path
        The download's folder, or one above or below it.
    example : str
        Path of a recording in it, for errors.

    Raises
    ------
    ValueError
        If there is no such folder.
    """

    def __init__(self, root, example):
        self.root, self.example = Path(root).resolve(), example
        if not self.root.is_dir():
            raise ValueError(f"{root}: no such folder; expected one with {example}")
        self.audio, self.tables = [], []
        for folder, below, names in os.walk(self.root, followlinks=True):
            if len(Path(folder).relative_to(self.root).parts) >= DEPTH:
                below.clear()
            below.sort()
            for name in sorted(names):
                suffix = os.path.splitext(name)[1].lower()
                if suffix in AUDIO:
                    self.audio.append(Path(folder, name).as_posix())
                elif suffix in TABLES:
                    self.tables.append(Path(folder, name))

    def recordings(self, pattern):
        """Returns the recordings whose path, without the suffix, ends in a pattern.

        Arguments
        ---------
        pattern : str
            Regular expression, starting with the name of a file or folder.

        Returns
        -------
        list of (str, re.Match)
            Sorted; of copies, or the same as wav and flac, the first.

        Raises
        ------
        ValueError
            Naming the folder, what was expected and what is there.
        """
        pattern = re.compile(rf"(?:^|/){pattern}$")
        found = {}
        for path in self.audio:
            match = pattern.search(path.rpartition(".")[0])
            if match:
                found.setdefault(name_in_collection(path), (path, match))
        if not found:
            there = ", ".join(
                Path(path).relative_to(self.root).as_posix() for path in self.audio[:3]
            )
            raise ValueError(
                f"{self.root}: expected recordings like {self.example}; found "
                + (f"{len(self.audio)} others: {there}" if there else "no wav or flac")
            )
        return list(found.values())

    def table(self, *names):
        """Returns the tables of these names, in the download or just above the root.

        Arguments
        ---------
        *names : str
            File names, e.g. ``esc50.csv``.

        Returns
        -------
        list of Path
        """
        here = [path for path in self.tables if path.name in names]
        above = [
            path
            for name in names
            for pattern in (name, f"*/{name}")
            for path in sorted(self.root.parent.glob(pattern))
        ]
        return here or above

    def rows(self, columns, *names):
        """Returns the rows of CSV tables with a header.

        Arguments
        ---------
        columns : sequence of str
            Those that are needed.
        *names : str
            File names.

        Returns
        -------
        list of dict

        Raises
        ------
        ValueError
            Naming a table that is not there, or lacks a column.
        """
        rows = []
        for name in names:
            tables = self.table(name)
            if not tables:
                raise ValueError(
                    f"{self.root}: {name} is missing, neither there nor just above; "
                    f"expected the table that the collection comes with, with the "
                    f"columns {', '.join(columns)}. Unpack it there too"
                )
            for table in tables:
                text = table.read_text(encoding="utf-8-sig")
                reader = csv.DictReader(text.splitlines())
                remedy = "Take the table that the collection comes with"
                check_columns(table, reader.fieldnames or (), columns, remedy)
                rows += reader
        return rows

    def lines(self, *names):
        """Returns the tab-separated cells of all lines of tables, if there are any."""
        return [
            line.split("\t")
            for table in self.table(*names)
            for line in table.read_text(encoding="utf-8-sig").splitlines()
        ]
