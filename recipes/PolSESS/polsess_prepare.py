"""Turns a PolSESS corpus on disk into SpeechBrain CSV manifests and audits it.

A corpus is what the PolSESS generator writes (Kleć, Szklanny, Wieczorkowska, ISD 2024):

    <corpus>/<subset>/{clean,mix,scene,event,sp1_reverb,sp2_reverb,ev_reverb}/*.wav
    <corpus>/<subset>/corpus_<corpus>_<subset>_final.csv     subset = train | val | test

and, where the corpus was made by this recipe, corpus_<corpus>_<subset>_provenance.csv
with the speakers and the original recordings. Unless asked to (verify_audio) nothing
but the headers of some rows are opened; files are looked up in folder listings.

    python polsess_prepare.py DATA_FOLDER SAVE_FOLDER [--pack]
"""

import argparse
import json
import logging
import os
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import soundfile as sf

from corpus.audio import DEFAULT_RATE
from corpus.audit import STRICT_FINDINGS, audit, describe, describe_defects
from corpus.layout import MIX, REVERBS, STORED
from corpus.locate import find_csv, provenance_csv, stats
from corpus.metadata import PROVENANCE_TOLD
from corpus.pack import pack_subset, packs_folder
from corpus.providers.polsess import recordings_in, speakers_in
from corpus.sources import SUBSETS
from corpus.verify import verify
from recipekit.console import plain_errors
from recipekit.files import keyed
from recipekit.files.atomic import replacing
from recipekit.files.csvs import read_table

logger = logging.getLogger(__name__)

REQUIRED = [
    *("speech1OryginalPath", "speech1Start", "speech1End"),
    *("speech2OryginalPath", "speech2Start", "speech2End"),
    *("SSR", "sceneOryginalPath", "eventOryginalPath", "sceneClass", "eventClass"),
    *(layer.column for layer in STORED if not layer.indoor_only),
]
NUMBERS = ["SSR", *(f"speech{n}{end}" for n in (1, 2) for end in ("Start", "End"))]
DETAILS = [
    *("indoor", "scene_class", "event_class", "ssr", "speaker1", "speaker2"),
    *("scene_recording", *PROVENANCE_TOLD),
]

PROVENANCE = {  # column of the provenance CSV: of the table in memory
    "speaker1": "speaker1",
    "speaker2": "speaker2",
    "sceneRecording": "scene_recording",
    "eventRecording": "event_recording",
}

MAX_NAMED = 5  # in an error message
SAMPLED = 16  # rows of a subset whose headers are opened, or a few less
MANIFEST_VERSION = 3  # what older ones lack: scene_recording, gender1, ...


def prepare_polsess(
    data_folder,
    save_folder,
    sample_rate=DEFAULT_RATE,
    strict=False,
    verify_audio=False,
    workers=None,
    pack=False,
    subsets=SUBSETS,
):
    """Writes train.csv, val.csv, test.csv and audit.json of a PolSESS corpus.

    Manifests name audio as ``$data_root/<subset>/<folder>/<file>``; pass
    ``{"data_root": data_folder}`` as replacements when loading them. Manifests made
    before from the same corpus with the same settings are kept. The corpus counts as
    the same while its CSVs' sizes and times and its folders' times are unchanged;
    after overwriting audio in place delete audit.json to have it audited again.

    Arguments
    ---------
    data_folder : str
        The corpus: a folder with train, val and test.
    save_folder : str
        Where the manifests go; created if needed.
    sample_rate : int
        Rate in Hz that the recordings must have.
    strict : bool
        Raise on duplicated rows and on rows or speakers shared between subsets, which
        otherwise are a warning, as shared source files always are (where a speaker is
        known, a shared speech file shows as its speaker too).
    verify_audio : bool
        Open every file: rate, channels, length, non-finite samples, layers that do
        not sum to the mix, different segments with byte-identical clean files.
    workers : int
        Processes of verify_audio and pack; as many as there are cores if None.
    pack : bool or str
        Also copy the audio into one array a layer (see corpus.pack), unless this was
        done: in ``<data_folder>/packed`` if True, else in a folder of the corpus' name
        in the one given.
    subsets : tuple of str
        Those to prepare; mixing on the fly needs no train.

    Raises
    ------
    FileNotFoundError
        If the corpus or a file it names does not exist.
    ValueError
        If a CSV, a rate or (strict, verify_audio, pack) the corpus is not right.
    """
    data_folder = Path(os.path.abspath(data_folder))
    manifests = {subset: Path(save_folder, f"{subset}.csv") for subset in subsets}
    _write_manifests(data_folder, manifests, sample_rate, strict, verify_audio, workers)
    for subset, manifest in manifests.items() if pack else ():
        folder = packs_folder(pack, data_folder) / subset
        pack_subset(folder, manifest, data_folder, sample_rate, workers)


