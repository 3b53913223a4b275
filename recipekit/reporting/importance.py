"""What explains the scores of a search: importance of keys, correlations, fidelity."""

from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.ensemble import RandomForestRegressor

from recipekit.files import keyed
from recipekit.reporting.document import Picture, Table, Text
from recipekit.reporting.ledgers import FIDELITY, PREFIX, fidelity_name
from recipekit.reporting.search_pictures import draw_importance
from recipekit.scoring import statistics

REPEATS = 100  # forests on bootstrap samples
TREES = 20  # of each
LEAF = 3  # trials in a leaf, at least
PERMUTATIONS = 5  # of a key, for each forest
LEAST_GROUP = 5  # configurations at one fidelity that can be centred
LEAST_GROWN = 20  # scores to grow a forest on
LEAST_CORRELATED = 10  # configurations
LEAST_SHARED = 3  # configurations at two fidelities
FEW_SHARED = 10  # below which a bootstrap over configurations says little


def importance_blocks(trials, spaces, logged=None):
    """Makes the report's blocks on what explains the scores.

    Arguments
    ---------
    trials : pandas.DataFrame
        As from ``searches.progress``.
    spaces : dict
        (study, stage) -> dict from key to Prior, of the stages that search.
    logged : dict, optional
        Key -> correlation with the score in an earlier study, to compare with.

    Returns
    -------
    list
        Of Text, Table and Picture; empty if no stage searched.
    """
    done = trials[trials["status"] == "completed"]
    searches = configurations(done, spaces)
    if not searches:
        return []
    return [
        *_forest_blocks(searches, spaces),
        *_correlation_blocks(searches, spaces, logged),
        *_fidelity_blocks(done),
    ]


def configurations(done, spaces):
    """Returns what each search tried, each configuration once at a fidelity.

    Copies of a configuration, such as those that a trial resumed or repeated, say
    nothing new of its keys: their scores are averaged.

    Arguments
    ---------
    done : pandas.DataFrame
        Completed trials, with the column configuration.
    spaces : dict
        As of ``importance_blocks``.

    Returns
    -------
    dict
        (study, stage) -> pandas.DataFrame with the columns configuration, train_items,
        epochs, score and, for each key of the space, where its value lies in it, 0..1
        (``Prior.unit``; choices by their place). Stages that do not search, such as
        grids and validations, are left out.
    """
    found = {}
    for (study, stage), trials in done.groupby(["study", "stage"], sort=False):
        space = spaces.get((study, stage))
        if not space:
            continue
        scaled = trials[["configuration", *FIDELITY, "score"]].copy()
        for key, prior in space.items():
            values = trials[f"{PREFIX}{key}"]
            place = prior.choices.index if prior.choices else prior.unit
            scaled[key] = [place(value) for value in values]
        groups = scaled.groupby(["configuration", *FIDELITY], sort=False, dropna=False)
        found[study, stage] = groups.mean().reset_index()
    return found


def importance(tried, space, *key):
    """Estimates how much of the scores' variance each key of a search explains.

    Scores are centred within fidelities. Random forests are grown on bootstrap samples
    of the configurations and judged on the configurations left out: the importance of a
    key is the rise of the squared error when its values are permuted, over twice the
    scores' variance, which for independent keys with additive effects is the key's
    share of the variance (Gregorutti, Michel, Saint-Pierre, "Correlation and variable
    importance in random forests", Statistics and Computing 27, 2017).

    Arguments
    ---------
    tried : pandas.DataFrame
        Of one search, as from ``configurations``.
    space : dict
        Key -> Prior.
    *key
        What the draws depend on.

    Returns
    -------
    r_squared : float
        Share of the variance that all forests together predict for configurations left
        out; NaN if there are fewer than LEAST_GROWN scores or all are equal.
    table : pandas.DataFrame
        Columns key, importance (mean over the forests), low, high (95 % percentile
        interval), highest first; empty if r_squared is NaN.
    """
    groups = tried.groupby(FIDELITY, dropna=False)["score"]
    kept = groups.transform("size") >= LEAST_GROUP
    centred = (tried["score"] - groups.transform("mean"))[kept].to_numpy()
    tried, names = tried[kept], [*space]
    if len(tried) < LEAST_GROWN or np.ptp(centred) == 0:
        return np.nan, pd.DataFrame(columns=["key", "importance", "low", "high"])
    features = tried[names].to_numpy(float)
    owners, labels = pd.factorize(tried["configuration"], sort=True)
    sums, counts = np.zeros(len(tried)), np.zeros(len(tried))
    rises = np.empty((REPEATS, len(names)))
    for repeat in range(REPEATS):
        generator = keyed.generator("importance", *key, repeat)
        drawn = generator.integers(len(labels), size=len(labels))
        weights = np.bincount(drawn, minlength=len(labels))[owners]
        grown = np.repeat(np.arange(len(tried)), weights)
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
        {"key": names, "importance": rises.mean(0), "low": low, "high": high}
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


