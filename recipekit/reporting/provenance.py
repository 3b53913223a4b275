"""Where a report comes from: what made it, the corpora, the studies, the versions."""

import shlex
import sys
from datetime import datetime, timezone

import pandas as pd

import recipekit
from recipekit.reporting.document import Section, Table, Text
from recipekit.reporting.results import unprocessed
from recipekit.reporting.verdict import unit_counts
from recipekit.training.environment import revision


def section(settings, studies, measures):
    """Returns the section of provenance.

    Arguments
    ---------
    settings : list of Setting
    studies : Studies or None
    measures : Measures
    """
    today = f"{datetime.now(timezone.utc):%Y-%m-%d}"
    blocks = [
        Text(
            f"Made on {today} with version {recipekit.__version__}, revision "
            f"{revision()}: {shlex.join(['python', *sys.argv])}"
        )
    ]
    if settings:
        table = corpora(settings, measures)
        blocks.append(Table("corpora", "Corpora", table))
    if studies:
        blocks.append(Table("studies", "Studies", _studies(studies)))
    return Section("provenance", "Provenance", tuple(blocks))


def corpora(settings, measures):
    """Returns a row for each corpus: its size, and its scores as it is."""
    rows = []
    compared = measures.metrics[measures.compared].title
    for corpus in dict.fromkeys(setting.corpus for setting in settings):
        members = [setting for setting in settings if setting.corpus == corpus]
        runs = [run for setting in members for run in setting.runs]
        epochs = {run.history[0]["examples"] for run in runs if run.history}
        tests = [run.tested["id"].nunique() for run in runs if run.tested is not None]
        valid, test = unprocessed(members, measures)
        rows.append(
            {
                "corpus": corpus or "not known",
                "settings": len(members),
                "runs": len(runs),
                "training rows of an epoch": max(epochs, default=None),
                "test recordings": max(tests, default=None),
            }
            | unit_counts(members, measures)
            | {
                f"validation {compared}, unprocessed": valid,
                f"test {compared}, unprocessed": test,
            }
        )
    return pd.DataFrame(rows).dropna(axis=1, how="all")


def _studies(studies):
    """Returns a row for each study: when it ran, on what, where its record is."""
    rows = []
    for study, trials in studies.course.groupby("study", sort=False):
        devices = sorted({*trials["device"]} - {""})
        rows.append(
            {
                "study": study,
                "trials": len(trials),
                "started": f"{trials['started'].min():%Y-%m-%d}",
                "ended": f"{trials['ended'].max():%Y-%m-%d}",
                "devices": ", ".join(devices) or None,
                "record": studies.folders[study],
            }
        )
    return pd.DataFrame(rows)
