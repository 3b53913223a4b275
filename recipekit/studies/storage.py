"""The trials of a study in Oríon's database; the one module that knows Oríon."""

import logging
import os
import re
import warnings
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

# How often a worker says that its trial is alive; after five times this, another takes
# it up. Oríon reads the variable when it is imported; its own default is ten minutes.
os.environ.setdefault("ORION_HEARTBEAT", "30")

with warnings.catch_warnings():  # it uses pkg_resources
    warnings.simplefilter("ignore")
    import orion.core
    from orion.client.experiment import ExperimentClient
    from orion.core.io.database import DatabaseError, DuplicateKeyError
    from orion.core.io.experiment_builder import ExperimentBuilder
    from orion.core.utils.exceptions import (
        CompletedExperiment,
        NoConfigurationError,
        RaceCondition,
        ReservationRaceCondition,
        WaitingForTrials,
    )
    from orion.storage.base import LockAcquisitionTimeout

    import recipekit.studies.algorithms  # noqa: F401  (makes them known to Oríon)
    from recipekit.studies.database import REMEDY, Documents, NotPlainError

from recipekit.files import keyed
from recipekit.studies import selection
from recipekit.studies.ledger_columns import FINISHED
from recipekit.studies.trial import result

logging.getLogger("orion").setLevel(logging.ERROR)
ENOUGH_FAILED = 3  # failures in a stage without a score: something is wrong with all
UNLIMITED = 10**9
MISSED_BEATS = 5  # signs of life, after which Oríon counts a trial as lost
# Where nothing runs, how often a suggestion is asked for: after a full disk or a kill
# an algorithm may first redraw what is there already.
DRAWS = 10


@dataclass(frozen=True)
class Trial:
    """A trial as the study sees it.

    Attributes
    ----------
    id : str
    params : dict
    status : str
        completed, failed, running or waiting.
    epochs : int or None
        N_epochs asked for.
    score : float or None
        Best validation score, if there is one.
    loss : float or None
        What the algorithm observed: minus the score, or the value of a failure.
    statistics : dict
        What the trial reported.
    started, ended : datetime or None
        UTC.
    """

    id: str
    params: dict
    status: str
    epochs: int | None
    score: float | None
    loss: float | None
    statistics: dict
    started: object
    ended: object


