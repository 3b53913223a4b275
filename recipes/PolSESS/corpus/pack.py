"""Keeps the audio of a subset in one int16 array a layer, read by memory map.

    <pack>/<subset>/<layer>.npy     [recordings that have the layer, samples]
    <pack>/<subset>/pack.json       what it was packed from

Recordings are in the order of the manifest. An array appears under its name only when
it is complete, so packing resumes after an interruption. The wavs stay what counts: a
pack is made again when it is of another manifest, when folders changed since, or when
its samples are not those of the wavs (some recordings are compared each time).
"""

import functools
import json
import logging
import os
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from corpus.layout import STORED
from recipekit.console import progress_bar
from recipekit.files.arrays import (
    MappedArrays,
    check_space,
    make_folder,
    new_array,
    open_array,
    read_description,
)
from recipekit.files.atomic import replacing
from recipekit.files.csvs import read_table
from recipekit.files.locks import hold
from recipekit.files.workers import worker_pool

logger = logging.getLogger(__name__)

DESCRIPTION = "pack.json"
REMEDY = "Prepare the corpus with pack"
ELSEWHERE = "Pack into another folder: pack=FOLDER"
NO_SPACE = "Make room, or pack into another folder: pack=FOLDER"
CHUNK = 64  # recordings that a worker holds in memory
COMPARED = 16  # recordings of each layer whose samples tell whether a pack is current


def packs_folder(pack, data_folder):
    """Returns where a corpus' packs are.

    Arguments
    ---------
    pack : bool or str
        True: in the corpus; else a folder, in which they have one named after the
        corpus and its path.
    data_folder : str or Path
        The corpus.

    Returns
    -------
    Path
    """
    corpus = Path(data_folder).resolve()
    if pack is True:
        return corpus / "packed"
    path = blake2b(os.fsencode(corpus), digest_size=4).hexdigest()
    return Path(pack, f"{corpus.name}-{path}")  # corpora of one name differ by path


def pack_subset(folder, manifest, data_folder, sample_rate, workers=None):
    """Packs a subset, or resumes packing it, unless its pack is complete and current.

    Arguments
    ---------
    folder : Path
        Where the subset's arrays go. Nothing is written if they are there.
    manifest : Path
        train.csv, val.csv or test.csv.
    data_folder : Path
        The corpus.
    sample_rate : int
        Hz.
    workers : int, optional
        Processes; default: as many as there are cores.

    Raises
    ------
    OSError
        If the folder cannot be written to, or the disk is too small.
    ValueError
        If a file is not 16-bit mono of the corpus' rate and length, or an array of the
        pack is damaged.
    """
    layers = [layer.name for layer in STORED]
    table = _read_manifest(manifest, layers)
    frames = round(float(table["duration"][0]) * sample_rate)
    files = {
        layer: paths
        for layer in layers
        if (paths := [path for path in table[layer] if path])
    }
    description = {
        "manifest": _digest(manifest),
        "folders": _times(data_folder, files),
        "shapes": {layer: [len(paths), frames] for layer, paths in files.items()},
    }
    read = functools.partial(_read_wav, data_folder, frames, sample_rate)
    if _current(folder, description, files, read).keys() == files.keys():
        logger.info(f"The pack {folder} is up to date.")
        return
    make_folder(folder, ELSEWHERE)
    with hold(folder, wait=True):
        done = _current(folder, description, files, read)  # maybe by another process
        if not done:
            for layer in layers:
                (folder / f"{layer}.npy").unlink(missing_ok=True)
            with replacing(folder / DESCRIPTION) as part:
                part.write_text(json.dumps(description, indent=1), "utf-8")
        todo = {layer: paths for layer, paths in files.items() if layer not in done}
        _write_layers(folder, todo, frames, read, workers)


