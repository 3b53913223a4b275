"""The split that does not leak: units, official subsets, shares, stability."""

import shutil
from collections import Counter, defaultdict
from dataclasses import replace

import pytest

from corpus.providers.download import Found
from corpus.providers.polsess import COLLECTIONS, make_sources
from corpus.splits import speaker_disjoint
from imitation import SHARED_CLIP

SECONDS = 0.02


def speech(speaker, official="", source="mine", folder="/a"):
    path = f"{folder}/{speaker}_{official}.wav"
    return Found(path, "speech", source, speaker=speaker, official=official)


def event(recording, official="", name="x", source="mine"):
    return Found(
        f"/{name}.wav", "event", source, recording=recording, official=official
    )


def test_no_speaker_place_or_clip_is_in_two_subsets(downloads):
    sources, _ = make_sources(downloads, SECONDS)
    subsets, by_subset = defaultdict(set), Counter()
    for source in sources:
        subsets[source.recording or (source.source, source.speaker)].add(source.subset)
        by_subset[source.role, source.subset] += 1
    # Evaluation files of TUT are places of their own: not known which.
    assert all(len(found) == 1 for found in subsets.values())
    assert len(by_subset) == 9
    shared = [s for s in sources if s.recording == f"freesound {SHARED_CLIP}"]
    assert {source.source for source in shared} == {"esc50", "fsd50k"}
    assert {source.subset for source in shared} == {"test"}


def test_official_subsets_are_kept(downloads):
    found = [file for name in downloads for file in COLLECTIONS[name](downloads[name])]
    for file, subset in zip(found, speaker_disjoint(found), strict=True):
        if file.official:
            assert subset == file.official, file
    wham = {
        (s.path.split("/")[-2], s.subset) for s in make_sources(downloads, SECONDS)[0]
    }
    assert {("tr", "train"), ("cv", "val"), ("tt", "test")} <= wham
    assert not {("tr", "val"), ("tr", "test"), ("cv", "train"), ("tt", "val")} & wham


@pytest.mark.parametrize(
    ("official", "expected"),
    [
        (["", "test"], "test"),
        (["test", "val", "train"], "test"),
        (["", "val", "train"], "val"),
        (["train", ""], "train"),
    ],
)
def test_where_official_subsets_disagree_the_held_out_one_decides(official, expected):
    for number in range(30):  # some of them would be hashed into each subset
        found = [event(f"place {number}", one) for one in official]
        assert speaker_disjoint(found) == [expected] * len(official)


def test_shares_are_near_80_10_10():
    found = [speech(f"SES{number:04d}") for number in range(4000)]
    counts = Counter(speaker_disjoint(found))
    assert counts["train"] == pytest.approx(3200, abs=80)
    assert counts["val"] == pytest.approx(400, abs=60)
    assert counts["test"] == pytest.approx(400, abs=60)


def test_the_two_readers_of_most_of_mls_are_for_training():
    readers = [speech(name, source="mls_polish") for name in ("6892", "7014")]
    assert speaker_disjoint(readers) == ["train", "train"]


def test_adding_recordings_moves_no_others(downloads):
    found = [file for name in downloads for file in COLLECTIONS[name](downloads[name])]
    expected = speaker_disjoint(found)
    more = [speech(f"new {number}") for number in range(200)]
    assert speaker_disjoint(more + found[::-1])[200:][::-1] == expected
    half = speaker_disjoint(found[::2])
    # Without its official twin a shared clip may be elsewhere; nothing else may.
    moved = [file for file, a, b in zip(found[::2], expected[::2], half) if a != b]  # noqa: B905
    assert {file.recording for file in moved} <= {f"freesound {SHARED_CLIP}"}


def test_where_the_downloads_are_does_not_matter(downloads, tmp_path):
    shutil.copytree(downloads["emu"].parent, tmp_path / "all")
    elsewhere = {name: tmp_path / "all" / name for name in downloads}
    here = make_sources(downloads, SECONDS)[0]
    there = make_sources(elsewhere, SECONDS)[0]
    assert [replace(source, path="") for source in here] == [
        replace(source, path="") for source in there
    ]
    backwards = make_sources(dict(reversed(downloads.items())), SECONDS)[0]
    assert backwards == here


def test_speakers_of_two_collections_are_two_but_freesound_is_one():
    one, other = speech("7", "test", "emu"), speech("7", "val", "mls_polish")
    assert speaker_disjoint([one, other]) == ["test", "val"]
    clips = [event("freesound 7", "test", "a"), event("freesound 7", "", "b", "esc50")]
    assert speaker_disjoint(clips) == ["test", "test"]
    unknown = [event("", "test", "a"), event("", "val", "b")]
    assert speaker_disjoint(unknown) == ["test", "val"]


def test_the_split_of_the_published_names_stays_what_it_is():
    readers = [speech(name, "", "mls_polish") for name in ("6892", "7014", "10900")]
    assert speaker_disjoint(readers) == ["train", "train", "val"]
    sessions = [speech(f"SES{number:04}", "", "emu") for number in range(1, 41)]
    held_out = {
        session.speaker[-2:]: subset
        for session, subset in zip(sessions, speaker_disjoint(sessions), strict=True)
        if subset != "train"
    }
    val = dict.fromkeys(("12", "20", "21"), "val")
    assert held_out == val | dict.fromkeys(("15", "17", "18", "30", "38"), "test")
