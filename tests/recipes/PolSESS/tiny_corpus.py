"""Writes a tiny but valid corpus in PolSESS' on-disk format for tests."""

from pathlib import Path

import numpy as np
import pandas as pd
import soundfile as sf

from corpus.layout import STORED
from recipekit.files import keyed

SUBSETS = ("train", "val", "test")
FOLDERS = ("clean", "mix", "scene", "event", "sp1_reverb", "sp2_reverb", "ev_reverb")


def write_corpus(folder, rows=(6, 3, 3), sample_rate=8000, seconds=0.25, seed=0):
    """Writes a corpus whose layers sum exactly to the mixes, without any defect.

    Rows are indoor ("tram") and outdoor ("park") in turn. Speakers are buzzing tones
    of different pitch, scenes and events differently coloured noise, reverbs decaying
    echoes; no sound and no speaker occurs twice.

    Arguments
    ---------
    folder : str or Path
        The corpus' folder; its last part becomes the corpus' name.
    rows : tuple of int
        Recordings in train, val and test.
    sample_rate : int
        In Hz.
    seconds : float
        Length of each recording.
    seed : int
        Another seed, other sounds and names.

    Returns
    -------
    Path
        The folder.
    """
    folder = Path(folder)
    frames = round(seconds * sample_rate)
    speakers = iter(range(1, 2 * sum(rows) + 1))
    for subset, count in zip(SUBSETS, rows, strict=True):
        for name in FOLDERS:
            (folder / subset / name).mkdir(parents=True, exist_ok=True)
        table = []
        for row in range(count):
            key = (seed, subset, row)
            pair = (next(speakers), next(speakers))
            cells, files = _describe(key, pair, frames)
            layers = _render(key, pair, frames, sample_rate, row % 2 == 0)
            layers["mix"] = sum(layers.values())
            for layer, samples in layers.items():
                path = folder / subset / files[layer]
                sf.write(path, samples, sample_rate, subtype="PCM_16")
            table.append(cells)
        csv = folder / subset / f"corpus_{folder.name}_{subset}_final.csv"
        pd.DataFrame(table).to_csv(csv, index=False)
    return folder


def _describe(key, pair, frames):
    """Returns a row's CSV cells and its files by layer."""
    _, subset, row = key
    indoor = row % 2 == 0
    names = {part: keyed.name(*key, part) for part in ("s1", "s2", "b", "e", "r")}
    reverb = {part: f"{part}_{names['r']}.wav" for part in ("sp1", "sp2", "ev")}
    mix = "-".join(list(names.values())[: 5 if indoor else 4]) + ".wav"
    cells = {"subset": subset}
    for which, speaker in enumerate(pair, 1):
        path = f"SES{speaker:04}_ses/sent{row:03}_bndl/sent{row:03}.wav"
        cells[f"speech{which}OryginalPath"] = path
        cells |= {f"speech{which}Start": 1, f"speech{which}End": frames}
    cells["SSR"] = keyed.randint(-5, 5, *key, "ssr")
    cells["sceneOryginalPath"] = f"audio/{names['b']}.wav"
    cells |= {"sceneStart": 1, "sceneEnd": frames, "sceneRandomDB": 7.0}
    cells |= {"sceneOffsetDB": -7.0, "sceneVolumeGain": 1.0}
    cells["eventOryginalPath"] = f"{names['e']}.wav"
    cells |= {"eventStart": 1, "eventEnd": frames}
    files = {"s1": "speaker1File", "s2": "speaker2File", "e": "eventFile"}
    cells |= {column: f"{names[part]}.wav" for part, column in files.items()}
    cells["sceneFile"] = f"{names['b']}.wav"
    cells["reverbForSpeaker1"] = reverb["sp1"] if indoor else ""
    cells["reverbForSpeaker2"] = reverb["sp2"] if indoor else ""
    cells["reverbForEvent"] = reverb["ev"] if indoor else ""
    cells |= {"mixFile": mix, "sceneClass": "tram" if indoor else "park"}
    cells["eventClass"] = "Bell" if indoor else "Bark"
    plate = {"preDelayForEvent": 0.02, "preDelay1": 0.01, "preDelay2": 0.009}
    plate |= {"highCut": 3000.0, "diffusion": 0.5, "decay": 0.5, "freqDamp": 0.3}
    cells |= {name: value if indoor else np.nan for name, value in plate.items()}
    return cells, {
        "mix": f"mix/{mix}",
        "s1": f"clean/{names['s1']}.wav",
        "s2": f"clean/{names['s2']}.wav",
        "scene": f"scene/{names['b']}.wav",
        "event": f"event/{names['e']}.wav",
        "sp1_reverb": f"sp1_reverb/{reverb['sp1']}",
        "sp2_reverb": f"sp2_reverb/{reverb['sp2']}",
        "ev_reverb": f"ev_reverb/{reverb['ev']}",
    }


