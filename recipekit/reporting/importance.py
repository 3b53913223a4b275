"""What explains the scores of a search: importance of keys, correlations, fidelity."""

from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.ensemble import RandomForestRegressor

from recipekit.files import keyed
from recipekit.reporting.document import Picture, Table, Text
from recipekit.reporting.ledgers import (
    FIDELITY,
    PREFIX,
    fidelity_name,
    on_scale,
    searched_keys,
)
from recipekit.reporting.search_pictures import draw_importance
from recipekit.scoring import statistics

REPEATS = 100  # forests on bootstrap samples
TREES = 20  # of each
LEAF = 3  # trials in a leaf, at least
PERMUTATIONS = 5  # of a key, for each forest
LEAST_GROUP = 5  # trials of one stage and fidelity that can be centred
LEAST_TRIALS = 20  # to grow a forest on
LEAST_CORRELATED = 10  # trials
LEAST_SHARED = 3  # configurations at two fidelities
FEW_SHARED = 10  # below which a bootstrap over configurations says little


def importance_blocks(course, logged=None):
    """Makes the report's blocks on what explains the scores.

    Arguments
    ---------
    course : pandas.DataFrame
        As from ``searches.progress``.
    logged : dict, optional
        Key -> correlation with the score in an earlier study, to compare with.

    Returns
    -------
    list
        Of Text, Table and Picture.
    """
    done = course[course["status"] == "completed"]
    searched = done[~done["validation"]]
    studies = [
        (study, trials)
        for study, trials in searched.groupby("study", sort=False)
        if searched_keys(trials)
    ]
    if not studies:
        return []
    return [
        *_forest_blocks(studies),
        *_correlation_blocks(searched, logged),
        *_fidelity_blocks(done),
    ]


def importance(trials):
    """Estimates how much of the scores' variance each searched key explains.

    Scores are centred within stage and fidelity. Random forests are grown on bootstrap
    samples of the configurations and judged on the configurations left out: the
    importance of a key is the rise of the squared error when its values are permuted,
    over twice the scores' variance, which for independent keys with additive effects
    is the key's share of the variance (Gregorutti, Michel, Saint-Pierre, "Correlation
    and variable importance in random forests", Statistics and Computing 27, 2017).

    Arguments
    ---------
    trials : pandas.DataFrame
        Completed trials of one study's searches, with the column configuration.

    Returns
    -------
    r_squared : float
        Share of the variance that all forests together predict for trials left out;
        NaN if there are fewer than LEAST_TRIALS trials or all scores are equal.
    table : pandas.DataFrame
        Columns key, importance (mean over the forests), low, high (95 % percentile
        interval), highest first; empty if r_squared is NaN.
    """
    groups = trials.groupby(["stage", *FIDELITY], dropna=False)["score"]
    kept = groups.transform("size") >= LEAST_GROUP
    centred = (trials["score"] - groups.transform("mean"))[kept].to_numpy()
    trials = trials[kept]
    names = searched_keys(trials)
    keys = [name.removeprefix(PREFIX) for name in names]
    if len(trials) < LEAST_TRIALS or not names or np.ptp(centred) == 0:
        return np.nan, pd.DataFrame(columns=["key", "importance", "low", "high"])
    study = trials["study"].iloc[0]
    features = np.stack([on_scale(trials[name]) for name in names], axis=1)
    owners, labels = pd.factorize(trials["configuration"], sort=True)
    sums, counts = np.zeros(len(trials)), np.zeros(len(trials))
    rises = np.empty((REPEATS, len(names)))
    for repeat in range(REPEATS):
        generator = keyed.generator("importance", study, repeat)
        drawn = generator.integers(len(labels), size=len(labels))
        weights = np.bincount(drawn, minlength=len(labels))[owners]
        grown = np.repeat(np.arange(len(trials)), weights)
        left = np.flatnonzero(weights == 0)
        forest = RandomForestRegressor(
            TREES,
            min_samples_leaf=LEAF,
            random_state=int(generator.integers(2**32)),
        ).fit(features[grown], centred[grown])
        predicted = forest.predict(features[left])
        sums[left] += predicted
        counts[left] += 1
        error = np.mean((predicted - centred[left]) ** 2)
        permuted = _permuted(features[left], generator)
        predicted = forest.predict(permuted.reshape(-1, len(names)))
        predicted = predicted.reshape(len(names), PERMUTATIONS, -1)
        errors = np.mean((predicted - centred[left]) ** 2, axis=(1, 2))
        rises[repeat] = (errors - error) / (2 * centred.var())
    residuals = centred - sums / np.maximum(counts, 1)
    low, high = statistics.percentile_interval(rises)
    table = pd.DataFrame(
        {"key": keys, "importance": rises.mean(0), "low": low, "high": high}
    )
    r_squared = 1 - np.mean(residuals**2) / centred.var()
    return float(r_squared), table.sort_values("importance", ascending=False)


def _permuted(features, generator):
    """Returns features with one column permuted, [keys, PERMUTATIONS, rows, keys]."""
    rows, keys = features.shape
    copies = np.tile(features, (keys, PERMUTATIONS, 1, 1))
    for key in range(keys):
        for copy in copies[key]:
            copy[:, key] = generator.permutation(features[:, key])
    return copies


