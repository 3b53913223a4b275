"""Writes trees that imitate the seven collections: real names, tiny files of noise."""

import csv
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import soundfile

from corpus.published import COLLECTIONS
from corpus.tables import event_classes

RMS = 0.05
# Rate in Hz, channels and encoding of the real files.
FORMATS = {
    "emu": (16000, 1, "PCM_16"),
    "mls_polish": (16000, 1, "PCM_16"),
    "tut2017": (44100, 2, "PCM_24"),
    "tau2019": (48000, 2, "PCM_24"),
    "wham_noise": (16000, 2, "FLOAT"),
    "esc50": (44100, 1, "PCM_16"),
    "fsd50k": (44100, 1, "PCM_16"),
}
BUNDLES = ("sent003", "sent04", "rich", "rich001")
MLS = {
    "train": ("6892/10920/6892_10920_001418", "7014/6834/7014_6834_000950")
    + ("10900/6646/10900_6646_000007",),
    "dev": ("11295/9699/11295_9699_000000", "5090/1447/5090_1447_000011"),
    "test": ("1889/2003/1889_2003_000004", "8758/8338/8758_8338_000123"),
}
TUT_SCENES = (
    "beach bus cafe/restaurant car city_center forest_path grocery_store home library "
    "metro_station office park residential_area train tram"
).split()
TAU_SCENES = (
    "airport bus metro metro_station park public_square shopping_mall "
    "street_pedestrian street_traffic tram"
).split()
CITIES = ("helsinki", "barcelona", "lyon", "vienna")
WHAM = "20mo010o_2.0092_20da010e_-2.0092", "207a010o_0.84361_40lc020p_-0.84361"
WHAM_COLUMNS = (
    "utterance_id",
    "Noise Band",
    "File ID",
    "L to R Width (cm)",
    "Reverberation Level",
    "Location ID",
    "Location Day ID",
)
# The tables name classes of ESC-50 in lower case, those of FSD50K with a capital.
ESC = sorted(name for name in event_classes() if name.islower())
FSD = sorted(name for name in event_classes() if not name.islower())
ESC_LEFT_OUT = (
    "breathing coughing crying_baby laughing sea_waves sneezing snoring"
).split()
SHARED_CLIP = 163607  # in ESC-50 and in the evaluation set of FSD50K
VOICES = {  # clips of FSD50K with labels of voices, whatever else they have
    128005: "Male_speech_and_man_speaking,Chatter,Bell,Speech,Human_voice",
    319365: "Laughter,Human_voice,Bark,Dog",
    37928: "Crowd,Human_group_actions,Car",
}
MUSIC = 113746  # a clip of no class that the tables know


def write_downloads(folder, seconds=0.5):
    """Writes a tree for each collection, enough for recordings in each subset.

    Arguments
    ---------
    folder : Path
    seconds : float
        Length of scenes and events; speech is three times as long, so that pieces of it
        rarely repeat.

    Returns
    -------
    dict of str to Path
        Each collection's root, by its name.
    """
    roots = {name: Path(folder) / name for name in FORMATS}
    _write_emu(roots["emu"])
    _write_mls(roots["mls_polish"])
    _write_tut(roots["tut2017"])
    _write_tau(roots["tau2019"])
    _write_wham(roots["wham_noise"])
    _write_esc(roots["esc50"])
    _write_fsd(roots["fsd50k"])
    for name, root in roots.items():
        length = seconds * (3 if name in ("emu", "mls_polish") else 1)
        for number, path in enumerate(audio_files(root)):
            write_audio(path, length, *FORMATS[name], seed=number)
    return roots


def audio_files(root):
    """Returns the paths of a tree's audio files, sorted."""
    return sorted(p for p in root.rglob("*") if p.suffix in (".wav", ".flac"))


def write_audio(path, seconds, rate=16000, channels=1, subtype="PCM_16", seed=0):
    """Writes noise whose level differs from file to file, as real levels do."""
    random = np.random.default_rng([seed, rate])
    noise = random.standard_normal((round(seconds * rate), channels), "float32")
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, RMS * random.uniform(0.7, 1.3) * noise, rate, subtype)


def write_list(path, roots):
    """Writes a list in the published one's form over whole trees, with its leaks.

    Files are dealt to train, train, val and test in turn, so that sessions, places and
    clips are in several subsets; evaluation sets are for test, as published.

    Arguments
    ---------
    path : Path
        Of the CSV.
    roots : dict of str to Path
        As write_downloads returns them.

    Returns
    -------
    list of dict
        The rows.
    """
    theirs = {ours: name for name, ours in COLLECTIONS.items()}
    roles = {"emu": "speech", "mls_polish": "speech", "esc50": "events"}
    roles["fsd50k"] = "events"
    rows = []
    for name, root in roots.items():
        classes = _listed_classes(name, root)
        subsets = cycle(("train", "train", "val", "test"))
        for audio in audio_files(root):
            file = audio.relative_to(root).as_posix()
            held_out = "eval" in file or name == "mls_polish" and "/test/" in f"/{file}"
            row = {
                "subset": "test" if held_out else next(subsets),
                "filePath": audio.name if name == "esc50" else file,
                "role": roles.get(name, "envScene"),
                "source": theirs[name],
                "class": classes.get(audio.stem, ""),
            }
            rows.append(row)
    write_table(path, [list(rows[0]), *(list(row.values()) for row in rows)])
    return rows


