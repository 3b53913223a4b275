"""Measures how often speakers keep their streams across a pause of both.

    python benchmarks/speaker_order.py [--source FOLDER] [--part 2/2] [--genders CSV]

Pairs of speakers of one collection talk, are silent, and talk again, 4 s each; a
simulated separator puts them out in random order, each with a leak of the other of -12
to -20 dB and a gain of -3 to 3 dB, with noise of -40 dB. The voices alone then tell who
is who. Nothing one says is heard twice. Speakers come from the embedded corpus, where
they are synthetic, or from a folder with a manifest.
"""

import argparse
import csv
import os
import tempfile
from collections import defaultdict
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import soundfile  # noqa: E402
from scipy.stats import binomtest  # noqa: E402

import recipe_path  # noqa: E402, F401
from corpus.providers import embedded, folder  # noqa: E402
from corpus.render import resample, rms  # noqa: E402
from exported.joining import Chunks  # noqa: E402
from measuring import Figure, write_report  # noqa: E402
from recipekit.files import keyed  # noqa: E402

RATE = 8000
SECONDS = 4  # of each speaker before and after the pause
OVERLAP = 2  # seconds of pause that both chunks share
PAIRS = 400
LEVEL = 0.05
AFTER = ("both at once", "in turns", "one of them")


def read_speakers(sources, root, part):
    """Returns collection -> speaker -> signal [2 * SECONDS * RATE], where that long.

    Arguments
    ---------
    sources : list of Source
    root : Path
        Where relative paths of the sources start.
    part : (int, int)
        Which of so many parts of the speakers, counted from 1.
    """
    clips, signals = defaultdict(list), {}
    for source in sorted(sources, key=lambda source: source.path):
        if source.role == "speech":
            clips[source.speaker, source.source].append(root / source.path)
    for who, files in clips.items():
        pieces = []
        for path in keyed.shuffled(files, "clips", *who):
            signal, rate = soundfile.read(path, always_2d=True)
            signal = resample(signal.mean(axis=1), rate, RATE)
            pieces.append(LEVEL * signal / max(rms(signal), 1e-9))
            if sum(map(len, pieces)) >= 2 * SECONDS * RATE:
                signals[who] = np.concatenate(pieces)[: 2 * SECONDS * RATE]
                break
    speakers = defaultdict(dict)
    for speaker, collection in sorted(signals)[part[0] - 1 :: part[1]]:
        speakers[collection][speaker] = signals[speaker, collection]
    return speakers


def draw_pairs(speakers, count, genders):
    """Returns pairs of (collection, speaker, speaker), each once, at most ``count``.

    Arguments
    ---------
    speakers : dict
        As from ``read_speakers``.
    count : int
    genders : dict or None
        Speaker -> gender; both of a pair then have the same.
    """
    pairs = [
        (collection, one, other)
        for collection, found in speakers.items()
        for one in found
        for other in found
        if one < other
        and (genders is None or genders.get(one, 0) == genders.get(other, 1))
    ]
    return keyed.shuffled(pairs, "pairs")[:count]


def separated(first, second, how, *key):
    """Returns mixture [T] and estimates [T, 2] of a chunk, and whether they changed.

    Arguments
    ---------
    first, second : array
        What the speakers say, [SECONDS * RATE].
    how : str
        One of ``AFTER``.
    *key
        Of the draws.
    """
    size = SECONDS * RATE
    sources = np.zeros((OVERLAP * RATE + 2 * size, 2))
    start = OVERLAP * RATE
    sources[start : start + size, 0] = first
    if how != "one of them":
        start += size * (how == "in turns")
        sources[start : start + size, 1] = second
    leak = 10 ** (keyed.uniform(-20, -12, *key, "leak") / 20)
    estimates = sources @ (np.eye(2) + leak * (1 - np.eye(2)))
    noise = keyed.generator(*key, "noise").standard_normal(estimates.shape)
    estimates += 10 ** (-40 / 20) * LEVEL * noise
    gains = [keyed.uniform(-3, 3, *key, "gain", source) for source in range(2)]
    changed = keyed.randint(0, 1, *key, "order")
    order = [1, 0] if changed else [0, 1]
    estimates = (estimates * 10 ** (np.array(gains) / 20))[:, order]
    return sources.sum(axis=1).astype(np.float32), estimates.astype(np.float32), changed


def kept(one, other, how, *key):
    """Returns whether two speakers [2 * SECONDS * RATE] keep their streams."""
    size, overlap = SECONDS * RATE, OVERLAP * RATE
    if keyed.randint(0, 1, *key, "who"):
        one, other = other, one
    chunks = Chunks(2, RATE)
    before = how if how != "one of them" else "in turns"
    *chunk, first = separated(one[:size], other[:size], before, *key, "before")
    chunks.arrange(*chunk, None)
    *chunk, second = separated(one[size:], other[size:], how, *key, "after")
    pause = np.zeros((overlap, 2), np.float32)
    chunks.arrange(*chunk, pause)
    return chunks.order == ((0, 1) if first == second else (1, 0))


def figure(pairs, speakers, how, who):
    """Returns the share of pairs that keep their streams, as a Figure."""
    right = sum(
        kept(speakers[collection][one], speakers[collection][other], how, one, other)
        for collection, one, other in pairs
    )
    low, high = binomtest(right, len(pairs)).proportion_ci(method="wilson")
    people = len({name for pair in pairs for name in pair[1:]})
    note = f"{right} of {len(pairs)} pairs of {people} speakers"
    note += f", 95 % interval {100 * low:.1f} to {100 * high:.1f}"
    share = 100 * right / len(pairs)
    return Figure(f"{who}, {how}", share, "%", target="measured >= 95", note=note)


def main():
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", help="folder with a manifest.csv")
    parser.add_argument("--part", default="1/1", help="of the speakers, such as 2/2")
    parser.add_argument("--genders", help="CSV with the columns speaker, gender")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    options = parser.parse_args()
    genders = {}
    if options.genders:
        with open(options.genders, encoding="utf-8", newline="") as file:
            genders = {row["speaker"]: row["gender"] for row in csv.DictReader(file)}
    part = tuple(map(int, options.part.split("/")))
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(options.source or temporary)
        if options.source:
            sources, _ = folder.make_sources(root, split=(100, 0, 0), max_rejected=1)
        else:
            sources = embedded.make_sources(root)
        speakers = read_speakers(sources, root, part)
    figures = []
    groups = {"any pair": None} | ({"same gender": genders} if genders else {})
    for who, same in groups.items():
        pairs = draw_pairs(speakers, options.pairs, same)
        figures += [figure(pairs, speakers, how, who) for how in AFTER]
    name = "speaker_order_folder" if options.source else "speaker_order"
    write_report(name, "Speakers kept in order across a pause", figures)


if __name__ == "__main__":
    main()
