"""The corpus card: what a corpus holds, by its own files."""

import csv
import json
from collections import Counter, defaultdict

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import recipekit
from corpus.locate import corpus_csv, provenance_csv
from corpus.render import REASONS
from corpus.sources import SUBSETS
from corpus.tables import scene_classes
from recipekit.files.atomic import replacing

CARD = "README.md"
LEVELS = "levels.png"
COLUMNS = ("SSR", "sceneClass", "eventClass")
PROVENANCE = ("speaker1", "speaker2", "SNR", *(f"{reason}Draws" for reason in REASONS))


def write_card(folder, settings, sources):
    """Writes the card of a finished corpus and the histograms that it shows.

    Arguments
    ---------
    folder : Path
        The corpus, with its CSVs, corpus.json and rejected.csv.
    settings : CorpusSettings
    sources : list of Source
    """
    tables = {}
    for subset, count in zip(SUBSETS, settings.rows, strict=True):
        if count:
            path = corpus_csv(folder, subset)
            final = pd.read_csv(path, usecols=COLUMNS)
            # Speakers may be called "001" or "NA".
            named = {name: str for name in PROVENANCE if name.startswith("speaker")}
            provenance = pd.read_csv(
                provenance_csv(path),
                usecols=PROVENANCE,
                dtype=named,
                keep_default_na=False,
            )
            tables[subset] = final.join(provenance)
    _plot_levels(tables, folder / LEVELS)
    recipe = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
    with open(folder / "rejected.csv", encoding="utf-8", newline="") as file:
        rejected = len(list(csv.reader(file))) - 1
    text = f"""# {folder.resolve().name}

A PolSESS corpus: two speakers at once, with an acoustic scene, a sound event and
reverberation, every layer a file of its own.

- made by polsess-recipes {recipekit.__version__}
- {settings.sample_rate} Hz, 16-bit {settings.audio_format}, {settings.seconds:g} s a \
recording, seed {settings.seed}
- sources split {settings.split}; source list `sources.csv`, digest \
`{recipe["sources"]}`; {rejected} sources rejected (`rejected.csv`)
- draws drawn again: {_redraws(tables)}

## Subsets

{_table(_subsets(tables, settings.seconds))}

![SSR and SNR]({LEVELS})

SSR: speech-to-speech ratio. SNR: both speakers, dry, over scene, event and its reverb.

## Scene classes

{_table(_scenes(tables))}

## Event classes

{_table(_classes(tables, "eventClass", "event class"))}

## Sources and their licences

{_table(_licences(sources))}
"""
    with replacing(folder / CARD) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _subsets(tables, seconds):
    indoor = [name for name, scene in scene_classes().items() if scene.indoor]
    header = "subset, recordings, hours, indoor, speakers, scene classes, event classes"
    rows = [header.split(", ")]
    for subset, table in tables.items():
        speakers = {*table["speaker1"], *table["speaker2"]} - {""}
        rows.append(
            (
                subset,
                len(table),
                f"{len(table) * seconds / 3600:.2f}",
                f"{table['sceneClass'].isin(indoor).mean():.0%}",
                len(speakers) or "not known",
                table["sceneClass"].nunique(),
                table["eventClass"].nunique(),
            )
        )
    return rows


def _scenes(tables):
    header, *rows = _classes(tables, "sceneClass", "scene class")
    where = {True: "indoor", False: "outdoor"}
    return [(*header, "")] + [
        (*row, where[scene_classes()[row[0]].indoor]) for row in rows
    ]


def _classes(tables, column, title):
    counts = {subset: table[column].value_counts() for subset, table in tables.items()}
    names = sorted(set().union(*(count.index for count in counts.values())))
    return [(title, *tables)] + [
        (name, *(count.get(name, 0) for count in counts.values())) for name in names
    ]


def _licences(sources):
    groups = defaultdict(Counter)
    for source in sources:
        group = groups[source.source or "not named", source.role]
        group[source.licence or "not known"] += 1
    return [("source", "role", "files", "licence")] + [
        (*group, sum(licences.values()), ", ".join(sorted(licences)))
        for group, licences in sorted(groups.items())
    ]


def _redraws(tables):
    counts = {
        reason: sum(int(table[f"{reason}Draws"].sum()) for table in tables.values())
        for reason in REASONS
    }
    return ", ".join(f"{count} {reason}" for reason, count in counts.items())


def _table(rows):
    header, *rows = (f"| {' | '.join(map(str, row))} |" for row in rows)
    rule = "|---" * (header.count("|") - 1) + "|"
    return "\n".join((header, rule, *rows))


def _plot_levels(tables, path):
    figure = Figure(figsize=(8, 3), layout="constrained")
    steps = {"SSR": 1, "SNR": 2}  # dB
    for axes, (name, step) in zip(figure.subplots(1, 2), steps.items(), strict=True):
        values = np.concatenate([table[name] for table in tables.values()])
        low = np.floor(values.min() / step) * step - step / 2
        bins = np.arange(low, values.max() + step, step)
        for subset, table in tables.items():
            share = np.full(len(table), 100 / len(table))
            axes.hist(table[name], bins, weights=share, histtype="step", label=subset)
        axes.set(xlabel=f"{name} (dB)", ylabel="recordings (%)")
        axes.grid(alpha=0.3)
        axes.legend()
    with replacing(path) as temporary:
        # Without the version of matplotlib, so that the same corpus has the same bytes.
        figure.savefig(temporary, format="png", dpi=100, metadata={"Software": None})
