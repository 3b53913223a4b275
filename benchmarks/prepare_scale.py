"""Measures polsess_prepare on a corpus of published size: names and CSVs, no audio.

    python benchmarks/prepare_scale.py [--rows 128000] [--folder /tmp]

Two rows of three are indoor, so 128,000 rows are 896,000 files. They are empty but for
the first mix of each subset, whose header is read. The tree is made in a temporary
folder, removed afterwards, and takes far longer to make than to prepare.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile as sf

import recipe_path  # noqa: F401
from corpus.layout import STORED
from measuring import Figure, peak_memory, write_report
from polsess_prepare import prepare_polsess, sampled_rows

SHARES = {"train": 0.94, "val": 0.03, "test": 0.03}
SAMPLE_RATE = 8000
FRAMES = 4 * SAMPLE_RATE


def write_tree(folder, rows):
    """Writes a corpus of files that are empty but for those that are opened.

    Arguments
    ---------
    folder : Path
        Its last part becomes the corpus' name.
    rows : int
        Recordings in all subsets.

    Returns
    -------
    int
        How many wav files there are.
    """
    files = 0
    for subset, share in SHARES.items():
        table = _describe(subset, round(rows * share))
        opened = set(sampled_rows(subset, len(table)))
        for layer in STORED:
            target = folder / subset / layer.folder
            target.mkdir(parents=True, exist_ok=True)
            names = table[layer.column][table[layer.column] != ""]
            for row, name in names.items():
                os.close(os.open(f"{target}/{name}", os.O_CREAT | os.O_WRONLY))
                if row in opened:
                    sf.write(target / name, np.zeros(FRAMES), SAMPLE_RATE)
            files += len(names)
        name = f"corpus_{folder.name}_{subset}_final.csv"
        table.to_csv(folder / subset / name, index=False)
    return files


def _describe(subset, rows):
    """Returns a corpus CSV with the columns that polsess_prepare reads."""
    rng = np.random.default_rng(len(subset))
    table = pd.DataFrame({"SSR": rng.integers(-5, 6, rows)})
    for which in (1, 2):
        sessions, sentences = rng.integers(0, [[550], [400]], (2, rows))
        table[f"speech{which}OryginalPath"] = [
            f"SES{session:04}_ses/sent{sentence:03}_bndl/sent{sentence:03}.wav"
            for session, sentence in zip(sessions, sentences, strict=True)
        ]
        table[f"speech{which}Start"] = rng.integers(1, 300_000, rows)
        table[f"speech{which}End"] = table[f"speech{which}Start"] + FRAMES - 1
    for kind in ("scene", "event"):
        numbers = rng.integers(0, 20_000, rows)
        table[f"{kind}OryginalPath"] = [f"audio/{kind}-{n:06}.wav" for n in numbers]
        table[f"{kind}Class"] = f"some {kind}"
    indoor = np.arange(rows) % 3 != 0
    for layer in STORED:
        names = pd.Series([f"{layer.name}_{row:012}.wav" for row in range(rows)])
        table[layer.column] = names.where(indoor, "") if layer.indoor_only else names
    return table


def main():
    """Makes the tree, prepares it and writes the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rows", type=int, default=128_000)
    parser.add_argument("--folder", help="where the temporary tree is made")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        files = write_tree(Path(folder) / "scale", args.rows)
        start = time.perf_counter()
        prepare_polsess(Path(folder) / "scale", Path(folder) / "manifests")
        seconds = time.perf_counter() - start
    rows = [
        Figure("time", seconds, "s", note=f"{args.rows:,} rows, {files:,} files"),
        Figure("peak memory", peak_memory() / 1e9, "GB"),
    ]
    write_report("prepare_scale", "polsess_prepare of names and CSVs", rows)


if __name__ == "__main__":
    main()
