"""Finds and reads the runs in folders."""

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from exported.export import TrainingConstructor
from exported.safe_yaml import New, read_description
from exported.streaming import SeparationError
from mixtures.curriculum import Curriculum
from mixtures.variants import FULL_MIX, VARIANTS
from recipekit.console import message
from recipekit.files.csvs import check_text
from recipekit.reporting.learning_curve import read_log
from recipekit.reporting.ledgers import is_validation
from recipekit.training.hparams_keys import FREE_KEYS, PLAIN
from scoring.evaluation import FULL_MIX_GROUP, MEAN_GROUP, METRICS, ROW_COLUMNS

# Free to change in a run that goes on, but not between runs that shall be repetitions.
COUNTED_KEYS = ("N_epochs", "early_stop_patience")
AGAIN = "Test again: the run's command with --test_only True"
TEXTS = ("id", "ID", "run", "speaker", "speaker1", "speaker2")
CLASSES = {  # a class that only this model has, its last name: the model
    "SPMamba": "SPMamba",
    "SBTransformerBlock": "SepFormer",
    "SBRNNBlock": "DPRNN",
    "MaskNet": "Conv-TasNet",
}


@dataclass(frozen=True)
class Run:
    """What a run's folder says.

    Attributes
    ----------
    folder : Path
    model : str
    settings : dict
        The keys of hyperparams.yaml that make a difference, without the seed, and
        ``corpus``, the name of the corpus' folder.
    seed : int
    monitored : str
        Column of the log whose highest value is the best score.
    log : list of dict
        From ``learning_curve.read_log``.
    seconds : float or None
        Of training, where summary.json or a ledger tells.
    tested : pandas.DataFrame or None
        test_results.csv.
    means : dict
        Metric -> mean of the variants' means in the test, where summary.json tells.
    """

    folder: Path
    model: str
    settings: dict
    seed: int
    monitored: str
    log: list
    seconds: float | None
    tested: pd.DataFrame | None
    means: dict

    @property
    def best(self):
        """The epoch with the highest monitored score, an entry of the log."""
        return max(self.log, key=lambda entry: entry[self.monitored])

    @property
    def score(self):
        """The best validation score in dB."""
        return self.best[self.monitored]