def count_rows(data_folder, subset):
    """Returns how many rows a subset of a corpus has."""
    csv = find_csv(Path(os.path.abspath(data_folder)), subset)
    return len(_read_csv(csv, [MIX.column]))


def _write_manifests(
    data_folder, manifests, sample_rate, strict, verify_audio, workers
):
    """Writes manifests (by subset) and audit.json, unless they are up to date."""
    save_folder = next(iter(manifests.values())).parent
    audit_path = save_folder / "audit.json"
    csvs = {subset: find_csv(data_folder, subset) for subset in manifests}
    fingerprint = {
        "version": MANIFEST_VERSION,
        "data_folder": str(data_folder),
        "sample_rate": sample_rate,
        "strict": strict,
        "verify_audio": verify_audio,
        "files": stats(csvs),
    }
    if all(path.exists() for path in (*manifests.values(), audit_path)):
        report = _read_audit(audit_path)
        if report.get("fingerprint") == fingerprint:
            logger.info(f"Manifests in {save_folder} are up to date, nothing to do.")
            _log(report, audit_path)
            return
    save_folder.mkdir(parents=True, exist_ok=True)
    for path in (*manifests.values(), audit_path):
        path.unlink(missing_ok=True)  # nothing that fails below leaves old ones

    tables = {subset: _read_subset(csv, subset) for subset, csv in csvs.items()}
    _check_files_exist(data_folder, tables, csvs)
    for subset, table in tables.items():
        table["frames"], odd = _sample_headers(data_folder, table, sample_rate)
        if odd and not verify_audio:  # which finds them all
            more = " ..." if len(odd) > MAX_NAMED else ""
            raise ValueError(
                f"{'; '.join(odd[:MAX_NAMED])}{more}. Copy or generate it again, or "
                f"remove its row from {csvs[subset]}; verify_audio names all such files"
            )
    rows = pd.concat(tables.values())
    report = {"fingerprint": fingerprint, **audit(rows)}
    if verify_audio:
        report["audio"] = verify(data_folder, rows, sample_rate, workers)
    with replacing(audit_path) as part:
        part.write_text(json.dumps(report, indent=1, ensure_ascii=False), "utf-8")
    _log(report, audit_path)
    _raise_on_defects(report, audit_path)
    for subset, table in tables.items():
        with replacing(manifests[subset]) as part:
            _manifest(table, sample_rate).to_csv(part, index=False, encoding="utf-8")


