"""What runs and studies allow to say, as one page that opens anywhere.

python report.py results/baselines results/three_stage --out report
"""

import argparse
from pathlib import Path

import pandas as pd

from reporting import comparison, results, searches
from reporting.page import write_page
from reporting.runs import find_ledgers, find_runs, group_settings


def make_report(folders, out):
    """Writes the report of what is found below some folders.

    Arguments
    ---------
    folders : list of str or Path
        With runs or studies in them, at any depth.
    out : str or Path
        Folder for report.html, CSVs and PNGs.

    Returns
    -------
    Path
        Of report.html.

    Raises
    ------
    ValueError
        Naming a folder without runs and studies, or a file that is broken.
    """
    ledgers = find_ledgers(folders)
    runs, left_out = find_runs(folders, ledgers)
    settings, repeated = group_settings(runs)
    sections = [
        results.section(settings, [*left_out, *repeated]),
        comparison.section(settings),
        searches.section(pd.concat(ledgers.values())) if ledgers else None,
    ]
    names = ", ".join(Path(folder).name for folder in folders)
    return write_page(
        [section for section in sections if section], out, f"Report of {names}"
    )


def main():
    """Writes report.html, self-contained, and the CSVs and PNGs that it shows."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folders", nargs="+", help="of runs and studies")
    parser.add_argument("--out", required=True, help="folder to write to")
    options = parser.parse_args()
    try:
        print(make_report(options.folders, options.out))
    except (OSError, ValueError) as error:
        parser.exit(1, f"error: {error}\n")


if __name__ == "__main__":
    main()
