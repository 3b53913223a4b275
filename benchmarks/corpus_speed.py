"""Measures the plate reverberator and the making of a corpus.

    python benchmarks/corpus_speed.py

Reverb: layers of 4 s with new parameters each time, on one core, as multiples of real
time. Corpus: recordings a second of the embedded corpus, all layers written, on all
cores.
"""

import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402

import recipe_path  # noqa: E402, F401
from corpus import keyed  # noqa: E402
from corpus.build import CorpusSettings, build_corpus  # noqa: E402
from corpus.providers.embedded import make_sources  # noqa: E402
from corpus.reverb import PlateParameters, plate_reverb  # noqa: E402
from report import Figure, write_report  # noqa: E402

SECONDS = 4
LAYERS = 200
ROWS = 300


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


def main():
    """Measures and writes the table."""
    rows = [
        Figure(f"plate reverb, {rate} Hz, one core", reverb_speed(rate), "x real time")
        for rate in (8000, 16000)
    ]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "embedded"
        begin = time.perf_counter()
        sources = make_sources(folder)
        made = time.perf_counter() - begin
        rows.append(Figure("embedded sources", made, "s", note=f"{len(sources)} files"))
        settings = CorpusSettings((ROWS, 0, 0))
        result = build_corpus(folder, sources, settings, progress=False)
    rate = ROWS / result["seconds"]
    rows.append(Figure("recordings of 4 s, 8 kHz, all cores", rate, "/s"))
    write_report("corpus_speed", "Making a corpus", rows)


if __name__ == "__main__":
    main()
