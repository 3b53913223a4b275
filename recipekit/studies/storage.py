"""The trials of a study in its database, which is all that is known of them.

A stage is a list of trials that only grows. Whoever finds nothing waiting reads the
list, lets ``proposals`` say what comes next and appends it as the n-th; should another
worker have appended an n-th meanwhile, the database refuses and the worker reads
again. Nothing is locked for longer than one call, and no call needs another one to
follow: a worker may be killed between any two.
"""

import os
import threading
import time
import uuid
from contextlib import contextmanager, suppress

from recipekit.studies import selection
from recipekit.studies.database import (
    REMEDY,
    STAGES,
    TRIALS,
    DatabaseError,
    DuplicateKeyError,
    open_database,
)
from recipekit.studies.ledger_columns import FINISHED
from recipekit.studies.proposals import next_params
from recipekit.studies.selection import Trial
from recipekit.studies.spaces import Prior

# How often a worker says that its trial is alive, in seconds.
HEARTBEAT = float(os.environ.get("ORION_HEARTBEAT", 30))
MISSED_BEATS = 5  # of a trial that counts as lost,
WATCHED_BEATS = 2  # seen by the clock of the worker that takes it up: clocks differ
ENOUGH_FAILED = 3  # failures in a stage without a score: something is wrong with all

WAITING, RUNNING, ENDED = "waiting", "running", "ended"  # of a trial's document
DOCUMENT = {"_id", "stage", "place", "params", "status", "owner", "beat", "started"}
DOCUMENT |= {"ended", "results"}


class Storage:
    """The stages of one study.

    Arguments
    ---------
    study : Study
    """

    def __init__(self, study):
        self.study = study
        with self.explained():
            self._database = open_database(study.database)
        self._stages, self._hearts, self._watched = {}, {}, {}

    @contextmanager
    def explained(self):
        """Names the database in errors about it."""
        try:
            yield
        except DatabaseError as error:
            raise RuntimeError(f"{self.study.database}: {error}") from error

    # Reading

    def _id(self, stage):
        return f"{self.study.name}.{stage.name}.{self.study.digest}"

    def _document(self, stage):
        """Returns what a stage was begun with, (space, points), or None."""
        if stage.name not in self._stages:
            found = self._database.read(STAGES, {"_id": self._id(stage)})
            if not found:
                return None
            try:
                space = {key: Prior.parse(key, text) for key, text in found[0]["space"]}
                points = [dict(pairs) for pairs in found[0]["points"]]
            except (KeyError, TypeError, ValueError) as error:
                raise self._foreign(stage.name, error) from error
            for params in [dict.fromkeys(space), *points]:
                self._check_keys(stage, params)
            self._stages[stage.name] = space, points
        return self._stages[stage.name]

    def begun(self, stage):
        """Returns whether a stage has begun."""
        return self._document(stage) is not None

    def space(self, stage):
        """Returns the space of a search that has begun, by key."""
        return self._document(stage)[0]

    def trials(self, stage):
        """Returns the trials of a stage, in the order of their beginnings."""
        found = self._database.read(TRIALS, {"stage": self._id(stage)})
        try:
            trials = [_trial(stage, document) for document in found]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise self._foreign(f"a trial of {stage.name}", error) from error
        for trial in trials:
            self._check_keys(stage, trial.params)
        return sorted(trials, key=lambda trial: trial.place)

    def _check_keys(self, stage, params):
        """Raises ValueError if params set what the stage does not: keys of commands."""
        strangers = sorted(set(params) - self.study.varied(stage))
        if strangers:
            what = f"a trial of {stage.name}"
            raise self._foreign(what, f"it sets {', '.join(strangers)}")

    def _foreign(self, what, why):
        """Returns the error for what no study has written."""
        return ValueError(
            f"{self.study.database}: {what} is not as studies write it ({why}). "
            f"{REMEDY}"
        )

    @property
    def patience(self):
        """Seconds without a sign of life after which a trial is taken up by others."""
        return MISSED_BEATS * HEARTBEAT

    def running(self, stage):
        """Returns the ids of a stage's trials that some worker runs, or did."""
        return [t.id for t in self.trials(stage) if t.status == "running"]

    def finished(self, stage):
        """Returns whether a stage has all its trials, all of them ended."""
        trials = self.trials(stage)
        if not trials:
            return False
        ended = all(trial.status in FINISHED for trial in trials)
        return ended and self._next(stage, trials) is None

    def check(self, stage):
        """Raises RuntimeError if a stage's first trials all failed."""
        done = [t for t in self.trials(stage) if t.status in FINISHED]
        failed = [t for t in done if t.status == "failed"]
        if len(failed) == len(done) >= ENOUGH_FAILED:
            raise RuntimeError(
                f"{stage.name}: the first {len(failed)} trials failed, the last with: "
                f"{failed[-1].statistics.get('failure')}. Remove the cause and begin "
                "again, under another `name:` or (with a database file) after removing "
                f"{self.study.folder}"
            )

    def other_rows(self, stage, results):
        """Returns a stage whose trials ran on other recordings, or None.

        Arguments
        ---------
        stage : Stage
        results : list of dict
            Of a trial of it, in Oríon's form.

        Returns
        -------
        Stage or None
            Of as many rows, so that they should be the same.
        """
        rows = {item["value"] for item in results if item["name"] == "rows_digest"}
        items = stage.settings.get("train_items")
        for other in self.study.stages:
            if other.settings.get("train_items") != items:
                continue
            before = {t.statistics.get("rows_digest") for t in self.trials(other)} - {
                None
            }
            if rows and before - rows:
                return other
        return None

    # What comes next

    def _next(self, stage, trials):
        key = (self.study.name, stage.origin)
        try:
            return next_params(stage, *self._document(stage), trials, key)
        except (KeyError, TypeError) as error:
            raise self._foreign(f"a trial of {stage.name}", repr(error)) from error

    def _begin(self, stage):
        """Writes what a stage begins with, should no worker have done so before.

        The stages that it depends on are finished.
        """
        if self.begun(stage):
            return
        before = {
            other.name: (other, *self._document(other), self.trials(other))
            for other in map(self.study.stage, stage.needs)
        }
        space, points = selection.begin(stage, before)
        document = {
            "_id": self._id(stage),
            "space": [[key, str(prior)] for key, prior in space.items()],
            "points": [[list(pair) for pair in point.items()] for point in points],
        }
        self._insert(STAGES, document)

    def _insert(self, collection, document):
        """Writes a document unless there is one of its ``_id``."""
        with suppress(DuplicateKeyError):
            self._database.write(collection, document)

    # A worker's trial

    def reserve(self, stage):
        """Returns a trial for this worker, or None if there is none at present."""
        self._begin(stage)
        self._give_back_lost(stage)
        owner = uuid.uuid4().hex
        while True:
            now = time.time()
            found = self._database.read_and_write(
                TRIALS,
                {"stage": self._id(stage), "status": WAITING},
                {"status": RUNNING, "owner": owner, "beat": now, "started": now},
            )
            if found:
                trial = _trial(stage, found)
                self._check_keys(stage, trial.params)
                self._hearts[trial.id] = _Heart(self._database, trial.id, owner)
                return trial
            trials = self.trials(stage)
            params = self._next(stage, trials)
            if params is None:
                return None
            place = trials[-1].place + 1 if trials else 0
            document = dict.fromkeys(DOCUMENT) | {
                "_id": f"{self._id(stage)}.{place}",
                "stage": self._id(stage),
                "place": place,
                "params": [[key, _plain(value)] for key, value in params.items()],
                "status": WAITING,
            }
            self._insert(TRIALS, document)

    def observe(self, stage, trial, results):
        """Keeps a trial's results, in Oríon's form."""
        news = {"status": ENDED, "ended": time.time(), "results": results}
        if not self._hearts.pop(trial.id).stop(news):
            print(f"{stage.name}: another worker has taken over trial {trial.id}")

    def give_back(self, stage, trial):
        """Leaves a trial to be taken up again; returns whether it was this worker's."""
        return self._hearts.pop(trial.id).stop({"status": WAITING})

    def _give_back_lost(self, stage):
        """Leaves trials to be taken up again whose workers give no sign of life."""
        now = time.monotonic()
        found = self._database.read(
            TRIALS, {"stage": self._id(stage), "status": RUNNING}
        )
        for document in found:
            sign = document["owner"], document["beat"]
            before, since = self._watched.setdefault(document["_id"], (sign, now))
            if before != sign:
                self._watched[document["_id"]] = sign, now
                continue
            silent = time.time() - document["beat"]
            watched = now - since
            if silent >= self.patience and watched >= WATCHED_BEATS * HEARTBEAT:
                same = {"_id": document["_id"], "owner": sign[0], "beat": sign[1]}
                self._database.read_and_write(TRIALS, same, {"status": WAITING})


