"""Where the CSVs of a corpus are, and what tells that the corpus changed."""

import logging
from pathlib import Path

from corpus.layout import FOLDERS

logger = logging.getLogger(__name__)


def corpus_csv(data_folder, subset):
    """Returns the path of a subset's corpus CSV by PolSESS' naming."""
    name = f"corpus_{data_folder.resolve().name}_{subset}_final.csv"
    return data_folder / subset / name


def find_csv(data_folder, subset):
    """Returns the path of a subset's corpus CSV, also if the corpus was renamed."""
    if not data_folder.is_dir():
        raise FileNotFoundError(
            f"{data_folder}: no such folder; expected a corpus with train, val and test"
        )
    expected = corpus_csv(data_folder, subset)
    if expected.exists():
        return expected
    folder = expected.parent
    found = sorted(folder.glob(f"corpus_*_{subset}_final.csv"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "no corpus CSV"
        if list(folder.glob("rows*.journal")):
            names += " (the corpus is not finished: repeat the command that made it)"
        raise FileNotFoundError(
            f"{folder}: expected {expected.name} or exactly one "
            f"corpus_*_{subset}_final.csv, found {names}. "
            "Pass the folder that holds train, val and test, with one CSV in each"
        )
    logger.info(
        f"The corpus folder is named {data_folder.name!r}, so {expected.name} was "
        f"expected; using the only corpus CSV of {folder}: {found[0].name}"
    )
    return found[0]


def provenance_csv(csv):
    """Returns the path of the CSV on speakers and recordings beside a corpus CSV."""
    return csv.with_name(csv.name.replace("_final.csv", "_provenance.csv"))


def stats(csvs):
    """Returns sizes and times of CSVs and folders, which change when a corpus does.

    A folder's time changes with each file that is added, removed or renamed in it.

    Arguments
    ---------
    csvs : dict
        Path of the corpus CSV by subset.
    """
    found = {}
    for subset, csv in csvs.items():
        paths = [csv, provenance_csv(csv), *(csv.parent / name for name in FOLDERS)]
        for path in filter(Path.exists, paths):
            stat = path.stat()
            found[f"{subset}/{path.name}"] = [stat.st_size, stat.st_mtime_ns]
    return found
