"""Files that appear under their names only when complete."""

import csv
import errno
import os
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path):
    """Gives a temporary name beside ``path``, which becomes ``path`` at the end.

    Arguments
    ---------
    path : str or Path
        Its folder must be there.

    Yields
    ------
    Path
        Where to write. If writing fails, it is removed and ``path`` is as before.

    Raises
    ------
    OSError
        Naming the file, for example when the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(path.name + ".part")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        todo = "Make room; the same command resumes" if full else "Check the folder"
        raise OSError(
            f"{path}: could not be written ({error.strerror or error}). {todo}"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def csv_writer(path, columns):
    """Gives a writer of a CSV file that appears under its name when complete."""
    with (
        replacing(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        yield writer
