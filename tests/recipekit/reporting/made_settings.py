"""Settings and studies with made-up scores, as reports know them."""

from pathlib import Path

import numpy as np
import pandas as pd

from recipekit.files import keyed
from recipekit.reporting.runs import Run
from recipekit.reporting.searches import Studies, progress, validations
from recipekit.reporting.settings import Setting
from recipekit.scoring.measures import Measures, Metric

MEASURES = Measures(
    metrics={"hits": Metric("hits"), "gain": Metric("gain")},
    describing=("id", "room"),
    condition="room",
    conditions=("quiet", "loud"),
    whole=("quiet", "loud"),
    compared="hits",
    improvement="gain",
    unit="%",
    units={"talkers": ("talker",)},
)
BEFORE = -12.0  # hits of the unprocessed recordings


def setting(label, scores, level=None, corpus="talks", model="Listener", **more):
    """Returns a setting.

    Arguments
    ---------
    label : str
    scores : list of float
        Best validation score of each seed, from seed 1 on.
    level : float, optional
        Of the tests; without it there are none.
    corpus, model : str
    **more
        Of Setting.
    """
    runs = tuple(
        Run(
            folder=Path("/runs") / label / str(seed),
            record=Path("/runs") / label / str(seed),
            model=model,
            settings={"corpus": corpus},
            seed=seed,
            score=score,
            valid={"hits": score, "gain": score - BEFORE},
            examples=1000,
            seconds=1800.0,
            tested=None if level is None else tested(level, label, seed),
        )
        for seed, score in enumerate(scores, start=1)
    )
    return Setting(model, more.pop("name", ""), label, runs, **more)


def tested(level, *key):
    """Returns a test of 40 recordings of 5 talkers in two rooms."""
    rows = []
    for number in range(40):
        before = keyed.uniform(-14, -10, number)
        hits = before + level + keyed.uniform(-0.5, 0.5, number, *key)
        row = {"id": str(number), "room": ("quiet", "loud")[number % 2]}
        rows.append(row | {"talker": number % 5, "hits": hits, "gain": hits - before})
    return pd.DataFrame(rows)


def ledger(rows, **common):
    """A ledger of the given rows; the n-th ends at minute n unless it says else."""
    defaults = {
        "study": "one_stage",
        "stage": "search",
        "algorithm": "tpe",
        "status": "completed",
        "score": np.nan,
        "epochs": 10.0,
        "best_epoch": 10.0,
        "train_items": 100.0,
        "seed": 42.0,
        "device": "cpu",
        "failure": "",
    }
    frame = []
    for number, row in enumerate(rows):
        row = defaults | {"trial": str(number), "run": f"r{number}"} | common | row
        row.setdefault("items", row["epochs"] * row["train_items"])
        row.setdefault("new_items", row["items"])
        row.setdefault("seconds", row["items"])
        row.setdefault("new_seconds", row["new_items"])
        row.setdefault("worker_seconds", row["new_seconds"] + 10)
        row["ended"] = pd.Timestamp("2026-01-01", tz="UTC") + pd.Timedelta(
            minutes=row.pop("minute", number)
        )
        row["started"] = row["ended"]
        frame.append(row)
    return pd.DataFrame(frame)


def seeds(study, scores, minute=1000, **common):
    """Rows of one validated configuration."""
    common = {"stage": "validate", "algorithm": "fixed", "hp.lr": 1e-3} | common
    return [
        {"study": study, "score": score, "seed": seed, "minute": minute} | common
        for seed, score in zip((42, 123, 456), scores, strict=False)
    ]


def studies(frame, spaces=(), bounds=()):
    """Returns what reports know of the studies of a ledger."""
    course, spaces = progress(frame), dict(spaces)
    bounds = spaces | dict(bounds)
    return Studies(course, validations(course), spaces, bounds, {})
