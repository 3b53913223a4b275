"""Ledgers of studies: reading, and what their rows have in common."""

from pathlib import Path

import numpy as np
import pandas as pd

from recipekit.files.csvs import read_table
from recipekit.studies.ledger_columns import (
    FILE,
    NUMBER,
    PREFIX,
    SPACES,
    SPACES_COLUMNS,
    STATUSES,
    TEXT,
    TIME,
    columns_of,
)
from recipekit.studies.spaces import Prior

TEXTS, NUMBERS, TIMES = map(columns_of, (TEXT, NUMBER, TIME))
FIDELITY = ["train_items", "epochs"]


def find_ledgers(folders):
    """Returns the paths of all ledgers in or below the folders, each once.

    Arguments
    ---------
    folders : list of str or Path

    Returns
    -------
    list of Path
        In the order of the folders, then by name.
    """
    found = (path for folder in folders for path in sorted(Path(folder).rglob(FILE)))
    return list({path.resolve(): path for path in found}.values())


def read_ledger(path):
    """Reads the ledger of a study.

    Arguments
    ---------
    path : str or Path
        CSV with a row for each trial.

    Returns
    -------
    pandas.DataFrame
        NUMBERS as floats, TIMES in UTC, columns ``hp.*`` as floats or texts. What is
        empty is NaN, NaT or, in TEXTS, "".

    Raises
    ------
    ValueError
        Naming file and column, if a column is missing or holds what it must not.
    """
    frame = read_table(
        path,
        (*TEXTS, *NUMBERS, *TIMES),
        "`study.py ... --status` names the study; resuming it writes the ledger again",
        may_be_empty=True,
        dtype=dict.fromkeys((*TEXTS, *TIMES), str),
        keep_default_na=False,
        na_values=[""],
    )
    frame[list(TEXTS)] = frame[list(TEXTS)].fillna("")
    for name in (*NUMBERS, *TIMES):
        try:
            if name in NUMBERS:
                frame[name] = pd.to_numeric(frame[name]).astype(float)
            else:
                frame[name] = pd.to_datetime(frame[name], format="ISO8601", utc=True)
        except ValueError as error:
            kind = "a number" if name in NUMBERS else "an ISO 8601 time"
            raise ValueError(f"{path}: {name} is not {kind}: {error}") from None
    unknown = set(frame["status"]) - set(STATUSES)
    if unknown:
        raise ValueError(
            f"{path}: status {', '.join(sorted(unknown))} is none of "
            f"{', '.join(STATUSES)}"
        )
    if not np.isfinite(frame.loc[frame["status"] == "completed", "score"]).all():
        raise ValueError(f"{path}: a completed trial lacks a finite score")
    return frame


def read_spaces(ledger_path):
    """Reads the spaces that the stages of a study search.

    Arguments
    ---------
    ledger_path : Path
        Of the study's ledger; spaces.csv lies beside it.

    Returns
    -------
    dict
        Name of the stage -> dict from key to Prior, with the bounds that it had:
        narrowed ones where a stage narrows.

    Raises
    ------
    ValueError
        Naming the file, if it is missing or holds what no study writes.
    """
    path = Path(ledger_path).with_name(SPACES)
    remedy = "Resuming the study (`study.py`) writes it again"
    if not path.is_file():
        raise ValueError(f"{path}: no such file. {remedy}")
    table = read_table(
        path, SPACES_COLUMNS, remedy, may_be_empty=True, only=True, dtype=str
    )
    spaces = {}
    for row in table.itertuples():
        try:
            prior = Prior.parse(row.key, row.prior)
        except ValueError as error:
            raise ValueError(f"{path}, line {row.Index + 2}: {error}") from None
        spaces.setdefault(row.stage, {})[row.key] = prior
    return spaces


def searched_keys(trials):
    """Returns the columns ``hp.*`` in which the trials differ, except the seed."""
    return [
        name
        for name in trials
        if name.startswith(PREFIX)
        and name != f"{PREFIX}seed"
        and trials[name].nunique() > 1
    ]


def grids(trials, spaces):
    """Returns the bounds of the grids that the fixed stages of studies list.

    Arguments
    ---------
    trials : pandas.DataFrame
        Rows of ledgers.
    spaces : dict
        (study, stage) -> dict from key to Prior. A key that the study searches is not
        one of a grid: the stage took over what was found.

    Returns
    -------
    dict
        As ``spaces``, of the fixed stages. Keys with fewer than three numbers are left
        out: they have no inside.
    """
    found = {}
    fixed = trials[(trials["algorithm"] == "fixed") & ~is_validation(trials)]
    for (study, stage), members in fixed.groupby(["study", "stage"]):
        searched = {key for name in spaces if name[0] == study for key in spaces[name]}
        for column in searched_keys(members):
            key = column.removeprefix(PREFIX)
            values = members[column].dropna().infer_objects()
            is_number = pd.api.types.is_numeric_dtype(values)
            if key not in searched and is_number and values.nunique() > 2:
                prior = Prior(float(values.min()), float(values.max()))
                found.setdefault((study, stage), {})[key] = prior
    return found


def configuration_texts(trials):
    """Returns what each trial was run with, apart from its seed, as one text.

    Values are equal if their first six digits are.

    Arguments
    ---------
    trials : pandas.DataFrame
        Rows of ledgers.

    Returns
    -------
    pandas.Series
        Such as "lr 0.00125, weight_decay 2.1e-05".
    """
    texts = pd.Series("", index=trials.index, dtype=object)
    for name in trials:
        if name.startswith(PREFIX) and name != f"{PREFIX}seed":
            known = trials[name].dropna().map(format_value)
            entries = f", {name.removeprefix(PREFIX)} " + known.astype(object)
            texts += entries.reindex(trials.index, fill_value="")
    return texts.str.removeprefix(", ")


def format_value(value):
    """Returns a value of a searched key with at most six digits."""
    return str(value) if isinstance(value, (str, bool)) else f"{value:.6g}"


def is_validation(trials):
    """Returns which trials belong to stages of a fixed list with several seeds."""
    seeds = trials.groupby(["study", "stage"])["seed"].transform("nunique")
    return (trials["algorithm"] == "fixed") & (seeds > 1)


def fidelity_name(train_items, epochs):
    """Returns a fidelity in words."""
    items = f"{train_items:,.0f}" if np.isfinite(train_items) else "all"
    return f"{items} items, {epochs:.0f} epoch{'' if epochs == 1 else 's'}"
