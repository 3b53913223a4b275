"""A worker: takes a study's trials and runs each as a process of train.py."""

import errno
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

from recipekit.files.locks import is_held
from recipekit.studies.ledger import write_ledger
from recipekit.studies.storage import Storage
from recipekit.studies.trial import (
    FAILED_OBJECTIVE,
    INTERRUPT_VARIABLE,
    RESULTS_VARIABLE,
    result,
)

ATTEMPTS = 3  # of a trial whose process is killed; each resumes its checkpoint
INTERRUPTED = 130  # exit status by which train.py says that it was interrupted
# Failures that are those of the configuration: it is given up, the search continues.
OF_CONFIGURATION = ("TrainingStopped",)
RESUMES = "Remove the cause; the same command resumes"
POLL = 2  # seconds between looks for work while other workers' trials run


def work(study):
    """Runs trials until no stage of the study is open.

    Stages are taken in their order; while a stage waits for the trials of other
    workers, those after it that do not depend on it are worked on.

    Arguments
    ---------
    study : Study

    Raises
    ------
    RuntimeError
        If a trial fails by a fault that is not its configuration's, or if a stage's
        first trials all fail.
    OSError
        If the database or the ledger cannot be written; what is there is whole.
    KeyboardInterrupt
        On Ctrl-C and SIGTERM, after the running trial was given back.
    """
    with terminated_as_interrupted(), _full_disk_explained(study):
        storage = Storage(study)
        finished, awaited = set(), set()
        with storage.explained():
            while len(finished) < len(study.stages):
                for stage in _open_stages(study, finished):
                    storage.check(stage)
                    if storage.finished(stage):
                        finished.add(stage.name)
                        write_ledger(study, storage)
                if not _work_once(study, storage, finished):
                    awaited = _tell_of_waiting(study, storage, finished, awaited)
                    time.sleep(POLL)


def _open_stages(study, finished):
    """Yields the stages that are to be worked on; ``finished`` may grow meanwhile."""
    for stage in study.stages:
        if stage.name not in finished and finished.issuperset(stage.needs):
            yield stage


def _tell_of_waiting(study, storage, finished, before):
    """Says, once each, for whose trials and how long at most this worker waits."""
    awaited = {}
    for stage in _open_stages(study, finished):
        awaited |= dict.fromkeys(storage.running(stage), stage.name)
    if awaited.keys() - before:
        names = ", ".join(dict.fromkeys(awaited.values()))
        print(
            f"{names}: waiting for {len(awaited)} trial(s) that other workers run. "
            "Should such a worker have been killed, its trial is taken up "
            f"{storage.patience} s after the last sign of life (ORION_HEARTBEAT)",
            flush=True,
        )
    return set(awaited)


def _work_once(study, storage, finished):
    """Runs a trial of the first stage that has one; returns whether there was one."""
    for stage in _open_stages(study, finished):
        trial = storage.reserve(stage)
        if trial is None:
            continue
        if is_held(study.run_folder(stage, trial.params)):
            # Of a worker that only seemed lost, as after a suspended machine: its
            # script is still at it, and what that comes to is there to be taken up.
            storage.give_back(stage, trial)
            return False
        _run(study, storage, stage, trial)
        return True
    return False


def _run(study, storage, stage, trial):
    params = dict(trial.params)
    folder = study.run_folder(stage, params)
    command = [sys.executable, *study.command(stage, params, folder)]
    began = time.monotonic()
    _tell(stage, params, f"see {folder / 'log.txt'}")
    try:
        results = _results(command, folder, trial.id)
        if other := storage.other_rows(stage, results):
            shutil.rmtree(folder)  # of no use to the study, and not to be resumed
            raise RuntimeError(
                f"{stage.name}: this trial ran on other recordings than those of "
                f"{other.name}. Give the data_folder of the study's other trials"
            )
        if stage.runs and stage.runs["test"] and not _failure(results):
            _test([*command, "--test_only"], folder)
    except BaseException as error:  # the trial is taken up again, whatever it was
        ours = storage.give_back(stage, trial)
        if ours or not isinstance(error, Exception):
            raise
        return _tell(stage, params, f"another worker has taken it over ({error})")
    results.append(result("worker_seconds", round(time.monotonic() - began, 1)))
    storage.observe(stage, trial, results)
    write_ledger(study, storage)
    values = {item["name"]: item["value"] for item in results}
    outcome = _failure(results) or f"{-values['objective']:.2f} {study.unit}"
    _tell(stage, params, f"{outcome}; {values['worker_seconds']:.0f} s")


def _results(command, folder, name):
    """Runs a trial's process until it reports, and returns what it reports.

    Raises RuntimeError if it failed by a fault that is not its configuration's: the
    next trials would fail as well.
    """
    path = folder / f"trial-{name}.json"
    for _ in range(ATTEMPTS):
        path.unlink(missing_ok=True)
        environment = {RESULTS_VARIABLE: path, INTERRUPT_VARIABLE: INTERRUPTED}
        code = _start(command, folder, environment)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            path.unlink()
            failure = _failure(found)
            if failure and not failure.startswith(OF_CONFIGURATION):
                raise RuntimeError(f"{failure} ({folder / 'stdout.txt'}). {RESUMES}")
            return found
    if code >= 0:
        raise RuntimeError(f"exit status {code}: {folder / 'stdout.txt'}. {RESUMES}")
    failure = f"killed by signal {-code}, {ATTEMPTS} times"  # too little memory?
    return [result("objective", FAILED_OBJECTIVE), result("failure", failure)]


def _failure(results):
    """Returns why a trial failed, or None."""
    return next((r["value"] for r in results if r["name"] == "failure"), None)


def _test(command, folder):
    code = _start(command, folder, {INTERRUPT_VARIABLE: INTERRUPTED})
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code:
        raise RuntimeError(f"The test failed ({folder / 'stdout.txt'}). {RESUMES}")


def _start(command, folder, environment):
    """Runs a process to its end and returns its exit status; it dies with this one."""
    folder.mkdir(parents=True, exist_ok=True)
    variables = os.environ | {key: str(value) for key, value in environment.items()}
    with open(folder / "stdout.txt", "a", encoding="utf-8") as output:
        output.write(f"$ {shlex.join(command)}\n")
        output.flush()
        process = subprocess.Popen(
            command,
            env=variables,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the worker, which passes it on once
        )
        try:
            return process.wait()
        except BaseException:
            process.send_signal(signal.SIGINT)
            process.wait()
            raise


@contextmanager
def terminated_as_interrupted():
    """Makes SIGTERM, by which clusters take machines back, what Ctrl-C is."""
    kinds = (signal.SIGTERM, signal.SIGINT)

    def interrupt(*_):
        for kind in kinds:  # once is enough: the trial is being given back
            signal.signal(kind, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = [signal.signal(kind, interrupt) for kind in kinds]
    try:
        yield
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)


@contextmanager
def _full_disk_explained(study):
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise OSError(
            f"{study.database}: could not be written ({error.strerror}). Make room; "
            "the same command resumes"
        ) from error


def _tell(stage, params, news):
    what = ", ".join(
        f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in params.items()
    )
    print(f"{stage.name}: {what}: {news}", flush=True)
