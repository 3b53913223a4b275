"""The report's section on searches: what they cost, and what they reached."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from recipekit.reporting.comparison import verdict
from recipekit.reporting.document import Picture, Section, Table, Text
from recipekit.reporting.importance import importance_blocks
from recipekit.reporting.ledgers import (
    FIDELITY,
    configuration_texts,
    fidelity_name,
    is_validation,
    searched_keys,
)
from recipekit.reporting.search_pictures import draw_parallel, draw_progress
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


def section(ledger, unit="", logged=None):
    """Makes the section on searches.

    Arguments
    ---------
    ledger : pandas.DataFrame
        Ledgers of one or more studies, one below the other, as from ``read_ledger``.
    unit : str
        Of the scores.
    logged : LoggedStudy, optional

    Returns
    -------
    Section or None
        None if no trial is completed.
    """
    if not (ledger["status"] == "completed").any():
        return None
    course = progress(ledger)
    validated = validations(course)
    blocks = [
        *_cost_blocks(course, logged),
        *_progress_blocks(course, validated, unit),
        *_validation_blocks(course, validated, unit),
        *_parallel_blocks(course),
        *importance_blocks(course, logged and logged.correlations),
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
        (bool), examples and hours (of workers), which the study had spent when the
        trial ended, and best: the highest score of the stage's search so far.
    """
    studies = ledger.groupby("study", sort=False)
    course = pd.concat(
        [trials.sort_values("ended", kind="stable") for _, trials in studies],
        ignore_index=True,
    )
    spent = course[["new_items", "worker_seconds"]].fillna(0).groupby(course["study"])
    spent = spent.cumsum()
    validation = is_validation(course)
    searched = course["score"].where(~validation & (course["status"] == "completed"))
    stages = [course["study"], course["stage"]]
    best = searched.groupby(stages).cummax().groupby(stages).ffill()
    return course.assign(
        configuration=configuration_texts(course),
        validation=validation,
        examples=spent["new_items"],
        hours=spent["worker_seconds"] / 3600,
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
        train_items, epochs, seeds (number), mean, std, low, high (Student's t
        interval of the mean over seeds), scores (tuple), examples, hours (that the
        study had spent when the last seed ended) and best: whether it is its study's
        best, the highest mean among those with the most items, then the most seeds.
    """
    done = course[course["validation"] & (course["status"] == "completed")]
    keys = ["study", "stage", "configuration", *FIDELITY]
    found = done.groupby(keys, sort=False, dropna=False).agg(
        seeds=("score", "size"),
        mean=("score", "mean"),
        std=("score", "std"),
        scores=("score", tuple),
        examples=("examples", "max"),
        hours=("hours", "max"),
    )
    found = found[found["seeds"] > 1].reset_index()
    intervals = [statistics.mean_of(scores).interval for scores in found["scores"]]
    found.insert(8, "low", [low for low, _ in intervals])
    found.insert(9, "high", [high for _, high in intervals])
    ranking = found.assign(train_items=found["train_items"].fillna(np.inf))
    ranking = ranking.sort_values(["train_items", "seeds", "mean"])
    return found.assign(best=~ranking["study"].duplicated(keep="last"))


def compare_strategies(first, second, unit=""):
    """Says in words how the best configurations of two studies differ.

    Arguments
    ---------
    first, second : pandas.Series
        Rows of ``validations``.
    unit : str
        Of the scores.

    Returns
    -------
    str
        Difference of the means with Welch's interval, and what it allows to say.
    """
    scores = first["scores"], second["scores"]
    gap = statistics.welch(*scores)
    names = first["study"], second["study"]
    text = verdict(names, gap, unit, gap.p, scores)
    fidelities = [fidelity_name(*row[FIDELITY]) for row in (first, second)]
    if fidelities[0] != fidelities[1]:
        text += f" (trained with {fidelities[0]} against {fidelities[1]})"
    return text + "."


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
    return [
        Text(
            "Compute is counted in training examples, which are the same on every "
            "machine, and in hours of training and of workers (with the start-up of "
            "each trial). A trial that resumed a checkpoint counts with what it added, "
            "a failed trial with its worker hours."
        ),
        Table("search_costs", "What each strategy cost", strategies),
        Table("search_stage_costs", "What each stage cost", stages),
    ]


def _progress_blocks(course, validated, unit):
    return [
        Text(
            "Lines: the best score of a stage's search so far; each stage has its own "
            "line, since scores of different numbers of training items or epochs "
            "do not compare. Digits: the stages, numbered as in the table above. "
            "Circles and stars with bars: configurations run with several seeds, as "
            "mean and 95 % t interval over the seeds, drawn where the last seed ended. "
            "Only these compare between strategies, and only of the same model, corpus "
            "and metric. What leaves the picture is in the tables below."
        ),
        *(
            Picture(
                f"search_progress_{column}",
                f"Best score so far against {label}",
                draw_progress(course, validated, column, label, unit),
            )
            for column, label in (
                ("examples", "training examples"),
                ("hours", "hours of workers"),
            )
        ),
    ]


def _validation_blocks(course, validated, unit):
    lacking = set(course["study"]) - set(validated["study"])
    blocks = [
        Text(f"{study}: no configuration has been completed with several seeds.")
        for study in sorted(lacking)
    ]
    if validated.empty:
        return blocks
    joined = [" / ".join(f"{s:.2f}" for s in scores) for scores in validated["scores"]]
    shown = validated.assign(scores=joined)
    best = shown[shown["best"]].drop(columns="best")
    spent = costs(course, ["study"]).set_index("study")
    best["examples"] = best["study"].map(spent["examples"])
    best["hours"] = best["study"].map(spent["worker hours"])
    sentences = [
        Text(compare_strategies(first, second, unit))
        for (_, first), (_, second) in combinations(
            validated[validated["best"]].iterrows(), 2
        )
    ]
    return [
        *blocks,
        Table("search_best", "Best validated configuration of each strategy", best),
        Table("search_validated", "All validated configurations", shown),
        *sentences,
        Text(
            "The best is chosen by the same seeds that give its mean, which is "
            "therefore a little too high, the more so the more configurations were "
            "validated. Intervals are Welch's, each at 95 %; neither they nor what is "
            "called significant are corrected for the number of pairs."
        ),
    ]


def _parallel_blocks(course):
    done = course[~course["validation"] & (course["status"] == "completed")]
    return [
        Picture(
            f"search_parallel_{study}",
            f"Searched values of {study}",
            draw_parallel(trials),
        )
        for study, trials in done.groupby("study", sort=False)
        if searched_keys(trials)
    ]


def _failure_blocks(course):
    failed = course[course["status"] == "failed"]
    if failed.empty:
        return [Text("No trial failed.")]
    reasons = failed.assign(reason=failed["failure"].replace("", "not known"))
    counts = reasons.groupby(["study", "stage", "reason"], sort=False).size()
    table = counts.reset_index(name="trials")
    return [Table("search_failures", "Why trials failed", table)]