class Pack:
    """The layers of recordings, read from a subset's pack.

    Arguments
    ---------
    folder : str or Path
        From pack_subset.
    manifest : str or Path
        What was packed.
    rows : list of dict
        Those of the manifest's rows that will be read, with their ``id``.

    Raises
    ------
    FileNotFoundError
        If nothing, or not all, was packed.
    ValueError
        If the pack is damaged or of another manifest.
    """

    def __init__(self, folder, manifest, rows):
        self.folder = Path(folder)
        description = read_description(self.folder / DESCRIPTION, REMEDY)
        if description["manifest"] != _digest(manifest):
            raise ValueError(
                f"{self.folder} was not packed from {manifest}. {REMEDY} to pack it "
                "again"
            )
        shapes = description["shapes"]
        for layer, shape in shapes.items():
            open_array(self.folder / f"{layer}.npy", shape, REMEDY)
        descriptions = {DESCRIPTION: description}
        self.arrays = MappedArrays(self.folder, shapes, descriptions, REMEDY)
        table = _read_manifest(manifest, shapes)
        places = pd.Index(table["ID"]).get_indexer([row["id"] for row in rows])
        if (places < 0).any():
            unknown = rows[np.argmin(places)]["id"]
            raise ValueError(f"{manifest}: has no row {unknown}; pass its own rows")
        self.slots = {}
        for layer, (count, _) in shapes.items():
            stated = table[layer].to_numpy() != ""
            # Where a row lacks the layer: a slot that is out of bounds.
            slots = np.where(stated, np.cumsum(stated) - 1, count)
            self.slots[layer] = slots[places]

    def read(self, index, layer):
        """Returns a layer of the row with this index among the rows, int16 [time]."""
        return self.arrays[layer][self.slots[layer][index]]


def _read_manifest(path, layers):
    columns = ["ID", "duration", *layers]
    remedy = "Prepare the corpus again"
    options = {"dtype": str, "keep_default_na": False}
    return read_table(path, columns, remedy, only=True, **options)


def _digest(path):
    return blake2b(Path(path).read_bytes(), digest_size=16).hexdigest()


def _times(data_folder, files):
    """Returns when a file was last added, removed or renamed in the files' folders."""
    folders = {path.rpartition("/")[0] for paths in files.values() for path in paths}
    return {
        folder: _locate(data_folder, folder).stat().st_mtime_ns
        for folder in sorted(folders)
    }


def _locate(data_folder, path):
    return data_folder / path.removeprefix("$data_root/")


def _current(folder, description, files, read):
    """Returns the arrays by layer that are packed already, none if from other files."""
    path = folder / DESCRIPTION
    if not path.exists():
        return {}
    if json.loads(path.read_text(encoding="utf-8")) != description:
        logger.info(f"The corpus changed since {folder} was packed: packing it again")
        return {}
    shapes = description["shapes"]
    packed = [layer for layer in files if (folder / f"{layer}.npy").exists()]
    arrays = {
        layer: open_array(folder / f"{layer}.npy", shapes[layer], REMEDY)
        for layer in packed
    }
    for layer, array in arrays.items():
        for slot in np.linspace(0, len(array) - 1, COMPARED, dtype=int):
            file = files[layer][slot]
            if not np.array_equal(array[slot], read(file)):
                logger.info(f"{file} is not as {folder} has it: packing that again")
                return {}
    return arrays


def _write_layers(folder, files, frames, read, workers):
    """Writes the arrays of layers, one after the other, each by all workers."""
    count = sum(map(len, files.values()))
    check_space(folder, count * frames, NO_SPACE)
    with (
        worker_pool(workers) as pool,
        progress_bar(desc=f"{folder.name}: packing", total=count, unit="file") as bar,
    ):
        for layer, paths in files.items():
            path = folder / f"{layer}.npy"
            with new_array(path, (len(paths), frames)) as write_samples:
                write = functools.partial(_write_chunk, write_samples, read)
                begins = range(0, len(paths), CHUNK)
                chunks = [paths[begin : begin + CHUNK] for begin in begins]
                for written in pool.map(write, begins, chunks):
                    bar.update(written)


def _write_chunk(write_samples, read, begin, files):
    """Writes files to an array from a slot on; returns how many they are."""
    samples = np.stack([read(file) for file in files])
    write_samples(begin * samples.shape[1], samples)
    return len(files)


def _read_wav(data_folder, frames, sample_rate, path):
    path = _locate(data_folder, path)
    try:
        with soundfile.SoundFile(path) as file:
            found = (file.subtype, file.channels, file.frames, file.samplerate)
            samples = file.read(dtype="int16")
    except (RuntimeError, OSError) as error:
        raise ValueError(
            f"{path}: cannot be read ({error}). Check the corpus with verify_audio"
        ) from error
    if found != ("PCM_16", 1, frames, sample_rate):
        raise ValueError(
            "{}: found {}, {} channel(s), {} samples at {} Hz, ".format(path, *found)
            + f"but a pack holds 16-bit mono (PCM_16), here of {frames} samples at "
            f"{sample_rate} Hz. Use the corpus without pack"
        )
    return samples
