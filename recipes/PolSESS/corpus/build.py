"""Writes a corpus in PolSESS' own folders and CSV files, row by row, resumably.

    <corpus>/<subset>/{clean,mix,scene,event,sp1_reverb,sp2_reverb,ev_reverb}/*.wav
    <corpus>/<subset>/corpus_<corpus>_<subset>_final.csv     the official columns
    <corpus>/<subset>/corpus_<corpus>_<subset>_speech.csv    speakers and transcripts
    <corpus>/sources.csv, corpus.json                        what it was made from

While a subset is being made, a journal keeps the rows that are done; an interrupted run
goes on after them. A row's files are written before its line in the journal, each under
a temporary name first, and rows depend on keys alone, so the result is the same to
the byte whatever was interrupted and however many processes worked.
"""

import csv
import functools
import json
import time
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path

from tqdm import tqdm

from corpus import keyed
from corpus.atomic import replacing
from corpus.plan import Planner
from corpus.render import Renderer, read_segment
from corpus.sources import SUBSETS, write_sources
from corpus.wav import write_wav
from corpus.workers import worker_pool

FORMAT_VERSION = 1
JOURNAL = "rows.journal"
BATCH = 512  # rows handed to the workers at a time

FOLDERS = ("clean", "mix", "scene", "event", "sp1_reverb", "sp2_reverb", "ev_reverb")
COLUMNS = (
    "subset",
    "speech1OryginalPath",
    "speech1Start",
    "speech1End",
    "speech2OryginalPath",
    "speech2Start",
    "speech2End",
    "SSR",
    "sceneOryginalPath",
    "sceneStart",
    "sceneEnd",
    "sceneRandomDB",
    "sceneOffsetDB",
    "sceneVolumeGain",
    "eventOryginalPath",
    "eventStart",
    "eventEnd",
    "speaker1File",
    "speaker2File",
    "eventFile",
    "sceneFile",
    "reverbForSpeaker1",
    "reverbForSpeaker2",
    "reverbForEvent",
    "mixFile",
    "sceneClass",
    "eventClass",
    "preDelayForEvent",
    "preDelay1",
    "preDelay2",
    "highCut",
    "diffusion",
    "decay",
    "freqDamp",
)
SPEECH_COLUMNS = ("mixFile", "speaker1", "speaker2", "transcript1", "transcript2")


@dataclass(frozen=True)
class CorpusSettings:
    """What a corpus is, beside its sources.

    Arguments
    ---------
    rows : tuple of int
        Recordings in train, val and test.
    sample_rate : int
        8000 or 16000 Hz.
    seconds : float
        Length of a recording.
    seed : int
        Same seed, settings and sources: the same bytes.
    """

    rows: tuple
    sample_rate: int = 8000
    seconds: float = 4.0
    seed: int = 0

    def __post_init__(self):
        if self.sample_rate not in (8000, 16000):
            raise ValueError(f"sample_rate {self.sample_rate}: expected 8000 or 16000")
        if len(self.rows) != 3 or min(self.rows) < 0 or not any(self.rows):
            raise ValueError(f"rows {self.rows}: expected three counts, one above 0")
        if self.seconds <= 0:
            raise ValueError(f"seconds {self.seconds}: expected more than 0")


def build_corpus(folder, sources, settings, workers=None, progress=True):
    """Makes a corpus, or goes on making it.

    Arguments
    ---------
    folder : str or Path
        The corpus folder; its name is the corpus' name.
    sources : list of Source
        Relative paths start at the corpus folder.
    settings : CorpusSettings
    workers : int, optional
        Processes; default: as many as there are cores.
    progress : bool
        Whether to show a bar.

    Returns
    -------
    dict
        rows made now, rows drawn again, seconds.

    Raises
    ------
    ValueError
        If the folder holds another corpus, or the sources do not suffice.
    """
    folder = Path(folder)
    planners = {
        subset: Planner(sources, subset, settings.seconds, settings.seed)
        for subset, count in zip(SUBSETS, settings.rows, strict=True)
        if count
    }
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, settings, sources)
    write_sources(folder / "sources.csv", sources)
    begin, made, redrawn = time.monotonic(), 0, 0
    for subset, count in zip(SUBSETS, settings.rows, strict=True):
        if _csv_path(folder, subset, "final").exists():
            (folder / subset / JOURNAL).unlink(missing_ok=True)
        elif count:
            planner, rate = planners[subset], settings.sample_rate
            attempts = _build_subset(folder, planner, count, rate, workers, progress)
            made += len(attempts)
            redrawn += sum(attempts)
    return {
        "rows": made,
        "redrawn": redrawn,
        "seconds": round(time.monotonic() - begin, 1),
    }


def _csv_path(folder, subset, kind):
    return folder / subset / f"corpus_{folder.resolve().name}_{subset}_{kind}.csv"


def _claim(folder, settings, sources):
    """Notes what the folder holds, or refuses one that holds something else."""
    recipe = {
        "format_version": FORMAT_VERSION,
        **asdict(settings),
        "rows": list(settings.rows),
        "sources": blake2b(repr(sources).encode(), digest_size=16).hexdigest(),
    }
    path = folder / "corpus.json"
    if not path.exists():
        _write_text(path, json.dumps(recipe, indent=1) + "\n")
        return
    there = json.loads(path.read_text(encoding="utf-8"))
    changed = [key for key in recipe if recipe[key] != there.get(key)]
    if changed:
        raise ValueError(
            f"{folder} holds another corpus: "
            + ", ".join(
                f"{key} {there.get(key)} (now {recipe[key]})" for key in changed
            )
            + ". Take another folder, or remove this one"
        )