class Storage:
    """The stages' experiments of one study.

    Arguments
    ---------
    study : Study
    """

    def __init__(self, study):
        self.study = study
        with self.explained():
            self.builder = ExperimentBuilder(Documents(_database(study)))
        self._experiments, self._clients = {}, {}
        self._used_up = set()

    @contextmanager
    def explained(self):
        """Names the database in Oríon's errors about it."""
        try:
            yield
        except DatabaseError as error:
            raise RuntimeError(f"{self.study.database}: {error}") from error

    def _name(self, stage):
        return f"{self.study.name}.{stage.name}.{self.study.digest}"

    def _experiment(self, stage):
        """Returns a stage's experiment, or None if it has not begun."""
        if stage.name not in self._experiments:
            try:
                found = self.builder.build(self._name(stage))
            except NoConfigurationError:
                return None
            self._experiments[stage.name] = found
        return self._experiments[stage.name]

    def begun(self, stage):
        """Returns whether a stage has begun."""
        return self._experiment(stage) is not None

    def trials(self, stage):
        """Returns the trials of a stage, in the order of their ends."""
        experiment = self._experiment(stage)
        if experiment is None:
            return []
        found = experiment.fetch_trials()
        self._check_params(stage, found)
        trials = [_trial(stage, trial) for trial in found]
        return sorted(trials, key=lambda t: (t.ended is None, str(t.ended), t.id))

    @property
    def patience(self):
        """Seconds without a sign of life after which a trial is taken up by others."""
        return MISSED_BEATS * orion.core.config.worker.heartbeat

    def running(self, stage):
        """Returns the ids of a stage's trials that some worker runs, or did."""
        return [t.id for t in self.trials(stage) if t.status == "running"]

    def _check_params(self, stage, trials):
        """Raises ValueError if trials set what the stage does not: keys of commands."""
        keys = self.study.varied(stage)
        for trial in trials:
            strangers = sorted(set(trial.params) - keys)
            if strangers:
                raise self.builder.storage.foreign(
                    f"a trial of {stage.name}", f"it sets {', '.join(strangers)}"
                )

    def finished(self, stage):
        """Returns whether a stage has all its trials, none of them running."""
        trials = self.trials(stage)
        done = [t for t in trials if t.status in FINISHED]
        if not done or any(t.status == "running" for t in trials):
            return False
        return stage.name in self._used_up or self._enough(stage, done)

    def _enough(self, stage, trials):
        """Returns whether trials are as many as the stage asks for."""
        if stage.search and stage.search["hours"]:
            seconds = sum(t.statistics.get("worker_seconds", 0) for t in trials)
            return seconds >= 3600 * stage.search["hours"]
        if stage.algorithm != "asha":
            return len(trials) >= self._experiment(stage).max_trials
        losses = selection.losses_by_rung(
            stage.rungs,
            ((t.params, t.loss if t.status in FINISHED else None) for t in trials),
        )
        count, base = stage.search["trials"], stage.search["base"]
        promoted = selection.promotion(losses, base, count)
        return len(losses[stage.rungs[0]]) >= count and promoted is None

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

    def reserve(self, stage):
        """Returns a trial (Oríon's own) for this worker, or None if there is none."""
        client = self._begin(stage)
        experiment = self._experiment(stage)
        experiment.fix_lost_trials()
        trials = self.trials(stage)
        waiting = any(trial.status == "waiting" for trial in trials)
        if self._enough(stage, trials) and not waiting:
            return None  # those that run are the last ones
        with self._stale_lock_released(stage), suppress(ReservationRaceCondition):
            for _ in range(DRAWS):
                try:
                    trial = client.suggest()
                    self._check_params(stage, [trial])
                    return trial
                except (CompletedExperiment, WaitingForTrials):
                    if any(trial.status not in FINISHED for trial in trials):
                        return None
            self._used_up.add(stage.name)  # there is nothing left to try
        return None

    def observe(self, stage, trial, results):
        """Keeps a trial's results, in Oríon's form."""
        with self._stale_lock_released(stage):
            try:
                self._clients[stage.name].observe(trial, results)
            except RuntimeError:
                print(f"{stage.name}: another worker has taken over trial {trial.id}")

    def give_back(self, stage, trial):
        """Leaves a trial to be taken up again."""
        with self._stale_lock_released(stage), suppress(RuntimeError):  # taken over
            self._clients[stage.name].release(trial, "interrupted")

    @contextmanager
    def _stale_lock_released(self, stage):
        """Releases the lock of a stage's algorithm if it cannot be had for a minute.

        Workers hold it for seconds at most, so the one that did was killed meanwhile.
        """
        try:
            yield
        except NotPlainError as error:
            what = f"the state of {stage.name}'s algorithm"
            raise self.builder.storage.foreign(what, error) from error
        except LockAcquisitionTimeout:
            uid = self._experiment(stage).id
            self.builder.storage.release_algorithm_lock(uid=uid)

    def _begin(self, stage):
        """Returns the client of a stage's experiment, made if it is not there."""
        if stage.name not in self._clients:
            experiment = self._experiment(stage) or self._create(stage)
            client = ExperimentClient(experiment)
            self._insert(client, stage)
            self._experiments[stage.name] = experiment
            self._clients[stage.name] = client
        return self._clients[stage.name]

    def _create(self, stage):
        if stage.runs:
            points = self.points(stage)
            keys = sorted({key for point in points for key in point})
            values = {key: _distinct(point[key] for point in points) for key in keys}
            space = {key: f"choices({values[key]!r})" for key in keys}
            algorithm, trials = {"fixedlist": {}}, len(points)
        else:
            space = {key: str(prior) for key, prior in self.space(stage).items()}
            seed = keyed.integer(self.study.name, stage.name) % 2**31
            options = {"seed": seed, **stage.search["options"]}
            if stage.algorithm == "asha":
                space["N_epochs"] = f"fidelity({stage.rungs[0]}, {stage.epochs})"
                options |= {"rungs": stage.rungs, "base": stage.search["base"]}
                options["configurations"] = stage.search["trials"]
            name = {"asha": "successivehalving"}.get(stage.algorithm, stage.algorithm)
            algorithm = {name: options}
            trials = UNLIMITED
            if stage.algorithm != "asha" and stage.search["trials"]:
                trials = stage.search["trials"]
        settings = {
            "space": space,
            "algorithm": algorithm,
            "max_trials": trials,
            "max_broken": UNLIMITED,
        }
        try:
            return self.builder.build(self._name(stage), **settings)
        except RaceCondition:  # another worker made it meanwhile
            return self.builder.build(self._name(stage))
        except TypeError as error:  # the algorithm's class has no such option
            raise ValueError(f"{stage.name}, {algorithm}: {error}") from error

    def _insert(self, client, stage):
        """Queues fixed and carried configurations; several workers may try at once."""
        wanted = []
        if stage.runs:
            wanted = [(point, None) for point in self.points(stage)]
        elif stage.search["carry"]:
            carry, space = stage.search["carry"], self.space(stage)
            for found in self._top(carry):
                params = {key: found.params[key] for key in space}
                if all(prior.contains(params[key]) for key, prior in space.items()):
                    results = [result("objective", -found.score)]
                    wanted.append((params, results if carry["results"] else None))
        for params, results in wanted:
            try:
                client.insert(params, results=results)
            except DuplicateKeyError:  # by this study before, or by another worker
                continue

    def space(self, stage):
        """Returns the space of a search by key, narrowed by the stages before."""
        space, narrow = dict(stage.search["space"]), stage.search["narrow"]
        if not narrow:
            return space
        before = self.study.stage(narrow["stages"][0])
        for key, prior in self.space(before).items():
            if space[key] == before.search["space"][key]:  # inherited
                space[key] = prior
        found = self._configurations(narrow["stages"])
        return selection.narrow(space, found, narrow["best"], narrow["quantiles"])

    def points(self, stage):
        """Returns the params of the trials of a stage of fixed configurations."""
        runs = stage.runs
        chosen = [c.params for c in self._top(runs["top"])] if runs["top"] else [{}]
        return selection.points(chosen, runs["grid"], runs["seeds"])

    def _configurations(self, names):
        """Returns the configurations of stages, best first."""
        trials = [t for name in names for t in self.trials(self.study.stage(name))]
        return selection.configurations(trials)

    def _top(self, wanted):
        """Returns the configurations that ``top`` or ``carry`` of a stage asks for."""
        space = {}
        for stage in map(self.study.stage, wanted["stages"]):
            space |= stage.search["space"] if stage.search else {}
        found = self._configurations(wanted["stages"])
        return selection.top(found, wanted["count"], space, wanted["within"])


