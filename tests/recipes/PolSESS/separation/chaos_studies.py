"""Kills workers of tiny studies: at each call to the database, and at random moments.

    python tests/recipes/PolSESS/separation/chaos_studies.py --calls --kills 150

Whatever the moment, the workers that are started again must end the study with every
trial once, no epoch computed twice, and the winner of a study that was left alone.
``--mongod`` repeats the random kills on a real MongoDB. Workers are forked from this
process, which has everything imported; the test suite runs a short form.
"""

import argparse
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).parents[3]
sys.path[:0] = [str(TESTS), str(Path(__file__).parent)]

import yaml  # noqa: E402

import conftest  # noqa: E402, F401  (finds the recipe)
from recipe import RECIPE  # noqa: E402
from recipekit.files import keyed  # noqa: E402
from recipekit.studies import storage, worker  # noqa: E402
from recipekit.studies.database import JSONDB  # noqa: E402
from recipekit.studies.selection import key_of  # noqa: E402
from recipekit.studies.study_file import read_study  # noqa: E402

STUDY = {
    "name": "s",
    "hparams": "hparams.yaml",
    "settings": {"train_items": 10, "seed": 42},
    "stages": [
        {
            "name": "search",
            "settings": {"N_epochs": 3},
            "search": {
                "halving": {"first_rung": 1, "base": 2},
                "trials": 4,
                "space": {"lr": "loguniform(1e-4, 1e-2)"},
            },
        },
        {
            "name": "validated",
            "settings": {"N_epochs": 3},
            "runs": {"top": {"stages": "search"}, "seeds": [42, 1, 2]},
        },
    ],
}
METHODS = ("read", "write", "read_and_write")  # of a database
DELAY = 1.5  # a random kill comes within so many seconds
BEAT = 0.1


