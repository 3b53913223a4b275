"""The folder provider: disjoint splits, known classes, clear errors."""

import csv
from collections import defaultdict

import pytest

from corpus.providers import folder as provider
from corpus.providers import listed
from corpus.sources import read_sources, write_sources
from tiny_sources import write_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("recordings"))


def make_sources(folder, **settings):
    """Returns the sources of a folder of which none is rejected."""
    sources, rejected = provider.make_sources(folder, workers=1, **settings)
    assert not rejected
    return sources


def read_manifest(folder):
    with open(folder / "manifest.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def change_manifest(folder, tmp_path, row, **cells):
    """Returns a manifest beside the recordings with one row changed."""
    rows = read_manifest(folder)
    rows[row] |= cells
    name = f"{tmp_path.name}.csv"
    with open(folder / name, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return name


def test_speakers_and_original_recordings_are_in_one_subset_each(folder):
    subsets = defaultdict(set)
    for source in make_sources(folder, split=(60, 20, 20)):
        recording = source.path.rsplit("/", 1)[1].split("-")[0]
        subsets[source.speaker or recording].add(source.subset)
    assert all(len(found) == 1 for found in subsets.values())
    for prefix in ("s", "tram", "park", "Bark", "Knock"):
        found = {s for key, v in subsets.items() if key.startswith(prefix) for s in v}
        assert found == {"train", "val", "test"}, prefix


def test_a_recording_with_scene_and_event_is_not_split(folder, tmp_path):
    name = change_manifest(folder, tmp_path, -1, role="scene", **{"class": "park"})
    sources = make_sources(folder, manifest=name, split=(40, 30, 30))
    last = [source for source in sources if "/siren3-" in source.path]
    assert {source.role for source in last} == {"scene", "event"}
    assert len({source.subset for source in last}) == 1


def test_adding_a_speaker_keeps_the_order_of_the_others(folder, tmp_path):
    before = make_sources(folder)
    assert before == make_sources(folder)
    # The first clip of a training speaker becomes that of a new one.
    row = next(n for n, s in enumerate(read_manifest(folder)) if s["speaker"] == "s0")
    name = change_manifest(folder, tmp_path, row, speaker="new")
    after = {s.path: s for s in make_sources(folder, manifest=name)}
    moved = {
        s.speaker for s in before if s.speaker and after[s.path].subset != s.subset
    }
    assert len(moved - {"s0"}) <= 1  # one more speaker can shift one boundary
    assert not [s for s in before if not s.speaker and after[s.path] != s]


def test_unknown_class_is_named_and_can_be_treated_as_a_known_one(folder, tmp_path):
    name = change_manifest(folder, tmp_path, -1, **{"class": "vuvuzela"})
    with pytest.raises(ValueError, match=r"line \d+: event class vuvuzela .*--treat"):
        make_sources(folder, manifest=name)
    sources = make_sources(folder, manifest=name, treat={"vuvuzela": "car_horn"})
    assert [s for s in sources if s.class_ == "car_horn"]


def test_manifests_of_spreadsheets_are_understood_or_explained(folder):
    text = (folder / "manifest.csv").read_text(encoding="utf-8")
    (folder / "bom.csv").write_text(text, encoding="utf-8-sig")
    assert make_sources(folder, manifest="bom.csv") == make_sources(folder)
    (folder / "semicolons.csv").write_text(text.replace(",", ";"), encoding="utf-8")
    with pytest.raises(ValueError, match="found the columns .*separated by commas"):
        make_sources(folder, manifest="semicolons.csv")
    (folder / "cp1250.csv").write_bytes(text.encode("cp1250"))
    with pytest.raises(ValueError, match=r"cp1250.csv, line \d+: expected UTF-8"):
        make_sources(folder, manifest="cp1250.csv")
    with pytest.raises(ValueError, match="no row has the class doggy to treat"):
        make_sources(folder, treat={"doggy": "dog"})
    with pytest.raises(ValueError, match="expected shares"):
        make_sources(folder, split=(0, 0, 0))


def test_unreadable_files_are_rejected(folder, tmp_path):
    (folder / "speech" / "text.wav").write_text("no audio", encoding="utf-8")
    name = change_manifest(folder, tmp_path, 0, path="speech/text.wav")
    count = len(read_manifest(folder))
    sources, rejected = provider.make_sources(folder, name, max_rejected=0.02)
    assert len(sources) == count - 1
    ((path, reason),) = [(one.path, one.reason) for one in rejected]
    assert path == "speech/text.wav"
    assert reason.startswith("cannot be read as audio")
    with pytest.raises(ValueError, match=f"1 of {count} sources.*text.wav: cannot be"):
        provider.make_sources(folder, name)
    with pytest.raises(FileNotFoundError, match="none.csv: no manifest"):
        provider.make_sources(folder, "none.csv")


@pytest.mark.parametrize("column", ["licence", "license"])
def test_recordings_and_licences_are_kept(folder, tmp_path, column):
    rows = [row | {column: "CC0", "recording": ""} for row in read_manifest(folder)]
    rows[0]["recording"], rows[-1]["recording"] = "booth", "tape"
    with open(folder / f"{column}.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    sources = make_sources(folder, manifest=f"{column}.csv")
    assert {source.licence for source in sources} == {"CC0"}
    recordings = {source.path: source.recording for source in sources}
    for row in rows:  # what the split kept together
        stem = row["path"].rsplit("/", 1)[1].split("-")[0]
        expected = row["recording"] or ("" if row["role"] == "speech" else stem)
        assert recordings[(folder / row["path"]).as_posix()] == expected


def test_source_list_needs_six_columns_and_relative_paths_start_at_it(folder):
    short = "path,role,subset,class,speaker,source\n"
    short += "speech/s0_0.wav,speech,train,,s0,mine\n"
    (folder / "mine.csv").write_text(short, encoding="utf-8")
    (source,), rejected = listed.make_sources(folder / "mine.csv")
    assert source.path == (folder / "speech" / "s0_0.wav").as_posix()
    assert source.name == "speech/s0_0.wav" and not rejected
    assert (source.rate, source.frames, source.transcript) == (16000, 16000, "")
    with pytest.raises(ValueError, match="mine.csv, line 2: expected whole numbers"):
        read_sources(folder / "mine.csv")  # which opens no file


def test_files_of_a_list_are_measured_and_rejected_as_any(folder):
    text = "path,role,subset,class,speaker,source,rate,frames,channels\n"
    text += "speech/s0_0.wav,speech,train,,s0,mine,48000,5,2\n"
    text += "speech/gone.wav,speech,train,,s0,mine,16000,16000,1\n"
    (folder / "mine.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="1 of 2 sources .*gone.wav: no such file"):
        listed.make_sources(folder / "mine.csv")
    (source,), (lost,) = listed.make_sources(folder / "mine.csv", max_rejected=0.5)
    assert (source.rate, source.frames, source.channels) == (16000, 16000, 1)
    assert lost.path.endswith("speech/gone.wav")


def test_a_speaker_in_two_sources_is_in_one_subset(folder):
    rows = [
        row | {"source": "AB"[number % 2] if row["role"] == "speech" else ""}
        for number, row in enumerate(read_manifest(folder))
    ]
    with open(folder / "two.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    subsets = defaultdict(set)
    for source in make_sources(folder, manifest="two.csv", split=(60, 20, 20)):
        subsets[source.speaker].add(source.subset)
    del subsets[""]
    assert len(subsets) == 9 and {len(found) for found in subsets.values()} == {1}
    assert set.union(*subsets.values()) == {"train", "val", "test"}


def test_source_list_comes_back_as_written(folder, tmp_path):
    sources = make_sources(folder)
    write_sources(tmp_path / "sources.csv", sources)
    assert read_sources(tmp_path / "sources.csv") == sources
    text = (tmp_path / "sources.csv").read_text(encoding="utf-8")
    (tmp_path / "sources.csv").write_text(text.replace(",val,", ",valid,", 1))
    with pytest.raises(ValueError, match="subset 'valid' is not one of train, val"):
        read_sources(tmp_path / "sources.csv")


def test_genders_and_languages_are_listed_where_some_are_known(folder, tmp_path):
    write_sources(tmp_path / "none.csv", make_sources(folder))
    header = (tmp_path / "none.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header.endswith(",transcript,name")
    row = next(n for n, s in enumerate(read_manifest(folder)) if s["speaker"] == "s0")
    rows = [
        cells | {"gender": "f" * (number == row), "language": ""}
        for number, cells in enumerate(read_manifest(folder))
    ]
    with open(folder / "told.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    sources = make_sources(folder, manifest="told.csv")
    assert {s.path: s.gender for s in sources if s.gender} == {
        (folder / rows[row]["path"]).as_posix(): "f"
    }
    write_sources(tmp_path / "told.csv", sources)
    header = (tmp_path / "told.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header.endswith(",transcript,name,gender,language")
    assert read_sources(tmp_path / "told.csv") == sources


def test_a_file_in_two_lines_is_an_error_and_unnamed_speakers_are_warned_of(
    folder, tmp_path, caplog
):
    first = read_manifest(folder)[0]["path"]
    name = change_manifest(folder, tmp_path, 1, path=f"scene/../{first}")
    with pytest.raises(ValueError, match=f"line 3: .*{first} is in line 2 already"):
        make_sources(folder, manifest=name)
    make_sources(folder)
    assert "no speaker" not in caplog.text
    name = change_manifest(folder, tmp_path, 1, speaker="")
    make_sources(folder, manifest=name)
    assert "1 speech files have no speaker" in caplog.text


def test_a_subset_without_share_gets_nothing(folder):
    sources = make_sources(folder, split=(80, 0, 20))
    assert {source.subset for source in sources} == {"train", "test"}
