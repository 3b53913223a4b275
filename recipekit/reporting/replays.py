"""What strategies of search reach, and at what cost: repeated on a table of curves."""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from matplotlib.figure import Figure

from recipekit.console import progress_bar
from recipekit.files.atomic import replacing
from recipekit.studies.replay import Curves, TableTooSmallError, collect, replay
from recipekit.studies.selection import key_of
from recipekit.studies.study_file import read_study
from recipekit.training.hparams_keys import Keys

RANGE = (5, 95)  # percent of the searches, between which most of them end
SINGLE = 1.0  # the budget of the study as it is


def outcome(validated):
    """Returns what a replayed study came to.

    Arguments
    ---------
    validated : list of Trial
        Of its last stage: some configurations with several seeds.

    Returns
    -------
    float
        Mean over seeds of the best configuration: a little too high, since these seeds
        have chosen it.
    """
    found = {}
    for trial in validated:
        found.setdefault(key_of(trial.params), []).append(trial)
    return max(float(np.mean([t.score for t in trials])) for trials in found.values())


def repeat(study, curves, defaults, times):
    """Replays a study with other draws, again and again.

    Returns
    -------
    pandas.DataFrame
        A row each: examples, trials and score.
    """
    rows = []
    for number in progress_bar(range(times), study.name):
        stages, cost = replay(study, curves, defaults, ("replay", number))
        *_, validated = stages.values()
        count = sum(len(trials) for trials in stages.values())
        rows.append((cost, count, outcome(validated)))
    return pd.DataFrame(rows, columns=["examples", "trials", "score"])


def summary(found, reference):
    """Returns a row a strategy and budget: means, and what most searches are between.

    Arguments
    ---------
    found : dict
        (strategy, budget) -> table of ``repeat``.
    reference : str
        The strategy whose cost and score the others are compared with.
    """
    whole = found[reference, SINGLE]
    rows = []
    for (name, budget), table in found.items():
        row = {"strategy": name, "budget": budget, "searches": len(table)}
        row |= {"trials": table["trials"].mean(), "examples": table["examples"].mean()}
        row["share"] = table["examples"].mean() / whole["examples"].mean()
        gaps = (table["score"] - whole["score"].to_numpy()).to_numpy()
        for title, values in (
            ("score", table["score"]),
            (f"minus {reference}", gaps),
        ):
            low, high = np.percentile(values, RANGE)
            row |= {title: np.mean(values), f"{title} low": low, f"{title} high": high}
        rows.append(row)
    return pd.DataFrame(rows)


def without_search(curves, fixed, seeds, epochs, known):
    """Returns what is reached without any search: a table of scores by name.

    Arguments
    ---------
    curves : Curves
    fixed : tuple
        Of train_items and scheduler.
    seeds : list of int
    epochs : int
    known : dict
        Name -> the configuration (params) that it stands for.
    """
    items, scheduler = fixed
    every = curves.configurations((items, seeds[0], scheduler))
    means = {
        key_of(params): np.mean(
            [curves.score((items, s, scheduler), params, epochs) for s in seeds]
        )
        for params in every
    }
    values = np.array(list(means.values()))
    cost = items * epochs * len(seeds)
    rows = [
        (name, cost, *[means[key_of(params)]] * 3) for name, params in known.items()
    ]
    low, high = np.percentile(values, RANGE)
    rows.append(("a random configuration", cost, values.mean(), low, high))
    rows.append(("the best of the table", cost * len(values), *[values.max()] * 3))
    names = ["strategy", "examples", "score", "score low", "score high"]
    return pd.DataFrame(rows, columns=names)


