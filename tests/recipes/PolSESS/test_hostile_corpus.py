"""Wrong input for the commands that make and prepare corpora is refused, explained."""

import shutil

import numpy as np
import pytest
import soundfile as sf

from corpus.__main__ import main as make
from hostile import Wrong, case_ids, files_below, refused
from polsess_prepare import main as prepare
from tiny_corpus import SPEECH, csv_path, layer_path, plant, read_rows, write_rows
from tiny_sources import write_folder

# Preparing


def edit_text(change, subset="train"):
    """Changes the text of a subset's CSV."""

    def edit(corpus):
        path = csv_path(corpus, subset)
        path.write_bytes(change(path.read_bytes()))

    return edit


def edit_line(change, number=2, subset="train"):
    """Changes a line of a subset's CSV, of which the header is the first."""

    def change_text(text):
        lines = text.splitlines(keepends=True)
        lines[number - 1] = change(lines[number - 1])
        return b"".join(lines)

    return edit_text(change_text, subset)


def set_cell(column, value, row=1):
    def edit(corpus):
        rows = read_rows(corpus, "train")
        rows.loc[row, column] = value
        write_rows(corpus, "train", rows)

    return edit


def write_mix(*shape, rate=8000):
    def edit(corpus):
        sf.write(layer_path(corpus, "val", 0, "mix"), np.zeros(shape), rate)

    return edit


def without_columns(corpus):
    rows = read_rows(corpus, "train").drop(columns=["SSR", "mixFile"])
    write_rows(corpus, "train", rows)


def as_folder(path_of):
    def edit(corpus):
        path = path_of(corpus)
        path.unlink()
        path.mkdir()

    return edit


def first_mix(corpus):
    return layer_path(corpus, "val", 0, "mix")


def rename_csv(corpus):
    path = csv_path(corpus, "train")
    for name in ("corpus_a_train_final.csv", "corpus_b_train_final.csv"):
        shutil.copy(path, path.with_name(name))
    path.unlink()


def provenance(text):
    def edit(corpus):
        path = corpus / "train" / "corpus_tiny_train_provenance.csv"
        path.write_bytes(text)

    return edit