def _read_audit(path):
    """Returns what an audit.json says, nothing if it is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _read_csv(path, columns, optional=()):
    """Returns the named columns of a CSV as strings, empty where nothing is stated."""
    remedy = (
        "Expected a comma-separated file as the PolSESS generator writes it. Copy it "
        "again, or generate the subset"
    )
    wanted = {*columns, *optional}
    table = read_table(path, columns, remedy, usecols=wanted.__contains__, dtype=str)
    return table.reindex(columns=[*columns, *optional]).fillna("")


def _forward_slashes(paths):
    """Returns paths as written on Linux, whichever way their slashes lean."""
    return paths.str.replace("\\", "/", regex=False)


def _base_names(paths):
    """Returns the last part of each path."""
    return _forward_slashes(paths).str.rsplit("/", n=1).str[-1]


def _row(index):
    """Returns how messages name a row of a CSV."""
    return f"row {index + 1} (line {index + 2})"


def _read_subset(csv, subset):
    """Returns a subset's rows with layer paths relative to the corpus folder.

    Arguments
    ---------
    csv : Path
    subset : str

    Returns
    -------
    pd.DataFrame
        One column for each layer (reverbs empty outdoors) and of DETAILS, subset,
        paths and segments (path:start-end) of both speakers, paths and original
        recordings of scene and event.
    """
    raw = _read_csv(csv, [*REQUIRED, *(layer.column for layer in REVERBS)])
    unstated = raw[REQUIRED] == ""
    for index in unstated.index[unstated.any(axis=1)]:  # the first is named
        names = ", ".join(unstated.columns[unstated.loc[index]])
        raise ValueError(
            f"{csv}: {_row(index)} states no {names}. Fill the cells or remove the row"
        )
    for column in NUMBERS:
        wrong = pd.to_numeric(raw[column], errors="coerce").isna()
        for index in wrong.index[wrong]:  # the first is named
            raise ValueError(
                f"{csv}: {_row(index)}, {column}: {raw[column][index]!r}; expected a "
                "number. Correct or remove the row"
            )
    table = pd.DataFrame({"subset": subset}, index=raw.index)
    for layer in STORED:
        path = f"{subset}/{layer.folder}/" + _base_names(raw[layer.column])
        table[layer.name] = path.where(raw[layer.column] != "", "")
    stated = table[[layer.name for layer in REVERBS]] != ""
    table["indoor"] = stated.any(axis=1)
    for index in stated.index[stated.any(axis=1) & ~stated.all(axis=1)]:
        filled = ", ".join(stated.columns[stated.loc[index]])
        raise ValueError(
            f"{csv}: {_row(index)} has only {filled} of the three reverbs. "
            "Indoor rows have all three, outdoor rows none; correct or remove the row"
        )
    table[["scene_class", "event_class"]] = raw[["sceneClass", "eventClass"]]
    table["ssr"] = raw["SSR"]
    for kind in ("speech1", "speech2", "scene", "event"):
        table[f"{kind}_path"] = _forward_slashes(raw[f"{kind}OryginalPath"])
    for speaker in ("1", "2"):
        path = table[f"speech{speaker}_path"]
        start = raw[f"speech{speaker}Start"].str.removesuffix(".0")
        end = raw[f"speech{speaker}End"].str.removesuffix(".0")
        table[f"segment{speaker}"] = path + ":" + start + "-" + end
        # Clips joined to fill a segment ("a.wav|b.wav") are one speaker's.
        first = path.str.split("|", n=1).str[0]
        table[f"speaker{speaker}"] = speakers_in(first)
    for kind in ("scene", "event"):
        table[f"{kind}_recording"] = recordings_in(table[f"{kind}_path"])
    table[[*PROVENANCE_TOLD]] = ""
    if provenance_csv(csv).exists():
        _take_listed(table, provenance_csv(csv))
    return table


def _take_listed(table, path):
    """Overwrites speakers and recordings where the provenance CSV knows better."""
    listed = _read_csv(path, [MIX.column, *PROVENANCE], PROVENANCE_TOLD)
    listed.index = _base_names(listed[MIX.column])
    listed = listed[~listed.index.duplicated()]
    told = dict(zip(PROVENANCE_TOLD, PROVENANCE_TOLD, strict=True))
    for column, known in (PROVENANCE | told).items():
        name = _base_names(table[MIX.name]).map(listed[column]).fillna("")
        table[known] = name.where(name != "", table[known])


def _check_files_exist(data_folder, tables, csvs):
    """Raises FileNotFoundError with the count and the first of all absent files."""
    count, named = 0, []
    for subset, table in tables.items():
        for layer in STORED:
            folder, paths = data_folder / subset / layer.folder, table[layer.name]
            # An all-outdoor corpus may come without its reverb folders.
            names = os.listdir(folder) if folder.exists() else []
            present = {f"{subset}/{layer.folder}/{name}" for name in names}
            absent = paths[(paths != "") & ~paths.isin(present)]
            count += len(absent)
            for index, path in absent.head(MAX_NAMED - len(named)).items():
                named.append(f"{path}, {_row(index)} of {csvs[subset].name}")
    if count:
        raise FileNotFoundError(
            f"{count} file(s) named by the corpus CSVs are not in {data_folder}: "
            f"{'; '.join(named)}{' ...' if count > len(named) else ''}. "
            "Copy or generate them again, or remove their rows from the CSVs"
        )


def sampled_rows(subset, count):
    """Returns the places of a subset's rows whose headers are opened, ascending."""
    drawn = {keyed.integer("headers", subset, n) % count for n in range(SAMPLED)}
    return sorted({0, *drawn})


def _sample_headers(data_folder, table, sample_rate):
    """Opens the headers of some rows of a subset.

    Arguments
    ---------
    data_folder : Path
    table : pd.DataFrame
        The subset's rows.
    sample_rate : int
        Hz.

    Returns
    -------
    int
        The length in samples of most of these rows' mixes.
    list of str
        The files that are not mono of that rate and length, what was found in them and
        what expected.

    Raises
    ------
    ValueError
        If no mix can be read, or most are of another rate.
    """
    rows = table.iloc[sampled_rows(table["subset"].iloc[0], len(table))]
    headers = {
        path: _header(data_folder / path)
        for layer in STORED
        for path in rows[layer.name]
        if path
    }
    mixes = {path: headers[path] for path in rows[MIX.name]}
    known = Counter(found for found in mixes.values() if isinstance(found, tuple))
    if not known:
        path, reason = next(iter(mixes.items()))
        raise ValueError(f"{data_folder / path}: {reason}. Copy or generate it again")
    # Of as many of either kind the longer ones: files are cut short, not lengthened.
    (rate, _, frames), _ = max(known.items(), key=lambda item: (item[1], item[0][2]))
    if rate != sample_rate:
        path = next(path for path, found in mixes.items() if found[0] == rate)
        raise ValueError(
            f"{data_folder / path}: found {rate} Hz, expected {sample_rate} Hz. "
            f"Pass sample_rate={rate} or a corpus of {sample_rate} Hz"
        )
    expected = (sample_rate, 1, frames)
    text = "{} Hz, {} channel(s), {} samples"
    odd = [
        f"{data_folder / path}: "
        + (found if isinstance(found, str) else f"found {text.format(*found)}")
        + f", expected {text.format(*expected)}"
        for path, found in headers.items()
        if found != expected
    ]
    return frames, odd


