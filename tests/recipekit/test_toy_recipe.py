"""A second recipe, of another corpus, task and loss, with the library alone."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

TOY = Path(__file__).parent / "toy"
LIBRARY = Path(__file__).parents[2] / "recipekit"


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A copy of the recipe beside a copy of the library, and nothing else of ours."""
    folder = tmp_path_factory.mktemp("alone")
    shutil.copytree(LIBRARY, folder / "library" / "recipekit")
    return Path(shutil.copytree(TOY, folder / "recipes" / "Tones" / "classification"))


def run(toy, script, *arguments, check=True, **variables):
    done = subprocess.run(
        [sys.executable, script, *map(str, arguments)],
        cwd=toy,
        env=os.environ
        | {"PYTHONPATH": str(toy.parents[2] / "library"), "OMP_NUM_THREADS": "1"}
        | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert not check or done.returncode == 0, done.stdout[-3000:]
    return done


def newest(folder):
    """Returns the files of the newest checkpoint by name, as bytes or values."""
    path = max(
        (folder / "save").glob("CKPT+*"),
        key=lambda found: (found / "CKPT.yaml").read_text().split("unixtime: ")[1],
    )
    found = {file.stem: file.read_bytes() for file in path.glob("*.ckpt")}
    for name in ("classifier", "optimizer"):
        found[name] = torch.load(path / f"{name}.ckpt", weights_only=True)
    state = json.loads(found["state"])
    for entry in state["history"]:
        del entry["seconds"]
    return found | {"state": state}


def same(first, second):
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(
            same(first[key], second[key]) for key in first
        )
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    return first == second


def test_killed_and_resumed_to_the_bit(toy):
    run(toy, "train.py", "hparams/linear.yaml", "--output_folder", "whole")
    line = ["train.py", "hparams/linear.yaml", "--output_folder", "killed"]
    killed = run(toy, *line, check=False, TOY_KILLED="2.4")
    assert killed.returncode == -signal.SIGKILL
    assert len(json.loads((toy / "killed" / "history.json").read_text())) == 1
    resumed = run(toy, *line)
    assert "Resuming after epoch 1, step 2" in resumed.stdout
    assert same(newest(toy / "whole"), newest(toy / "killed"))
    for name in ("train_log.txt", "test_results.csv"):
        texts = [(toy / folder / name).read_text() for folder in ("whole", "killed")]
        assert texts[0] == texts[1]
    history = json.loads((toy / "whole" / "history.json").read_text())
    scores = [entry["score"] for entry in history]
    assert scores[-1] > scores[0] and history[-1]["valid"]["likelihood"] == scores[-1]
    other = run(toy, *line, "--lr", "0.1", check=False)
    assert other.returncode == 1 and "begun with lr 0.01 (now 0.1)" in other.stdout


def test_searched_and_reported(toy):
    pytest.importorskip("orion")
    run(toy, "study.py", "sweeps/rates.yaml")
    folder = toy / "results" / "rates"
    ledger = pd.read_csv(folder / "ledger.csv")
    assert list(ledger["stage"]) == ["search"] * 2 + ["validated"] * 2
    assert (ledger["status"] == "completed").all()
    best = ledger[ledger["stage"] == "search"].nlargest(1, "score")["hp.lr"].item()
    assert set(ledger[ledger["stage"] == "validated"]["hp.lr"]) == {best}
    for path in (folder / "runs").iterdir():
        history = json.loads((path / "history.json").read_text())
        row = ledger[ledger["run"] == path.name]
        best_score = max(entry["score"] for entry in history)
        assert row["score"].to_numpy() == pytest.approx(best_score)
    status = run(toy, "study.py", "sweeps/rates.yaml", "--status").stdout
    assert "validated: finished, 2 completed, best" in status and "nat" in status
    run(toy, "report.py", "results/rates", "page")
    page = (toy / "page" / "report.html").read_text(encoding="utf-8")
    page = re.sub(r"base64,[^\"]*", "", page)
    for expected in ("log-likelihood", "nat", "linear", "search", "validated"):
        assert expected in page, expected
    for absent in ("PolSESS", "SI-SDR", "dB", "mixture", "speaker"):
        assert absent not in page, absent


def test_without_the_recipes_of_this_repository(toy):
    """The library comes with no word of a corpus, a task or a model."""
    code = "import sys, train; print(sorted(sys.modules))"
    modules = run(toy, "-c", code).stdout
    for name in ("corpus", "mixtures", "exported", "scoring.si_sdr", "extra_models"):
        assert f"'{name}'" not in modules