def _render(key, pair, frames, sample_rate, indoor):
    """Returns a row's layers as int16 arrays that cannot overflow when summed."""
    time = np.arange(frames) / sample_rate
    noise = keyed.generator(*key, "noise").standard_normal((2, frames))
    voices = []
    for speaker in pair:
        pitch = 90 + 17.3 * (speaker % 23) + 0.1 * speaker
        syllables = np.sin(np.pi * (2 + speaker % 5) * time + speaker) ** 2
        overtones = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 6))
        voices.append(syllables * overtones)
    ssr = keyed.randint(-5, 5, *key, "ssr")
    gain = np.std(voices[0]) / np.std(voices[1]) * 10 ** (-ssr / 20)
    event = noise[1] * np.exp(-8 * time)
    layers = {
        "s1": 0.05 * voices[0],
        "s2": 0.05 * gain * voices[1],
        "scene": 0.01 * np.convolve(noise[0], np.ones(4) / 2, "same"),
        "event": 0.02 * event,
    }
    if indoor:
        delay = sample_rate // 100
        for layer, dry in (("sp1", "s1"), ("sp2", "s2"), ("ev", "event")):
            echoes = [0.5**k * np.roll(layers[dry], k * delay) for k in (1, 2, 3)]
            layers[f"{layer}_reverb"] = sum(echoes)
    return {
        layer: np.round(samples * 2**15).astype(np.int16)
        for layer, samples in layers.items()
    }


# What tests do with it

SPEECH = (
    "speech1OryginalPath,speech1Start,speech1End,"
    "speech2OryginalPath,speech2Start,speech2End"
).split(",")


def csv_path(corpus, subset):
    """Returns the corpus CSV of a subset."""
    (path,) = (corpus / subset).glob("corpus_*_final.csv")
    return path


def read_rows(corpus, subset):
    """Returns a subset's corpus CSV as strings."""
    return pd.read_csv(csv_path(corpus, subset), dtype=str, keep_default_na=False)


def write_rows(corpus, subset, rows):
    """Replaces a subset's corpus CSV."""
    rows.to_csv(csv_path(corpus, subset), index=False)


def layer_path(corpus, subset, row, layer):
    """Returns the file of a row's layer, which is named as in the manifests."""
    (stored,) = [stored for stored in STORED if stored.name == layer]
    name = read_rows(corpus, subset)[stored.column][row]
    return corpus / subset / stored.folder / name


def plant(corpus, source, target, columns, swap=False):
    """Copies cells of (subset, row) to another; swap: speaker 1's to 2's and back."""
    values = read_rows(corpus, source[0]).loc[source[1], columns].tolist()
    if swap:
        columns = [c.translate(str.maketrans("12", "21")) for c in columns]
    rows = read_rows(corpus, target[0])
    rows.loc[target[1], columns] = values
    write_rows(corpus, target[0], rows)
