"""Provider `list`: a source list that there is already, such as that of a corpus."""

from pathlib import Path

from corpus.scan import check_rejected, read_headers
from corpus.sources import read_sources


def make_sources(path, max_rejected=0.01, workers=None):
    """Returns the sources of a list, as their files are now.

    Arguments
    ---------
    path : str or Path
        A CSV, see read_sources; or a corpus folder, for the list in it.
    max_rejected : float
        Share of the sources that may be unusable.
    workers : int, optional
        Processes; default: as many as there are cores.

    Returns
    -------
    list of Source
        With absolute paths.
    list of Rejected
        Sources that cannot be used.

    Raises
    ------
    ValueError
        Naming file, row and what was expected; if too many sources cannot be used.
    """
    path = Path(path, "sources.csv") if Path(path).is_dir() else Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such source list; expected a CSV like the sources.csv of a "
            "corpus folder"
        )
    rejected = []

    def measure(paths):
        headers, refused = read_headers(path.parent, paths, workers)
        check_rejected(refused, len(paths), max_rejected)
        rejected.extend(refused)
        return headers

    return read_sources(path, measure), rejected
