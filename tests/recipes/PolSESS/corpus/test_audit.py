"""Tests that the audit finds planted repeats and leaks, and nothing else."""

import pytest

from corpus.audit import FINDINGS
from tiny_corpus import SPEECH, plant, read_rows, write_rows


def test_sound_corpus_has_no_findings(prepare, caplog):
    report = prepare(strict=True)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    assert report["rows"] == {"train": 6, "val": 3, "test": 3}
    assert report["indoor_rows"] == {"train": 3, "val": 2, "test": 2}
    for finding in FINDINGS:
        assert report[finding]["count"] == 0
        # The names of the tiny corpus' scenes and events tell of no recording.
        known = (0,) if finding == "shared_recordings" else (12, 24)
        assert report[finding]["of"] in known


@pytest.mark.parametrize("swap", [False, True])
def test_duplicated_rows(corpus, prepare, caplog, swap, manifests, read_audit):
    for row in (2, 3):
        plant(corpus, ("train", 0), ("train", row), SPEECH, swap)
    report = prepare()
    assert report["duplicated_rows"]["count"] == 2
    mixes = [f"train/mix/{read_rows(corpus, 'train').mixFile[i]}" for i in (0, 2, 3)]
    assert report["duplicated_rows"]["examples"][0]["mixes"] == mixes
    assert report["shared_rows"]["count"] == report["shared_speakers"]["count"] == 0
    (warning,) = [r.message for r in caplog.records if r.levelname == "WARNING"]
    assert "2 of 12 rows that repeat" in warning
    with pytest.raises(ValueError, match="2 of 12 rows that repeat"):
        prepare(strict=True)
    assert read_audit()["duplicated_rows"]["count"] == 2
    assert not (manifests / "train.csv").exists()


def test_other_segments_of_the_same_files_are_no_duplicates(corpus, prepare):
    plant(corpus, ("train", 0), ("train", 1), SPEECH)
    rows = read_rows(corpus, "train")
    rows.loc[1, "speech2Start"] = "17"
    write_rows(corpus, "train", rows)
    assert prepare(strict=True)["duplicated_rows"]["count"] == 0


@pytest.mark.parametrize("swap", [False, True])
def test_shared_rows(corpus, prepare, swap):
    plant(corpus, ("train", 1), ("test", 2), SPEECH, swap)
    rows = read_rows(corpus, "test")
    paths = [SPEECH[0], SPEECH[3]]
    rows[paths] = rows[paths].map(lambda path: path.replace("/", "\\"))
    rows["speech1Start"] += ".0"  # as pandas writes it where a column had gaps
    write_rows(corpus, "test", rows)
    report = prepare()
    assert report["shared_rows"]["count"] == 1
    assert report["shared_rows"]["examples"][0]["rows"] == {"train": 1, "test": 1}
    assert report["duplicated_rows"]["count"] == 0
    with pytest.raises(ValueError, match="pairs of speech segments in more than one"):
        prepare(strict=True)


@pytest.mark.parametrize("kind", ["speech", "scene", "event"])
def test_shared_files(corpus, prepare, caplog, kind):
    column = "speech2OryginalPath" if kind == "speech" else f"{kind}OryginalPath"
    for subset in ("train", "val"):
        rows = read_rows(corpus, subset)
        rows[column] = f"{subset}/" + rows[column].str.replace("_ses", "")
        rows.loc[1:2, column] = "some/path.wav"
        write_rows(corpus, subset, rows)
    report = prepare(strict=True)  # files alone are a warning
    found = report[f"shared_{kind}_files"]
    assert found["count"] == 1
    assert found["examples"][0]["name"] == "some/path.wav"
    assert found["examples"][0]["rows"] == {"train": 2, "val": 2}
    assert f"{kind} files in more than one subset, e.g. some/path.wav" in caplog.text


def test_joined_clips_count_one_by_one(corpus, prepare, load):
    for subset, path in (
        ("train", "SES0900_ses\\a\\a.wav|SES0900_ses\\b\\b.wav"),
        ("val", "SES0900_ses/c/c.wav|SES0900_ses/b/b.wav|SES0900_ses/d/d.wav"),
    ):
        rows = read_rows(corpus, subset)
        rows.loc[0, "speech1OryginalPath"] = path
        write_rows(corpus, subset, rows)
    report = prepare()
    assert report["shared_speech_files"]["count"] == 1
    name = report["shared_speech_files"]["examples"][0]["name"]
    assert name == "SES0900_ses/b/b.wav"
    assert report["shared_speech_files"]["of"] == 22 + 4
    assert load("val")[0]["speaker1"] == "SES0900"


@pytest.mark.parametrize(
    ("train", "test", "speaker"),
    [
        ("SES0905_ses/x_bndl/x.wav", "a\\SES0905_ses\\y_bndl\\y.wav", "SES0905"),
        (
            "train/audio/6439/5541/6439_5541_000246.flac",
            "C:\\mls\\dev\\audio\\6439\\77\\6439_77_000001.flac",
            "6439",
        ),
        ("clips/6439/1.wav", "clips/6439/2.wav", ""),
    ],
)
def test_shared_speakers(corpus, prepare, train, test, speaker, load):
    for subset, path in (("train", train), ("test", test)):
        rows = read_rows(corpus, subset)
        rows["speech2OryginalPath"] = "unknown/" + rows["mixFile"]
        rows.loc[1, "speech2OryginalPath"] = path
        write_rows(corpus, subset, rows)
    found = prepare()["shared_speakers"]
    assert load("test")[1]["speaker2"] == speaker
    assert found["count"] == (1 if speaker else 0)
    if speaker:
        example = {"name": speaker, "rows": {"train": 1, "test": 1}}
        assert found["examples"] == [example]
        with pytest.raises(ValueError, match="speakers in more than one subset"):
            prepare(strict=True)


@pytest.mark.parametrize(
    "kind, train, test, recording",
    [
        (
            "scene",
            "audio/tram-helsinki-276-8412-a.wav",
            "/data/TAU/audio/tram-helsinki-276-8413-b.wav",
            "tram-helsinki-276",
        ),
        (
            "scene",
            "TUT-acoustic-scenes-2017-development/audio/a139_230_240.wav",
            "audio/a139_0_10.wav",
            "a139",
        ),
        (
            "event",
            "3-163607-B-13.wav",
            "D:\\FSD50K.dev_audio\\FSD50K.dev_audio\\163607.wav",
            "163607",
        ),
    ],
)
def test_shared_recordings(corpus, prepare, kind, train, test, recording):
    column = f"{kind}OryginalPath"
    for subset, path in (("train", train), ("test", test)):
        rows = read_rows(corpus, subset)
        rows.loc[1, column] = path
        write_rows(corpus, subset, rows)
    found = prepare()["shared_recordings"]
    assert (found["count"], found["of"]) == (1, 1)
    assert found["examples"] == [{"name": recording, "rows": {"train": 1, "test": 1}}]
