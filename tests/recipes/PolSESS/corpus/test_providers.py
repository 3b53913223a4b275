"""Collections: names, classes, layouts, defects, and headers that are read once."""

import logging
import os
import shutil

import pytest

from corpus import __main__ as command_line
from corpus import scan
from corpus.providers.polsess import COLLECTIONS, make_sources
from corpus.scan import read_headers
from corpus.sources import check
from corpus.tables import event_classes, scene_classes
from imitation import (
    ESC_LEFT_OUT,
    MUSIC,
    SHARED_CLIP,
    VOICES,
    audio_files,
    write_audio,
    write_table,
)

SECONDS = 0.02


@pytest.fixture
def own(downloads, tmp_path):
    """A function that returns the root of a tree of a test's own."""

    def copy(name):
        if not (tmp_path / "own" / name).exists():
            shutil.copytree(downloads[name], tmp_path / "own" / name)
        return tmp_path / "own" / name

    return copy


def find(name, root):
    """Returns what is found, by its name in the collection."""
    return {file.name: file for file in COLLECTIONS[name](root)}


def told(name, root):
    """Returns what is found but where: by name, all else that is known."""
    return {
        key: {k: v for k, v in vars(file).items() if k != "path"}
        for key, file in find(name, root).items()
    }


@pytest.mark.parametrize(
    ("collection", "name", "expected"),
    [
        ("emu", "SES0005_ses/sent003", {"speaker": "SES0005", "role": "speech"}),
        ("emu", "SES0005_ses/sent04", {"speaker": "SES0005"}),
        ("emu", "SES0027_ses/rich", {"speaker": "SES0027"}),
        ("emu", "SES0027_ses/rich001", {"speaker": "SES0027"}),
        ("mls_polish", "6892_10920_001418", {"speaker": "6892", "official": ""}),
        ("mls_polish", "11295_9699_000000", {"speaker": "11295", "official": "val"}),
        ("mls_polish", "1889_2003_000004", {"speaker": "1889", "official": "test"}),
        ("mls_polish", "7014_6834_000950", {"transcript": "zdanie 7014_6834_000950"}),
        ("tut2017", "a040_230_240", {"class_": "cafe/restaurant", "official": ""}),
        ("tut2017", "b021_40_50", {"class_": "beach", "recording": "tut2017 b021"}),
        ("tut2017", "1442", {"class_": "beach", "official": "test", "recording": ""}),
        (
            "tau2019",
            "tram-helsinki-90-8430-a",
            {"class_": "tram", "recording": "tau2019 tram-helsinki-90"},
        ),
        ("tau2019", "street_traffic-lyon-82-8428-a", {"class_": "street_traffic"}),
        (
            "wham_noise",
            "2020mo010o_2.0092_20da010e_-2.0092",
            {"class_": "h", "official": "test", "recording": "wham_noise 2h"},
        ),
        (
            "wham_noise",
            "05207a010o_0.84361_40lc020p_-0.84361",
            {"class_": "l", "official": "train", "recording": "wham_noise 0l"},
        ),
        ("fsd50k", "200003", {"class_": "Accordion,Animal", "official": ""}),
        ("fsd50k", "200003", {"recording": "freesound 200003", "role": "event"}),
        ("fsd50k", str(SHARED_CLIP), {"official": "test", "class_": "Bark,Dog"}),
    ],
)
def test_names_and_tables_tell_what_a_file_is(downloads, collection, name, expected):
    found = vars(find(collection, downloads[collection])[name])
    assert found | expected == found
    assert found["source"] == collection and found["licence"]


def test_every_class_is_reached(downloads):
    reached = {"speech": set(), "scene": set(), "event": set()}
    for name, root in downloads.items():
        for file in COLLECTIONS[name](root):
            reached[file.role] |= set(file.class_.split(","))
    assert reached["scene"] == set(scene_classes())
    assert reached["event"] - {""} == set(event_classes())


def test_clips_of_both_event_collections_have_one_name(downloads):
    esc = find("esc50", downloads["esc50"])
    dogs = [file.recording for file in esc.values() if file.class_ == "dog"]
    assert f"freesound {SHARED_CLIP}" in dogs and len(set(dogs)) == 5


def test_voices_and_unknown_classes_are_left_out(downloads):
    esc = [file.class_ for file in find("esc50", downloads["esc50"]).values()]
    assert esc.count("") == 5 * len(ESC_LEFT_OUT)
    sources, _ = make_sources(downloads, SECONDS)
    used = {source.path.rsplit("/", 1)[1] for source in sources}
    for clip in (*VOICES, MUSIC):
        assert f"{clip}.wav" not in used
    assert {"200003.wav", f"{SHARED_CLIP}.wav"} <= used
    for source in sources:
        check(source, "here")