def correlations(trials, logged=None):
    """Correlates each searched key with the score, within stages and fidelities.

    Arguments
    ---------
    trials : pandas.DataFrame
        Completed trials of searches.
    logged : dict, optional
        Key -> correlation with the score in an earlier study, to compare with.

    Returns
    -------
    pandas.DataFrame
        Columns study, stage, train_items, epochs, key, trials (number), spearman and
        pearson (on log10 where the key is logarithmic), each with its 95 % bootstrap
        interval (_low, _high), logged (if given) and excludes 0 (of Spearman's
        interval). Groups of fewer than LEAST_CORRELATED trials and keys
        whose values are texts are left out.
    """
    rows = []
    for study, members in trials.groupby("study", sort=False):
        members = members.infer_objects()
        for name in searched_keys(members):
            if not pd.api.types.is_numeric_dtype(members[name]):
                continue
            key = name.removeprefix(PREFIX)
            scaled = members.assign(value=on_scale(members[name]))
            scaled = scaled[scaled["value"].notna()]
            groups = scaled.groupby(["stage", *FIDELITY], dropna=False, sort=False)
            for (stage, items, epochs), group in groups:
                if len(group) < LEAST_CORRELATED or group["value"].nunique() == 1:
                    continue
                rows.append(
                    {"study": study, "stage": stage, "train_items": items}
                    | {"epochs": epochs, "key": key, "trials": len(group)}
                    | statistics.correlation_intervals(
                        group["value"], group["score"], study, stage, key
                    )
                    | ({"logged": logged.get(key, np.nan)} if logged else {})
                )
    table = pd.DataFrame(rows)
    if rows:
        excludes = (table["spearman_low"] > 0) | (table["spearman_high"] < 0)
        table["excludes 0"] = np.where(excludes, "yes", "no")
    return table


def fidelity_correlations(trials):
    """Correlates the scores of configurations that were run at two fidelities.

    Arguments
    ---------
    trials : pandas.DataFrame
        Completed trials, those of validation included, with the column configuration.

    Returns
    -------
    pandas.DataFrame
        Columns study, low fidelity, high fidelity, configurations (number), spearman
        with its 95 % bootstrap interval (NaN below FEW_SHARED configurations), kendall.
        A configuration's score is its mean over seeds. Pairs with fewer than
        LEAST_SHARED configurations are left out.
    """
    rows = []
    for study, members in trials.groupby("study", sort=False):
        scores = members.assign(train_items=members["train_items"].fillna(np.inf))
        scores = scores.groupby(["configuration", *FIDELITY])["score"].mean()
        scores = scores.unstack(FIDELITY).sort_index(axis=1)
        for low, high in combinations(scores, 2):
            shared = scores[[low, high]].dropna()
            if len(shared) < LEAST_SHARED:
                continue
            names = [fidelity_name(*fidelity) for fidelity in (low, high)]
            found = statistics.correlation_intervals(
                shared[low], shared[high], study, *names
            )
            if len(shared) < FEW_SHARED:
                found |= {"spearman_low": np.nan, "spearman_high": np.nan}
            rows.append(
                {"study": study, "low fidelity": names[0], "high fidelity": names[1]}
                | {"configurations": len(shared)}
                | {name: found[name] for name in found if "spearman" in name}
                | {"kendall": stats.kendalltau(shared[low], shared[high]).statistic}
            )
    return pd.DataFrame(rows)


def _forest_blocks(studies):
    found = {study: (len(trials), *importance(trials)) for study, trials in studies}
    blocks = [
        Text(
            "Importance: the share of the scores' variance that a searched key "
            "explains, by permuting it for random forests on bootstrap samples of the "
            "configurations, judged on those left out. Scores are centred within stage "
            f"and fidelity; groups of fewer than {LEAST_GROUP} trials are left out."
        )
    ]
    tables = {}
    for study, (trials, r_squared, table) in found.items():
        if np.isnan(r_squared):
            text = f"too few trials ({trials}) for a forest; no importance is claimed."
        elif r_squared <= 0:
            text = (
                f"the forest explains nothing (R² = {r_squared:.2f} on trials left "
                "out); no importance is claimed."
            )
        else:
            shown = table.loc[table["low"] > 0, "key"]
            text = (
                f"the forest has R² = {r_squared:.2f} on trials left out. Keys whose "
                f"interval excludes 0: {', '.join(shown) or 'none'}."
            )
            tables[study] = table
        blocks.append(Text(f"{study}: {text}"))
    if tables:
        joined = pd.concat(tables, names=["study"]).reset_index("study")
        figure = draw_importance(tables)
        blocks += [
            Table("search_importance", "Importance of the searched keys", joined),
            Picture("search_importance", "Importance of the searched keys", figure),
        ]
    return blocks


def _correlation_blocks(searched, logged):
    table = correlations(searched, logged)
    if table.empty:
        return []
    excluding = (table["excludes 0"] == "yes").sum()
    text = (
        "Correlation of each key with the score within a stage, with bootstrap "
        f"intervals; {excluding} of {len(table)} of Spearman's exclude 0, where chance "
        f"alone would let about {statistics.ALPHA * len(table):.1f} do so."
    )
    if logged:
        text += (
            " Logged: the values of an earlier study, for which neither number of "
            "trials nor interval is known."
        )
    return [
        Text(text),
        Table("search_correlations", "Correlations of keys and score", table),
    ]


def _fidelity_blocks(done):
    table = fidelity_correlations(done)
    if table.empty:
        return [
            Text(
                f"No two fidelities share {LEAST_SHARED} configurations or more, so "
                "whether a low one predicts a high one is not known."
            )
        ]
    small = (table["configurations"] < FEW_SHARED).sum()
    return [
        Text(
            "Does a low fidelity predict a high one? Rank correlation of the scores of "
            "configurations that were run at both. Those promoted or validated were "
            "the best at the low fidelity, which narrows their range and lowers the "
            f"correlation. {small} of {len(table)} rest on fewer than {FEW_SHARED} "
            "configurations: too few for an interval, and to say much."
        ),
        Table("search_fidelities", "Rank correlation between fidelities", table),
    ]
