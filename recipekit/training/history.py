"""The history of a run on disk, history.json: an entry for each finished epoch, exact.

An entry has ``epoch``, ``examples`` (seen so far), ``lr``, ``skipped`` (steps so far),
``score`` (monitored, higher is better), ``seconds`` (of this epoch), and the mappings
``train`` and ``valid`` of names to numbers.
"""

import json
from pathlib import Path

from recipekit.files.atomic import replacing

HISTORY = "history.json"
NEEDED = ("epoch", "examples", "lr", "skipped", "score", "seconds", "train", "valid")


def write_history(folder, entries):
    """Writes the entries (list of dict) of a run into its folder."""
    with replacing(Path(folder) / HISTORY) as path:
        path.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


def read_history(folder):
    """Reads the entries of a run.

    Arguments
    ---------
    folder : str or Path
        The run's output folder.

    Returns
    -------
    list of dict

    Raises
    ------
    ValueError
        Naming the file and what was expected, if it is not a valid history.
    """
    path = Path(folder) / HISTORY
    if not path.is_file():
        what = "expected the output folder of a run"
        if (path.parent / "train_log.txt").is_file():
            what = "the run is of a version before 0.6, which did not write it"
        raise ValueError(f"{path}: no such file; {what}")
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        for number, entry in enumerate(entries, start=1):
            missing = [name for name in NEEDED if name not in entry]
            if missing or entry["epoch"] != number:
                raise ValueError(f"entry {number} lacks {', '.join(missing) or number}")
            numbers = [entry[name] for name in NEEDED[:-2]]
            numbers += [*entry["train"].values(), *entry["valid"].values()]
            [float(value) for value in numbers]
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise ValueError(
            f"{path}: not a history as train.py writes it ({error}). Give the run's "
            "command again to write it anew"
        ) from error
    if not entries:
        raise ValueError(f"{path}: no epoch has ended yet")
    return entries
