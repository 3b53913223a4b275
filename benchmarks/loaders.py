"""Measures how fast recordings are loaded: from wavs and from a pack.

    python benchmarks/loaders.py [--rows 2200] [--repeats 11]

Loads the indoor recordings (4 s, 8 kHz) of an embedded corpus in shuffled order, as
batches of 16 of task SB by a DataLoader without workers, in one thread. Files are in
the page cache.
"""

import argparse
import functools
import logging
import tempfile
from pathlib import Path

import torch
from torch.utils.data import DataLoader

import recipe_path  # noqa: F401
from corpus.build import CorpusSettings, build_corpus
from corpus.pack import Pack, packs_folder
from corpus.providers.embedded import make_sources
from measuring import RESULTS, Figure, alternate, write_report
from mixtures.dataset import VariantDataset, collate, read_manifest
from polsess_prepare import prepare_polsess
from recipekit.files import keyed

BATCH_SIZE = 16
VARIANTS = {"SER": "3 layers read", "C": "8 layers read"}


def make_datasets(folder, rows):
    """Makes a corpus and returns a dataset of its wavs and one of its pack."""
    corpus, manifest = folder / "embedded", folder / "train.csv"
    settings = CorpusSettings((rows, 4, 4))
    build_corpus(corpus, make_sources(corpus), settings, progress=False)
    prepare_polsess(corpus, folder, pack=True)
    indoor = [row for row in read_manifest(manifest, corpus) if row["indoor"]]
    pack = Pack(packs_folder(True, corpus) / "train", manifest, indoor)
    return {
        "wavs": VariantDataset(indoor, "SB"),
        "pack": VariantDataset(indoor, "SB", pack),
    }


def load(dataset, variant):
    """Loads a dataset's rows in a variant, once."""
    keys = [(index, variant) for index in range(len(dataset))]
    keyed.generator("order").shuffle(keys)
    for _ in DataLoader(dataset, BATCH_SIZE, sampler=keys, collate_fn=collate):
        pass


def figures(datasets, variant, repeats):
    """Returns the Figures of a variant."""
    runs = {
        name: functools.partial(load, dataset, variant)
        for name, dataset in datasets.items()
    }
    results = alternate(runs, repeats)
    count = len(datasets["wavs"])
    wavs, pack = (count / results[name][0] for name in ("wavs", "pack"))
    note = f"{VARIANTS[variant]}, {results['pack'][1]}"
    bars = ("measured >= 2000", "ratio >= 4") if variant == "SER" else (None, None)
    return [
        Figure(f"wavs, {variant}", wavs, "examples/s", None, bars[0], note),
        Figure(f"pack, {variant}", pack, "examples/s", wavs, bars[1], note),
    ]


def main():
    """Measures all variants and writes a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2200, help="a half of them indoor")
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--folder", type=Path, default=RESULTS, help="of the table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        datasets = make_datasets(Path(folder), options.rows)
        rows = []
        for variant in VARIANTS:
            rows += figures(datasets, variant, options.repeats)
    count = len(datasets["wavs"])
    title = f"Loading {count:,} recordings of 4 s, 8 kHz, in one process"
    write_report("loaders", title, rows, options.folder)


if __name__ == "__main__":
    main()
