"""Databases of studies are data: nothing in them runs, damaged ones get advice."""

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import yaml
from tiny_run import SEPARATION

from hostile import files_below, refused

pytest.importorskip("orion.core", reason="the extra [hpo] is not installed")

import report
import study

STUDY = {
    "hparams": "hparams.yaml",
    "settings": {"train_items": 10, "seed": 42},
    "stages": [
        {
            "name": "search",
            "settings": {"N_epochs": 1},
            "search": {
                "trials": 3,
                "space": {"lr": "loguniform(1e-4, 1e-2)"},
            },
        }
    ],
}


class Attack:
    """Runs a command where it is unpickled."""

    def __init__(self, path):
        self.command = f"touch '{path}'"

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished study."""
    folder = tmp_path_factory.mktemp("finished")
    stub = Path(__file__).parent / "stub_trial.py"
    (folder / "train.py").symlink_to(stub)
    (folder / "hparams.yaml").write_text("lr:\nseed:\nN_epochs:\ntrain_items:\n")
    (folder / "s.yaml").write_text(yaml.safe_dump(STUDY))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PYTHONPATH", str(SEPARATION))
        study.main(["s.yaml"])
    return folder


@pytest.fixture
def folder(finished, tmp_path, monkeypatch):
    """A copy of it, where the commands run."""
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy, symlinks=True)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("PYTHONPATH", str(SEPARATION))
    return copy


def planted(content, marker):
    """Returns pickles that make a file when they are opened, by name."""
    ephemeral = pytest.importorskip("orion.core.io.database.ephemeraldb")
    nested = ephemeral.EphemeralDB()
    nested.write("trials", {"params": [1, {"x": "y"}]})
    nested._db["trials"]._documents[0]._data["params"] = [1, {"x": Attack(marker)}]
    whole = {"a": [{"b": (1, Attack(marker))}]}
    return {
        "top, protocol 0": pickle.dumps(Attack(marker), 0),
        "top": pickle.dumps(Attack(marker)),
        "inside of containers": pickle.dumps(whole),
        "in a document": pickle.dumps(nested),
    }[content]


PICKLES = ["top, protocol 0", "top", "inside of containers", "in a document"]


@pytest.mark.parametrize("content", PICKLES)
@pytest.mark.parametrize("name", ["orion.json", "orion.pkl"])
def test_pickles_are_refused_and_not_opened(folder, capsys, tmp_path, content, name):
    marker = tmp_path / "run"
    path = folder / "results" / "s" / name
    (folder / "results" / "s" / "orion.json").unlink(missing_ok=True)
    path.write_bytes(planted(content, marker))
    before = files_below(folder)
    for arguments in (["s.yaml", "--status"], ["s.yaml"]):
        refused(study.main, arguments, capsys, [path.name, "Remove it", "ledger.csv"])
    study.main(["s.yaml", "--dry_run"])
    with pytest.raises(ValueError, match="no run"):  # a page without trials to show
        report.make_report([folder / "results" / "s" / "runs"], tmp_path / "page")
    report.make_report([folder / "results"], tmp_path / "page")
    assert not marker.exists()
    after = files_below(folder)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed <= {"results/s/orion.json.lock", "results/s/.ledger.lock"}


RUNS = "__import__('os').system({command!r})"


def space(document, command):
    """A prior is a text, which Oríon would evaluate."""
    document["space"] = [["lr", f"uniform({RUNS.format(command=command)}, 2)"]]


def disguised_space(document, command):
    text = f"uniform({RUNS.format(command=command)} or 1)(1, 2)"
    document["space"] = [["lr", text]]


def points(document, command):
    document["points"] = [[["output_folder", command]]]


DOCUMENTS = [space, disguised_space, points]


def change(folder, collection, edit):
    """Changes the documents of a collection of the folder's database."""
    path = folder / "results" / "s" / "orion.json"
    content = json.loads(path.read_text())
    for document in content[collection]:
        edit(document)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("plant", DOCUMENTS)
def test_documents_that_would_run_something_are_refused(
    folder, capsys, tmp_path, plant
):
    marker = tmp_path / "run"
    change(folder, "stages", lambda document: plant(document, f"touch '{marker}'"))
    for arguments in (["s.yaml", "--status"], ["s.yaml"]):
        refused(study.main, arguments, capsys, ["orion.json", "Remove it"])
    report.make_report([folder / "results"], tmp_path / "page")
    assert not marker.exists()


def more_trials(folder):
    """Makes the study one that asks for another trial."""
    shutil.rmtree(folder / "results" / "s" / "runs")

    def interrupted(document):
        document["status"] = "waiting"
        document["results"] = None

    change(folder, "trials", interrupted)


def test_trials_that_set_other_keys_are_refused(folder, capsys):
    def plant(document):
        document["params"].append(["output_folder", "/elsewhere"])

    change(folder, "trials", plant)
    says = ["orion.json", "output_folder", "Remove it"]
    for arguments in (["s.yaml", "--status"], ["s.yaml"]):
        refused(study.main, arguments, capsys, says)
    more_trials(folder)
    refused(study.main, ["s.yaml"], capsys, says)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: '{"trials": 3}',
        lambda text: '{"stages": [], "trials": [5]}',
        lambda text: text.replace('"status"', '"stahtus"'),
        lambda text: text.replace('"ended"', '"endet"'),
        lambda text: text.replace('"objective"', '"subjective"'),
        lambda text: "\0" + text,
    ],
    ids=["truncated", "empty", "list", "number", "item", "key", "state", "kind", "NUL"],
)
def test_damaged_databases_get_advice_and_cost_nothing(folder, capsys, damage):
    path = folder / "results" / "s" / "orion.json"
    ledger = (folder / "results" / "s" / "ledger.csv").read_text()
    epochs = files_below(folder / "results" / "s" / "runs")
    path.write_text(damage(path.read_text()))
    for arguments in (["s.yaml", "--status"], ["s.yaml"]):
        refused(
            study.main, arguments, capsys, ["orion.json", "Remove it", "ledger.csv"]
        )
    assert (folder / "results" / "s" / "ledger.csv").read_text() == ledger
    path.unlink()
    study.main(["s.yaml"])  # draws the same trials and finds their runs done
    again = (folder / "results" / "s" / "ledger.csv").read_text()
    columns = [[row.split(",")[4:9] for row in t.splitlines()] for t in (ledger, again)]
    assert columns[0] == columns[1]
    now = files_below(folder / "results" / "s" / "runs")
    for name, content in epochs.items():
        if name.endswith("epochs.txt"):
            assert now[name] == content