@pytest.mark.parametrize("name", list(COLLECTIONS))
def test_root_may_be_above_and_files_may_be_flac(downloads, own, name):
    expected = told(name, downloads[name])
    above = own(name).parent.parent / "above"
    above.mkdir()
    shutil.move(own(name), above / "download" / name)
    for path in audio_files(above):
        path.rename(path.with_suffix(".flac"))
    assert told(name, above) == expected
    links = above.parent / "links"
    links.mkdir()
    (links / "there").symlink_to(above, target_is_directory=True)
    assert told(name, links) == expected


@pytest.mark.parametrize(
    ("name", "below", "count"),
    [
        ("emu", "SES0005_ses", 3),
        ("mls_polish", "train", 3),
        ("mls_polish", "train/audio", 3),
        ("tut2017", "TUT-acoustic-scenes-2017-development", 180),
        ("tut2017", "TUT-acoustic-scenes-2017-development/audio", 180),
        ("tau2019", "audio", 80),
        ("wham_noise", "cv", 6),
        ("esc50", "audio", 250),
        ("fsd50k", "FSD50K.eval_audio", 151),
    ],
)
def test_root_may_be_below(downloads, name, below, count):
    expected = told(name, downloads[name])
    found = told(name, downloads[name] / below)
    assert len(found) == count
    assert found.items() <= expected.items()


def test_copies_of_a_file_count_once(own):
    path = audio_files(own("tau2019"))[0]
    shutil.copy(path, path.with_suffix(".flac"))
    inner = own("tau2019") / "TAU-urban-acoustic-scenes-2019-development" / "audio"
    inner.mkdir(parents=True)
    shutil.copy(path, inner)
    assert len(COLLECTIONS["tau2019"](own("tau2019"))) == 80


def test_scenes_may_be_told_by_the_table_alone(tmp_path):
    for number in range(3):
        write_audio(tmp_path / "audio" / f"{number}.wav", SECONDS)
    with pytest.raises(ValueError, match="no scene is known of any of 3 files.*0.wav"):
        COLLECTIONS["tau2019"](tmp_path)
    rows = [["filename", "scene_label", "identifier", "source_label"]]
    rows += [[f"audio/{n}.wav", "tram", f"tram-lyon-{n}", "a"] for n in range(2)]
    write_table(tmp_path / "meta.csv", rows, "\t")
    found = find("tau2019", tmp_path)
    assert [found[name].class_ for name in "012"] == ["tram", "tram", ""]
    assert found["1"].recording == "tau2019 tram-lyon-1"


def test_levels_of_wham_may_be_spelled_out_and_named_without_wav(own):
    table = own("wham_noise") / "metadata" / "noise_meta_tr.csv"
    expected = told("wham_noise", own("wham_noise"))
    text = table.read_text().replace(".wav", "")
    text = text.replace(",h,", ",High,").replace(",l,", ",low,")
    table.write_text(text)
    assert told("wham_noise", own("wham_noise")) == expected


@pytest.mark.parametrize(
    ("name", "table", "message"),
    [
        ("wham_noise", "metadata/noise_meta_cv.csv", "noise_meta_cv.csv is missing"),
        ("esc50", "meta/esc50.csv", "esc50.csv is missing.*filename, category"),
        ("fsd50k", "FSD50K.ground_truth/dev.csv", "dev.csv is missing"),
        ("tut2017", "*/**/*.txt", r"no scene is known.*audio/b020_90_100.wav<TAB>"),
    ],
)
def test_missing_tables_are_named(own, name, table, message):
    for path in own(name).glob(table):
        path.unlink()
    with pytest.raises(ValueError, match=message) as raised:
        COLLECTIONS[name](own(name))
    assert str(own(name)) in str(raised.value)


def test_table_without_a_column_is_named(own):
    table = own("esc50") / "meta" / "esc50.csv"
    table.write_text(table.read_text().replace("category", "label", 1))
    with pytest.raises(ValueError, match="esc50.csv: lacks the columns category"):
        COLLECTIONS["esc50"](own("esc50"))


@pytest.mark.parametrize("name", list(COLLECTIONS))
def test_wrong_folder_is_explained(downloads, tmp_path, name):
    other = "esc50" if name == "emu" else "emu"
    with pytest.raises(ValueError, match="expected recordings like .*found") as raised:
        COLLECTIONS[name](downloads[other])
    first = audio_files(downloads[other])[0].relative_to(downloads[other]).as_posix()
    assert str(downloads[other]) in str(raised.value) and first in str(raised.value)
    with pytest.raises(ValueError, match="no wav or flac"):
        COLLECTIONS[name](tmp_path)
    with pytest.raises(ValueError, match="none: no such folder; expected one with"):
        COLLECTIONS[name](tmp_path / "none")


def test_role_without_a_collection_is_named(downloads):
    speech = {name: downloads[name] for name in ("emu", "esc50")}
    with pytest.raises(ValueError, match="no collection given has any scene;.*--tut"):
        make_sources(speech, SECONDS)


def test_header_says_rate_length_and_channels(downloads):
    sources, rejected = make_sources(downloads, SECONDS)
    measured = {s.source: (s.rate, s.channels) for s in sources}
    assert measured["tau2019"] == (48000, 2) and measured["mls_polish"] == (16000, 1)
    seconds = {(s.role == "speech", round(s.seconds, 4)) for s in sources}
    assert seconds == {(True, 3 * SECONDS), (False, SECONDS)}
    assert not rejected