class _Heart(threading.Thread):
    """Says that a worker's trial is alive, until it stops.

    Arguments
    ---------
    database : Database
    trial : str
    owner : str
        The worker, which another may have replaced: then nothing is written.
    """

    def __init__(self, database, trial, owner):
        super().__init__(daemon=True)
        self._database = database
        self._own = {"_id": trial, "owner": owner, "status": RUNNING}
        self._stopped = threading.Event()
        self.start()

    def run(self):
        """Writes the time, again and again."""
        while not self._stopped.wait(HEARTBEAT):
            # Should the disk be full or the network gone: it may come back.
            with suppress(Exception):
                self._database.read_and_write(TRIALS, self._own, {"beat": time.time()})

    def stop(self, news):
        """Stops, and writes what became of the trial; returns whether it was ours."""
        self._stopped.set()
        self.join()
        return self._database.read_and_write(TRIALS, self._own, news) is not None


def _plain(value):
    """Returns a number of NumPy as one of Python."""
    return value.item() if hasattr(value, "item") else value


def _trial(stage, document):
    """Returns a document of the database as the study sees it."""
    if set(document) != DOCUMENT:
        raise ValueError(f"keys {', '.join(sorted(document))}")
    results = document["results"] or []
    statistics = {item["name"]: item["value"] for item in results}
    loss = statistics.pop("objective", None)
    status = {WAITING: "waiting", RUNNING: "running", ENDED: "completed"}
    status = status[document["status"]]
    if (loss is None) != (status != "completed"):
        raise ValueError(f"{status}, with results {results!r}")
    if "failure" in statistics:
        status = "failed"
    params = dict(document["params"])
    return Trial(
        id=document["_id"],
        place=int(document["place"]),
        params=params,
        status=status,
        epochs=params.get("N_epochs", stage.epochs),
        loss=loss,
        statistics=statistics,
        started=document["started"],
        ended=document["ended"],
    )
