"""Finds and reads the runs in folders."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from recipekit.console import message
from recipekit.files.csvs import read_table
from recipekit.files.tagged_yaml import New, read_tagged
from recipekit.reporting.learning_curve import shared_score
from recipekit.reporting.ledgers import is_validation
from recipekit.scoring.summary import RESULTS, SUMMARY, TEST_AGAIN, read_summary
from recipekit.training.history import HISTORY, read_history
from recipekit.training.identity import identity, plain

HPARAMS = "hyperparams.yaml"
# SpeechBrain's log. A folder with it, but without a history, is a run of an earlier
# version: the report names it as one that cannot be read.
LOG = "train_log.txt"


@dataclass(frozen=True)
class Run:
    """What a run's folder says.

    Attributes
    ----------
    folder : Path
    model : str
    settings : dict
        The hparams that make a difference between runs, without the seed, and
        ``corpus``, the name of the corpus.
    seed : int
    history : list of dict
        An entry for each epoch (``recipekit.training.history``).
    shared : str
        The score that training and validation both log.
    marks : list of (int, str)
        Epochs that learning curves mark, and what they write there.
    seconds : float or None
        Of training, where summary.json or a ledger tells.
    tested : pandas.DataFrame or None
        test_results.csv.
    means : dict
        Metric -> mean of the conditions' means in the test, where summary.json tells.
    """

    folder: Path
    model: str
    settings: dict
    seed: int
    history: list
    shared: str
    marks: list
    seconds: float | None
    tested: pd.DataFrame | None
    means: dict

    @property
    def best(self):
        """The epoch with the highest monitored score, an entry of the history."""
        return max(self.history, key=lambda entry: entry["score"])

    @property
    def score(self):
        """The best monitored score."""
        return self.best["score"]


def find_runs(folders, ledgers, recipe):
    """Finds the runs below the folders.

    Arguments
    ---------
    folders : list of str or Path
    ledgers : dict
        Path of a ledger, resolved -> its trials (``ledgers.read_ledger``). Runs that
        were only searched with are passed over, and seconds are taken from here where
        a run was not tested.
    recipe : Recipe

    Returns
    -------
    runs : list of Run
    left_out : list of str
        Folders that look like runs and cannot be read, and why.

    Raises
    ------
    ValueError
        Naming a folder that has neither runs nor ledgers.
    """
    searched, seconds = set(), {}
    for path, ledger in ledgers.items():
        ledger = ledger.assign(validation=is_validation(ledger))
        for name, rows in ledger[ledger["run"] != ""].groupby("run"):
            folder = path.parent / "runs" / str(name)
            seconds[folder] = rows["seconds"].max()
            tested = (folder / RESULTS).is_file()
            if not rows["validation"].any() and not tested:
                searched.add(folder)
    found = {}
    for folder in folders:
        here = {
            path.parent.resolve(): path.parent
            for path in sorted(Path(folder).rglob(HPARAMS))
            if any((path.parent / name).is_file() for name in (HISTORY, LOG))
        }
        if not here and not any(Path(folder).resolve() in p.parents for p in ledgers):
            raise ValueError(
                f"{folder}: no run (a folder with {HPARAMS} and {HISTORY}) and no "
                "ledger.csv of a study is in or below it"
            )
        found |= here
    runs, left_out = [], []
    for resolved, folder in found.items():
        if resolved in searched:
            continue
        try:
            runs.append(read_run(folder, recipe, seconds.get(resolved)))
        except (ValueError, OSError) as error:
            left_out.append(message(error))
    return runs, left_out


def read_run(folder, recipe, seconds=None):
    """Reads a run's folder; objects that its hyperparams.yaml names are not built.

    Arguments
    ---------
    folder : Path
    recipe : Recipe
    seconds : float, optional
        Of training, should the run not have been tested.

    Returns
    -------
    Run

    Raises
    ------
    ValueError
        Naming the file that is broken.
    """
    path = folder / HPARAMS
    hparams = read_tagged(path)
    missing = [key for key in ("seed", "modules") if key not in hparams]
    if missing:
        raise ValueError(f"{path}: not the hparams of a run: lacks {missing[0]}")
    if not isinstance(hparams["modules"], dict):
        raise ValueError(f"{path}: modules: not a mapping of names to modules")
    try:
        marks = recipe.epoch_marks(hparams)
        corpus = recipe.corpus_name(hparams)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a valid value: {error}") from error
    settings = identity(plain(hparams), ("seed", *recipe.free_keys), length=True)
    history = read_history(folder)
    try:
        shared = shared_score(history)
    except ValueError as error:
        raise ValueError(f"{folder / HISTORY}: {error}") from error
    tested, means = None, {}
    if (folder / RESULTS).is_file():
        measures = recipe.measures
        summary = read_summary(folder, measures)
        tested = _read_tested(folder / RESULTS, summary["scores"], measures)
        seconds = summary["provenance"].get("seconds") or seconds
        means = summary["scores"].get(measures.mean_name, {})
        means = {name: means[name]["mean"] for name in measures.metrics if means}
    return Run(
        folder,
        _model(hparams["modules"], recipe.models),
        settings | {"corpus": corpus},
        hparams["seed"],
        history,
        shared,
        marks,
        seconds,
        tested,
        means,
    )


def _model(modules, models):
    """Returns the name of a model by the classes that it is made of."""
    built = [value for value in modules.values() if isinstance(value, New)]
    names = [name for value in built for name in value.names()]
    classes = {name.rpartition(".")[2] for name in names}
    known = [model for name, model in models.items() if name in classes]
    return known[0] if known else " ".join(sorted(classes))


def _read_tested(path, scores, measures):
    """Reads test_results.csv, and checks it against the scores of summary.json."""
    condition = measures.condition
    columns = (*measures.describing, *measures.metrics)
    table = read_table(path, columns, TEST_AGAIN, dtype={"id": str})
    for name in measures.metrics:
        if not pd.api.types.is_numeric_dtype(table[name]):
            wrong = pd.to_numeric(table[name], errors="coerce").isna()
            line = table.index[wrong & table[name].notna()][0] + 2
            raise ValueError(
                f"{path}, line {line}: {name} is not a number. {TEST_AGAIN}"
            )
    unknown = sorted(set(table[condition].astype(str)) - set(measures.conditions))
    if unknown:
        raise ValueError(
            f"{path}: {condition} {unknown[0]!r} is none of "
            f"{', '.join(measures.conditions)}. {TEST_AGAIN}"
        )
    members = {
        measures.whole_name: measures.whole,
        measures.mean_name: measures.conditions,
    }
    for group, stated in scores.items():
        found = int(table[condition].isin(members.get(group, (group,))).sum())
        if found != stated["rows"]:
            raise ValueError(
                f"{path}: {found} rows of {group}, but {SUMMARY} states "
                f"{stated['rows']}. {TEST_AGAIN}"
            )
    if not path.read_bytes().endswith(b"\n"):
        raise ValueError(f"{path}: its last line is cut short. {TEST_AGAIN}")
    return table