def find_runs(folders, ledgers):
    """Finds the runs below the folders.

    Arguments
    ---------
    folders : list of str or Path
    ledgers : dict
        Path of a ledger, resolved -> its trials (``ledgers.read_ledger``). Runs that
        were only searched with are passed over, and seconds are taken from here where
        a run was not tested.

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
            tested = (folder / "test_results.csv").is_file()
            if not rows["validation"].any() and not tested:
                searched.add(folder)
    found = {}
    for folder in folders:
        here = {
            path.parent.resolve(): path.parent
            for path in sorted(Path(folder).rglob("hyperparams.yaml"))
            if (path.parent / "train_log.txt").is_file()
        }
        if not here and not any(Path(folder).resolve() in p.parents for p in ledgers):
            raise ValueError(
                f"{folder}: no run (a folder with hyperparams.yaml and train_log.txt) "
                "and no ledger.csv of a study is in or below it"
            )
        found |= here
    runs, left_out = [], []
    for resolved, folder in found.items():
        if resolved in searched:
            continue
        try:
            runs.append(read_run(folder, seconds.get(resolved)))
        except (ValueError, SeparationError, OSError) as error:
            left_out.append(message(error))
    return runs, left_out


def read_run(folder, seconds=None):
    """Reads a run's folder; objects that its hyperparams.yaml names are not made.

    Arguments
    ---------
    folder : Path
    seconds : float, optional
        Of training, should the run not have been tested.

    Returns
    -------
    Run

    Raises
    ------
    ValueError or SeparationError
        Naming the file that is broken.
    """
    path = folder / "hyperparams.yaml"
    hparams = read_description(path, TrainingConstructor)
    missing = [key for key in ("seed", "modules", "curriculum") if key not in hparams]
    if missing:
        raise ValueError(f"{path}: lacks {', '.join(missing)}; it is of no run")
    if not isinstance(hparams["modules"], dict):
        raise ValueError(f"{path}: modules are no keys and values; it is of no run")
    try:
        Curriculum(hparams["curriculum"])
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: curriculum: {error}") from error
    passed_over = {"seed", *FREE_KEYS} - set(COUNTED_KEYS)
    settings = {
        key: value
        for key, value in hparams.items()
        if key not in passed_over and isinstance(value, PLAIN)
    }
    corpus = hparams.get("data_folder") or hparams.get("embedded_folder") or ""
    settings["corpus"] = Path(corpus).name
    monitored = "valid si_sdri" if hparams.get("valid_per_variant") else "valid si_sdr"
    log = read_log(folder)
    if any(monitored not in entry for entry in log):
        raise ValueError(f"{folder / 'train_log.txt'}: an epoch lacks {monitored}")
    tested, means = None, {}
    if (folder / "test_results.csv").is_file():
        summary = _read_summary(folder / "summary.json")
        tested = _read_tested(folder / "test_results.csv", summary["scores"])
        seconds = summary["provenance"].get("seconds") or seconds
        means = summary["scores"].get(MEAN_GROUP, {})
        means = {name: means[name]["mean"] for name in METRICS if name in means}
    return Run(
        folder,
        _model(hparams["modules"]),
        settings,
        hparams["seed"],
        monitored,
        log,
        seconds,
        tested,
        means,
    )


def read_genders(path):
    """Returns the gender of each speaker that a CSV names."""
    table = read_table(Path(path), ("speaker", "gender")).dropna()
    return dict(zip(table["speaker"], table["gender"], strict=True))


def _model(modules):
    """Returns the name of a model by the classes that it is made of."""
    classes, unseen = [], list(modules.values())
    while unseen:
        value = unseen.pop()
        if isinstance(value, New):
            classes.append(value.name.rpartition(".")[2])
            unseen += value.arguments.values()
    known = [model for name, model in CLASSES.items() if name in classes]
    return known[0] if known else " ".join(sorted(set(classes)))


def read_table(path, columns):
    """Reads a CSV that must have some columns and rows, TEXTS among them as texts."""
    check_text(path)
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(TEXTS, str))
    except ValueError as error:  # pandas' parser errors are ValueErrors
        raise ValueError(f"{path}: not a readable CSV ({error})") from error
    missing = [name for name in columns if name not in table]
    if missing or table.empty:
        what = f"lacks the columns {', '.join(missing)}" if missing else "has no rows"
        raise ValueError(f"{path}: {what}; write it again")
    return table


def _read_tested(path, scores):
    """Reads test_results.csv, and checks it against the scores of summary.json."""
    table = read_table(path, (*ROW_COLUMNS, *METRICS))
    for name in ("ssr", *METRICS):
        if not pd.api.types.is_numeric_dtype(table[name]):
            wrong = pd.to_numeric(table[name], errors="coerce").isna()
            line = table.index[wrong & table[name].notna()][0] + 2
            raise ValueError(f"{path}, line {line}: {name} is no number. {AGAIN}")
    unknown = sorted(set(table["variant"].astype(str)) - set(VARIANTS))
    if unknown:
        raise ValueError(
            f"{path}: variant {unknown[0]!r} is none of {', '.join(VARIANTS)}. {AGAIN}"
        )
    members = {FULL_MIX_GROUP: FULL_MIX, MEAN_GROUP: VARIANTS}
    for group, stated in scores.items():
        found = int(table["variant"].isin(members.get(group, (group,))).sum())
        if found != stated["rows"]:
            raise ValueError(
                f"{path}: {found} rows of {group}, but summary.json states "
                f"{stated['rows']}. {AGAIN}"
            )
    if not path.read_bytes().endswith(b"\n"):
        raise ValueError(f"{path}: its last line is cut short. {AGAIN}")
    return table


def _read_summary(path):
    """Reads the provenance and the scores of a summary.json."""
    if not path.is_file():
        raise ValueError(f"{path}: is not there, so the test was not finished. {AGAIN}")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        found["provenance"].get("seconds")
        for group in found["scores"].values():
            int(group["rows"]), [group[name]["mean"] for name in METRICS]
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{path}: is no summary of a test ({error!r}). {AGAIN}"
        ) from error
    return found
