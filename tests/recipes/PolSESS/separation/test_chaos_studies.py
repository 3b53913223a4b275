"""Kills of workers; chaos_studies.py, of which one test is a short form, has all."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_run import environment

pytest.importorskip("orion.core", reason="the extra [hpo] is not installed")

import chaos_studies
from chaos_studies import finish, make_folder, outcome, start

from recipekit.studies.database import JSONDB, TRIALS
from recipekit.studies.storage import Storage


def test_studies_whose_workers_are_killed_end_like_undisturbed_ones():
    script = Path(chaos_studies.__file__)
    done = subprocess.run(
        [sys.executable, script, *"--calls --every 60 --kills 6 --workers 2".split()],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert done.stdout.splitlines()[-1].endswith("0 differences")


def kill_after(method, condition):
    """Returns what makes a worker kill itself after a call to the database."""
    function = getattr(JSONDB, method)

    def call(self, collection, *arguments):
        found = function(self, collection, *arguments)
        if collection == TRIALS and condition(*arguments):
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    return lambda: setattr(JSONDB, method, call)


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """What an undisturbed study comes to, and its trials by stage."""
    monkeypatch.chdir(tmp_path)
    study = make_folder(tmp_path / "alone")
    finish(study, 1)
    return outcome(study), [Storage(study).trials(stage) for stage in study.stages]


def test_a_trial_that_was_written_last_thing_hangs_nothing(tmp_path, alone):
    study = make_folder(tmp_path / "killed")
    second = alone[1][1][1].id  # of the fixed stage
    process = start(study, kill_after("write", lambda trial: trial["_id"] == second))
    process.join()
    assert process.exitcode == -signal.SIGKILL
    finish(study, 1)
    assert outcome(study) == alone[0]


def test_a_result_that_was_written_last_thing_is_not_lost(tmp_path, alone):
    study = make_folder(tmp_path / "killed")
    best = min(t.loss for t in alone[1][0] if t.epochs == study.stages[0].rungs[0])

    def is_best(query, news):
        values = {r["name"]: r["value"] for r in news.get("results", ())}
        return values.get("objective") == best

    process = start(study, kill_after("read_and_write", is_best))
    process.join()
    assert process.exitcode == -signal.SIGKILL
    finish(study, 1)
    assert outcome(study) == alone[0]
