"""One process at a time in a folder."""

import fcntl
import time
from contextlib import contextmanager
from pathlib import Path

LOCK = ".lock"


def is_held(folder):
    """Returns whether another process holds a folder."""
    try:
        with hold(folder):
            return False
    except RuntimeError:
        return True


@contextmanager
def hold(folder, wait=False, name=LOCK):
    """Holds a folder for the duration of a ``with`` block.

    The lock belongs to this process alone (POSIX record locks are not inherited by the
    workers that it forks): the system lets go of it however the process ends.

    Arguments
    ---------
    folder : str or Path
        Made if it is not there.
    wait : bool
        Whether to wait for another process to finish instead of refusing.
    name : str
        Of the file that is locked: processes that may work side by side differ in it.

    Raises
    ------
    RuntimeError
        If another process holds the folder and ``wait`` is False.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / name, "w", encoding="utf-8") as file:
        while True:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except (BlockingIOError, PermissionError):
                if not wait:
                    raise RuntimeError(
                        f"{folder}: another process is working in this folder. Wait "
                        "for it, stop it, or choose another folder"
                    ) from None
                time.sleep(0.2)
        yield