def _database(study):
    """Returns Oríon's settings of the study's database."""
    match = re.fullmatch(r"mongodb://([^/]+)/(\w+)", study.database)
    if match:
        host, name = match.groups()
        return {"type": "mongodb", "name": name, "host": f"mongodb://{host}"}
    old = Path(study.database).with_suffix(".pkl")
    if old.is_file() and not Path(study.database).exists():
        raise ValueError(
            f"{old}: a database of an earlier version, a pickle, which could run code "
            f"when it is opened. {REMEDY}"
        )
    if "://" in study.database:
        raise ValueError(
            f"database {study.database}: expected a file, or mongodb://HOST:PORT/NAME"
        )
    return {"type": "jsondb", "host": study.database}


def _distinct(values):
    return list(dict.fromkeys(values))


def _trial(stage, trial):
    """Returns Oríon's trial as the study sees it."""
    statistics = {item.name: item.value for item in trial.statistics}
    status = {"completed": "completed", "broken": "failed", "reserved": "running"}
    status = status.get(trial.status, "waiting")
    if "failure" in statistics:
        status = "failed"
    loss = trial.objective.value if trial.objective else None
    return Trial(
        id=trial.id,
        params=dict(trial.params),
        status=status,
        epochs=trial.params.get("N_epochs", stage.epochs),
        score=-loss if status == "completed" and loss is not None else None,
        loss=loss,
        statistics=statistics,
        started=trial.start_time,
        ended=trial.end_time if status in FINISHED else None,
    )
