"""Writes a corpus in PolSESS' own folders and CSV files, row by row, resumably.

    <corpus>/<subset>/{clean,mix,scene,event,sp1_reverb,sp2_reverb,ev_reverb}/*.wav
    <corpus>/<subset>/corpus_<corpus>_<subset>_final.csv         the official columns
    <corpus>/<subset>/corpus_<corpus>_<subset>_provenance.csv    who, from where
    <corpus>/sources.csv, corpus.json, rejected.csv              what it was made from
    <corpus>/README.md, levels.png                               the corpus card

While a corpus is being made, journals keep the rows that are done; an interrupted run
resumes after them. A row's files are written before its line in the journal, each under
a temporary name first, and rows depend on keys alone, so the result is the same to
the byte whatever was interrupted and however many processes worked.

Machines can share the work: each makes a shard, every n-th row, with a journal of its
own. Where all shards' files have come together in one folder, a run without a shard
finds the rows done and writes the rest.
"""

import functools
import json
import math
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path

from corpus.audio import CORPUS_RATES, DEFAULT_RATE, FORMATS, write_audio
from corpus.card import CARD, write_card
from corpus.journal import Journal, remove_journals
from corpus.layout import FOLDERS, STORED
from corpus.metadata import cells, write_csvs
from corpus.plan import Planner
from corpus.render import Renderer, read_segment
from corpus.sources import SUBSETS, TOLD, any_told, write_sources
from recipekit.console import progress_bar
from recipekit.files import keyed
from recipekit.files.atomic import csv_writer, replacing
from recipekit.files.locks import LOCK, hold
from recipekit.files.workers import worker_pool

FORMAT_VERSION = 2
BATCH = 512  # rows handed to the workers at a time


@dataclass(frozen=True)
class CorpusSettings:
    """What a corpus is, beside its sources.

    Arguments
    ---------
    rows : tuple of int
        Recordings in train, val and test.
    sample_rate : int
        One of CORPUS_RATES, in Hz.
    seconds : float
        Length of a recording.
    seed : int
        Same seed, settings and sources: the same bytes.
    audio_format : str
        wav or flac.
    split : str
        How the sources were split, to be read.
    both_rates : bool
        Redraw rows that are beyond the limit at either of CORPUS_RATES, so that the
        corpora of both rates have the same rows. Takes about three times as long.
    """

    rows: tuple
    sample_rate: int = DEFAULT_RATE
    seconds: float = 4.0
    seed: int = 0
    audio_format: str = "wav"
    split: str = "as the source list has it"
    both_rates: bool = False

    def __post_init__(self):
        if self.sample_rate not in CORPUS_RATES:
            rates = " or ".join(map(str, CORPUS_RATES))
            raise ValueError(f"sample_rate {self.sample_rate}: expected {rates}")
        if len(self.rows) != 3 or min(self.rows) < 0 or not any(self.rows):
            raise ValueError(f"rows {self.rows}: expected three counts, one above 0")
        if not 0 < self.seconds < math.inf:
            raise ValueError(f"seconds {self.seconds}: expected more than 0")
        if self.audio_format not in FORMATS:
            raise ValueError(f"audio_format {self.audio_format}: expected {FORMATS}")


def claim_corpus(folder, sources, settings):
    """Notes what a folder is to hold, or refuses one that holds something else.

    Arguments
    ---------
    folder, sources, settings
        Those of build_corpus.

    Raises
    ------
    ValueError
        Naming what differs.
    """
    # Not the paths: where sources are on disk changes nothing.
    digested = [replace(source, path="") for source in sources]
    if any_told(sources):  # which is not in their repr
        digested += [[getattr(source, name) for name in TOLD] for source in sources]
    recipe = {
        "format_version": FORMAT_VERSION,
        **asdict(settings),
        "rows": list(settings.rows),
        "sources": keyed.digest(digested),
    }
    path = folder / "corpus.json"
    begun = any(file.stat().st_size for file in folder.glob("*/rows*.journal"))
    if not path.exists() or not (begun or list(folder.glob("*/corpus_*.csv"))):
        folder.mkdir(parents=True, exist_ok=True)
        write_sources(folder / "sources.csv", sources)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(recipe, indent=1) + "\n", encoding="utf-8")
        return
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
        changed = [key for key in recipe if recipe[key] != there.get(key)]
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"{path}: does not say what the corpus is ({error}). Take another folder, "
            "or remove this one"
        ) from error
    if changed:
        raise ValueError(
            f"{folder} holds another corpus: "
            + ", ".join(
                f"{key} {there.get(key)} (now {recipe[key]})" for key in changed
            )
            + ". Take another folder, or remove this one"
        )


@contextmanager
def hold_corpus(folder, shard=None):
    """Holds a corpus folder: as a whole, or side by side with its other shards.

    Arguments
    ---------
    folder : str or Path
    shard : tuple of int, optional
        (i, n). Shards prepare the folder one after the other, then work side by side.

    Yields
    ------
    callable
        To be called when the folder is prepared: lets the next shard in.

    Raises
    ------
    RuntimeError
        If another process works there and this is no shard of the same kind.
    """
    with ExitStack() as working, ExitStack() as preparing:
        preparing.enter_context(hold(folder, wait=shard is not None))
        own_lock = "{}-{}-of-{}".format(LOCK, *shard) if shard else None
        for lock in Path(folder).glob(f"{LOCK}-*"):
            if not shard or not lock.name.endswith(f"-of-{shard[1]}"):
                with hold(folder, name=lock.name):  # refused while it is being made
                    pass
        if shard:
            working.enter_context(hold(folder, name=own_lock))
        yield preparing.close if shard else lambda: None


