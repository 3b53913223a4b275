"""Finds and reads the runs in folders, and those that only a ledger tells of."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from recipekit.console import message
from recipekit.files.csvs import read_table
from recipekit.files.tagged_yaml import New, read_tagged
from recipekit.reporting.learning_curve import shared_score
from recipekit.reporting.ledgers import is_validation
from recipekit.scoring.summary import RESULTS, SUMMARY, TEST_AGAIN, read_summary
from recipekit.studies.ledger_columns import PREFIX
from recipekit.training.history import HISTORY, read_history
from recipekit.training.identity import identity, plain

HPARAMS = "hyperparams.yaml"
# SpeechBrain's log. A folder with it, but without a history, is a run of an earlier
# version: the report names it as one that cannot be read.
LOG = "train_log.txt"
ENVIRONMENT = "env.log"  # the versions and the machine of a run


@dataclass(frozen=True)
class Run:
    """What a run's folder says, or where it has gone, the ledger of its study.

    Attributes
    ----------
    folder : Path
    record : Path
        Where what is known of it lies: the folder, or that of the ledger.
    model : str
        Where a ledger alone tells of it, the study.
    settings : dict
        The hparams that make a difference between runs, without the seed, and
        ``corpus``, the name of the corpus; of a ledger what it searched.
    seed : int
    score : float
        The best monitored score.
    valid : dict
        What was measured in the validation of that epoch; empty of a ledger.
    examples : int
        Training examples that it has seen.
    history : list of dict
        An entry for each epoch (``recipekit.training.history``); empty of a ledger.
    shared : str
        The score that training and validation both log.
    marks : list of (int, str)
        Epochs that learning curves mark, and what they say of them.
    seconds : float or None
        Of training, where summary.json or a ledger tells.
    tested : pandas.DataFrame or None
        test_results.csv.
    scores : dict
        Those of summary.json; empty if it was not tested.
    provenance : dict
        That of summary.json, and ``revision`` where env.log tells.
    """

    folder: Path
    record: Path
    model: str
    settings: dict
    seed: int
    score: float
    valid: dict
    examples: int
    history: list = ()
    shared: str = ""
    marks: list = ()
    seconds: float | None = None
    tested: pd.DataFrame | None = None
    scores: dict = field(default_factory=dict)
    provenance: dict = field(default_factory=dict)


def run_folder(study, name):
    """Returns the folder of a run by that of its study and its name in the ledger."""
    return study / "runs" / str(name)


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
        With those that a study validated, by its ledger, where it has no run's folder.
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
            folder = run_folder(path.parent, name)
            seconds[folder] = rows["seconds"].max()
            tested = (folder / RESULTS).is_file()
            if not rows["validation"].any() and not tested:
                searched.add(folder)
    found = {}
    for folder in map(Path, folders):
        here = {
            path.parent.resolve(): path.parent
            for path in sorted(folder.rglob(HPARAMS))
            if any((path.parent / name).is_file() for name in (HISTORY, LOG))
        }
        if not here and not any(folder.resolve() in p.parents for p in ledgers):
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
    for path, ledger in ledgers.items():
        if not any(path.parent in folder.parents for folder in found):
            runs += _validated_runs(path, ledger)
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
    best = max(history, key=lambda entry: entry["score"])
    tested, scores, provenance = None, {}, {}
    if (folder / RESULTS).is_file():
        summary = read_summary(folder, recipe.measures)
        scores, provenance = summary["scores"], summary["provenance"]
        tested = _read_tested(folder / RESULTS, scores, recipe.measures)
        seconds = provenance.get("seconds") or seconds
    return Run(
        folder=folder,
        record=folder,
        model=_model(hparams["modules"], recipe.models),
        settings=settings | {"corpus": corpus},
        seed=hparams["seed"],
        score=best["score"],
        valid=best["valid"],
        examples=history[-1]["examples"],
        history=history,
        shared=shared,
        marks=marks,
        seconds=seconds,
        tested=tested,
        scores=scores,
        provenance=provenance | _revision(folder),
    )


def _revision(folder):
    """Returns the revision that env.log names, as a dict; empty if there is none."""
    path = folder / ENVIRONMENT
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("Revision: "):
                return {"revision": line.removeprefix("Revision: ")}
    return {}


def _validated_runs(path, ledger):
    """Returns the completed runs of a study's validations, by its ledger alone."""
    chosen = ledger[is_validation(ledger) & (ledger["status"] == "completed")]
    searched = [name for name in chosen if name.startswith(PREFIX)]
    runs = []
    for row in chosen.to_dict("records"):
        settings = {name.removeprefix(PREFIX): row[name] for name in searched}
        settings |= {"train_items": row["train_items"], "N_epochs": row["epochs"]}
        settings = {key: each for key, each in settings.items() if pd.notna(each)}
        runs.append(
            Run(
                folder=run_folder(path.parent, row["run"]),
                record=path.parent,
                model=row["study"],
                settings={**settings, "corpus": ""},
                seed=int(row["seed"]),
                score=row["score"],
                valid={},
                examples=row["items"],
                seconds=row["seconds"],
            )
        )
    return runs


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
    texts = dict.fromkeys(("id", *measures.columns[len(measures.describing) :]), str)
    table = read_table(path, columns, TEST_AGAIN, dtype=texts)
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
