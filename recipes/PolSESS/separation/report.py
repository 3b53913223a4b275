"""What runs and studies allow to say, as one page that opens anywhere.

python report.py results/baselines results/three_stage --out report

With ``--listen RUN --data_folder CORPUS`` the page holds recordings of the test set, of
which the licences may not allow that it is passed on.
"""

import argparse
import sys
from pathlib import Path

from recipekit.console import plain_errors


def make_report(
    folders, out, speakers=None, listen=None, data_folder=None, logged=False
):
    """Writes the report of what is found below some folders.

    Arguments
    ---------
    folders : list of str or Path
        With runs or studies in them, at any depth.
    out : str or Path
        Folder for report.html, CSVs and PNGs.
    speakers : str or Path, optional
        CSV with the columns speaker and gender.
    listen : str or Path, optional
        Folder of a run to listen to.
    data_folder : str or Path, optional
        The corpus that this run was tested on.
    logged : bool
        Whether to add the logged baselines, a worked example.

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
    # Here, since they take seconds: torch, to know the models that hparams name.
    import pandas as pd

    from recipekit.reporting import comparison, results, searches
    from recipekit.reporting.ledgers import find_ledgers, read_ledger
    from recipekit.reporting.page import write_page
    from recipekit.reporting.runs import find_runs, read_genders, read_run
    from recipekit.reporting.settings import group_settings
    from reporting import failures, listening
    from reporting import logged as example

    if Path(out).exists() and not Path(out).is_dir():
        raise ValueError(f"{out}: is no folder; expected one to write to")
    ledgers = {path.resolve(): read_ledger(path) for path in find_ledgers(folders)}
    trials = pd.concat(ledgers.values(), ignore_index=True) if ledgers else None
    runs, left_out = find_runs(folders, ledgers)
    settings, repeated = group_settings(runs)
    if left_out and not settings and not ledgers:
        raise ValueError(f"no run can be read: {'; '.join(left_out)}")
    for reason in (*left_out, *repeated):
        print(f"Left out: {reason}", file=sys.stderr)
    sections = [
        results.section(settings, [*left_out, *repeated]),
        comparison.section(settings),
        failures.section(settings, read_genders(speakers) if speakers else {}),
        searches.section(trials) if ledgers else None,
        listening.section(read_run(Path(listen)), data_folder) if listen else None,
        example.section() if logged else None,
    ]
    names = ", ".join(Path(folder).resolve().name for folder in folders)
    return write_page(
        [section for section in sections if section], out, f"Report of {names}"
    )


def main(arguments):
    """Writes report.html, self-contained, and the CSVs and PNGs that it shows."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folders", nargs="+", help="of runs and studies")
    parser.add_argument("--out", required=True, help="folder to write to")
    parser.add_argument("--speakers", help="CSV with the columns speaker, gender")
    parser.add_argument(
        "--listen",
        metavar="RUN",
        help="also show test recordings and what this run makes of them; the corpus' "
        "licences decide whether the page may be passed on",
    )
    parser.add_argument("--data_folder", help="the corpus of the run to listen to")
    parser.add_argument(
        "--logged", action="store_true", help="also show the logged baselines"
    )
    options = parser.parse_args(arguments)
    if bool(options.listen) != bool(options.data_folder):
        parser.error("--listen and --data_folder go together")
    print(make_report(**vars(options)))


if __name__ == "__main__":
    with plain_errors():
        sys.exit(main(sys.argv[1:]))
