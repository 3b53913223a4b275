"""Arrays appear when complete, hold what was written, and notice being replaced."""

import json
import pickle

import numpy as np
import pytest

from recipekit.files.arrays import MappedArrays, new_array, open_array
from recipekit.files.workers import worker_pool

DESCRIPTION = {"made from": "noise"}


def write(folder, samples):
    """Writes an array and its description; returns how a run reads them."""
    with new_array(folder / "noise.npy", samples.shape) as write_samples:
        write_samples(0, samples)
    (folder / "noise.json").write_text(json.dumps(DESCRIPTION), encoding="utf-8")
    shapes, descriptions = {"noise": samples.shape}, {"noise.json": DESCRIPTION}
    return MappedArrays(folder, shapes, descriptions, "Pack it again")


def test_processes_write_parts_of_one_array(tmp_path):
    samples = np.arange(-600, 600, dtype=np.int16)
    path = tmp_path / "ramp.npy"
    with new_array(path, (1300,)) as write_samples, worker_pool(2) as pool:
        begins = range(0, 1200, 100)
        parts = [samples[begin : begin + 100] for begin in begins]
        list(pool.map(write_samples, begins, parts))
        assert not path.exists()
    found = open_array(path, [1300], "")
    assert np.array_equal(found[:1200], samples) and not found[1200:].any()


def test_what_is_interrupted_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), new_array(tmp_path / "a.npy", (4,)) as _:
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_arrays_stay_out_of_what_is_sent_to_other_processes(tmp_path):
    samples = np.random.default_rng(0).integers(-9, 9, (3, 5000), np.int16)
    arrays = write(tmp_path, samples)
    assert np.array_equal(arrays["noise"], samples)
    sent = pickle.dumps(arrays)
    assert len(sent) < 1000
    assert np.array_equal(pickle.loads(sent)["noise"], samples)


def test_arrays_that_were_replaced_or_damaged_are_refused(tmp_path):
    samples = np.ones((2, 3), np.int16)
    arrays = write(tmp_path, samples)
    (tmp_path / "noise.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="packed again since this run began"):
        arrays["noise"]
    with pytest.raises(ValueError, match=r"damaged \(int16 \(2, 3\), not .* \(2, 4\)"):
        open_array(tmp_path / "noise.npy", [2, 4], "Pack it again")
    with pytest.raises(FileNotFoundError, match="a.npy does not exist. Pack it again"):
        open_array(tmp_path / "a.npy", [2, 4], "Pack it again")
