"""From the seven collections to audited corpora, by the command line."""

import json
import shutil

import pandas as pd
import pytest

from corpus import __main__ as command_line
from corpus.tables import event_classes, scene_classes
from imitation import write_list
from polsess_prepare import prepare_polsess

SECONDS = 0.02
ROWS = ("400", "40", "40")


@pytest.fixture(scope="module")
def command(downloads):
    """Returns the function that makes a corpus of all collections."""

    def make(out, *options, downloads=downloads):
        roots = [f"--{name}={root}" for name, root in downloads.items()]
        options = [*options, "--seconds", str(SECONDS), "--workers", "2"]
        made = ["polsess", str(out), *roots, "--rows", *ROWS, *options]
        assert command_line.main(made) is None

    return make


@pytest.fixture(scope="module")
def corpus(command, tmp_path_factory):
    folder = tmp_path_factory.mktemp("disjoint") / "polsess"
    command(folder)
    return folder


def audited(corpus, manifests, **settings):
    prepare_polsess(corpus, manifests, verify_audio=True, **settings)
    return json.loads((manifests / "audit.json").read_text(encoding="utf-8"))


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def test_default_split_does_not_leak(corpus, tmp_path):
    report = audited(corpus, tmp_path, strict=True)
    assert report["rows"] == {"train": 400, "val": 40, "test": 40}
    for finding in ("shared_speakers", "shared_recordings", "shared_rows"):
        assert report[finding]["count"] == 0 < report[finding]["of"], finding
    rows = pd.read_csv(corpus / "train" / "corpus_polsess_train_final.csv")
    assert set(rows["sceneClass"]) == set(scene_classes())
    assert set(rows["eventClass"]) <= set(event_classes())
    told = pd.read_csv(corpus / "train" / "corpus_polsess_train_provenance.csv")
    assert set(told["speech1Source"]) == {"emu", "mls_polish"}
    assert set(told["sceneSource"]) == {"tut2017", "tau2019", "wham_noise"}
    assert set(told["eventSource"]) == {"esc50", "fsd50k"}
    card = (corpus / "README.md").read_text(encoding="utf-8")
    assert "no speaker (of EMU: session), place or Freesound clip" in card
    assert "| mls_polish | speech |" in card and "CC BY 4.0" in card


def test_published_split_leaks_and_the_audit_says_so(
    command, downloads, tmp_path, caplog
):
    write_list(tmp_path / "data_sources.csv", downloads)
    folder = tmp_path / "published"
    command(folder, "--published", str(tmp_path / "data_sources.csv"))
    report = audited(folder, tmp_path / "manifests")
    assert report["shared_speakers"]["count"] > 10
    assert report["shared_speakers"]["examples"][0]["name"].startswith("SES")
    assert "speakers in more than one subset" in caplog.text
    with pytest.raises(ValueError, match="strict: .*speakers in more than one subset"):
        audited(folder, tmp_path / "manifests", strict=True)


def test_shards_of_several_machines_make_the_whole(
    command, corpus, downloads, tmp_path, capsys
):
    shutil.copytree(downloads["emu"].parent, tmp_path / "mounted elsewhere")
    there = {name: tmp_path / "mounted elsewhere" / name for name in downloads}
    for shard, roots in (("1/2", there), ("2/2", downloads)):
        part = tmp_path / shard[0] / "polsess"
        command(part, "--shard", shard, downloads=roots)
        assert "without --shard" in capsys.readouterr().out
        shutil.copytree(part, tmp_path / "polsess", dirs_exist_ok=True)
    command(tmp_path / "polsess")
    assert ": 0 recordings made" in capsys.readouterr().out
    assert contents(tmp_path / "polsess") == contents(corpus)
