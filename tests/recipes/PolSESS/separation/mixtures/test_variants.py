"""Variant algebra on real files."""

from itertools import product

import numpy as np
import pytest
import soundfile

from mixtures.dataset import VariantDataset, read_manifest
from mixtures.variants import VARIANTS, fitting, num_sources
from polsess_prepare import prepare_polsess
from tiny_corpus import write_corpus

# What is left of the background, written down apart from the code: the layers that
# each variant is the sum of, indoors and outdoors.
KEPT = {
    (True, "SER"): "s1 s2 sp1_reverb sp2_reverb scene event ev_reverb",
    (True, "SR"): "s1 s2 sp1_reverb sp2_reverb scene",
    (True, "ER"): "s1 s2 sp1_reverb sp2_reverb event ev_reverb",
    (True, "R"): "s1 s2 sp1_reverb sp2_reverb",
    (True, "C"): "s1 s2",
    (False, "SE"): "s1 s2 scene event",
    (False, "S"): "s1 s2 scene",
    (False, "E"): "s1 s2 event",
    (False, "C"): "s1 s2",
}
TARGETS = {"SB": ["s1", "s2"], "EB": ["s1 s2"], "ES": ["s1"]}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    corpus = write_corpus(tmp_path_factory.mktemp("variants") / "tiny")
    manifests = tmp_path_factory.mktemp("manifests")
    prepare_polsess(corpus, manifests)
    return read_manifest(manifests / "train.csv", corpus)


def total(row, names):
    return sum(soundfile.read(row[name])[0] for name in names.split())


@pytest.mark.parametrize(
    "task, indoor, variant",
    [(task, *case) for task, case in product(TARGETS, KEPT)],
)
def test_variant_is_the_sum_of_what_it_keeps(rows, task, indoor, variant):
    kept = KEPT[indoor, variant]
    if task == "ES":
        kept = " ".join(set(kept.split()) - {"s2", "sp2_reverb"})
    index = next(i for i, row in enumerate(rows) if row["indoor"] == indoor)
    mixture, targets, row = VariantDataset(rows, task)[index, variant]
    assert mixture.dtype == targets.dtype == np.float32
    assert np.abs(mixture - total(row, kept)).max() < 1e-7
    assert len(targets) == num_sources(task)
    for target, names in zip(targets, TARGETS[task], strict=True):
        assert np.abs(target - total(row, names)).max() < 1e-7
    assert row["variant"] == variant


def test_each_row_has_its_variants_and_no_other(rows):
    for indoor in (True, False):
        assert {v for i, v in KEPT if i == indoor} == set(fitting(indoor))
    dataset = VariantDataset(rows, "SB")
    index = next(i for i, row in enumerate(rows) if row["indoor"])
    with pytest.raises(ValueError, match="'SE' does not exist for indoor rows"):
        dataset[index, "SE"]
    with pytest.raises(ValueError, match="task: 'XX' is not one of SB, EB, ES"):
        VariantDataset(rows, "XX")


def test_only_needed_layers_are_read(rows, tmp_path):
    index = next(i for i, row in enumerate(rows) if row["indoor"])
    row = dict(rows[index]) | {"scene": str(tmp_path / "gone.wav")}
    dataset = VariantDataset([row], "SB")
    dataset[0, "SER"]
    with pytest.raises(RuntimeError, match=r"gone.wav \(row .*, layer scene\)"):
        dataset[0, "C"]


def test_layer_of_another_length_is_named(rows, tmp_path):
    index = next(i for i, row in enumerate(rows) if row["indoor"])
    soundfile.write(tmp_path / "short.wav", np.zeros(10), 8000)
    row = dict(rows[index]) | {"scene": str(tmp_path / "short.wav")}
    with pytest.raises(ValueError, match="short.wav: 10 samples, but its mix"):
        VariantDataset([row], "SB")[0, "C"]


def test_pairs_of_validation_and_test(rows):
    dataset = VariantDataset(rows, "SB")
    full = dataset.pairs(per_variant=False)
    assert [i for i, _ in full] == list(range(len(rows)))
    assert {rows[i]["indoor"]: v for i, v in full} == {True: "SER", False: "SE"}
    every = dataset.pairs(per_variant=True)
    assert len(every) == len(set(every)) == 3 * 5 + 3 * 4


def test_all_variants_are_known():
    assert {variant for _, variant in KEPT} == set(VARIANTS)
