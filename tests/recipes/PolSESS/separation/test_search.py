"""The search hook: reports under Oríon, and the line of the README as typed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_run import SEPARATION, TINY, arguments, environment, last_checkpoint, run

import search
from tiny_corpus import write_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("search") / "tiny", rows=(4, 2, 2))


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Where Oríon would read a trial's results."""
    path = tmp_path / "results.json"
    monkeypatch.setenv(search.RESULTS_VARIABLE, str(path))
    return path


def objective(results):
    found = json.loads(results.read_text(encoding="utf-8"))
    (value,) = [r["value"] for r in found if r["type"] == "objective"]
    return value, {r["name"]: r["value"] for r in found if r["type"] == "statistic"}


def test_trial_reports_minus_the_best_score_and_leaves_the_test_set_alone(
    corpus, tmp_path, results
):
    run(arguments(corpus, tmp_path / "run"))
    value, statistics = objective(results)
    state = last_checkpoint(tmp_path / "run")["state"]
    scores = [entry["valid_stats"]["si_sdr"] for entry in state["history"]]
    assert value == -max(scores)
    assert statistics["epoch"] == scores.index(max(scores)) + 1
    assert not (tmp_path / "run" / "test_results.csv").exists()


@pytest.mark.parametrize(
    "poison, reason",
    [
        ("train.pit_loss = lambda *a: 1 / 0", "ZeroDivisionError"),
        (
            "loss = train.pit_loss\n"
            "train.pit_loss = lambda *a: loss(*a) * float('nan')",
            "TrainingStopped: 1 steps in a row were not finite",
        ),
    ],
)
def test_failing_trial_reports_a_finite_bad_value(
    corpus, tmp_path, results, poison, reason
):
    run(arguments(corpus, tmp_path / "run", nonfinite_patience=1), before=poison)
    value, statistics = objective(results)
    assert value == search.FAILED_OBJECTIVE and reason in statistics["failure"]


def test_interrupted_trial_reports_nothing(corpus, tmp_path, results, monkeypatch):
    monkeypatch.setenv(search.INTERRUPT_VARIABLE, "42")
    # In the background, where CI may run, a process starts with Ctrl-C ignored.
    interrupt = "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    interrupt += "train.pit_loss = lambda *a: signal.raise_signal(signal.SIGINT)"
    done = run(arguments(corpus, tmp_path / "run"), before=interrupt, check=False)
    assert done.returncode == 42 and not results.exists()


def test_without_orion_failures_are_failures(monkeypatch):
    monkeypatch.delenv(search.RESULTS_VARIABLE, raising=False)
    with pytest.raises(ZeroDivisionError), search.reported_failures():
        1 / 0  # noqa: B018
    search.report(1.0, {})


def test_line_of_the_readme_runs_three_trials(corpus, tmp_path, monkeypatch):
    """The line as typed, with a trial's cost made tiny and three trials at most."""
    pytest.importorskip("orion.core", reason="the extra [hpo] is not installed")
    readme = (SEPARATION / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^ *(orion hunt -n dprnn .*)$", readme, re.MULTILINE)
    for name in ("train.py", "hparams", "sweeps"):
        (tmp_path / name).symlink_to(SEPARATION / name)
    (tmp_path / "results").mkdir()
    tiny = TINY | {"N_epochs": 1, "data_folder": str(corpus)}
    del tiny["curriculum"]  # Oríon takes braces for its own
    flags = " ".join(f"--{key} '{json.dumps(value)}'" for key, value in tiny.items())
    binaries = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        f"{line.replace('orion hunt', 'orion hunt --max-trials 3', 1)} {flags}",
        shell=True,
        cwd=tmp_path,
        env=environment() | {"PATH": binaries},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert (tmp_path / "results" / "dprnn").is_dir(), done.stdout[-3000:]
    runs = sorted((tmp_path / "results" / "dprnn").iterdir())
    assert len(runs) == 3, done.stdout[-3000:]
    rates = [
        last_checkpoint(folder)["state"]["history"][0]["stats_meta"]["lr"]
        for folder in runs
    ]
    assert len(set(rates)) == 3 and all(3e-4 <= rate <= 3e-3 for rate in rates)
    monkeypatch.setenv("ORION_DB_TYPE", "pickleddb")
    monkeypatch.setenv("ORION_DB_ADDRESS", str(tmp_path / "results" / "orion.pkl"))
    counted = subprocess.run(
        [f"{Path(sys.executable).parent}/orion", "status", "-n", "dprnn"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert re.search(r"completed\s+3", counted.stdout), counted.stdout
