"""The report's section on searches: what they cost, and what they reached."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from recipekit.reporting.document import Folded, Panels, Section, Table, Text
from recipekit.reporting.importance import importance_blocks
from recipekit.reporting.ledgers import (
    FIDELITY,
    configuration_texts,
    grids,
    is_validation,
    read_spaces,
)
from recipekit.reporting.runs import run_folder
from recipekit.reporting.search_pictures import draw_keys, draw_progress
from recipekit.scoring import statistics
from recipekit.studies.ledger_columns import FINISHED


@dataclass(frozen=True)
class LoggedStudy:
    """An earlier study that searches are compared with.

    Attributes
    ----------
    reference : str
        How the name of the study begins that repeats it: costs are shown as shares of
        this one's, too.
    correlations : dict
        Key -> correlation with the score that was logged.
    """

    reference: str
    correlations: dict


@dataclass(frozen=True)
class Studies:
    """What the ledgers of some studies tell.

    Attributes
    ----------
    course : pandas.DataFrame
        As from ``progress``.
    validated : pandas.DataFrame
        As from ``validations``.
    spaces : dict
        (study, stage) -> dict from key to Prior, of the stages that search.
    bounds : dict
        The same with the grids of fixed stages.
    folders : dict
        Study -> that of its ledger.
    """

    course: pd.DataFrame
    validated: pd.DataFrame
    spaces: dict
    bounds: dict
    folders: dict

    @property
    def searched(self):
        """The completed trials of searches, in the order of their ends."""
        done = self.course["status"] == "completed"
        return self.course[done & ~self.course["validation"]]

    def runs(self):
        """Returns of each validated configuration its study, the folders of its runs
        and whether it is the study's best, for ``settings.group_settings``.
        """
        rows = self.validated.to_dict("records")
        return [
            (
                row["study"],
                {run_folder(self.folders[row["study"]], run) for run in row["runs"]},
                row["best"],
            )
            for row in rows
        ]

    def spent(self, study):
        """Returns the examples and the hours of workers that all its trials took."""
        trials = self.course[self.course["study"] == study]
        return trials["new_items"].sum(), trials["worker_seconds"].sum() / 3600


def read_studies(ledgers):
    """Makes what reports know of studies.

    Arguments
    ---------
    ledgers : dict
        Path of a ledger, resolved -> its trials (``ledgers.read_ledger``).

    Returns
    -------
    Studies or None
        None if no ledger has a trial.

    Raises
    ------
    ValueError
        Naming two ledgers of studies of one name, or a file of spaces that is missing.
    """
    ledgers = {path: ledger for path, ledger in ledgers.items() if len(ledger)}
    if not ledgers:
        return None
    paths, spaces = {}, {}
    for path, ledger in ledgers.items():
        study = ledger["study"].iloc[0]
        if study in paths:
            raise ValueError(
                f"{path}: a ledger of {study}, as {paths[study]} is. Give only one of "
                "them, or name one study anew (`name:` in its YAML)"
            )
        paths[study] = path
        for stage, space in read_spaces(path).items():
            spaces[study, stage] = space
    course = progress(pd.concat(ledgers.values(), ignore_index=True))
    return Studies(
        course,
        validations(course),
        spaces,
        spaces | grids(course, spaces),
        {study: path.parent for study, path in paths.items()},
    )


def section(studies, unit="", logged=None):
    """Makes the section on searches.

    Arguments
    ---------
    studies : Studies
    unit : str
        Of the scores.
    logged : LoggedStudy, optional

    Returns
    -------
    Section or None
        None if no trial is completed.
    """
    course = studies.course
    if not (course["status"] == "completed").any():
        return None
    blocks = [
        *_progress_blocks(studies, unit),
        *_key_blocks(studies, unit),
        *_cost_blocks(course, logged),
        *importance_blocks(course, studies.spaces, logged and logged.correlations),
        *_failure_blocks(course),
    ]
    return Section("searches", "Searches", tuple(blocks))


def costs(ledger, by):
    """Adds up what trials cost.

    A promoted trial counts with what it added to its run. Epochs are examples divided
    by those of an epoch, which is known from the runs that were not stopped early.

    Arguments
    ---------
    ledger : pandas.DataFrame
    by : list of str
        Columns whose values share a row of the result.

    Returns
    -------
    pandas.DataFrame
        Columns ``by``, completed, failed, unfinished (trials), configurations, epochs,
        examples, training hours, worker hours (start-up included), GPU hours (of the
        training, on CUDA).
    """
    per_epoch = ledger["items"] / ledger["epochs"]
    fidelities = [ledger["study"], ledger["stage"], ledger["train_items"]]
    per_epoch = per_epoch.groupby(fidelities, dropna=False).transform("max")
    on_gpu = ledger["device"].str.startswith("cuda")
    status = ledger["status"]
    sums = pd.DataFrame(
        {
            "completed": status == "completed",
            "failed": status == "failed",
            "unfinished": ~status.isin(FINISHED),
            "epochs": ledger["new_items"] / per_epoch,
            "examples": ledger["new_items"],
            "training hours": ledger["new_seconds"] / 3600,
            "worker hours": ledger["worker_seconds"] / 3600,
            "GPU hours": ledger["new_seconds"].where(on_gpu, 0.0) / 3600,
        }
    )
    keys = [ledger[name] for name in by]
    table = sums.groupby(keys, sort=False).sum()
    distinct = configuration_texts(ledger).groupby(keys, sort=False).nunique()
    table.insert(3, "configurations", distinct)
    return table.reset_index()


def progress(ledger):
    """Orders trials by when they ended and accumulates their costs.

    Arguments
    ---------
    ledger : pandas.DataFrame

    Returns
    -------
    pandas.DataFrame
        The ledger's rows, study by study, with the columns configuration, validation
        (bool), examples, which the study had spent when the trial ended, and best: the
        highest score of the stage's search so far.
    """
    studies = ledger.groupby("study", sort=False)
    course = pd.concat(
        [trials.sort_values("ended", kind="stable") for _, trials in studies],
        ignore_index=True,
    )
    spent = course["new_items"].fillna(0).groupby(course["study"]).cumsum()
    validation = is_validation(course)
    searched = course["score"].where(~validation & (course["status"] == "completed"))
    stages = [course["study"], course["stage"]]
    best = searched.groupby(stages).cummax().groupby(stages).ffill()
    return course.assign(
        configuration=configuration_texts(course),
        validation=validation,
        examples=spent,
        best=best,
    )


def validations(course):
    """Finds the configurations that were run with several seeds.

    Arguments
    ---------
    course : pandas.DataFrame
        As from ``progress``.

    Returns
    -------
    pandas.DataFrame
        A row for each with two completed seeds or more: study, stage, configuration,
        train_items, epochs, seeds (number), mean, low, high (Student's t interval of
        the mean over seeds), scores, runs (tuples), examples (that the study had spent
        when the last seed ended) and best: whether it is its study's best, the highest
        mean among those with the most items, then the most seeds.
    """
    done = course[course["validation"] & (course["status"] == "completed")]
    keys = ["study", "stage", "configuration", *FIDELITY]
    found = done.groupby(keys, sort=False, dropna=False).agg(
        seeds=("score", "size"),
        mean=("score", "mean"),
        scores=("score", tuple),
        runs=("run", tuple),
        examples=("examples", "max"),
    )
    found = found[found["seeds"] > 1].reset_index()
    intervals = [statistics.mean_of(scores).interval for scores in found["scores"]]
    found["low"] = [low for low, _ in intervals]
    found["high"] = [high for _, high in intervals]
    ranking = found.assign(train_items=found["train_items"].fillna(np.inf))
    ranking = ranking.sort_values(["train_items", "seeds", "mean"])
    return found.assign(best=~ranking["study"].duplicated(keep="last"))


def _cost_blocks(course, logged):
    strategies = costs(course, ["study"])
    examples = strategies["examples"]
    strategies["share of the largest"] = examples / examples.max()
    if logged:
        repeating = strategies[strategies["study"].str.startswith(logged.reference)]
        for row in repeating[:1].to_dict("records"):
            strategies[f"share of {row['study']}"] = examples / row["examples"]
    stages = costs(course, ["study", "stage"])
    numbers = stages.groupby("study", sort=False).cumcount() + 1
    stages.insert(1, "number", numbers)
    tables = (
        Text(
            "Compute is counted in training examples, which are the same on every "
            "machine, and in hours of training and of workers (with the start-up of "
            "each trial). A trial that resumed a checkpoint counts with what it added, "
            "a failed trial with its worker hours."
        ),
        Table("search_costs", "What each strategy cost", strategies),
        Table("search_stage_costs", "What each stage cost", stages),
    )
    return [Folded("What strategies and stages cost", tables)]


def _progress_blocks(studies, unit):
    figure, legend = draw_progress(studies.course, studies.validated, unit)
    title = "Best score so far against training examples"
    return [
        Panels("search_progress", title, [figure], legend),
        Text(
            "Lines: the best score of a stage's search so far; each stage has its own, "
            "since scores of different numbers of training items or epochs do not "
            "compare. Digits: the stages, numbered as in the table of their costs. "
            "Circles with bars: configurations run with several seeds, as mean and "
            "95 % t interval over the seeds, drawn where the last seed ended; stars: "
            "the best of each strategy. Only these compare between strategies, and "
            "only of the same model, corpus and metric."
        ),
    ]


def _key_blocks(studies, unit):
    blocks = []
    for study, trials in studies.searched.groupby("study", sort=False):
        figures, legend = draw_keys(trials, studies.bounds, unit)
        if figures:
            title = f"Score against each key that {study} searched"
            blocks.append(Panels(f"search_keys_{study}", title, figures, legend))
    if blocks:
        blocks.append(
            Text(
                "Axes are as wide as the widest space that a stage searched; lines "
                "between mark the bounds of narrower stages. The star is the best "
                "trial of the most training."
            )
        )
    return blocks


def _failure_blocks(course):
    failed = course[course["status"] == "failed"]
    if failed.empty:
        return [Text("No trial failed.")]
    reasons = failed.assign(reason=failed["failure"].replace("", "not known"))
    counts = reasons.groupby(["study", "stage", "reason"], sort=False).size()
    table = counts.reset_index(name="trials")
    return [Table("search_failures", "Why trials failed", table)]