def build_corpus(
    folder,
    sources,
    settings,
    workers=None,
    progress=True,
    rejected=(),
    max_rejected=0.01,
    shard=None,
):
    """Makes a corpus, or resumes making it; the folder is to be held.

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
    rejected : sequence of Rejected
        Sources that were left out; those that turn out unreadable are added to them.
    max_rejected : float
        Share of the sources that may be unreadable.
    shard : tuple of int, optional
        (i, n), counted from 1: make every n-th row only, from the i-th on.

    Returns
    -------
    dict
        rows made now, redrawn (reason -> draws), seconds, and whether the corpus is
        finished.

    Raises
    ------
    ValueError
        If the folder holds another corpus, the sources do not suffice, or too many of
        them are unreadable.
    """
    folder = Path(folder)
    counts = dict(zip(SUBSETS, settings.rows, strict=True))
    planners = {
        subset: Planner(sources, subset, settings.seconds, settings.seed)
        for subset in SUBSETS
        if counts[subset]
    }
    claim_corpus(folder, sources, settings)
    begin, rows_made, redrawn = time.monotonic(), 0, Counter()
    all_made = folder / "rejected.csv"  # is written when all rows are
    if not all_made.exists():
        _make_folders(folder, planners, shared=shard is not None)
        journals = {
            subset: Journal(folder / subset, counts[subset], shard)
            for subset in planners
        }
        lost = {source.path: source.reason for source in rejected}
        count = len(lost) + len({source.name for source in sources})
        for _, redraws in chain(*journals.values()):
            _note_unreadable(redraws, lost, count, max_rejected)
        for subset, planner in planners.items():
            job = (planner, folder, settings)
            for redraws in _make_rows(job, journals[subset], workers, progress):
                rows_made += 1
                redrawn.update(reason for reason, _, _ in redraws)
                _note_unreadable(redraws, lost, count, max_rejected)
        if not shard:
            for subset, journal in journals.items():
                rows = (row for row, _ in journal)
                write_csvs(folder, subset, rows, any_told(sources))
            with csv_writer(all_made, ("path", "reason")) as writer:
                writer.writerows(sorted(lost.items()))
    if all_made.exists():
        for subset in planners:
            remove_journals(folder / subset)
        if not (folder / CARD).exists():
            write_card(folder, settings, sources)
    return {
        "rows": rows_made,
        "redrawn": dict(redrawn),
        "seconds": round(time.monotonic() - begin, 1),
        "finished": all_made.exists(),
    }


def _note_unreadable(redraws, lost, count, max_rejected):
    """Adds a row's unreadable sources to those lost; raises if these are too many."""
    unreadable = {name: detail for _, name, detail in redraws if name}
    lost |= unreadable
    if unreadable and len(lost) > max_rejected * count:
        name, detail = unreadable.popitem()
        raise ValueError(
            f"{len(lost)} of {count} sources are unusable, more than the "
            f"{max_rejected:.2%} allowed, e.g. {name} {detail}. Download them again, "
            "or allow more: --max_rejected"
        )


def _make_folders(folder, subsets, shared):
    """Makes the folders; removes what a killed run left, unless others work here."""
    for path in (folder / subset / name for subset in subsets for name in FOLDERS):
        path.mkdir(parents=True, exist_ok=True)
        if not shared:
            for leftover in path.glob("*.part"):
                leftover.unlink()


def _make_rows(job, journal, workers, progress):
    """Makes the rows that a journal lacks; yields the redraws of each."""
    planner, _, _ = job
    todo = journal.missing()
    with (
        worker_pool(workers, _start_worker, job) as pool,
        journal.writing() as keep,
        progress_bar(
            desc=f"{planner.subset}: mixing",
            initial=len(journal.rows) - len(todo),
            total=len(journal.rows),
            unit="rec",
            disable=not progress,
        ) as bar,
    ):
        for begin in range(0, len(todo), BATCH):
            batch = todo[begin : begin + BATCH]
            for row, cells, redraws in pool.map(_make_row, batch, chunksize=4):
                keep(row, cells, redraws)
                yield redraws
                bar.update()


def _start_worker(*job):
    _, folder, settings = _make_row.job = job
    reads = {
        rate: functools.partial(read_segment, folder=folder, sample_rate=rate)
        for rate in CORPUS_RATES
    }
    renderers = {rate: Renderer(read, rate) for rate, read in reads.items()}
    _make_row.renderer = renderers.pop(settings.sample_rate)
    _make_row.also = renderers.values() if settings.both_rates else ()


def _make_row(row):
    """Renders and writes one row; returns its number, CSV cells and redraws."""
    planner, folder, settings = _make_row.job
    recording = _make_row.renderer.render_row(planner, row, _make_row.also)
    names = {}
    for layer in STORED:
        if layer.name in recording.layers:
            key = (planner.seed, planner.subset, row)
            names[layer.name] = layer.file_name(settings.audio_format, *key)
            path = folder / planner.subset / layer.folder / names[layer.name]
            write_audio(path, recording.layers[layer.name], settings.sample_rate)
    return row, cells(planner.subset, recording, names), recording.redraws