def make_folder(folder, database=None):
    """Makes a folder with the study and a stand-in for train.py; returns the study."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "train.py").symlink_to(Path(__file__).parent / "stub_trial.py")
    (folder / "hparams.yaml").write_text("lr:\nseed:\nN_epochs:\ntrain_items:\n")
    content = STUDY | ({"database": database} if database else {})
    (folder / "s.yaml").write_text(yaml.safe_dump(content))
    os.chdir(folder)
    return read_study("s.yaml", RECIPE)


def start(study, before=None):
    """Returns a process that works on a study, in the present folder."""
    process = multiprocessing.get_context("fork").Process(
        target=_work, args=(study, before)
    )
    process.start()
    return process


def _work(study, before):
    storage.HEARTBEAT, worker.POLL = BEAT, BEAT
    output = os.open("worker.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if before:
        before()
    try:
        worker.work(study)
    except KeyboardInterrupt:
        os._exit(130)
    os._exit(0)


def kill_at_call(number, after):
    """Returns what makes a worker kill itself at its n-th call to the database.

    Before the call, or after it: the database is written, the worker knows nothing.
    """

    def arm():
        count = 0

        def watched(function):
            def call(*args, **kwargs):
                nonlocal count
                count += 1
                this = count
                if this == number and not after:
                    os.kill(os.getpid(), signal.SIGKILL)
                found = function(*args, **kwargs)
                if this == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return found

            return call

        for name in METHODS:
            setattr(JSONDB, name, watched(getattr(JSONDB, name)))

    return arm


def finish(study, workers):
    """Works on a study until it ends."""
    processes = [start(study) for _ in range(workers)]
    for process in processes:
        process.join()
    codes = [process.exitcode for process in processes]
    assert codes == [0] * workers, (codes, Path("worker.txt").read_text()[-3000:])


def outcome(study):
    """Returns the winner of a study; raises AssertionError for what must not be."""
    known = storage.Storage(study)
    search, validated = map(known.trials, study.stages)
    assert all(known.finished(stage) for stage in study.stages)
    for trials in (search, validated):
        params = [trial.params for trial in trials]
        assert all(params.count(each) == 1 for each in params), params
        assert {trial.status for trial in trials} == {"completed"}
    first, top = study.stages[0].rungs[0], study.stages[0].rungs[-1]
    assert sum(trial.epochs == first for trial in search) == 4
    best = min(search, key=lambda trial: (trial.epochs != top, trial.loss))
    assert len(validated) == 3
    assert all(t.params["lr"] == best.params["lr"] for t in validated)
    for path in study.folder.glob("runs/*/epochs.txt"):
        epochs = [int(line.split()[0]) for line in path.read_text().splitlines()]
        assert epochs == list(range(1, len(epochs) + 1)), (path, epochs)
    drawn = {key_of(trial.params) for trial in search}
    return key_of(best.params), sorted(drawn)


def calls(study):
    """Returns how many calls to the database a worker makes alone, at least."""
    counted = multiprocessing.get_context("fork").Value("i", 0)

    def count():
        for name in METHODS:
            function = getattr(JSONDB, name)

            def call(*args, _function=function, **kwargs):
                counted.value += 1
                return _function(*args, **kwargs)

            setattr(JSONDB, name, call)

    process = start(study, count)
    process.join()
    assert process.exitcode == 0
    return counted.value


def kill_at_calls(folder, expected, numbers, workers):
    """Kills a worker before and after some calls; returns how many kills hit."""
    hit = 0
    for number in numbers:
        for after in (False, True):
            study = make_folder(folder)
            others = [start(study) for _ in range(workers - 1)]
            victim = start(study, kill_at_call(number, after))
            victim.join()
            hit += victim.exitcode == -signal.SIGKILL
            finish(study, 1)
            for process in others:
                process.join()
                assert process.exitcode == 0, Path("worker.txt").read_text()[-3000:]
            found = outcome(study)
            assert found == expected, (number, after, workers, found, expected)
    return hit


def kill_at_random(folder, expected, rounds, workers, seed, database=None):
    """Kills workers, three a study, after random delays; returns the kills that hit."""
    hit = 0
    for number in range(rounds):
        name = database and f"{database}{seed}x{workers}x{number}"
        study = make_folder(folder, name)
        processes = [start(study) for _ in range(workers)]
        for kill in range(3):
            key = seed, workers, number, kill
            time.sleep(keyed.uniform(0, DELAY, *key))
            place = keyed.integer("who", *key) % workers
            kind = keyed.choice([signal.SIGKILL, signal.SIGTERM], "how", *key)
            if processes[place].is_alive():
                os.kill(processes[place].pid, kind)
                processes[place].join()
                hit += processes[place].exitcode in (-kind, 130)
                processes[place] = start(study)
        for process in processes:
            process.join()
        finish(study, 1)
        found = outcome(study)
        assert found == expected, (seed, workers, number, found, expected)
    return hit


def main():
    """Kills, compares, and says how many kills were survived."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--kills", type=int, default=150, help="at random moments")
    parser.add_argument("--calls", action="store_true", help="and at each call")
    parser.add_argument("--every", type=int, default=1, help="call, not each")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--mongod", help="HOST:PORT of a MongoDB for the random kills")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        study = make_folder(folder / "alone")
        number = calls(study)
        expected = outcome(study)
        print(f"a worker alone makes {number} calls to the database", flush=True)
        total = 0
        for workers in options.workers:
            if options.calls:
                numbers = range(1, number + 1, options.every)
                hit = kill_at_calls(folder / "calls", expected, numbers, workers)
                total += hit
                print(
                    f"{workers} workers: {hit} kills at calls, 0 differences",
                    flush=True,
                )
            database = options.mongod and f"mongodb://{options.mongod}/chaos"
            rounds = -(-options.kills // 3 // len(options.workers))
            hit = kill_at_random(
                folder / "random", expected, rounds, workers, options.seed, database
            )
            total += hit
            print(
                f"{workers} workers: {hit} kills at random, 0 differences", flush=True
            )
        print(f"{total} kills, 0 differences")
        os.chdir("/")


if __name__ == "__main__":
    main()
