"""Wavs and packs give the same tensors, to the bit, by any way of loading."""

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from corpus.layout import STORED
from corpus.pack import Pack
from mixtures.dataset import VariantDataset, collate, read_manifest
from mixtures.variants import TASKS, removed_layers
from polsess_prepare import prepare_polsess
from tiny_corpus import write_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("dataset") / "tiny", rows=(9, 1, 1))


@pytest.fixture(scope="module")
def manifest(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("manifests")
    prepare_polsess(corpus, folder, pack=True)
    return folder / "train.csv"


@pytest.fixture(scope="module")
def rows(corpus, manifest):
    return read_manifest(manifest, corpus)


@pytest.fixture(scope="module")
def pack(corpus, manifest, rows):
    return Pack(corpus / "packed" / "train", manifest, rows)


def read(row, name):
    return soundfile.read(row[name], dtype="float32")[0]


def expected(row, task, variant):
    """Computes a mixture and its targets in float32, one layer after the other."""
    mixture = read(row, "mix")
    for name in removed_layers(variant, task, row["indoor"]):
        mixture -= read(row, name)
    sources = TASKS[task].sources
    return mixture, np.stack(
        [sum(read(row, layer.name) for layer in layers) for layers in sources]
    )


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("task", TASKS)
def test_every_variant_is_the_same_to_the_bit(rows, pack, task, packed):
    dataset = VariantDataset(rows, task, pack if packed else None)
    keys = dataset.pairs(per_variant=True)
    loader = DataLoader(dataset, batch_size=4, sampler=keys, collate_fn=collate)
    loaded = [
        (mixture, targets, row)
        for batch in loader
        for mixture, targets, row in zip(
            batch.mixtures, batch.targets, batch.rows, strict=True
        )
    ]
    assert len(loaded) == len(keys)
    for (index, variant), (mixture, targets, row) in zip(keys, loaded, strict=True):
        assert row == rows[index] | {"variant": variant}
        wanted = expected(rows[index], task, variant)
        assert np.array_equal(mixture, wanted[0])
        assert np.array_equal(targets, wanted[1])
        single = dataset[index, variant]
        assert np.array_equal(single[0], mixture)
        assert np.array_equal(single[1], targets)


@pytest.mark.parametrize("context, workers", [("fork", 2), ("spawn", 1)])
def test_worker_processes_give_the_same_batches(rows, pack, context, workers):
    dataset = VariantDataset(rows, "SB", pack)
    keys = dataset.pairs(per_variant=True)[::-1]
    batches = []
    for settings in (
        {},
        {"num_workers": workers, "multiprocessing_context": context},
    ):
        loader = DataLoader(
            dataset, batch_size=8, sampler=keys, collate_fn=collate, **settings
        )
        batches.append(list(loader))
    for here, there in zip(*batches, strict=True):
        assert torch.equal(here.mixtures, there.mixtures)
        assert torch.equal(here.targets, there.targets)
        assert here.rows == there.rows


def test_packed_rows_need_no_wavs(rows, pack, tmp_path):
    gone = [
        row | {layer.name: str(tmp_path / "gone") for layer in STORED} for row in rows
    ]
    mixture, *_ = VariantDataset(gone, "SB", pack)[2, "SER"]
    assert np.array_equal(mixture, read(rows[2], "mix"))


@pytest.mark.parametrize("subtype", ["PCM_24", "FLOAT", "PCM_U8"])
def test_wavs_of_other_formats(rows, tmp_path, subtype):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (3, 2000))
    row = dict(rows[0])
    for name, samples in zip(("mix", "s1", "s2"), noise, strict=True):
        row[name] = str(tmp_path / f"{name}.wav")
        soundfile.write(row[name], samples, 8000, subtype=subtype)
    mixture, targets, _ = VariantDataset([row], "EB")[0, "SER"]
    wanted = expected(row, "EB", "SER")
    assert np.array_equal(mixture, wanted[0])
    assert np.array_equal(targets, wanted[1])


@pytest.mark.parametrize(
    "layer, shape, rate, found",
    [
        ("mix", (2000,), 16000, "found 16000 Hz and 1 channel"),
        ("s2", (4000,), 16000, "found 16000 Hz and 1 channel"),
        ("scene", (2000, 8), 8000, "found 8000 Hz and 8 channel"),
    ],
)
def test_file_of_another_rate_or_channels_is_named(
    rows, tmp_path, layer, shape, rate, found
):
    odd = tmp_path / "odd.wav"
    soundfile.write(odd, np.zeros(shape), rate)
    row = rows[0] | {layer: str(odd)}
    with pytest.raises(RuntimeError) as error:
        VariantDataset([row], "SB")[0, "R"]
    for part in (str(odd), f"row {row['id']}, layer {layer}", found, "8000 Hz and 1."):
        assert part in str(error.value)


def test_recordings_of_different_lengths_are_named(rows, tmp_path):
    soundfile.write(tmp_path / "short.wav", np.zeros(10), 8000)
    other = rows[1] | {"mix": str(tmp_path / "short.wav")}
    with pytest.raises(ValueError, match="one length; these have .*short.wav': 10"):
        VariantDataset([rows[0], other], "SB").__getitems__([(0, "C"), (1, "C")])


def test_manifest_of_an_older_version_is_refused(manifest, corpus, tmp_path):
    table = pd.read_csv(manifest, dtype=str).drop(columns="scene_recording")
    table.to_csv(tmp_path / "train.csv", index=False)
    with pytest.raises(
        ValueError, match="train.csv: lacks the columns scene_recording; .*older"
    ):
        read_manifest(tmp_path / "train.csv", corpus)
