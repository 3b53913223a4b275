"""The source list: the recordings that corpora are made of, one per row of a CSV."""

import csv
import os
from dataclasses import astuple, dataclass
from pathlib import Path

from corpus.tables import event_classes, scene_classes

SUBSETS = ("train", "val", "test")
ROLES = ("speech", "scene", "event")
COLUMNS = (
    "path",
    "role",
    "subset",
    "class",
    "speaker",
    "source",
    "rate",
    "frames",
    "transcript",
)


@dataclass(frozen=True)
class Source:
    """One source recording.

    Arguments
    ---------
    path : str
        Path relative to the source list's folder, or absolute; with ``/``.
    role : str
        speech, scene or event.
    subset : str
        train, val or test.
    class_ : str
        Scene class, or event classes joined with commas; empty for speech.
    speaker : str
        Who speaks; empty for scenes and events. Speech without a known speaker
        counts as a speaker of its own.
    source : str
        The collection it comes from.
    rate : int
        Sample rate in Hz.
    frames : int
        Length in samples at that rate.
    transcript : str
        What is said, where known.
    """

    path: str
    role: str
    subset: str
    class_: str
    speaker: str
    source: str
    rate: int
    frames: int
    transcript: str = ""

    @property
    def seconds(self):
        """Duration in seconds."""
        return self.frames / self.rate

    @property
    def classes(self):
        """The class names as a tuple."""
        return tuple(name for name in self.class_.split(",") if name)


def check(source, where):
    """Raises ValueError if a source's role, subset or class is unknown.

    Arguments
    ---------
    source : Source
    where : str
        The file and row to name in the error.
    """
    for field, known in (("role", ROLES), ("subset", SUBSETS)):
        value = getattr(source, field)
        if value not in known:
            raise ValueError(
                f"{where}: {field} {value!r} is not one of {', '.join(known)}"
            )
    if source.role == "speech":
        return
    known = scene_classes() if source.role == "scene" else event_classes()
    unknown = [name for name in source.classes if name not in known]
    if unknown or not source.classes:
        raise ValueError(
            f"{where}: {source.role} class {', '.join(unknown) or '(empty)'} is not "
            f"in corpus/tables/{source.role}_classes.csv. Name one that is; the "
            "folder provider can map it: --treat CLASS=KNOWN_CLASS"
        )


def write_sources(path, sources):
    """Writes a source list; the file appears under its name only when complete."""
    temporary = Path(f"{path}.part")
    with open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(astuple(source) for source in sources)
    os.replace(temporary, path)


def read_sources(path):
    """Reads and checks a source list.

    Arguments
    ---------
    path : str or Path
        A CSV with the columns COLUMNS.

    Returns
    -------
    list of Source

    Raises
    ------
    ValueError
        Naming file, row and what was expected.
    """
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"{path}: columns missing: {', '.join(missing)}")
        sources = []
        for number, row in enumerate(reader, start=2):
            where = f"{path}, line {number}"
            try:
                rate, frames = int(row["rate"]), int(row["frames"])
            except ValueError as error:
                raise ValueError(f"{where}: rate and frames: {error}") from error
            source = Source(
                path=row["path"].replace("\\", "/"),
                role=row["role"],
                subset=row["subset"],
                class_=row["class"],
                speaker=row["speaker"],
                source=row["source"],
                rate=rate,
                frames=frames,
                transcript=row["transcript"],
            )
            check(source, where)
            sources.append(source)
    if not sources:
        raise ValueError(f"{path}: no sources; expected one recording per row")
    return sources
