"""Measures the plate reverberator, and the planning and making of a corpus.

    python benchmarks/corpus_speed.py [--source FOLDER]

Reverb: layers of 4 s with new parameters each time, on one core, as multiples of real
time. Planning: all draws, no audio. Corpus: recordings a second with all layers
written, on all cores, from the embedded sources or from a folder with a manifest; and
where the time of one process goes.
"""

import argparse
import functools
import os
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402

import recipe_path  # noqa: E402, F401
from corpus import build, render  # noqa: E402
from corpus.build import CorpusSettings, build_corpus  # noqa: E402
from corpus.plan import Planner  # noqa: E402
from corpus.providers import embedded, folder  # noqa: E402
from corpus.reverb import PlateParameters, plate_reverb  # noqa: E402
from measuring import Figure, write_report  # noqa: E402
from recipekit.files import keyed  # noqa: E402

SECONDS = 4
LAYERS = 200
ROWS = 1000
PLANNED = 64_000
STAGES = {  # where a function is looked up: what it does
    (render, "resample"): "resampling (a part of reading)",
    (build, "read_segment"): "reading, with resampling",
    (render, "plate_reverb"): "reverb",
    (build, "write_audio"): "writing",
}


def reverb_speed(sample_rate):
    """Returns how many times faster than real time a layer is reverberated."""
    signal = keyed.generator("bench").standard_normal(SECONDS * sample_rate) / 10
    times = []
    for layer in range(LAYERS):
        plate = PlateParameters(
            pre_delay=keyed.uniform(0.0, 0.5, layer, "pre-delay"),
            high_cut=keyed.uniform(15e3, 20e3, layer, "high cut"),
            diffusion=keyed.uniform(0.1, 0.9, layer, "diffusion"),
            decay=keyed.uniform(0.3, 0.99, layer, "decay"),
            freq_damp=keyed.uniform(0.1, 0.9, layer, "damping"),
        )
        begin = time.perf_counter()
        wet = plate_reverb(signal, plate, sample_rate)
        times.append(time.perf_counter() - begin)
        assert np.isfinite(wet).all()
    return SECONDS / statistics.median(times)


def planning_seconds(sources):
    """Returns how long the draws of PLANNED rows take."""
    begin = time.perf_counter()
    planner = Planner(sources, "train", SECONDS, 0)
    for row in range(PLANNED):
        planner.plan(row)
    return time.perf_counter() - begin


def stage_figures(corpus, sources, rows):
    """Returns the milliseconds a recording that each stage takes in one process."""
    spent = Counter()

    def timed(module, name):
        function = getattr(module, name)

        @functools.wraps(function)
        def measured(*arguments, **options):
            begin = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                spent[module, name] += time.perf_counter() - begin

        return measured

    settings = CorpusSettings((rows, 0, 0))
    planner = Planner(sources, "train", SECONDS, 0)
    for name in build.FOLDERS:
        (corpus / "train" / name).mkdir(parents=True)
    originals = {stage: getattr(*stage) for stage in STAGES}
    for module, name in STAGES:
        setattr(module, name, timed(module, name))
    begin = time.perf_counter()
    build._start_worker(planner, corpus, settings)
    for row in range(rows):
        build._make_row(row)
    whole = time.perf_counter() - begin
    for (module, name), function in originals.items():
        setattr(module, name, function)
    figures = [Figure("one process, a recording", whole / rows * 1e3, "ms")]
    return figures + [
        Figure(f"of these: {title}", spent[stage] / rows * 1e3, "ms")
        for stage, title in STAGES.items()
    ]


def main():
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", help="folder with a manifest.csv")
    parser.add_argument("--rows", type=int, default=ROWS)
    options = parser.parse_args()
    figures = [
        Figure(f"plate reverb, {rate} Hz, one core", reverb_speed(rate), "x real time")
        for rate in (8000, 16000)
    ]
    with tempfile.TemporaryDirectory() as temporary:
        corpus = Path(temporary) / "corpus"
        if options.source:
            sources, _ = folder.make_sources(options.source, split=(70, 15, 15))
        else:
            begin = time.perf_counter()
            sources = embedded.make_sources(corpus)
            made = time.perf_counter() - begin
            note = f"{len(sources)} files"
            figures.append(Figure("embedded sources", made, "s", note=note))
        planning = planning_seconds(sources)
        what = f"draws of {PLANNED} rows"
        figures.append(Figure(what, planning, "s", target="measured <= 20"))
        figures += stage_figures(corpus, sources, options.rows // 5)
        settings = CorpusSettings((options.rows, 0, 0))
        result = build_corpus(corpus, sources, settings, progress=False)
    rate = options.rows / result["seconds"]
    what = "recordings of 4 s, 8 kHz, all cores"
    redrawn = ", ".join(f"{count} {why}" for why, count in result["redrawn"].items())
    note = f"redrawn: {redrawn or 'none'}"
    figures.append(Figure(what, rate, "/s", target="measured >= 60", note=note))
    name = "corpus_speed_folder" if options.source else "corpus_speed"
    write_report(name, "Making a corpus", figures)


if __name__ == "__main__":
    main()