def draw(table, unsearched, unit):
    """Draws scores against cost: what the middle nine tenths of searches are between.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for number, (name, rows) in enumerate(table.groupby("strategy", sort=False)):
        # A few searches that end elsewhere may move the mean out of the range.
        reach = [
            (rows["score"] - rows["score low"]).clip(lower=0),
            (rows["score high"] - rows["score"]).clip(lower=0),
        ]
        axes.errorbar(
            *(rows["examples"], rows["score"], reach),
            fmt="o-",
            color=f"C{number}",
            capsize=3,
            label=name,
        )
    for number, row in enumerate(unsearched.to_dict("records")):
        axes.axhline(row["score"], ls=(0, (1 + number, 2)), color="gray", lw=0.9)
        axes.annotate(
            row["strategy"],
            (1, row["score"]),
            xycoords=("axes fraction", "data"),
            xytext=(-3, 2),
            textcoords="offset points",
            ha="right",
            fontsize=7,
            color="dimgray",
        )
    axes.set(
        xscale="log",
        xlabel="training examples of the whole study",
        ylabel=f"validated score ({unit})",
        title="mean, and the middle 90 % of the searches",
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def main(arguments, recipe):
    """Collects a table of learning curves, or replays studies on it."""
    parser = argparse.ArgumentParser(description=main.__doc__, allow_abbrev=False)
    actions = parser.add_subparsers(dest="action", required=True)
    making = actions.add_parser("collect", help="write the table of runs")
    making.add_argument("runs", nargs="+", type=Path, help="output folders")
    making.add_argument("--keys", nargs="+", required=True, help="the searched ones")
    making.add_argument("--out", required=True, type=Path, help="CSV to write")
    playing = actions.add_parser("run", help="replay studies on a table")
    playing.add_argument("table", type=Path, help="CSV of `collect`")
    playing.add_argument("studies", nargs="+", type=Path, help="YAMLs")
    playing.add_argument("--scale", type=Path, required=True, help="of the table")
    playing.add_argument("--reference", help="study; default: the first")
    playing.add_argument("--times", type=int, default=1000, help="default: 1000")
    playing.add_argument(
        "--budgets",
        nargs="+",
        type=float,
        default=[SINGLE],
        help="shares of the trials, such as 0.5 1 2; 1 must be among them",
    )
    playing.add_argument("--out", required=True, type=Path, help="folder to write to")
    options = parser.parse_args(arguments)
    if options.action == "collect":
        table = collect(options.runs, options.keys, options.out)
        print(f"{options.out}: {len(table)} runs")
        return
    if SINGLE not in options.budgets or options.times < 1:
        parser.error("expected 1 among the --budgets, and --times of 1 or more")
    if options.reference not in (None, *(path.stem for path in options.studies)):
        parser.error(f"--reference {options.reference}: not one of the studies")
    _replay(options, recipe)


def _replay(options, recipe):
    curves, keys = Curves.read(options.table), Keys(recipe)
    scale = yaml.safe_load(options.scale.read_text(encoding="utf-8"))
    found, studies, defaults = {}, {}, {}
    for path in options.studies:
        for budget in options.budgets:
            smaller = {**scale, "name": options.scale.stem}
            smaller["trials"] = scale.get("trials", 1) * budget
            study = read_study(path, recipe, smaller)
            for hparams in {Path(stage.hparams) for stage in study.stages}:
                values = keys.plain_values(hparams, keys.read_text(hparams))
                defaults[str(hparams)] = values
            try:
                table = repeat(study, curves, defaults, options.times)
            except TableTooSmallError:
                if budget == SINGLE:
                    raise
                print(
                    f"{study.name}: the table is too small for {budget} of its trials"
                )
                continue
            found[path.stem, budget] = table
            studies[path.stem] = study
    reference = options.reference or options.studies[0].stem
    table = summary(found, reference)
    last = studies[reference].stages[-1]
    scheduler = (defaults[last.hparams] | last.settings)["scheduler"]
    known = _known(studies, curves, last, scheduler)
    fixed = last.settings["train_items"], scheduler
    unsearched = without_search(curves, fixed, last.seeds, last.epochs, known)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, frame in (("replays", table), ("without_search", unsearched)):
        with replacing(options.out / f"{name}.csv") as path:
            frame.round(4).to_csv(path, index=False, lineterminator="\n")
    figure = draw(table, unsearched, recipe.measures.unit)
    with replacing(options.out / "replays.png") as path:
        figure.savefig(path, format="png", dpi=120)
    print(table.round(3).to_string(index=False))
    print(unsearched.round(3).to_string(index=False))


def _known(studies, curves, last, scheduler):
    """Returns the known configurations of studies that the table has in full."""
    full = curves.configurations(
        (last.settings["train_items"], last.seeds[0], scheduler)
    )
    known = {}
    for study in studies.values():
        for stage in study.stages:
            for number, params in enumerate((stage.search or {}).get("first", ()), 1):
                same = [row for row in full if params.items() <= row.items()]
                if same:
                    known[f"{study.name}, known {number}"] = same[0]
    return known


if __name__ == "__main__":
    sys.exit("Run the recipe's replay.py")
