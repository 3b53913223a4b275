"""What explains the scores of searches, on trials whose truth is planted."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from recipekit.reporting.document import Picture, Table, Text
from recipekit.reporting.importance import (
    configurations,
    correlations,
    fidelity_correlations,
    importance,
    importance_blocks,
)
from recipekit.reporting.ledgers import configuration_texts
from recipekit.studies.spaces import read_space

SPACE = read_space({"lr": "loguniform(3e-4, 3e-3)", "clip": "uniform(0.5, 20)"})
SPACES = {("study", "search"): SPACE}


@pytest.fixture(autouse=True)
def few_forests(monkeypatch):
    """Fewer and smaller forests than a report has: quicker, and sure enough here."""
    monkeypatch.setattr("recipekit.reporting.importance.REPEATS", 25)
    monkeypatch.setattr("recipekit.reporting.importance.TREES", 10)


@pytest.fixture
def noise():
    return np.random.default_rng(1)


def trials(rows, **common):
    """Returns completed trials of the given rows, as ``searches.progress`` does."""
    defaults = {"study": "study", "stage": "search", "status": "completed"}
    defaults |= {"train_items": 100.0, "epochs": 10.0}
    frame = pd.DataFrame([defaults | common | row for row in rows])
    return frame.assign(configuration=configuration_texts(frame))


def drawn(noise, count, score, **common):
    """Rows of random lr and clip, scored by a function of where these are, 0..1."""
    return [
        {"hp.lr": 3e-4 * 10**a, "hp.clip": 0.5 + 19.5 * b, "score": score(a, b)}
        | common
        for a, b in noise.uniform(size=(count, 2))
    ]


def tried(rows, space=SPACE, **common):
    """Returns the configurations of one search."""
    found = configurations(trials(rows, **common), {("study", "search"): space})
    return found["study", "search"]


def blocks_of(kind, blocks):
    return [block for block in blocks if isinstance(block, kind)]


def words(blocks):
    return " ".join(block.text for block in blocks_of(Text, blocks))


def test_configurations_count_once_and_where_their_prior_has_them():
    space = SPACE | read_space({"optimizer": "choices(['sgd', 'adam'])"})
    same = {"hp.lr": 3e-4 * 10**0.5, "hp.clip": 20.0, "hp.optimizer": "adam"}
    rows = [same | {"score": 1.0}, same | {"score": 2.0}]
    rows += [same | {"score": 5.0, "epochs": 20.0}]
    rows += [same | {"score": 7.0, "stage": "grid"}]  # has no space: it does not search
    found = tried(rows, space)
    assert found[["epochs", "score"]].to_numpy().tolist() == [[10, 1.5], [20, 5]]
    assert found[["lr", "clip", "optimizer"]].to_numpy() == pytest.approx(
        np.array([[0.5, 1, 1]] * 2)
    )


def test_importance_is_the_share_of_the_variance(noise):
    rows = drawn(noise, 150, lambda a, b: 2 * a + b)
    for row in rows:
        row["hp.dummy"] = noise.uniform()
        row["hp.optimizer"] = noise.choice(["adam", "sgd"])
    more = {"dummy": "uniform(0, 1)", "optimizer": "choices(['adam', 'sgd'])"}
    space = SPACE | read_space(more)
    r_squared, table = importance(tried(rows, space), space)
    table = table.set_index("key")
    assert r_squared > 0.9
    assert table["importance"]["lr"] == pytest.approx(0.8, abs=0.1)
    assert table["importance"]["clip"] == pytest.approx(0.2, abs=0.1)
    assert (table.loc[["lr", "clip"], "low"] > 0).all()
    dummies = table.loc[["dummy", "optimizer"]]
    assert (dummies["low"] <= 0).all() and (dummies["high"] < 0.05).all()


def test_importance_of_choices(noise):
    rows = drawn(noise, 60, lambda a, b: 0.0)
    for row in rows:
        row["hp.optimizer"] = noise.choice(["adam", "rmsprop", "sgd"])
        row["score"] = float(row["hp.optimizer"] == "rmsprop") + noise.normal(0, 0.1)
    space = SPACE | read_space({"optimizer": "choices(['adam', 'rmsprop', 'sgd'])"})
    _, table = importance(tried(rows, space), space)
    assert table["key"].iloc[0] == "optimizer" and table["low"].iloc[0] > 0.2


def test_importance_is_not_about_fidelities(noise):
    rows = [
        *drawn(noise, 40, lambda a, b: 100 + a, epochs=5.0),
        *drawn(noise, 40, lambda a, b: a),
        # Too few to be centred.
        *drawn(noise, 4, lambda a, b: 500 * b, train_items=800.0),
    ]
    r_squared, table = importance(tried(rows), SPACE)
    assert r_squared > 0.8 and table["key"].iloc[0] == "lr"


def test_stages_have_the_keys_of_their_own_space(noise):
    """A proxy searches lr and clip; a grid over another key follows, with copies."""
    proxy = drawn(noise, 40, lambda a, b: a, stage="proxy")
    grid = [
        {"hp.lr": 1e-3, "hp.clip": 5.0, "hp.factor": factor, "score": score}
        | {"stage": "grid"}
        for factor, score in [(0.4, 1.0), (0.7, 2.0), (0.9, 3.0)] * 8
    ]
    blocks = importance_blocks(trials([*proxy, *grid]), {("study", "proxy"): SPACE})
    tables = {block.name: block.frame for block in blocks_of(Table, blocks)}
    assert sorted(tables["search_importance"]["key"]) == ["clip", "lr"]
    assert set(tables["search_importance"]["search"]) == {"study, proxy"}
    found = tables["search_correlations"]
    assert [*found["key"]] == ["lr", "clip"] and {*found["configurations"]} == {40}
    # Nothing is said where nothing was searched.
    assert importance_blocks(trials(grid), {}) == []


def test_keys_without_effect_are_rarely_claimed(noise):
    """Of the intervals over forests, on pure noise: few exclude 0."""
    claimed = 0
    for number in range(5):
        found = tried(drawn(noise, 30, lambda a, b: noise.normal()))
        r_squared, table = importance(found, SPACE, number)
        claimed += r_squared > 0 and (table["low"] > 0).any()
    assert claimed <= 1


def test_nothing_is_claimed_where_the_forest_explains_nothing(noise):
    blind = drawn(noise, 40, lambda a, b: noise.normal())
    few = drawn(noise, 10, lambda a, b: a, study="few")
    spaces = SPACES | {("few", "search"): SPACE}
    blocks = importance_blocks(trials([*blind, *few]), spaces)
    assert "study, search: the forest explains nothing (R² = -" in words(blocks)
    assert "few, search: too few scores (10)" in words(blocks)
    assert not blocks_of(Picture, blocks)
    assert [t.name for t in blocks_of(Table, blocks)] == ["search_correlations"]


def test_copies_of_a_configuration_are_no_evidence(noise):
    rows = drawn(noise, 15, lambda a, b: a)
    copied = tried([dict(row) for row in rows for _ in range(5)])
    assert np.isnan(importance(copied, SPACE)[0])
    table = correlations({("study", "search"): copied}, SPACES)
    assert {*table["configurations"]} == {15}


# --- correlations


def test_correlations_within_fidelities(noise):
    rows = [
        *drawn(noise, 40, lambda a, b: -a + noise.normal(0, 0.2)),
        *drawn(noise, 40, lambda a, b: 50 + a + noise.normal(0, 0.2), epochs=20),
        *drawn(noise, 9, lambda a, b: a, epochs=40),
    ]
    frame = trials(rows)
    table = correlations(configurations(frame, SPACES), SPACES, {"lr": 0.12})
    table = table.set_index(["key", "epochs"])
    assert len(table) == 4 and (table["configurations"] == 40).all()
    for epochs, sign in ((10, "high"), (20, "low")):
        group = frame[frame["epochs"] == epochs]
        lr = table.loc[("lr", epochs)]
        expected = stats.spearmanr(group["hp.lr"], group["score"]).statistic
        assert lr["spearman"] == pytest.approx(expected)
        expected = np.corrcoef(np.log10(group["hp.lr"]), group["score"])[0, 1]
        assert lr["pearson"] == pytest.approx(expected)
        assert abs(lr[f"spearman_{sign}"]) > 0.5 and lr["excludes 0"] == "yes"
        assert lr["logged"] == 0.12
        clip = table.loc[("clip", epochs)]
        assert clip["spearman_low"] < 0 < clip["spearman_high"]
        assert clip["excludes 0"] == "no" and np.isnan(clip["logged"])


def test_keys_and_scores_without_spread_have_no_correlation(noise):
    rows = drawn(noise, 12, lambda a, b: a)
    for row in rows:
        row["hp.clip"] = 5.0
    found = configurations(trials(rows), SPACES)
    assert [*correlations(found, SPACES)["key"]] == ["lr"]
    flat = configurations(trials([row | {"score": 1.0} for row in rows]), SPACES)
    assert correlations(flat, SPACES).empty


def test_bootstrap_interval_has_the_known_width(noise):
    count = 200
    rows = drawn(noise, count, lambda a, b: a + noise.uniform())
    table = correlations(configurations(trials(rows), SPACES), SPACES)
    lr = table.set_index("key").loc["lr"]
    # Fisher's transform: its standard error is 1 / sqrt(n - 3).
    width = np.arctanh(lr["pearson_high"]) - np.arctanh(lr["pearson_low"])
    assert width == pytest.approx(2 * 1.96 / np.sqrt(count - 3), rel=0.25)


def promoted(scores, **common):
    return [{"hp.lr": 1e-3 * n, "score": s} | common for n, s in enumerate(scores, 1)]


def test_fidelities_are_compared_by_the_configurations_they_share():
    rows = [
        *promoted(range(12), study="good"),
        *promoted(np.arange(12) ** 2, study="good", train_items=np.nan),
        *promoted(range(5), study="bad"),
        *promoted([9, 8, 7], study="bad", epochs=20),
        *promoted([1, 2], study="bad", epochs=40),
    ]
    table = fidelity_correlations(trials(rows)).set_index("study")
    good, bad = table.loc["good"], table.loc["bad"]
    assert good["low fidelity"] == "100 items, 10 epochs"
    assert good["high fidelity"] == "all items, 10 epochs"
    assert good["configurations"] == 12 and bad["configurations"] == 3
    for name in ("spearman", "kendall"):
        assert good[name] == pytest.approx(1) and bad[name] == pytest.approx(-1)
    assert good["spearman_low"] == pytest.approx(1)
    assert np.isnan(bad["spearman_low"])


def test_fidelity_takes_the_mean_over_seeds():
    rows = promoted([1, 2, 3])
    for lr, scores in ((1e-3, [9, 1]), (2e-3, [4, 8]), (3e-3, [7, 7])):
        rows += [
            {"hp.lr": lr, "score": score, "epochs": 80.0, "stage": "validate"}
            for score in scores
        ]
    (row,) = fidelity_correlations(trials(rows)).to_dict("records")
    assert row["spearman"] == pytest.approx(1)
