"""The source list: the recordings that corpora are made of, one per row of a CSV."""

import csv
from dataclasses import astuple, dataclass
from pathlib import Path

import soundfile

from corpus.atomic import replacing
from corpus.tables import event_classes, scene_classes

SUBSETS = ("train", "val", "test")
ROLES = ("speech", "scene", "event")
REQUIRED = ("path", "role", "subset", "class", "speaker", "source")
COLUMNS = (*REQUIRED, "rate", "frames", "transcript")


@dataclass(frozen=True)
class Source:
    """One source recording.

    Arguments
    ---------
    path : str
        Absolute, or relative to the corpus folder; with ``/``.
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
    with (
        replacing(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(astuple(source) for source in sources)


def read_header(path, where):
    """Returns the rate in Hz and the length in samples of an audio file.

    Raises
    ------
    ValueError
        Naming the row (``where``) and the file, if it is no audio.
    """
    try:
        info = soundfile.info(str(path))
    except (RuntimeError, OSError) as error:
        raise ValueError(
            f"{where}: {path} cannot be read as audio ({error}). Mend or remove the row"
        ) from error
    return info.samplerate, info.frames


def read_sources(path):
    """Reads and checks a source list.

    Arguments
    ---------
    path : str or Path
        A CSV with the columns REQUIRED; of the other COLUMNS, rate and frames are read
        from the files' headers where they are missing. Relative paths start at the
        list's folder.

    Returns
    -------
    list of Source
        With absolute paths.

    Raises
    ------
    ValueError
        Naming file, row and what was expected.
    """
    folder = Path(path).resolve().parent
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in REQUIRED if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"{path}: columns missing: {', '.join(missing)}")
        sources = []
        for number, row in enumerate(reader, start=2):
            where = f"{path}, line {number}"
            audio = folder / row["path"].replace("\\", "/")
            try:
                rate, frames = int(row["rate"]), int(row["frames"])
            except (KeyError, TypeError, ValueError):
                rate, frames = read_header(audio, where)
            source = Source(
                path=audio.as_posix(),
                role=row["role"],
                subset=row["subset"],
                class_=row["class"],
                speaker=row["speaker"],
                source=row["source"],
                rate=rate,
                frames=frames,
                transcript=row.get("transcript") or "",
            )
            check(source, where)
            sources.append(source)
    if not sources:
        raise ValueError(f"{path}: no sources; expected one recording per row")
    return sources
