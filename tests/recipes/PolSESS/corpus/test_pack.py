"""Packs hold what the wavs hold, whatever was interrupted, changed or damaged."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

import polsess_prepare
from corpus import pack as pack_module
from corpus.layout import REVERBS, STORED
from corpus.pack import Pack, packs_folder
from mixtures.dataset import read_manifest
from tiny_corpus import layer_path, read_rows, write_rows

RECIPE = Path(pack_module.__file__).parents[1]


@pytest.fixture
def rows(manifests, corpus):
    """A function that reads the manifest of train."""
    return lambda: read_manifest(manifests / "train.csv", corpus)


@pytest.fixture
def open_pack(corpus, manifests, rows):
    """A function that opens the pack of train."""

    def run(rows_to_read=None, pack=True):
        folder = packs_folder(pack, corpus) / "train"
        return Pack(folder, manifests / "train.csv", rows_to_read or rows())

    return run


def assert_packed(pack, rows):
    for index, row in enumerate(rows):
        for layer in STORED:
            if row[layer.name]:
                expected, _ = sf.read(row[layer.name], dtype="int16")
                assert np.array_equal(pack.read(index, layer.name), expected), layer


def times(folder):
    return {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


def test_pack_holds_every_layer_of_every_row(
    corpus, prepare, open_pack, rows, monkeypatch
):
    monkeypatch.setattr(pack_module, "CHUNK", 4)
    prepare(pack=True)
    assert_packed(open_pack(), rows())
    backwards = rows()[::-1][1:4]
    assert_packed(open_pack(backwards), backwards)
    for layer in STORED:  # 6 rows, 3 of them indoor, of 2000 samples
        array = np.load(
            corpus / "packed" / "train" / f"{layer.name}.npy", mmap_mode="r"
        )
        assert array.dtype == np.int16
        assert array.shape == (3 if layer in REVERBS else 6, 2000)


def test_no_layer_where_a_row_has_none(prepare, open_pack, rows):
    prepare(pack=True)
    outdoor = next(i for i, row in enumerate(rows()) if not row["indoor"])
    for layer in REVERBS:
        with pytest.raises(IndexError):
            open_pack().read(outdoor, layer.name)


def test_all_outdoor_corpus(corpus, prepare, open_pack, rows):
    for subset in ("train", "val", "test"):
        write_rows(corpus, subset, read_rows(corpus, subset)[1::2])
    prepare(pack=True)
    assert_packed(open_pack(), rows())
    assert not list((corpus / "packed").rglob("*_reverb.npy"))


def test_arrays_stay_out_of_what_is_sent_to_workers(prepare, open_pack, rows):
    prepare(pack=True)
    pack = open_pack()
    pack.read(0, "mix")
    sent = pickle.dumps(pack)
    assert len(sent) < 2000  # a recording is 4000 bytes
    assert_packed(pickle.loads(sent), rows())


def test_pack_outside_a_corpus_leaves_it_alone(
    corpus, tmp_path, prepare, open_pack, rows
):
    before = times(corpus)
    prepare(pack=str(tmp_path / "fast_disk"))
    assert times(corpus) == before
    (packed,) = (tmp_path / "fast_disk").iterdir()
    assert packed.name.startswith("tiny-") and (packed / "train/mix.npy").exists()
    assert_packed(open_pack(pack=tmp_path / "fast_disk"), rows())
    namesake = tmp_path / "other" / "tiny"
    assert packs_folder(tmp_path / "fast_disk", namesake) != packed


def test_pack_that_changes_while_a_run_reads_it_is_noticed(
    corpus, prepare, open_pack, rows
):
    prepare(pack=True)
    pack = open_pack()
    path = corpus / "packed" / "train" / "pack.json"
    path.write_text(path.read_text().replace('"folders"', '"other"'))
    with pytest.raises(ValueError, match="packed again since this run began"):
        pack.read(0, "mix")


def test_folder_that_cannot_be_written(corpus, prepare, monkeypatch):
    (corpus / "packed").write_text("in the way")
    with pytest.raises(OSError, match="packed/train: cannot be made.*pack=FOLDER"):
        prepare(pack=True)
    (corpus / "packed").unlink()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # tests run as root
    with pytest.raises(OSError, match="packed/train: may not be written.*pack=FOLDER"):
        prepare(pack=True)


def test_complete_pack_is_only_read(corpus, prepare, monkeypatch):
    prepare(pack=True)
    before = times(corpus)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    prepare(pack=True)
    assert times(corpus) == before


@pytest.mark.parametrize("subtype, samples", [("FLOAT", 2000), ("PCM_16", 1999)])
def test_file_that_does_not_fit_is_named(
    corpus, prepare, subtype, samples, monkeypatch
):
    monkeypatch.setattr(polsess_prepare, "SAMPLED", 0)  # not seen before
    path = layer_path(corpus, "train", 3, "event")
    sf.write(path, np.zeros(samples), 8000, subtype=subtype)
    with pytest.raises(ValueError, match=f"{path.name}: found {subtype}, 1 channel"):
        prepare(pack=True, workers=1)
    packed = corpus / "packed" / "train"
    assert (packed / "scene.npy").exists()  # the layer before
    assert not list(packed.glob("event.npy*"))


def test_file_that_cannot_be_read_is_named(corpus, prepare, monkeypatch):
    monkeypatch.setattr(polsess_prepare, "SAMPLED", 0)  # not seen before
    path = layer_path(corpus, "val", 1, "scene")
    path.write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=f"{path.name}: cannot be read"):
        prepare(pack=True, workers=1)


def test_small_disk_is_said_first(corpus, prepare, monkeypatch):
    usage = shutil.disk_usage(corpus)._replace(free=10_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(
        OSError, match=r"train: packing takes 156kB, but 10.0kB are free. Make room"
    ):
        prepare(pack=True)
    assert not list(corpus.rglob("*.npy*"))


# Interrupted


@pytest.mark.parametrize("after", [2, 15])  # of 39 files; six to a layer
def test_killed_and_started_again(corpus, manifests, prepare, open_pack, rows, after):
    script = f"""
        import os, signal, sys
        sys.path.insert(0, {str(RECIPE)!r})
        from tqdm import tqdm
        from corpus import pack
        from polsess_prepare import prepare_polsess

        class KillingBar(tqdm):
            def update(self, n):
                super().update(n)
                if self.n > {after}:
                    os.kill(os.getpid(), signal.SIGKILL)

        pack.progress_bar, pack.CHUNK = KillingBar, 2
        sys.tracebacklimit = 0
        os.environ.pop("TQDM_DISABLE", None)
        prepare_polsess({str(corpus)!r}, {str(manifests)!r}, pack=True, workers=2)
    """
    environment = {k: v for k, v in os.environ.items() if k != "TQDM_DISABLE"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    assert done.returncode == -signal.SIGKILL
    packed = corpus / "packed" / "train"
    whole = {path.name: path.stat().st_mtime_ns for path in packed.glob("*.npy")}
    assert len(whole) == after // 6
    assert len(list(packed.glob("*.npy.part"))) == 1
    with pytest.raises(FileNotFoundError, match="Prepare the corpus with pack"):
        open_pack()

    prepare(pack=True)
    assert_packed(open_pack(), rows())
    assert not list(packed.glob("*.part"))
    kept = {name: (packed / name).stat().st_mtime_ns for name in whole}
    assert kept == whole


# Changed since


def overwrite(corpus):
    path = layer_path(corpus, "train", 4, "sp2_reverb")
    samples, rate = sf.read(path, dtype="int16")
    sf.write(path, samples[::-1], rate)  # in place: the folder's time stays


def exchange(corpus):
    first, second = (layer_path(corpus, "train", row, "scene") for row in (1, 2))
    first.rename(first.with_suffix(".tmp"))
    second.rename(first)
    first.with_suffix(".tmp").rename(second)


def leave_out(corpus):
    write_rows(corpus, "train", read_rows(corpus, "train")[1:])


@pytest.mark.parametrize("change", [overwrite, exchange, leave_out])
def test_changed_corpus_is_packed_anew(corpus, prepare, open_pack, rows, change):
    prepare(pack=True)
    val = times(corpus / "packed" / "val")
    change(corpus)
    prepare(pack=True)
    assert_packed(open_pack(), rows())
    assert times(corpus / "packed" / "val") == val


def test_changed_folder_is_packed_anew_whatever_is_compared(
    corpus, prepare, open_pack, rows, monkeypatch
):
    monkeypatch.setattr(pack_module, "COMPARED", 0)
    prepare(pack=True)
    exchange(corpus)
    prepare(pack=True)
    assert_packed(open_pack(), rows())


def test_pack_of_another_manifest_is_refused(corpus, prepare, open_pack):
    prepare(pack=True)
    leave_out(corpus)
    prepare()
    with pytest.raises(
        ValueError, match="packed/train was not packed from .*train.csv"
    ):
        open_pack()


def test_row_of_another_manifest_is_refused(prepare, open_pack, rows):
    prepare(pack=True)
    with pytest.raises(ValueError, match="train.csv: has no row stranger"):
        open_pack([rows()[0], {"id": "stranger"}])


# Damaged


def truncate(path):
    os.truncate(path, path.stat().st_size - 1)


def empty(path):
    path.write_bytes(b"")


def shorten(path):
    np.save(path, np.load(path)[:-1])


def widen(path):
    np.save(path, np.load(path).astype(np.int32))


@pytest.mark.parametrize("damage", [truncate, empty, shorten, widen])
def test_damaged_array_is_named_and_made_again(
    corpus, prepare, open_pack, rows, damage
):
    prepare(pack=True)
    path = corpus / "packed" / "train" / "event.npy"
    damage(path)
    for use in (open_pack, lambda: prepare(pack=True)):
        with pytest.raises(ValueError, match="train/event.npy: damaged .* Delete it"):
            use()
    path.unlink()
    with pytest.raises(FileNotFoundError, match="train/event.npy does not exist"):
        open_pack()
    prepare(pack=True)
    assert_packed(open_pack(), rows())


def test_unpacked_corpus_is_named(prepare, open_pack):
    prepare()
    with pytest.raises(FileNotFoundError, match="packed/train/pack.json does not"):
        open_pack()
