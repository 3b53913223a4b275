"""Tables of replays: what is compared, and what they say of made-up curves."""

import numpy as np
import pandas as pd
import pytest

from recipekit.reporting.replays import outcome, summary, without_search
from recipekit.studies.replay import Curves, collect
from recipekit.studies.selection import Trial


def trial(lr, seed, score):
    return Trial("", 0, {"lr": lr, "seed": seed}, "completed", 2, -score, {})


def curves():
    rows = [
        {"train_items": 10, "seed": seed, "scheduler": "plateau", "lr": lr}
        | {"epoch_1": lr, "epoch_2": lr + seed, "epoch_3": lr + seed - 5}
        for lr in (1.0, 2.0, 4.0)
        for seed in (0, 1)
    ]
    return Curves(pd.DataFrame(rows))


def test_a_study_comes_to_the_best_mean_over_seeds():
    validated = [trial(0.1, 1, 3.0), trial(0.1, 2, 5.0), trial(0.2, 1, 6.0)]
    assert outcome([*validated, trial(0.2, 2, 0.0)]) == 4.0


def test_summary_relates_cost_and_score_to_the_reference():
    def table(examples, scores):
        return pd.DataFrame({"examples": examples, "trials": 5, "score": scores})

    found = {
        ("wide", 1.0): table(1000, [1.0, 2.0, 3.0]),
        ("fast", 1.0): table(100, [0.5, 1.5, 2.5]),
    }
    wide, fast = summary(found, "wide").to_dict("records")
    assert (wide["share"], fast["share"]) == (1.0, 0.1)
    assert wide["minus wide high"] == 0 and fast["minus wide"] == -0.5
    assert fast["minus wide low"] == -0.5 == fast["minus wide high"]
    assert fast["score"] == 1.5 and fast["score low"] == pytest.approx(0.6)


def test_without_a_search_all_configurations_count_alike():
    table = without_search(curves(), (10, "plateau"), [0, 1], 2, {"known": {"lr": 2.0}})
    known, random, best = table.to_dict("records")
    assert known["score"] == 2.5 and known["examples"] == 10 * 2 * 2
    assert random["score"] == pytest.approx(np.mean([1.5, 2.5, 4.5]))
    assert best["score"] == 4.5 and best["examples"] == 3 * 10 * 2 * 2


def test_scores_are_the_best_so_far_and_none_is_made_up():
    table = curves()
    fixed = (10, 1, "plateau")
    assert table.score(fixed, {"lr": 4.0}, 3) == 5.0
    with pytest.raises(ValueError, match="has 3 epochs .* asks for 4"):
        table.score(fixed, {"lr": 4.0}, 4)
    with pytest.raises(ValueError, match="no runs of train_items 20"):
        table.configurations((20, 1, "plateau"))


def test_folders_without_a_searched_key_are_refused(tmp_path):
    (tmp_path / "hyperparams.yaml").write_text("train_items: 3\nseed: 1\n")
    with pytest.raises(ValueError, match="hyperparams.yaml: lacks scheduler"):
        collect([tmp_path], ["lr"], tmp_path / "curves.csv")
    assert not (tmp_path / "curves.csv").exists()
