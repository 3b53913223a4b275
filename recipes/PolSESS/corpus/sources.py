"""The source list: the recordings that corpora are made of, one per row of a CSV."""

import dataclasses
from dataclasses import astuple, dataclass
from pathlib import Path

import soundfile

from corpus.tables import event_classes, scene_classes
from recipekit.files.atomic import csv_writer
from recipekit.files.csvs import read_rows

SUBSETS = ("train", "val", "test")
ROLES = ("speech", "scene", "event")
REQUIRED = ("path", "role", "subset", "class", "speaker", "source")
MEASURED = ("rate", "frames", "channels")
COLUMNS = (
    *REQUIRED,
    *MEASURED,
    "recording",
    "official",
    "licence",
    "transcript",
    "name",
)
TOLD = ("gender", "language")  # of speakers: columns of lists where some are known

MAX_CHANNELS = 2
SOURCE_RATES = (8000, 96000)  # Hz, the lowest and the highest
COARSE = ("PCM_S8", "PCM_U8", "ULAW", "ALAW", "DPCM_8", "VOX_ADPCM")  # 8 bits or less


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
    channels : int
        Mixed down to one when read.
    recording : str
        What must not be in two subsets, beside speakers: where a scene was recorded,
        which original clip an event was cut from; empty: not known.
    official : str
        The subset where its collection's own split has it, if that is binding.
    licence : str
        Its terms of use, where known.
    transcript : str
        What is said, where known.
    name : str
        What it is called wherever it is on disk, such as its path in its collection:
        draws and CSVs of corpora go by that. Default: its path.
    gender, language : str
        Of the speaker, in the words of the list, where known.
    """

    path: str
    role: str
    subset: str
    class_: str
    speaker: str
    source: str
    rate: int
    frames: int
    channels: int = 1
    recording: str = ""
    official: str = ""
    licence: str = ""
    transcript: str = ""
    name: str = ""
    # Digests are of the repr, and those of lists that lack these shall stay.
    gender: str = dataclasses.field(default="", repr=False)
    language: str = dataclasses.field(default="", repr=False)

    def __post_init__(self):
        if not self.name:
            object.__setattr__(self, "name", self.path)

    @property
    def seconds(self):
        """Duration in seconds."""
        return self.frames / self.rate

    @property
    def classes(self):
        """The class names as a tuple."""
        return tuple(name for name in self.class_.split(",") if name)


@dataclass(frozen=True)
class Rejected:
    """A source that cannot be used.

    Arguments
    ---------
    path : str
        The source's name, as in the source list.
    reason : str
        Why, to be read.
    """

    path: str
    reason: str


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


def read_header(path):
    """Returns what the header of an audio file says, without reading its samples.

    Arguments
    ---------
    path : str or Path

    Returns
    -------
    tuple of int
        Rate in Hz, length in samples, channels.

    Raises
    ------
    ValueError
        Saying, without the path, why the file is no source: no audio, no samples, more
        than two channels, 8 bits or less, a rate outside SOURCE_RATES.
    """
    if not Path(path).is_file():
        raise ValueError("no such file")
    try:
        info = soundfile.info(str(path))
    except (RuntimeError, OSError) as error:
        raise ValueError(f"cannot be read as audio ({error})") from error
    low, high = SOURCE_RATES
    if not info.frames:
        raise ValueError("has no samples")
    if info.channels > MAX_CHANNELS:
        raise ValueError(f"{info.channels} channels, expected 1 or {MAX_CHANNELS}")
    if info.subtype in COARSE:
        raise ValueError(f"{info.subtype}, expected 16 bits or more")
    if not low <= info.samplerate <= high:
        raise ValueError(f"{info.samplerate} Hz, expected {low} to {high} Hz")
    return info.samplerate, info.frames, info.channels


def write_sources(path, sources):
    """Writes a source list; the file appears under its name only when complete."""
    columns = (*COLUMNS, *TOLD) if any_told(sources) else COLUMNS
    with csv_writer(path, columns) as writer:
        writer.writerows(astuple(source)[: len(columns)] for source in sources)


def any_told(sources):
    """Returns whether the gender or language of any speaker is known."""
    return any(source.gender or source.language for source in sources)


def read_sources(path, measure=None):
    """Reads and checks a source list.

    Arguments
    ---------
    path : str or Path
        A CSV with the columns REQUIRED and, without measure, MEASURED; the others of
        COLUMNS, and TOLD, may be missing. Relative paths start at the list's folder.
    measure : callable, optional
        Of absolute paths; returns a dict from those that can be used to the values of
        MEASURED. Default: what is listed is believed.

    Returns
    -------
    list of Source
        With absolute paths; named as listed.

    Raises
    ------
    ValueError
        Naming file, row and what was expected.
    """
    folder = Path(path).resolve().parent
    rows = read_rows(path, REQUIRED, ", ".join(REQUIRED))
    paths = [(folder / row["path"].replace("\\", "/")).as_posix() for row in rows]
    headers = measure(paths) if measure else {}
    sources = []
    for number, (row, audio) in enumerate(zip(rows, paths, strict=True), start=2):
        where = f"{path}, line {number}"
        if measure and audio not in headers:
            continue
        measured = headers[audio] if measure else _listed(row, where)
        source = Source(
            path=audio,
            role=row["role"],
            subset=row["subset"],
            class_=row["class"],
            speaker=row["speaker"],
            source=row["source"],
            **dict(zip(MEASURED, measured, strict=True)),
            recording=row.get("recording") or "",
            official=row.get("official") or "",
            licence=row.get("licence") or "",
            transcript=row.get("transcript") or "",
            name=row.get("name") or row["path"],
            **{name: row.get(name) or "" for name in TOLD},
        )
        check(source, where)
        sources.append(source)
    if not sources:
        raise ValueError(f"{path}: no sources; expected one recording per row")
    return sources


def _listed(row, where):
    """Returns the values of MEASURED of a row."""
    try:
        return [int(row[name]) for name in MEASURED]
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"{where}: expected whole numbers in the columns {', '.join(MEASURED)}. "
            "`python -m corpus list` makes a corpus, with such a list, of one without"
        ) from None
