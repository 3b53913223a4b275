"""The database of a study: a JSON file, or MongoDB where machines share no folder.

Both have Oríon's interface: ``read``, ``write`` and ``read_and_write``, each of them
atomic. Oríon's own file is a pickle, so that to look at somebody else's study would be
to run what is in there; here documents are JSON, and are checked when they are read.
"""

import json
import re
import threading
import warnings
from contextlib import contextmanager
from pathlib import Path

with warnings.catch_warnings():  # it uses pkg_resources
    warnings.simplefilter("ignore")
    from orion.core.io.database import (
        DatabaseError,
        DuplicateKeyError,  # noqa: F401  (for those who write)
        database_factory,
    )
    from orion.core.io.database.ephemeraldb import EphemeralDB
    from orion.core.io.database.pickleddb import PickledDB

from recipekit.files.atomic import replacing
from recipekit.files.locks import hold

STAGES, TRIALS = "stages", "trials"  # its collections
REMEDY = (
    "It is not used. Remove it (after copying ledger.csv, which has the results of the "
    "finished trials): the same command then draws the trials anew and takes up their "
    "runs, which are kept in the folder runs"
)


class JSONDB(PickledDB):
    """Oríon's database in one file, as JSON instead of as a pickle.

    Its lock is one that the system lets go of with the process that holds it, on all
    file systems; Oríon's is a file on some, and stays when its holder is killed.

    Arguments
    ---------
    host : str
        The file.
    """

    def __init__(self, host):
        super().__init__(host)
        self._threads = threading.RLock()  # the other lock is between processes

    @contextmanager
    def locked_database(self, write=True):
        """Gives the database in memory, and writes it afterwards."""
        path = Path(self.host)
        with self._threads, hold(path.parent, wait=True, name=f"{path.name}.lock"):
            database = self._get_database()
            yield database
            if write:
                self._dump_database(database)

    def _get_database(self):
        database, path = EphemeralDB(), Path(self.host)
        if not path.exists():
            return database
        content = path.read_bytes()
        try:
            collections = json.loads(content)
            if collections.keys() != {STAGES, TRIALS}:
                raise ValueError(f"collections {', '.join(collections)}")
            for name, documents in collections.items():
                database.write(name, documents)
        except (AttributeError, TypeError, ValueError, DatabaseError) as error:
            kind = f"no database of a study ({error})"
            if content[:1] == b"\x80":
                kind = "a pickle, which could run code when it is opened"
            elif not content:
                kind = "empty, since writing it was cut short"
            raise ValueError(f"{path}: {kind}. {REMEDY}") from error
        return database

    def _dump_database(self, database):
        content = {name: database.read(name) for name in (STAGES, TRIALS)}
        with replacing(self.host) as path:
            path.write_text(json.dumps(content), encoding="utf-8")


def open_database(name):
    """Opens, or makes, the database of a study.

    Arguments
    ---------
    name : str
        A file, or ``mongodb://HOST:PORT/NAME``.

    Returns
    -------
    orion.core.io.database.Database

    Raises
    ------
    ValueError
        If the name is neither.
    orion.core.io.database.DatabaseError
        If MongoDB cannot be reached.
    """
    match = re.fullmatch(r"mongodb://([^/]+)/(\w+)", name)
    if match:
        host, database = match.groups()
        return database_factory.create(
            "mongodb", name=database, host=f"mongodb://{host}"
        )
    old = Path(name).with_suffix(".pkl")
    if old.is_file() and not Path(name).exists():
        raise ValueError(
            f"{old}: a database of an earlier version, a pickle, which could run code "
            f"when it is opened. {REMEDY}"
        )
    if "://" in name:
        raise ValueError(
            f"database {name}: expected a file, or mongodb://HOST:PORT/NAME"
        )
    return JSONDB(name)