def correlations(searches, spaces, logged=None):
    """Correlates each searched key with the score, within searches and fidelities.

    Arguments
    ---------
    searches : dict
        As from ``configurations``.
    spaces : dict
        As of ``importance_blocks``.
    logged : dict, optional
        Key -> correlation with the score in an earlier study, to compare with.

    Returns
    -------
    pandas.DataFrame
        Columns study, stage, train_items, epochs, key, configurations (number),
        spearman and pearson (on the logarithm where the prior has it), each with its
        95 % bootstrap interval (_low, _high), logged (if given) and excludes 0 (of
        Spearman's interval). Groups of fewer than LEAST_CORRELATED configurations,
        keys of choices, and keys or scores without any spread are left out.
    """
    rows = []
    for (study, stage), tried in searches.items():
        groups = tried.groupby(FIDELITY, dropna=False, sort=False)
        for key, prior in spaces[study, stage].items():
            for (items, epochs), group in groups:
                constant = group[[key, "score"]].nunique().min() == 1
                if prior.choices or constant or len(group) < LEAST_CORRELATED:
                    continue
                rows.append(
                    {"study": study, "stage": stage, "train_items": items}
                    | {"epochs": epochs, "key": key, "configurations": len(group)}
                    | statistics.correlation_intervals(
                        group[key], group["score"], study, stage, key
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


def _forest_blocks(searches, spaces):
    blocks = [
        Text(
            "Importance: the share of the scores' variance that a searched key "
            "explains within the space of its search, by permuting it for random "
            "forests on bootstrap samples of the configurations, judged on those left "
            "out. A configuration counts once at a fidelity. Scores are centred within "
            f"fidelities; those with fewer than {LEAST_GROUP} configurations are left "
            "out."
        )
    ]
    tables = {}
    for (study, stage), tried in searches.items():
        name = f"{study}, {stage}"
        r_squared, table = importance(tried, spaces[study, stage], study, stage)
        if np.isnan(r_squared):
            text = (
                f"too few scores ({len(tried)}) or none that differ; no importance is "
                "claimed."
            )
        elif r_squared <= 0:
            text = (
                f"the forest explains nothing (R² = {r_squared:.2f} on configurations "
                "left out); no importance is claimed."
            )
        else:
            shown = table.loc[table["low"] > 0, "key"]
            text = (
                f"the forest has R² = {r_squared:.2f} on configurations left out. Keys "
                f"whose interval excludes 0: {', '.join(shown) or 'none'}."
            )
            tables[name] = table
        blocks.append(Text(f"{name}: {text}"))
    if tables:
        joined = pd.concat(tables, names=["search"]).reset_index("search")
        figure = draw_importance(tables)
        blocks += [
            Table("search_importance", "Importance of the searched keys", joined),
            Picture("search_importance", "Importance of the searched keys", figure),
        ]
    return blocks


def _correlation_blocks(searches, spaces, logged):
    table = correlations(searches, spaces, logged)
    if table.empty:
        return []
    excluding = (table["excludes 0"] == "yes").sum()
    text = (
        "Correlation of each key with the score within a search, with bootstrap "
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
