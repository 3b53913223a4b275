"""Studies run on a table of learning curves that are known, instead of by training.

One search says little of a strategy: another one would have drawn other configurations.
On a table a strategy can be repeated a thousand times. It is the very code of studies
that proposes, promotes, narrows and chooses; only the scores come from the table, those
of the configuration that lies nearest.
"""

import math
from pathlib import Path

import numpy as np
import pandas as pd

from recipekit.files.atomic import replacing
from recipekit.files.csvs import read_table
from recipekit.files.tagged_yaml import read_tagged
from recipekit.studies import selection
from recipekit.studies.proposals import next_params
from recipekit.studies.selection import Trial, key_of
from recipekit.training.history import read_history

EPOCH = "epoch_"  # columns of the scores after each epoch
FIXED = ("train_items", "seed", "scheduler")  # what must agree with a stage's settings
PLATEAU = ("lr_factor", "lr_patience")  # keys that other schedules leave alone
REMEDY = "sweeps/README.md says how a table is made"


class TableTooSmallError(ValueError):
    """A stage asks for more configurations than a table has."""


class Curves:
    """A table of learning curves.

    Arguments
    ---------
    table : pandas.DataFrame
        A row for each run: columns FIXED, those of the searched keys (empty where a
        schedule has no such key), and the monitored score after each epoch.
    """

    def __init__(self, table):
        scores = [name for name in table if name.startswith(EPOCH)]
        self.keys = [name for name in table if name not in (*FIXED, *scores)]
        self.best = table[scores].cummax(axis=1).to_numpy(float)
        self.lengths = table[scores].notna().sum(axis=1).to_numpy()
        self._places = {}  # FIXED and configuration -> row of the table
        self._known = {}  # FIXED -> configurations
        for place, row in enumerate(table.to_dict("records")):
            fixed = tuple(row[name] for name in FIXED)
            params = {k: row[k] for k in self.keys if not pd.isna(row[k])}
            self._places[fixed, key_of(params)] = place
            self._known.setdefault(fixed, []).append(params)

    @classmethod
    def read(cls, path):
        """Reads a table from a CSV; raises ValueError naming what is wrong with it."""
        table = read_table(path, (*FIXED, f"{EPOCH}1"), REMEDY)
        return cls(table)

    def configurations(self, fixed):
        """Returns the configurations that were run with values of FIXED, as dicts."""
        if fixed not in self._known:
            wanted = ", ".join(map("{} {}".format, FIXED, fixed))
            raise ValueError(f"The table has no runs of {wanted}. {REMEDY}")
        return self._known[fixed]

    def score(self, fixed, params, epochs):
        """Returns the best score of a configuration's first epochs, a float."""
        place = self._places[fixed, key_of(params)]
        if not 1 <= epochs <= self.lengths[place]:
            raise ValueError(
                f"The table has {self.lengths[place]} epochs of {params}; the study "
                f"asks for {epochs}. Give the --scale that the table is made for"
            )
        return self.best[place, epochs - 1]


def replay(study, curves, defaults, key):
    """Runs a study on a table.

    Arguments
    ---------
    study : Study
    curves : Curves
    defaults : dict
        Hparams file -> its plain values, for settings that a stage leaves open.
    key : tuple
        What the draws depend on: that of another search.

    Returns
    -------
    dict
        Name of each stage -> its trials, in order. Trials of a search have the params
        of their rows; those of a grid their own, with the scores of the rows nearest
        to them that the grid has not used yet.
    cost : int
        Training examples, of which a resumed run adds only its new ones.
    """
    before, trained, rows = {}, {}, {}
    for stage in study.stages:
        settings = defaults[stage.hparams] | stage.settings
        space, points = selection.begin(stage, {n: before[n] for n in stage.needs})
        priors = space or _spaces(study, stage, before)
        trials, taken = [], set()
        key_of_stage = (*key, stage.origin)
        while params := next_params(stage, space, points, trials, key_of_stage):
            fixed = tuple({**settings, **params}[name] for name in FIXED)
            epochs = params.get("N_epochs", stage.epochs)
            wanted = key_of(params)
            if wanted not in rows:
                rows[wanted] = _nearest(curves, fixed, params, priors, taken)
            row = rows[wanted]
            if stage.search:
                changed = {k: row[k] for k in space}
                params = {**params, **changed}
                rows[key_of(params)] = row
            taken.add(key_of(row))
            run = key_of(row), fixed
            added = max(0, epochs - trained.get(run, 0)) * fixed[0]
            trained[run] = max(epochs, trained.get(run, 0))
            score = curves.score(fixed, row, epochs)
            trials.append(_trial(len(trials), params, epochs, score, added))
        before[stage.name] = stage, space, points, trials
    done = {name: trials for name, (_, _, _, trials) in before.items()}
    cost = sum(t.statistics["items"] for each in done.values() for t in each)
    return done, cost