TRAIN = "corpus_tiny_train_final.csv"
HEADERS = "expected 8000 Hz, 1 channel(s), 2000 samples"
PREPARE = [
    Wrong("no corpus", ["gone: no such folder", "train, val and test"], ["gone"]),
    Wrong("file for a corpus", ["no such folder"], ["tiny/train/" + TRAIN]),
    Wrong("subset for a corpus", ["no corpus CSV", "Pass the folder"], ["tiny/train"]),
    Wrong(
        "subset is missing",
        ["corpus_tiny_test_final.csv", "found no corpus CSV"],
        edit=lambda corpus: shutil.rmtree(corpus / "test"),
    ),
    Wrong("two CSVs", ["corpus_a_train", "corpus_b_train", "one CSV"], edit=rename_csv),
    Wrong(
        "folder for a CSV",
        [TRAIN, "directory"],
        edit=as_folder(lambda corpus: csv_path(corpus, "train")),
    ),
    Wrong("empty CSV", [TRAIN, "Copy it again"], edit=edit_text(lambda text: b"")),
    Wrong(
        "header only",
        [TRAIN, "has no rows", "generate"],
        edit=edit_text(lambda text: text.splitlines(keepends=True)[0]),
    ),
    Wrong("columns are missing", [TRAIN, "SSR, mixFile"], edit=without_columns),
    Wrong(
        "semicolons",
        [TRAIN, "lacks the columns", "comma-separated"],
        edit=edit_text(lambda text: text.replace(b",", b";")),
    ),
    Wrong(
        "NUL",
        [TRAIN, "line 3", "NUL", "copy it again"],
        edit=edit_line(lambda line: line[:9] + b"\0" + line[9:], 3),
    ),
    Wrong(
        "tail of NULs",
        [TRAIN, "line 8", "NUL"],
        edit=edit_text(lambda text: text + 512 * b"\0"),
    ),
    Wrong(
        "not UTF-8",
        [TRAIN, "line 2", "UTF-8"],
        edit=edit_line(lambda line: b"\xb3" + line),
    ),
    Wrong(
        "more cells",
        [TRAIN, "row 2 (line 3)", "states no"],
        edit=edit_line(lambda line: b"a,b," + line, 3),
    ),
    Wrong(
        "fewer cells",
        [TRAIN, "row 1 (line 2) states no"],
        edit=edit_line(lambda line: line[: len(line) // 2] + b"\n"),
    ),
    Wrong(
        "open quote",
        [TRAIN, "Copy it again"],
        edit=edit_line(lambda line: b'"' + line),
    ),
    Wrong(
        "empty cell",
        [TRAIN, "row 2 (line 3) states no sceneFile", "Fill"],
        edit=set_cell("sceneFile", ""),
    ),
    Wrong(
        "SSR is text",
        [TRAIN, "row 2 (line 3), SSR: 'loud'; expected a number"],
        edit=set_cell("SSR", "loud"),
    ),
    Wrong(
        "start is text",
        ["row 2 (line 3), speech2Start: 'begin'; expected a number"],
        edit=set_cell("speech2Start", "begin"),
    ),
    Wrong(
        "one reverb",
        [TRAIN, "row 2 (line 3) has only", "three reverbs"],
        edit=set_cell("reverbForEvent", "ev_x.wav"),
    ),
    Wrong(
        "file of another corpus",
        ["1 file(s)", "scene/x.wav, row 2 (line 3)", "remove their rows"],
        edit=set_cell("sceneFile", "x.wav"),
    ),
    Wrong(
        "no audio folder",
        ["file(s)", "val/mix", "Copy or generate"],
        edit=lambda corpus: shutil.rmtree(corpus / "val" / "mix"),
    ),
    Wrong(
        "folder for a mix",
        ["not readable as audio", HEADERS],
        edit=as_folder(first_mix),
    ),
    Wrong(
        "text for a mix",
        ["not readable as audio", HEADERS],
        edit=lambda corpus: first_mix(corpus).write_text("no audio"),
    ),
    Wrong(
        "empty mix",
        ["not readable as audio", HEADERS],
        edit=lambda corpus: first_mix(corpus).write_bytes(b""),
    ),
    Wrong("mix without samples", ["has no samples", HEADERS], edit=write_mix(0)),
    Wrong(
        "16 kHz mix",
        ["found 16000 Hz, 1 channel(s), 2000 samples", HEADERS],
        edit=write_mix(2000, rate=16000),
    ),
    Wrong(
        "8 channels", ["found 8000 Hz, 8 channel(s)", HEADERS], edit=write_mix(2000, 8)
    ),
    Wrong("short mix", ["1999 samples", HEADERS], edit=write_mix(1999)),
    Wrong(
        "wrong rate",
        ["found 8000 Hz, expected 16000 Hz", "sample_rate=8000"],
        ["tiny", "manifests", "--sample_rate", "16000"],
    ),
    Wrong("rate is text", ["--sample_rate"], ["tiny", "m", "--sample_rate", "fast"]),
    Wrong("no arguments", ["data_folder", "save_folder"], []),
    Wrong("unknown option", ["--verify"], ["tiny", "manifests", "--verify_all"]),
    Wrong(
        "file for the manifests",
        ["train_final.csv"],
        ["tiny", "tiny/train/" + TRAIN],
    ),
    Wrong(
        "file above the manifests",
        ["train_final.csv"],
        ["tiny", f"tiny/train/{TRAIN}/manifests"],
    ),
    Wrong(
        "file for the packs",
        ["cannot be made", "pack=FOLDER"],
        ["tiny", "manifests", "--pack", "tiny/train/" + TRAIN],
    ),
    Wrong(
        "repeated row",
        ["strict: 1 of", "Remove the rows"],
        ["tiny", "manifests", "--strict"],
        lambda corpus: plant(corpus, ("train", 0), ("train", 1), SPEECH),
    ),
    Wrong(
        "cut mix, all opened",
        ["length, 1000 samples, not 2000", "audit.json"],
        ["tiny", "manifests", "--verify_audio"],
        write_mix(1000),
    ),
    Wrong(
        "mix that is no sum",
        ["sum, the layers miss it", "audit.json"],
        ["tiny", "manifests", "--verify_audio"],
        write_mix(2000),
    ),
    Wrong(
        "provenance with NUL",
        ["provenance.csv, line 2", "NUL"],
        edit=provenance(b"mixFile,speaker1\nx\0,y\n"),
    ),
    Wrong(
        "provenance without columns",
        ["provenance.csv", "lacks the columns", "speaker2"],
        edit=provenance(b"mixFile,speaker1\nx,y\n"),
    ),
]


@pytest.mark.parametrize("case", PREPARE, ids=case_ids)
def test_prepare_refuses(case, corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if case.edit:
        case.edit(corpus)
    before = files_below(tmp_path)
    arguments = case.arguments
    if case.edit and not arguments:
        arguments = ["tiny", "manifests"]
    if len(arguments) == 1:
        arguments = [*arguments, "manifests"]
    refused(prepare, arguments, capsys, case.says)
    new = files_below(tmp_path).keys() - before.keys()
    if "--pack" not in arguments:  # which is done last, from whole manifests
        assert new <= {"manifests/audit.json"}  # what the message refers to
    assert {name: before[name] for name in before} == {
        name: content
        for name, content in files_below(tmp_path).items()
        if name not in new
    }


def test_prepare_takes_bom_and_line_ends_of_windows(corpus, tmp_path, capsys):
    path = csv_path(corpus, "train")
    text = path.read_bytes().replace(b"\n", b"\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + text)
    prepare([str(corpus), str(tmp_path / "manifests")])
    assert (tmp_path / "manifests" / "train.csv").read_text().count("\n") == 7


# Making


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("sound") / "recordings")


def manifest(change):
    """Changes the text of the manifest."""

    def edit(folder):
        path = folder / "manifest.csv"
        path.write_bytes(change(path.read_bytes()))

    return edit


def manifest_line(change, number=2):
    def change_text(text):
        lines = text.splitlines(keepends=True)
        lines[number - 1] = change(lines[number - 1])
        return b"".join(lines)

    return manifest(change_text)


def sources(text):
    """Writes a source list."""
    return lambda folder: (folder / "list.csv").write_text(text)


COLUMNS = "path,role,subset,class,speaker,source\n"
FOLDER = ["folder", "made", "--source", "recordings", "--rows", "3", "2", "2"]
FOLDER += ["--seconds", "0.5", "--split", "60", "20", "20", "--workers", "1"]
LIST = ["list", "made", "--source", "recordings/list.csv", "--seconds", "0.5"]


def options(*more):
    return [*FOLDER, *more]


MAKE = [
    Wrong("no provider", ["provider"], []),
    Wrong("unknown provider", ["folders", "folder"], ["folders", "made"]),
    Wrong("no source", ["--source"], ["folder", "made"]),
    Wrong("no such source", ["none", "no manifest"], options("--source", "none")),
    Wrong("no such manifest", ["x.csv: no manifest"], options("--manifest", "x.csv")),
    Wrong(
        "file for the source",
        ["manifest"],
        options("--source", "recordings/manifest.csv"),
    ),
    Wrong("folder for the manifest", ["no manifest"], options("--manifest", "speech")),
    Wrong(
        "manifest of one line",
        ["manifest.csv: has no rows", "one recording per row"],
        edit=manifest(lambda text: text.splitlines(keepends=True)[0]),
    ),
    Wrong(
        "empty manifest",
        ["manifest.csv: lacks the columns path", "path, role, class, speaker"],
        edit=manifest(lambda text: b""),
    ),
    Wrong(
        "semicolons",
        ["manifest.csv: lacks the columns path", "separated by commas"],
        edit=manifest(lambda text: text.replace(b",", b";")),
    ),
    Wrong(
        "no path",
        ["lacks the columns path", "found the columns"],
        edit=manifest(lambda text: text.replace(b"path", b"file")),
    ),
    Wrong(
        "NUL",
        ["manifest.csv, line 3", "NUL byte"],
        edit=manifest_line(lambda line: line[:4] + b"\0" + line[4:], 3),
    ),
    Wrong(
        "not UTF-8",
        ["manifest.csv, line 2", "UTF-8"],
        edit=manifest_line(lambda line: line.replace(b"zdanie", b"\xb9")),
    ),
    Wrong(
        "more cells",
        ["manifest.csv, line 2", "more cells", "quotes"],
        edit=manifest_line(lambda line: b"," + line),
    ),
    Wrong(
        "no role",
        ["line 2", "role"],
        edit=manifest_line(lambda line: line.replace(b",speech", b",")),
    ),
    Wrong(
        "unknown role",
        ["line 2", "speech, scene, event"],
        edit=manifest_line(lambda line: line.replace(b",speech", b",talk")),
    ),
    Wrong(
        "unknown class",
        ["class trams", "--treat"],
        edit=manifest(lambda text: text.replace(b",tram,", b",trams,")),
    ),
    Wrong(
        "listed twice",
        ["line 3", "in line 2 already", "Keep one"],
        edit=manifest(
            lambda text: text.replace(b"speech/s0_1.wav", b"speech/s0_0.wav")
        ),
    ),
    Wrong(
        "files are gone",
        ["sources", "no such file", "--max_rejected"],
        edit=lambda folder: shutil.rmtree(folder / "speech"),
    ),
    Wrong(
        "no audio in the files",
        ["cannot be read as audio", "--max_rejected"],
        edit=lambda folder: [
            path.write_text("x") for path in folder.glob("speech/s*_0.wav")
        ],
    ),
    Wrong(
        "one speaker",
        ["two speakers", "Add sources"],
        edit=manifest(
            lambda text: b"".join(
                line
                for line in text.splitlines(keepends=True)
                if b"speech/" not in line or b"s0_" in line
            )
        ),
    ),
    Wrong("split of nothing", ["split", "shares"], options("--split", "0", "0", "0")),
    Wrong("negative split", ["split"], options("--split", "80", "30", "-10")),
    Wrong("split of two", ["--split"], options("--split", "80", "20")),
    Wrong("split is text", ["--split"], options("--split", "a", "b", "c")),
    Wrong("split is NaN", ["split"], options("--split", "nan", "10", "10")),
    Wrong("negative rows", ["rows", "three counts"], options("--rows", "-1", "2", "2")),
    Wrong("no rows", ["rows", "one above 0"], options("--rows", "0", "0", "0")),
    Wrong("rows are halves", ["--rows"], options("--rows", "1.5", "2", "2")),
    Wrong("rate of music", ["--rate", "8000"], options("--rate", "44100")),
    Wrong("no seconds", ["seconds 0", "more than 0"], options("--seconds", "0")),
    Wrong("negative seconds", ["seconds -1"], options("--seconds", "-1")),
    Wrong("seconds are NaN", ["seconds nan"], options("--seconds", "nan")),
    Wrong("endless seconds", ["seconds inf"], options("--seconds", "inf")),
    Wrong("hours", ["two speakers", "Add sources"], options("--seconds", "3600")),
    Wrong("seconds are text", ["--seconds"], options("--seconds", "four")),
    Wrong("seed is text", ["--seed"], options("--seed", "x")),
    Wrong("shard 3/2", ["'3/2'", "I from 1 to N"], options("--shard", "3/2")),
    Wrong("shard 0/2", ["'0/2'", "I from 1 to N"], options("--shard", "0/2")),
    Wrong("shard is text", ["'half'", "I/N"], options("--shard", "half")),
    Wrong("no workers", ["--workers", "from 1 on"], options("--workers", "0")),
    Wrong("most rejected", ["share from 0 to 1"], options("--max_rejected", "2")),
    Wrong("treat what", ["--treat x", "CLASS=KNOWN"], options("--treat", "x")),
    Wrong(
        "treat as unknown",
        ["class trams"],
        options("--treat", "tram=trams"),
    ),
    Wrong(
        "treat what no row has",
        ["no row has the class doggy"],
        options("--treat", "doggy=Bark"),
    ),
    Wrong("mp3", ["--format", "flac"], options("--format", "mp3")),
    Wrong(
        "file for the corpus",
        ["manifest.csv", "exists"],
        ["folder", "recordings/manifest.csv", *FOLDER[2:]],
    ),
    Wrong(
        "file above the corpus",
        ["manifest.csv"],
        ["folder", "recordings/manifest.csv/made", *FOLDER[2:]],
    ),
    Wrong("no list", ["list.csv: no such source list"], LIST),
    Wrong("list of one line", ["list.csv: has no rows"], LIST, sources(COLUMNS)),
    Wrong(
        "list without columns",
        ["list.csv: lacks the columns subset, class"],
        LIST,
        sources("path,role,speaker,source\na,speech,x,y\n"),
    ),
    Wrong(
        "list with NUL",
        ["list.csv, line 2", "NUL"],
        LIST,
        sources(COLUMNS + "a\0,speech,train,,s,mine\n"),
    ),
    Wrong(
        "list of another subset",
        ["list.csv, line 2: subset 'dev'", "train, val, test"],
        LIST,
        sources(COLUMNS + "speech/s0_0.wav,speech,dev,,s,mine\n"),
    ),
    Wrong("no collection", ["--emu"], ["polsess", "made"]),
    Wrong("collection is not there", ["none"], ["polsess", "made", "--emu", "none"]),
    Wrong(
        "folder of no collection",
        ["recordings"],
        ["polsess", "made", "--esc50", "recordings"],
    ),
]


@pytest.mark.parametrize("case", MAKE, ids=case_ids)
def test_making_refuses(case, recordings, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POLSESS_CACHE", str(tmp_path / "cache"))
    shutil.copytree(recordings, tmp_path / "recordings")
    if case.edit:
        case.edit(tmp_path / "recordings")
    before = files_below(tmp_path / "recordings")
    arguments = case.arguments
    if case.edit and not arguments:
        arguments = FOLDER
    refused(make, arguments, capsys, case.says)
    assert files_below(tmp_path / "recordings") == before
    made = files_below(tmp_path / "made") if (tmp_path / "made").exists() else {}
    assert not [name for name in made if name.endswith((".part", ".wav", "final.csv"))]


def test_another_corpus_in_the_folder_is_refused(
    recordings, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POLSESS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "recordings").symlink_to(recordings)
    make(FOLDER)
    before = files_below(tmp_path / "made")
    says = ["made holds another corpus", "seed 0 (now 1)", "another folder"]
    refused(make, options("--seed", "1"), capsys, says)
    (tmp_path / "made" / "corpus.json").write_text('{"seed": 0')
    refused(make, FOLDER, capsys, ["corpus.json", "remove this one"])
    (tmp_path / "made" / "corpus.json").write_bytes(before["corpus.json"])
    assert files_below(tmp_path / "made") == before
