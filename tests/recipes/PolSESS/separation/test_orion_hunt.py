"""The search hook: reports under Oríon, and the line of the README as typed."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_run import (
    SEPARATION,
    TINY,
    arguments,
    assert_same,
    environment,
    last_checkpoint,
    run,
)

from recipekit.studies import trial
from tiny_corpus import write_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("search") / "tiny", rows=(4, 2, 2))


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Where Oríon would read a trial's results."""
    path = tmp_path / "results.json"
    monkeypatch.setenv(trial.RESULTS_VARIABLE, str(path))
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
    scores = [entry["valid"]["si_sdr"] for entry in state["history"]]
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
    assert value == trial.FAILED_OBJECTIVE and reason in statistics["failure"]


def test_interrupted_trial_reports_nothing(corpus, tmp_path, results, monkeypatch):
    monkeypatch.setenv(trial.INTERRUPT_VARIABLE, "42")
    # In the background, where CI may run, a process starts with Ctrl-C ignored.
    interrupt = "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    interrupt += "train.pit_loss = lambda *a: signal.raise_signal(signal.SIGINT)"
    done = run(arguments(corpus, tmp_path / "run"), before=interrupt, check=False)
    assert done.returncode == 42 and not results.exists()


def test_without_orion_failures_are_failures(monkeypatch):
    monkeypatch.delenv(trial.RESULTS_VARIABLE, raising=False)
    with pytest.raises(ZeroDivisionError), trial.reported_failures():
        1 / 0  # noqa: B018
    trial.report(1.0, {})


TINY_MODELS = {  # keys of the section "# Model" of each hparams file
    "dprnn": {k: TINY[k] for k in ("N_channels", "hidden_channels", "num_layers")},
    "spmamba": {
        "n_fft": 64,
        "hop_length": 32,
        "num_layers": 1,
        "emb_dim": 4,
        "emb_ks": 2,
        "emb_hs": 2,
        "qk_dim": 64,
        "d_state": 4,
        "expand": 2,
    },
}


# Two that differ in all that a checkpoint holds; a start of the others is test_train's.
@pytest.mark.parametrize("model", TINY_MODELS)
def test_line_of_the_readme_promotes_to_the_straight_run(
    corpus, tmp_path, model, monkeypatch
):
    """The line as typed, with a tiny model and two small rungs.

    The promoted trial must have become, to the bit, the run of its configuration that
    goes straight to the higher rung: weights, optimiser, scheduler, counters, history.
    """
    pytest.importorskip("orion.core", reason="the extra [hpo] is not installed")
    readme = (SEPARATION / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^ *(orion hunt -n dprnn .*)$", readme, re.MULTILINE)
    line = line.replace("dprnn", model).replace("fidelity(2,80,3)", "fidelity(1,2,2)")
    line = line.replace("orion hunt", "orion hunt --max-trials 3", 1)
    for name in ("train.py", "hparams", "sweeps"):
        (tmp_path / name).symlink_to(SEPARATION / name)
    (tmp_path / "results").mkdir()
    shared = ("batch_size", "test_batch_size", "num_workers")
    tiny = {key: TINY[key] for key in shared} | TINY_MODELS[model]
    tiny |= {"data_folder": str(corpus), "lr_patience": 0, "scan_engine": "torch"}
    if model != "spmamba":
        del tiny["scan_engine"]
    flags = []
    for key, value in tiny.items():
        flags += [f"--{key}", value if isinstance(value, str) else json.dumps(value)]
    binaries = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        f"{line} {shlex.join(flags)}",
        shell=True,
        cwd=tmp_path,
        env=environment() | {"PATH": binaries},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    monkeypatch.setenv("ORION_DB_TYPE", "pickleddb")
    monkeypatch.setenv("ORION_DB_ADDRESS", str(tmp_path / "results" / "orion.pkl"))
    counted = subprocess.run(
        [f"{Path(sys.executable).parent}/orion", "status", "-n", model],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert re.search(r"completed\s+3", counted.stdout), counted.stdout

    runs = sorted((tmp_path / "results" / model).iterdir())
    states = [last_checkpoint(folder)["state"] for folder in runs]
    lengths = [len(state["history"]) for state in states]
    assert sorted(lengths) == [1, 2], "two configurations, one of them promoted"
    promoted = runs[lengths.index(2)]
    first = [state["history"][0]["valid"]["si_sdr"] for state in states]
    assert first[lengths.index(2)] == max(first)

    settings = states[lengths.index(2)]["settings"]
    straight = [f"hparams/{model}.yaml", "--output_folder", str(tmp_path / "straight")]
    straight += ["--seed", str(settings["seed"]), "--lr", repr(settings["lr"])]
    run([*straight, "--N_epochs", "2", *flags])
    assert_same(last_checkpoint(tmp_path / "straight"), last_checkpoint(promoted))


def test_trial_of_a_lower_fidelity_reports_what_it_had_there(corpus, tmp_path, results):
    run(arguments(corpus, tmp_path / "run", N_epochs=1))
    short, _ = objective(results)
    run(arguments(corpus, tmp_path / "run", N_epochs=3))
    run(arguments(corpus, tmp_path / "run", N_epochs=1))
    again, statistics = objective(results)
    assert again == short and statistics["epochs"] == 1
    items = last_checkpoint(tmp_path / "run")["state"]["items"]
    assert statistics["items"] == items // 3