def _build_subset(folder, planner, count, sample_rate, workers, progress):
    """Makes the rows of a subset that are missing; returns their redraws."""
    target = folder / planner.subset
    for name in FOLDERS:
        (target / name).mkdir(parents=True, exist_ok=True)
        for leftover in (target / name).glob("*.part"):
            leftover.unlink()
    journal = target / JOURNAL
    done = _read_journal(journal)
    todo = [row for row in range(count) if row not in done]
    attempts = []
    job = (planner, folder, sample_rate)
    with (
        worker_pool(workers, _start_worker, job) as pool,
        open(journal, "a", encoding="utf-8") as file,
        tqdm(
            desc=f"{planner.subset}: mixing",
            initial=len(done),
            total=count,
            unit="rec",
            disable=not progress,
        ) as bar,
    ):
        for begin in range(0, len(todo), BATCH):
            batch = todo[begin : begin + BATCH]
            for row, cells, redraws in pool.map(_make_row, batch, chunksize=4):
                file.write(json.dumps([row, cells]) + "\n")
                file.flush()
                done[row] = cells
                attempts.append(redraws)
                bar.update()
    ordered = [done[row] for row in range(count)]
    _write_csv(_csv_path(folder, planner.subset, "speech"), SPEECH_COLUMNS, ordered)
    _write_csv(_csv_path(folder, planner.subset, "final"), COLUMNS, ordered)
    journal.unlink()
    return attempts


def _read_journal(path):
    """Returns a dict from row to cells; a torn last line is dropped from the file."""
    done, intact = {}, ""
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            if not line.endswith("\n"):
                break
            row, cells = json.loads(line)
            done[row] = cells
            intact += line
        _write_text(path, intact)
    return done


def _start_worker(*job):
    _make_row.job = job
    _, folder, sample_rate = job
    read = functools.partial(read_segment, folder=folder, sample_rate=sample_rate)
    _make_row.renderer = Renderer(read, sample_rate)


def _make_row(row):
    """Renders and writes one row; returns its number, CSV cells and redraws."""
    planner, folder, sample_rate = _make_row.job
    made = _make_row.renderer.render_row(planner, row)
    plan, layers, scene_gain = made.plan, made.layers, made.scene_gain
    attempt = len(made.redraws)
    names = _names(planner, row, layers)
    for layer, name in names.items():
        directory = "clean" if layer.startswith("clean") else layer
        write_wav(
            folder / planner.subset / directory / name, layers[layer], sample_rate
        )
    return row, _cells(planner.subset, plan, names, scene_gain), attempt


def _names(planner, row, layers):
    """Returns the file name of each layer; the three reverbs share a stem."""
    names = {}
    for layer in layers:
        reverb = layer.endswith("_reverb")
        stem = keyed.name(planner.seed, planner.subset, row, reverb or layer)
        prefix = layer.removesuffix("reverb") if reverb else ""
        names[layer] = f"{prefix}{stem}.wav"
    return names


def _cells(subset, plan, names, scene_gain):
    """Returns a row's cells of both CSV files."""

    def place(field, segment):
        return {
            f"{field}OryginalPath": segment.path,
            f"{field}Start": segment.start + 1,
            f"{field}End": segment.start + segment.frames,
        }

    first, second = plan.speech
    cells = {"subset": subset, "SSR": plan.ssr}
    cells |= place("speech1", first) | place("speech2", second)
    cells |= place("scene", plan.scene) | place("event", plan.event)
    offset = plan.scene_offset
    cells |= {
        "sceneRandomDB": offset,
        "sceneOffsetDB": offset,
        "sceneVolumeGain": scene_gain,
        "sceneClass": plan.scene_class,
        "eventClass": plan.event_class,
        "speaker1File": names["clean1"],
        "speaker2File": names["clean2"],
        "eventFile": names["event"],
        "sceneFile": names["scene"],
        "mixFile": names["mix"],
        "reverbForSpeaker1": names.get("sp1_reverb", ""),
        "reverbForSpeaker2": names.get("sp2_reverb", ""),
        "reverbForEvent": names.get("ev_reverb", ""),
        "speaker1": first.clips[0].speaker,
        "speaker2": second.clips[0].speaker,
        "transcript1": first.transcript,
        "transcript2": second.transcript,
    }
    numbers = dict.fromkeys(COLUMNS[COLUMNS.index("preDelayForEvent") :], "NaN")
    if plan.plates:
        one, two, event = plan.plates
        numbers = {
            "preDelayForEvent": event.pre_delay,
            "preDelay1": one.pre_delay,
            "preDelay2": two.pre_delay,
            "highCut": one.high_cut,
            "diffusion": one.diffusion,
            "decay": one.decay,
            "freqDamp": one.freq_damp,
        }
    return cells | numbers


def _write_text(path, text):
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _write_csv(path, columns, rows):
    with (
        replacing(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(
            file, columns, extrasaction="ignore", lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(rows)
