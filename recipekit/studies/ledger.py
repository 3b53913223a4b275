"""What a study cost and found, trial by trial, read from the database."""

from datetime import datetime, timezone

import pandas as pd

from recipekit.files.atomic import csv_writer, replacing
from recipekit.files.locks import hold
from recipekit.studies.ledger_columns import (
    COLUMNS,
    FILE,
    PREFIX,
    SPACES,
    SPACES_COLUMNS,
)


def ledger(study, storage):
    """Returns one row per trial of a study, in the order of stages and ends.

    ``items`` and ``seconds`` are those of a run by the end of a trial; ``new_items``
    and ``new_seconds`` are what the trial added, as a promoted one resumes its own
    checkpoint. ``worker_seconds`` is how long the worker that ended the trial was
    occupied by it, start-up and repeated epochs included.

    Arguments
    ---------
    study : Study
    storage : Storage

    Returns
    -------
    pandas.DataFrame
        Columns COLUMNS and one ``hp.<key>`` for each key that is searched or
        that ``for_each`` varies.
    """
    rows = [
        _row(study, stage, trial)
        for stage in study.stages
        for trial in sorted(storage.trials(stage), key=_by_end)
    ]
    searched = sorted({key for row in rows for key in row if key.startswith(PREFIX)})
    table = pd.DataFrame(rows, columns=[*COLUMNS, *searched])
    spent = {}
    for place in table.sort_values("ended", na_position="last", kind="stable").index:
        run = table.at[place, "run"]
        for key in ("items", "seconds"):
            value, before = table.at[place, key], spent.get((run, key), 0)
            if pd.notna(value):
                table.at[place, f"new_{key}"] = round(max(0, value - before), 1)
                spent[run, key] = max(value, before)
    return table


def _row(study, stage, trial):
    found = trial.statistics
    settings = {**stage.settings, **trial.params}
    searched = {**stage.varied, **trial.params}
    searched = {k: v for k, v in searched.items() if k not in ("seed", "N_epochs")}
    return {
        "study": study.name,
        "stage": stage.name,
        "algorithm": stage.algorithm,
        "trial": trial.id,
        "run": study.run_folder(stage, trial.params).name,
        "status": trial.status,
        "score": trial.score,
        "epochs": trial.epochs,
        "best_epoch": found.get("epoch"),
        "train_items": settings.get("train_items"),
        "seed": settings.get("seed"),
        "items": found.get("items"),
        "seconds": found.get("seconds"),
        "worker_seconds": found.get("worker_seconds"),
        "device": found.get("device"),
        "started": _utc(trial.started),
        "ended": _utc(trial.ended),
        "failure": found.get("failure"),
        **{f"{PREFIX}{key}": value for key, value in searched.items()},
    }


def _by_end(trial):
    return trial.ended is None, trial.ended, trial.place


def _utc(seconds):
    return (
        seconds
        and f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
    )


def write_ledger(study, storage):
    """Writes ledger.csv and spaces.csv into the study's folder.

    Several workers may do so at once.
    """
    with hold(study.folder, wait=True, name=".ledger.lock"):
        with replacing(study.folder / FILE) as path:
            ledger(study, storage).to_csv(path, index=False, lineterminator="\n")
        with csv_writer(study.folder / SPACES, SPACES_COLUMNS) as writer:
            for stage in study.stages:
                if stage.search and storage.begun(stage):
                    for key, prior in storage.space(stage).items():
                        writer.writerow((stage.name, key, str(prior)))