def _header(path):
    """Returns rate, channels and length in samples of a file, or why it has none."""
    try:
        info = sf.info(path)
    except sf.LibsndfileError as err:
        return f"not readable as audio ({err})"
    if info.frames == 0:
        return "has no samples"
    return info.samplerate, info.channels, info.frames


def _manifest(table, sample_rate):
    """Returns a subset's manifest; an ID that recurs gets its ordinal as suffix.

    A scene whose original recording is not known has its file's name there.
    """
    scene, files = table["scene_recording"], _base_names(table["scene_path"])
    table = table.assign(scene_recording=scene.where(scene != "", files))
    stems = _base_names(table[MIX.name]).str.replace(r"\.(wav|flac)$", "", regex=True)
    ordinals = stems.groupby(stems).cumcount() + 1
    paths = table[[layer.name for layer in STORED]]
    manifest = ("$data_root/" + paths).where(paths != "", "").join(table[DETAILS])
    ids = stems.where(ordinals == 1, stems + "_" + ordinals.astype(str))
    manifest.insert(0, "ID", ids)
    manifest.insert(1, "duration", table["frames"] / sample_rate)
    manifest.insert(2, "sample_rate", sample_rate)
    return manifest


def _log(report, audit_path):
    """Logs an audit as one block, and what it found as one warning."""
    folder = report["fingerprint"]["data_folder"]
    lines = [f"Audit of {folder} (see {audit_path})", *describe(report)]
    if "audio" in report:
        kinds = [f"{found['count']} {kind}" for kind, found in report["audio"].items()]
        lines.append(f"every file opened: {', '.join(kinds) or 'all as expected'}")
    logger.info("\n    ".join(lines))
    if defects := describe_defects(report):
        head = (
            f"THE CORPUS {folder} REPEATS OR LEAKS DATA: scores on it may mean less "
            f"than they seem to. Examples are in {audit_path}"
        )
        logger.warning("\n    ".join([head, *defects]))


def _raise_on_defects(report, audit_path):
    """Raises ValueError for what verify found and, if strict, for repeats and leaks."""
    defects = [
        f"{example['file']}: {kind}, {example['found']}"
        for kind, found in report.get("audio", {}).items()
        if kind != "repeated_clean_files"
        for example in found["examples"]
    ]
    if defects:
        raise ValueError(
            f"verify_audio found defects: {'; '.join(defects[:MAX_NAMED])}. All kinds "
            f"and counts are in {audit_path}. Copy or generate these files again, or "
            "remove their rows from the corpus CSVs"
        )
    defects = describe_defects(report, STRICT_FINDINGS)
    if defects and report["fingerprint"]["strict"]:
        raise ValueError(
            f"strict: {'; '.join(defects)} (more in {audit_path}). Remove the rows "
            "from the corpus CSVs, split by speaker, or run without strict"
        )


def _rate(text):
    """Returns a sample rate in Hz from the command line."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a valid rate in Hz")
    return int(text)


def _folder(text):
    """Returns a folder's name from the command line."""
    if not text.strip():
        raise argparse.ArgumentTypeError("empty, expected a folder")
    return text


def main(arguments):
    """Prepares a corpus from the command line."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("data_folder", help="folder with train, val and test")
    parser.add_argument("save_folder", help="where the manifests and audit.json go")
    parser.add_argument("--sample_rate", type=_rate, default=DEFAULT_RATE, help="in Hz")
    parser.add_argument("--strict", action="store_true", help="refuse repeats, leaks")
    parser.add_argument("--verify_audio", action="store_true", help="open every file")
    parser.add_argument(
        "--pack",
        nargs="?",
        type=_folder,
        const=True,
        default=False,
        metavar="FOLDER",
        help="copy the audio into arrays (default: in DATA_FOLDER/packed)",
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    prepare_polsess(**vars(options))


if __name__ == "__main__":
    with plain_errors():
        sys.exit(main(sys.argv[1:]))
