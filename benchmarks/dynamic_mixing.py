"""Measures how many mixtures a second one loader process mixes on the fly.

    python benchmarks/dynamic_mixing.py [--source FOLDER] [--split 70 15 15]

Recordings of 4 s at 8 kHz, task SB, every variant in turn, in batches of 16 of a
DataLoader with one worker, from packed sources and from their files, which are in the
page cache. The first batches, in which the reverb bank fills, count apart. Sources are
the embedded ones (16 kHz), or those of a folder with a manifest.
"""

import argparse
import functools
import logging
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from torch.utils.data import DataLoader  # noqa: E402

import recipe_path  # noqa: E402, F401
from corpus.plan import Planner  # noqa: E402
from corpus.providers import embedded, folder  # noqa: E402
from corpus.render import read_segment  # noqa: E402
from corpus.source_pack import SourcePack, pack_sources  # noqa: E402
from corpus.sources import read_sources, write_sources  # noqa: E402
from measuring import RESULTS, Figure, write_report  # noqa: E402
from mixtures.dataset import collate  # noqa: E402
from mixtures.dynamic import REVERB_BANK, DynamicDataset  # noqa: E402
from mixtures.variants import fitting  # noqa: E402

RATE, SECONDS, BATCH_SIZE = 8000, 4.0, 16


def load(dataset, warm_up, batches):
    """Loads batches; returns mixtures a second at first and after the warm-up."""
    count = (warm_up + batches) * BATCH_SIZE
    rows = [dataset.row(index) for index in range(count)]
    keys = [
        (index, fitting(row["indoor"])[index % len(fitting(row["indoor"]))])
        for index, row in enumerate(rows)
    ]
    loader = iter(
        DataLoader(dataset, BATCH_SIZE, sampler=keys, collate_fn=collate, num_workers=1)
    )
    times = [time.perf_counter()]
    for _ in loader:
        times.append(time.perf_counter())
    first, rest = times[warm_up] - times[0], times[-1] - times[warm_up]
    return warm_up * BATCH_SIZE / first, batches * BATCH_SIZE / rest


def figures(sources, temporary, batches):
    """Returns the Figures of a source list's training sources."""
    begin = time.perf_counter()
    pack_sources(temporary / "pack", sources, RATE)
    packing = time.perf_counter() - begin
    pack = SourcePack(temporary / "pack", sources, RATE)
    planner = Planner(sources, "train", SECONDS, 0, reverb_bank=REVERB_BANK)
    readers = {
        "packed": pack.read,
        "files": functools.partial(read_segment, folder=temporary, sample_rate=RATE),
    }
    datasets = {
        name: DynamicDataset(planner, read, RATE, batches * BATCH_SIZE, "SB")
        for name, read in readers.items()
    }
    renderer, rows = datasets["packed"].renderer, range(200)
    redraws = sum(len(renderer.render_row(planner, row).redraws) for row in rows)
    del datasets["packed"].renderer  # the worker's bank is to be empty
    share = f"{redraws / len(rows):.2f} redraws a mixture"
    results = []
    for name, dataset in datasets.items():
        first, rate = load(dataset, batches // 2, batches)
        target = "measured >= 150" if name == "packed" else None
        note = f"{share}; the first {batches // 2} batches: {first:.0f}/s"
        results.append(Figure(name, rate, "mixtures/s", None, target, note))
    hours = sum(source.seconds for source in sources) / 3600
    note = f"{len(sources)} files, {hours:.1f} h, all cores"
    return [*results, Figure("packing the sources", packing, "s", note=note)]


def main():
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", help="folder with manifest.csv")
    parser.add_argument("--split", type=float, nargs=3, default=(80, 10, 10))
    parser.add_argument("--batches", type=int, default=150)
    parser.add_argument("--folder", type=Path, default=RESULTS, help="of the table")
    options = parser.parse_args()
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as name:
        temporary = Path(name)
        if options.source:
            sources, _ = folder.make_sources(options.source, split=options.split)
        else:
            sources = embedded.make_sources(temporary)
        write_sources(temporary / "sources.csv", sources)
        listed = read_sources(temporary / "sources.csv")
        sources = [source for source in listed if source.subset == "train"]
        rows = figures(sources, temporary, options.batches)
    kind = "recordings of a folder" if options.source else "embedded sources"
    title = f"Mixing on the fly in one loader process, {kind}, 4 s at 8 kHz"
    file = "dynamic_mixing_folder" if options.source else "dynamic_mixing"
    write_report(file, title, rows, options.folder)


if __name__ == "__main__":
    main()