def _spaces(study, stage, before):
    """Returns the priors of all searches before a stage, the last ones first."""
    priors = {}
    for other in study.stages:
        if other.name in before:
            priors = {**before[other.name][1], **priors}
    return priors


def _nearest(curves, fixed, params, priors, taken):
    """Returns the configuration of the table that lies nearest and is not taken.

    Distances are Euclidean in the unit cube of the keys that params have a prior for.
    """
    free = [row for row in curves.configurations(fixed) if key_of(row) not in taken]
    if not free:
        raise TableTooSmallError(
            f"The table has fewer configurations ({len(taken)}) than a stage asks for. "
            "Give a --scale with fewer trials"
        )
    names = [name for name in curves.keys if name in params and name in free[0]]
    known = {name: priors[name] for name in names if name in priors}
    exact = [name for name in names if name not in known]

    def distance(row):
        gaps = [(p.part(row[k]) - p.part(params[k])) ** 2 for k, p in known.items()]
        # A grid's keys that no stage searches: in shares of the table's own range.
        for name in exact:
            values = [each[name] for each in free]
            width = max(values) - min(values) or 1
            gaps.append(((row[name] - params[name]) / width) ** 2)
        # Rows that agree in all (known configurations) are exactly themselves.
        return math.fsum(gaps), key_of(row) != key_of(params)

    return min(free, key=distance)


def _trial(place, params, epochs, score, items):
    return Trial(
        id=str(place),
        place=place,
        params=params,
        status="completed",
        epochs=epochs,
        loss=-float(score),
        statistics={"items": items},
        started=float(place),
        ended=float(place),
    )


def collect(folders, keys, path):
    """Writes the table of the runs in some folders.

    Arguments
    ---------
    folders : list of Path
        Each with hyperparams.yaml and history.json.
    keys : list of str
        The searched ones.
    path : str or Path
        CSV to write; rows are sorted.

    Raises
    ------
    ValueError
        Naming a folder that is not one of a run, or lacks a key.
    """
    rows = []
    for folder in map(Path, folders):
        hparams = read_tagged(folder / "hyperparams.yaml")
        missing = [key for key in (*FIXED, *keys) if key not in hparams]
        if missing:
            raise ValueError(f"{folder / 'hyperparams.yaml'}: lacks {missing[0]}")
        row = {key: hparams[key] for key in (*FIXED, *keys)}
        if row["scheduler"] != "plateau":
            row |= {key: np.nan for key in keys if key in PLATEAU}
        scores = [entry["score"] for entry in read_history(folder)]
        row |= {f"{EPOCH}{n}": round(score, 4) for n, score in enumerate(scores, 1)}
        rows.append(row)
    table = pd.DataFrame(rows).sort_values([*FIXED, *keys], ignore_index=True)
    scores = [name for name in table if name.startswith(EPOCH)]
    order = sorted(scores, key=lambda name: int(name.removeprefix(EPOCH)))
    with replacing(path) as temporary:
        table[[*FIXED, *keys, *order]].to_csv(
            temporary, index=False, lineterminator="\n"
        )
    return table
