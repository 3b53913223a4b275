"""Folders of int16 arrays, read by memory map and replaced as a whole.

An array appears under its name only when it is complete. What it was made from is
written beside it as JSON; who reads compares that, so that arrays which are made again
while a run reads them are noticed.
"""

import functools
import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tqdm import tqdm

from recipekit.files.atomic import replacing


def make_folder(folder, remedy):
    """Makes a folder for arrays.

    Arguments
    ---------
    folder : Path
    remedy : str
        For errors: what to do, without the full stop.

    Raises
    ------
    OSError
        If it may not be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{folder}: cannot be made ({error}). {remedy}") from error
    if not os.access(folder, os.W_OK):
        raise OSError(f"{folder}: may not be written to. {remedy}")


def check_space(folder, samples, remedy):
    """Raises OSError if the disk is too small for as many samples of 16 bits.

    ``remedy`` is as in make_folder.
    """
    need, free = 2 * samples, shutil.disk_usage(folder).free
    if need > free:
        raise OSError(
            f"{folder}: packing takes {tqdm.format_sizeof(need, 'B')}, but "
            f"{tqdm.format_sizeof(free, 'B')} are free. {remedy}"
        )


@contextmanager
def new_array(path, shape):
    """Makes an array of zeros, which appears under its name at the end.

    Arguments
    ---------
    path : Path
        Ending in .npy.
    shape : tuple of int

    Yields
    ------
    callable
        write_samples for this array, to be called, in any process, with where to write
        and what.
    """
    with replacing(path) as part:
        zeros = np.lib.format.open_memmap(part, "w+", np.int16, shape)
        yield functools.partial(_write_samples, part, zeros.offset)


def _write_samples(path, offset, first, samples):
    """Writes int16 samples to an array from its element of that number on."""
    # Not by memory map: when the disk is full, that kills the process.
    with open(path, "r+b") as array:
        array.seek(offset + first * samples.itemsize)
        array.write(samples.tobytes())


def open_array(path, shape, remedy):
    """Opens an array by memory map.

    Arguments
    ---------
    path : Path
    shape : sequence of int
        Which it must have.
    remedy : str
        For errors: how it is made, without the full stop.

    Returns
    -------
    numpy.ndarray
        int16, read-only.

    Raises
    ------
    FileNotFoundError
        If it is not there.
    ValueError
        If it is damaged.
    """
    try:
        array = np.lib.format.open_memmap(path, "r")
        if array.dtype != np.int16 or array.shape != tuple(shape):
            raise ValueError(f"{array.dtype} {array.shape}, not int16 {tuple(shape)}")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} does not exist. {remedy}") from error
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: damaged ({error}). Delete it. {remedy}") from error
    return np.asarray(array)  # whose slices are quicker than a memmap's


def read_description(path, remedy):
    """Reads the JSON that says what arrays were made from.

    Arguments and errors are those of open_array.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist. {remedy}")
    return json.loads(path.read_text(encoding="utf-8"))


class MappedArrays:
    """Arrays by name, opened when a process first reads one.

    So they can be sent to the workers of a DataLoader however these are started.

    Arguments
    ---------
    folder : str or Path
    shapes : dict
        Shape of each array by name; its file is ``<name>.npy``.
    descriptions : dict
        What the arrays were made from when the run began, by the name of its file.
    remedy : str
        For errors: how the arrays are made, without the full stop.
    """

    def __init__(self, folder, shapes, descriptions, remedy):
        self.folder, self.shapes = Path(folder), shapes
        self.descriptions, self.remedy = descriptions, remedy

    @functools.cached_property
    def _opened(self):
        for name, description in self.descriptions.items():
            if read_description(self.folder / name, self.remedy) != description:
                raise ValueError(
                    f"{self.folder} was packed again since this run began. Start it "
                    "again"
                )
        return {
            name: open_array(self.folder / f"{name}.npy", shape, self.remedy)
            for name, shape in self.shapes.items()
        }

    def __getitem__(self, name):
        return self._opened[name]

    def __getstate__(self):
        return {key: value for key, value in vars(self).items() if key != "_opened"}