def test_short_recordings_are_left_out_and_counted(downloads, own, caplog):
    write_audio(audio_files(own("emu"))[0], SECONDS / 2)
    with caplog.at_level(logging.WARNING):
        sources, rejected = make_sources(downloads | {"emu": own("emu")}, SECONDS)
    assert not rejected and min(source.seconds for source in sources) >= SECONDS
    assert f"shorter than {SECONDS} s: 1 of emu" in caplog.text
    assert caplog.text.count("shorter than") == 1
    assert f"{5 * len(ESC_LEFT_OUT)} of esc50, {len(VOICES) + 1} of fsd50k" in (
        caplog.text
    )


def test_unusable_files_are_rejected_with_the_reason(downloads, own):
    wide, coarse, fast, empty, text, cut, void, link = audio_files(own("emu"))[:8]
    write_audio(wide, SECONDS, channels=8)
    write_audio(coarse, SECONDS, subtype="PCM_U8")
    write_audio(fast, SECONDS, rate=192000)
    empty.write_bytes(b"")
    text.write_text("no audio")
    cut.write_bytes(cut.read_bytes()[:20])
    write_audio(void, 0)
    link.unlink()
    link.symlink_to("nowhere.wav")
    with pytest.raises(ValueError, match=r"8 of \d+ sources.*more than 0.5%.*--max"):
        make_sources(downloads | {"emu": own("emu")}, SECONDS, max_rejected=0.005)
    sources, rejected = make_sources(
        downloads | {"emu": own("emu")}, SECONDS, max_rejected=0.02
    )
    reasons = {one.path: one.reason for one in rejected}
    for path, reason in (
        (wide, "8 channels, expected 1 or 2"),
        (coarse, "PCM_U8, expected 16 bits or more"),
        (fast, "192000 Hz, expected 8000 to 96000 Hz"),
        (empty, "cannot be read as audio"),
        (text, "cannot be read as audio"),
        (cut, "cannot be read as audio"),
        (void, "has no samples"),
        (link, "no such file"),
    ):
        name = path.relative_to(own("emu")).as_posix()
        assert reason in reasons.pop(f"emu/{name}")
    assert not reasons
    assert len([s for s in sources if s.source == "emu"]) == 144 - 8


def test_headers_are_read_once(own, monkeypatch):
    paths = [path.as_posix() for path in audio_files(own("emu"))]
    write_audio(audio_files(own("emu"))[-1], SECONDS, channels=8)
    first, rejected = read_headers(own("emu"), paths, 1)
    assert len(first) == len(paths) - 1 and len(rejected) == 1

    def refuse(path):
        raise ValueError("looked at")

    monkeypatch.setattr(scan, "read_header", refuse)
    again, rejected = read_headers(own("emu"), paths, 1)
    assert again == first
    assert [one.path for one in rejected] == paths[-1:]  # might have been mended
    os.utime(paths[0])
    _, rejected = read_headers(own("emu"), paths, 1)
    assert [one.path for one in rejected] == [paths[0], paths[-1]]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-20],
        lambda text: "[]",
        lambda text: '{"a": 1}',
        lambda text: text.replace(", 1]]", "]]"),  # no channels
        lambda text: text.replace("16000", '"fast"'),
    ],
)
def test_unsound_cache_is_as_none(own, tmp_path, monkeypatch, damage):
    paths = [path.as_posix() for path in audio_files(own("emu"))]
    monkeypatch.setenv("POLSESS_CACHE", str(tmp_path / "cache"))
    expected = read_headers(own("emu"), paths, 1)
    (cache,) = (tmp_path / "cache").iterdir()
    sound = cache.read_text()
    cache.write_text(damage(sound))
    assert cache.read_text() != sound
    assert read_headers(own("emu"), paths, 1) == expected
    assert cache.read_text() == sound


def test_unwritable_cache_is_as_none(own, monkeypatch):
    paths = [path.as_posix() for path in audio_files(own("emu"))]
    expected = read_headers(own("emu"), paths, 1)
    monkeypatch.setenv("POLSESS_CACHE", paths[0])  # a file is no folder
    assert read_headers(own("emu"), paths, 1) == expected


def test_cache_goes_where_other_caches_are(own, tmp_path, monkeypatch):
    paths = [path.as_posix() for path in audio_files(own("emu"))]
    monkeypatch.delenv("POLSESS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    read_headers(own("emu"), paths, 1)
    assert list((tmp_path / "xdg" / "polsess").glob("headers-*.json"))


@pytest.mark.parametrize("wrong", ["0/3", "4/3", "2", "a/b", "1/", "-1/2", "²/3"])
def test_wrong_shards_are_explained(wrong, capsys):
    with pytest.raises(SystemExit):
        command_line.parse_arguments(["embedded", "made", f"--shard={wrong}"])
    assert "expected I/N with I from 1 to N" in capsys.readouterr().err
