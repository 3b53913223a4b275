#!/usr/bin/env python3
"""Scores separated files against references, whatever separated them.

    python score.py ESTIMATES REFERENCES --mixtures MIXTURES --out scores

Files belong together by name: in either folder the sources of a recording are
NAME_source1.wav, NAME_source2.wav, ... (or _s1, _s2), or s1/NAME.wav, s2/NAME.wav; its
mixture is NAME.wav. Which estimate is which source is found by SI-SDR. Without
--mixtures, improvements are over the sum of the references.
"""

import argparse
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from recipekit.console import plain_errors, progress_bar
from recipekit.files.workers import worker_pool

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aiff")
NUMBERED = re.compile(r"(?P<name>.+)_(?:source|s)(?P<number>\d+)")
NAMED = 5  # names that a message lists


def parse(arguments):
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("estimates", type=Path, help="folder of separated files")
    parser.add_argument("references", type=Path, help="folder of the true sources")
    parser.add_argument("--mixtures", type=Path, help="folder of the mixtures")
    parser.add_argument("--out", type=Path, help="folder for scores.csv, summary.json")
    parser.add_argument("--workers", type=int, help="processes (default: all cores)")
    options = parser.parse_args(arguments)
    if options.workers is not None and options.workers < 1:
        parser.error("--workers: expected 1 or more")
    return options


def find_sources(folder):
    """Returns the files of each recording's sources in a folder.

    Arguments
    ---------
    folder : Path

    Returns
    -------
    dict
        Name of the recording -> list of Path, in the order of the sources' numbers.

    Raises
    ------
    ValueError
        If there are none, or two files are one source of a recording.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder of audio files")
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in SUFFIXES:
            continue
        relative = path.relative_to(folder)
        layer = re.fullmatch(r"(?:source|s)(\d+)", relative.parts[0])
        match = NUMBERED.fullmatch(path.stem)
        if match:
            name, number = (relative.parent / match["name"]).as_posix(), match["number"]
        elif layer:
            name = Path(*relative.parts[1:]).with_suffix("").as_posix()
            number = layer[1]
        else:
            continue
        sources = found.setdefault(name, {})
        if int(number) in sources:
            raise ValueError(
                f"{path}: source {int(number)} of {name} is {sources[int(number)]} "
                "already. Keep one of them"
            )
        sources[int(number)] = path
    if not found:
        raise ValueError(
            f"{folder}: no file is named NAME_source1.wav, NAME_s1.wav or s1/NAME.wav"
        )
    return {name: [files[n] for n in sorted(files)] for name, files in found.items()}


def find_mixtures(folder, names):
    """Returns the mixture's file of each recording, by name."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder of mixtures")
    found = {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES
    }
    _require(names, found, folder, "mixture")
    return {name: found[name] for name in names}


def _require(names, found, folder, what):
    """Raises ValueError if some names are not among those found."""
    missing = [name for name in names if name not in found]
    if missing:
        listed = ", ".join(missing[:NAMED]) + ", ..." * (len(missing) > NAMED)
        raise ValueError(
            f"{folder}: no {what} of {len(missing)} among {len(names)} names: {listed}"
        )


def pair(options):
    """Returns (name, estimates, references, mixture or None) of each recording."""
    estimates = find_sources(options.estimates)
    references = find_sources(options.references)
    _require(references, estimates, options.estimates, "estimate")
    _require(estimates, references, options.references, "reference")
    for name, files in references.items():
        if len(estimates[name]) != len(files):
            raise ValueError(
                f"{name}: {len(estimates[name])} estimates in {options.estimates}, but "
                f"{len(files)} references in {options.references}"
            )
    mixtures = {}
    if options.mixtures:
        mixtures = find_mixtures(options.mixtures, references)
    items = [
        (name, estimates[name], files, mixtures.get(name))
        for name, files in references.items()
    ]
    for item in items:
        _check_headers(item)
    return items


def _check_headers(item):
    """Raises ValueError if a recording's files are not mono, of one rate and length."""
    _, estimates, references, mixture = item
    first = None
    for path in [*references, *estimates, *([mixture] if mixture else [])]:
        try:
            info = soundfile.info(path)
        except soundfile.LibsndfileError as error:
            raise ValueError(f"{path}: not readable as audio ({error})") from error
        if info.channels != 1:
            raise ValueError(f"{path}: {info.channels} channels, expected one")
        found = (info.frames, info.samplerate)
        first = first or (path, *found)
        if found != first[1:]:
            raise ValueError(
                f"{path}: {found[0]} samples at {found[1]} Hz, but {first[0]} has "
                f"{first[1]} at {first[2]} Hz. Give files of one length and rate"
            )


def score_recording(item):
    """Returns the scores of one recording, a dict; ``item`` is from ``pair``."""
    import torch

    from scoring.scorer import score

    name, estimates, references, mixture = item
    targets = np.stack([_read(path) for path in references])
    separated = np.stack([_read(path) for path in estimates])
    mixed = _read(mixture) if mixture else targets.sum(0)
    rate = soundfile.info(references[0]).samplerate
    tensors = [torch.from_numpy(x)[None] for x in (mixed, separated, targets)]
    (scores,) = score(*tensors, rate)
    return {"id": name, "seconds": round(len(mixed) / rate, 3), **scores}


def _read(path):
    samples, _ = soundfile.read(path, dtype="float32")
    if not len(samples) or not np.isfinite(samples).all():
        raise ValueError(f"{path}: empty or not finite, expected samples")
    return samples


def main(arguments=None):
    """Scores, prints the table and writes what was asked for."""
    options = parse(arguments)
    items = pair(options)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    from recipe import MEASURES
    from recipekit.scoring.summary import (
        count_units,
        describe,
        format_table,
        write_scores,
    )

    with worker_pool(options.workers) as pool:
        scored = pool.map(score_recording, items)
        rows = list(progress_bar(scored, desc="scoring", total=len(items), leave=False))
    table = pd.DataFrame(rows).round(4)
    report = {
        "provenance": {
            "corpus": str(options.references),
            "estimates": str(options.estimates),
            "mixtures": str(options.mixtures or "sums of the references"),
        },
        "units": count_units(table, MEASURES),
        "scores": {"all": {"rows": len(table), **describe(table, MEASURES)}},
    }
    if options.out:
        write_scores(table, options.out / "scores.csv", report)
    print(format_table(report, MEASURES))


if __name__ == "__main__":
    with plain_errors("Nothing was written"):
        sys.exit(main(sys.argv[1:]))