def write_table(path, rows, delimiter=","):
    """Writes a table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows(rows)


def read_table(path, delimiter=","):
    """Returns a table's rows."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter=delimiter))


def _touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def _write_emu(root):
    for number in range(48):
        session = root / f"SES{11 * number + 5:04d}_ses"
        for bundle in islice(cycle(BUNDLES), number, number + 3):
            _touch(session / f"{bundle}_bndl" / f"{bundle}.wav")


def _write_mls(root):
    for part, names in MLS.items():
        for name in names:
            _touch(root / part / "audio" / f"{name}.flac")
        said = [[Path(name).name, f"zdanie {Path(name).name}"] for name in names]
        write_table(root / part / "transcripts.txt", said, "\t")


def _write_tut(root):
    development = root / "TUT-acoustic-scenes-2017-development"
    evaluation = root / "TUT-acoustic-scenes-2017-evaluation"
    told, evaluated = [], []
    for number, scene in enumerate(TUT_SCENES):
        for place in range(6):
            recording = f"{'ab'[place % 2]}{20 + 10 * number + place:03d}"
            for start in (40, 230):
                name = f"audio/{recording}_{start}_{start + 10}.wav"
                _touch(development / name)
                told.append([name, scene, recording])
        name = f"audio/{1442 + number}.wav"
        _touch(evaluation / name)
        evaluated.append([name, scene])
    write_table(development / "meta.txt", told, "\t")
    write_table(evaluation / "evaluation_setup" / "evaluate.txt", evaluated, "\t")


def _write_tau(root):
    for number, scene in enumerate(TAU_SCENES):
        for place, city in enumerate(CITIES):
            for part in range(2):
                last = f"{10 * number + place}-{8412 + 2 * number + part}-a.wav"
                _touch(root / "audio" / f"{scene}-{city}-{last}")


def _write_wham(root):
    for venue, part in enumerate(("tr", "cv", "tt")):
        told = [WHAM_COLUMNS]
        for number, level in enumerate("hhhmml"):
            name = f"{venue}{number}{WHAM[number % 2]}.wav"
            _touch(root / part / name)
            told.append([name, 1, number, 17, level, f"{venue}{level}", number])
        write_table(root / "metadata" / f"noise_meta_{part}.csv", told)


def _write_esc(root):
    told = ["filename,fold,target,category,esc10,src_file,take".split(",")]
    for target, category in enumerate([*ESC, *ESC_LEFT_OUT]):
        for fold in range(1, 6):
            clip = SHARED_CLIP - 1 + fold if category == "dog" else 9000 * fold + target
            name = f"{fold}-{clip}-{'AB'[fold % 2]}-{target}.wav"
            _touch(root / "audio" / name)
            told.append([name, fold, target, category, "False", clip, "A"])
    write_table(root / "meta" / "esc50.csv", told)


def _write_fsd(root):
    clips = {part: {} for part in ("dev", "eval")}
    for number, label in enumerate(FSD):
        for copy in range(2):
            clips["dev"][200003 + 10 * number + copy] = f"{label},Animal"
        clips["eval"][400007 + number] = label
    clips["dev"] |= VOICES | {MUSIC: "Music"}
    clips["eval"][SHARED_CLIP] = "Bark,Dog"
    for part, labels in clips.items():
        columns = ["fname", "labels", "mids", "split"][: 4 if part == "dev" else 3]
        told = [[clip, names, "/m/0", "train"] for clip, names in labels.items()]
        rows = [columns, *(row[: len(columns)] for row in told)]
        write_table(root / "FSD50K.ground_truth" / f"{part}.csv", rows)
        for clip in labels:
            folder = root / f"FSD50K.{part}_audio" / f"FSD50K.{part}_audio"
            _touch(folder / f"{clip}.wav")


def _listed_classes(name, root):
    """Returns a dict from stem to classes, from the trees' own tables."""
    if name == "tau2019":
        return {path.stem: path.stem.split("-")[0] for path in audio_files(root)}
    tables = {
        "tut2017": ("*/**/*.txt", "\t", 1),
        "wham_noise": ("metadata/*.csv", ",", 4),
        "esc50": ("meta/*.csv", ",", 3),
        "fsd50k": ("*truth/*.csv", ",", 1),
    }
    pattern, delimiter, column = tables.get(name, ("none", ",", 0))
    return {
        Path(row[0]).stem if "." in row[0] else row[0]: row[column]
        for table in root.glob(pattern)
        for row in read_table(table, delimiter)
    }
