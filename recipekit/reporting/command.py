"""Makes the report of what is found below some folders."""

import sys
from pathlib import Path

import pandas as pd

from recipekit.reporting import comparison, results, searches
from recipekit.reporting.ledgers import find_ledgers, read_ledger
from recipekit.reporting.page import write_page
from recipekit.reporting.runs import find_runs
from recipekit.reporting.settings import group_settings


def make_report(recipe, folders, out, sections=(), logged=None):
    """Writes a report.

    Arguments
    ---------
    recipe : Recipe
    folders : list of str or Path
        With runs or studies in them, at any depth.
    out : str or Path
        Folder for report.html and CSVs.
    sections : sequence of callable
        The recipe's own sections, after the general ones: each takes the list of
        Setting and returns a Section, or None if it has nothing to say.
    logged : LoggedStudy, optional
        That searches are compared with.

    Returns
    -------
    Path
        Of report.html.

    Raises
    ------
    ValueError
        Naming a folder without runs and studies, or a file that is broken. Runs that
        cannot be read are named on stderr and on the page, as long as others can.
    """
    if Path(out).exists() and not Path(out).is_dir():
        raise ValueError(f"{out}: not a folder; expected one to write to")
    ledgers = {path.resolve(): read_ledger(path) for path in find_ledgers(folders)}
    trials = pd.concat(ledgers.values(), ignore_index=True) if ledgers else None
    runs, left_out = find_runs(folders, ledgers, recipe)
    settings, repeated = group_settings(runs)
    if left_out and not settings and not ledgers:
        raise ValueError(f"no run can be read: {'; '.join(left_out)}")
    for reason in (*left_out, *repeated):
        print(f"Left out: {reason}", file=sys.stderr)
    measures = recipe.measures
    found = [
        results.section(settings, [*left_out, *repeated], measures),
        comparison.section(settings, measures),
        searches.section(trials, measures.unit, logged) if ledgers else None,
        *(section(settings) for section in sections),
    ]
    names = ", ".join(Path(folder).resolve().name for folder in folders)
    return write_page(
        [section for section in found if section], out, f"Report of {names}"
    )
