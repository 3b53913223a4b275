"""Makes the report of what is found below some folders."""

import sys
from pathlib import Path

from recipekit.reporting import (
    cautions,
    comparison,
    provenance,
    results,
    searches,
    verdict,
)
from recipekit.reporting.ledgers import find_ledgers, read_ledger
from recipekit.reporting.page import write_page
from recipekit.reporting.runs import find_runs
from recipekit.reporting.settings import group_settings


def make_report(recipe, folders, out, sections=(), warn=None, logged=None):
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
    warn : callable, optional
        From the list of Setting to what the recipe warns of (list of str).
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
    studies = searches.read_studies(ledgers)
    runs, left_out = find_runs(folders, ledgers, recipe)
    settings, repeated = group_settings(runs, studies.runs() if studies else ())
    if left_out and not settings and not studies:
        raise ValueError(f"no run can be read: {'; '.join(left_out)}")
    left_out = [f"Left out: {reason}" for reason in (*left_out, *repeated)]
    print("".join(f"{reason}\n" for reason in left_out), end="", file=sys.stderr)
    measures = recipe.measures
    more = [*left_out, *(warn(settings) if warn else ())]
    found = [
        verdict.section(settings, studies, measures),
        results.section(settings, studies, measures),
        cautions.section(settings, studies, measures, more),
        searches.section(studies, measures.unit, logged) if studies else None,
        results.curves_section(settings, measures),
        comparison.section(settings, measures),
        provenance.section(settings, studies, measures),
        *(section(settings) for section in sections),
    ]
    names = ", ".join(Path(folder).resolve().name for folder in folders)
    return write_page(
        [section for section in found if section], out, f"Report of {names}"
    )
