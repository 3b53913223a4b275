"""What runs and studies allow to say, as one page that opens anywhere.

python report.py results/baselines results/three_stage --out report

With ``--listen RUN --data_folder CORPUS`` the page holds recordings of the test set:
check the corpus' licences before you pass it on.
"""

import argparse
import sys
from pathlib import Path

from recipekit.console import plain_errors

EMBEDDED = "embedded_"  # of such a corpus' folder, as in hparams/


def make_report(folders, out, listen=None, data_folder=None, logged=False):
    """Writes the report of what is found below some folders.

    Arguments
    ---------
    folders : list of str or Path
        With runs or studies in them, at any depth.
    out : str or Path
        Folder for report.html and CSVs.
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
        As the library's ``make_report``; or if the run to listen to was not tested, or
        on another corpus.
    """
    # Here, since they take seconds: pandas, SciPy, torch.
    from recipe import RECIPE
    from recipekit.reporting import report
    from recipekit.reporting.runs import read_run
    from reporting import failures, listening
    from reporting import logged as example

    sections = [failures.section]
    if listen:
        run = read_run(Path(listen), RECIPE)
        sections.append(lambda settings: listening.section(run, data_folder))
    if logged:
        sections.append(lambda settings: example.section())
    return report.make_report(
        RECIPE, folders, out, sections, synthetic_corpora, example.STUDY
    )


def synthetic_corpora(settings):
    """Returns warnings of the corpora that are made of the embedded recordings."""
    names = {setting.corpus for setting in settings}
    return [
        f"The corpus {name} is made of the embedded synthetic recordings: scores say "
        "nothing of real speech."
        for name in sorted(names)
        if name.startswith(EMBEDDED)
    ]


def main(arguments):
    """Writes report.html, self-contained, and its tables as CSVs."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folders", nargs="+", help="of runs and studies")
    parser.add_argument("--out", required=True, help="folder to write to")
    parser.add_argument(
        "--listen",
        metavar="RUN",
        help="also show test recordings and what this run makes of them; check the "
        "corpus' licences before you pass the page on",
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
