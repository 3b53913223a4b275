"""Oríon's database as data: JSON, of which nothing can be run.

Oríon's own file is a pickle, the states of its algorithms are pickles in databases of
every kind, and it evaluates the texts of priors: to look at somebody else's study would
be to run what is in there. Here documents and states are JSON, and documents are
checked before Oríon reads them.
"""

import json
import re
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from bson import ObjectId  # of MongoDB
from orion.core.io.database import DatabaseError
from orion.core.io.database.ephemeraldb import EphemeralDB, EphemeralDocument
from orion.core.io.database.pickleddb import PickledDB
from orion.core.worker.trial import Trial
from orion.storage import legacy

from recipekit.files.atomic import replacing
from recipekit.studies.spaces import Prior

ALGORITHMS = ("fixedlist", "successivehalving", "random", "tpe")
METADATA = {"user", "datetime", "orion_version"}
KIND, OF = "!", "of"  # keys of what JSON has no form for: its kind and its content
REMEDY = (
    "It is not used. Remove it (after copying ledger.csv, which has the results of the "
    "finished trials): the same command then draws the trials anew and takes up their "
    "runs, which are kept in the folder runs"
)


class NotPlainError(ValueError):
    """A text is not what ``dumps`` writes."""


def dumps(value):
    """Returns nested values, among them trials and arrays, as JSON."""
    return json.dumps(_plain(value))


def loads(text):
    """Returns the values of ``dumps``; raises NotPlainError for any other text."""
    try:
        return json.loads(text, object_hook=_restored)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise NotPlainError(f"not as studies write it: {error}") from error


def _plain(value):
    """Returns nested values in JSON's types."""
    if isinstance(value, defaultdict):  # of sets, in Oríon
        return {KIND: "sets", OF: _plain(dict(value))}
    if isinstance(value, dict):
        return {key: _plain(inside) for key, inside in value.items()}
    if isinstance(value, list):
        return [_plain(inside) for inside in value]
    if isinstance(value, tuple):
        return {KIND: "tuple", OF: _plain(list(value))}
    if isinstance(value, set):
        return {KIND: "set", OF: sorted(value)}
    if isinstance(value, datetime):
        return {KIND: "time", OF: value.isoformat()}
    if isinstance(value, np.ndarray):
        return {KIND: "array", OF: [str(value.dtype), value.tolist()]}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, ObjectId):
        return {KIND: "id", OF: str(value)}
    if isinstance(value, Trial):
        return {KIND: "trial", OF: _plain(value.to_dict())}
    return value


def _restored(mapping):
    """Returns a mapping of JSON, or what it stands for."""
    if KIND not in mapping:
        return mapping
    content = mapping[OF]
    return {
        "sets": lambda: defaultdict(set, content),
        "tuple": lambda: tuple(content),
        "set": lambda: set(content),
        "time": lambda: datetime.fromisoformat(content),
        "array": lambda: np.array(content[1], content[0]),
        "id": lambda: ObjectId(content),
        "trial": lambda: Trial(**content),
    }[mapping[KIND]]()


# Oríon pickles the states of algorithms into whatever database there is.
legacy.pickle = SimpleNamespace(dumps=dumps, loads=loads)


class JSONDB(PickledDB):
    """Oríon's database in one file, as JSON instead of as a pickle."""

    def _get_database(self):
        database, path = EphemeralDB(), Path(self.host)
        if not path.exists():
            return database
        content = path.read_bytes()
        try:
            for name, (indexes, documents) in loads(content).items():
                collection = database._db[name]
                for data in documents:
                    document = EphemeralDocument({})
                    document._data = dict(data)
                    collection._documents.append(document)
                collection._indexes = {}
                for keys in indexes:
                    collection.create_index([(key, None) for key in keys], unique=True)
        except (AttributeError, TypeError, ValueError, DatabaseError) as error:
            kind = f"no database of a study ({error})"
            if content[:1] == b"\x80":
                kind = "a pickle, which could run code when it is opened"
            elif not content:
                kind = "empty, since writing it was cut short"
            raise ValueError(f"{path}: {kind}. {REMEDY}") from error
        return database

    def _dump_database(self, database):
        content = {
            name: [
                [keys for keys, _ in collection._indexes.values()],
                [document._data for document in collection._documents],
            ]
            for name, collection in database._db.items()
        }
        with replacing(self.host) as path:
            # Quicker than dumps; documents have neither tuples nor default values.
            path.write_text(json.dumps(content, default=_plain), encoding="utf-8")


class Documents(legacy.Legacy):
    """Oríon's storage, of which experiments and trials are checked when they are read.

    Arguments
    ---------
    database : dict
        Oríon's settings of it.
    """

    def fetch_experiments(self, query, selection=None):
        """Returns whole documents, of which Oríon can build nothing but searches."""
        found = super().fetch_experiments(query)
        return [self._checked(document) for document in found]

    def _checked(self, document):
        try:
            (algorithm,) = document["algorithm"]
            known = (
                algorithm in ALGORITHMS
                and not document["refers"]["adapter"]
                and not document["knowledge_base"]
                and not document["working_dir"]
                and METADATA.issuperset(document["metadata"])
            )
            space = {k: _prior(k, text) for k, text in document["space"].items()}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise self.foreign("a stage", error) from error
        if not known:
            raise self.foreign("a stage", "settings that studies do not use")
        return document | {"space": space}

    def _fetch_trials(self, query, selection=None):
        try:
            return super()._fetch_trials(query, selection)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise self.foreign("a trial", error) from error

    def foreign(self, what, why):
        """Returns the error for what no study has written."""
        return ValueError(
            f"{self._db.host}: {what} is not as studies write it ({why}). {REMEDY}"
        )


def _prior(key, text):
    """Returns a prior written anew: Oríon evaluates it, so it may hold values only."""
    if match := re.fullmatch(r"fidelity\((\d+), (\d+)\)", text):
        return f"fidelity({match[1]}, {match[2]})"
    return str(Prior.parse(key, text))
