"""The report's section on searches, on ledgers whose truth is planted."""

import numpy as np
import pandas as pd
import pytest
from made_settings import ledger, seeds, studies

from recipekit.reporting.document import Folded, Panels, Table, Text
from recipekit.reporting.ledgers import (
    configuration_texts,
    find_ledgers,
    grids,
    is_validation,
    read_ledger,
)
from recipekit.reporting.search_pictures import draw_keys, draw_progress
from recipekit.reporting.searches import (
    LoggedStudy,
    costs,
    progress,
    read_studies,
    section,
    validations,
)
from recipekit.studies.spaces import Prior

LOGGED = LoggedStudy("three_stage", {"weight_decay": -0.27, "lr": 0.12})


@pytest.fixture
def noise():
    return np.random.default_rng(1)


def search_rows(noise, count, score, **common):
    """Rows of random lr (log-uniform) and clip (uniform), scored by a function."""
    draws = noise.uniform(size=(count, 2))
    return [
        {"hp.lr": 10 ** (a - 3.5), "hp.clip": 0.5 + 19.5 * b, "score": score(a, b)}
        | common
        for a, b in draws
    ]


def blocks_of(kind, blocks):
    """Returns the blocks of a kind, those that are folded included."""
    found = []
    for block in blocks:
        inside = block.blocks if isinstance(block, Folded) else ()
        found += [each for each in (block, *inside) if isinstance(each, kind)]
    return found


def words(blocks):
    return " ".join(block.text for block in blocks_of(Text, blocks))


# --- ledgers


def written(tmp_path, frame, name="three_stage"):
    path = tmp_path / name / "ledger.csv"
    path.parent.mkdir()
    frame.to_csv(path, index=False)
    return path


def test_ledgers_are_found_once_and_read_as_they_were(tmp_path):
    rows = [
        {"score": 1.5, "hp.optimizer": "adam", "train_items": np.nan, "items": 900},
        {"status": "failed", "failure": "nan", "hp.lr": 1e-3, "device": ""},
    ]
    frame = ledger(rows)
    path = written(tmp_path, frame)
    other = written(tmp_path, frame, "fast")
    assert find_ledgers([tmp_path / "three_stage", tmp_path]) == [path, other]
    found = read_ledger(path)
    pd.testing.assert_frame_equal(found, frame, check_dtype=False)
    assert found["ended"].dt.tz is not None and found["epochs"].dtype == float


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"new_items": None}, "lacks the columns new_items"),
        ({"score": "good"}, "score is not a number"),
        ({"ended": "yesterday"}, "ended is not an ISO 8601 time"),
        ({"status": "done"}, "status done is none of completed"),
        ({"score": np.nan}, "completed trial lacks a finite score"),
    ],
)
def test_wrong_ledger_is_refused_with_file_and_column(tmp_path, change, reason):
    frame = ledger([{"score": 1.0}]).assign(**change).dropna(axis=1, how="all")
    frame = frame.reindex(columns=[*frame, *({"score"} - set(frame))])
    with pytest.raises(ValueError, match=f"ledger.csv.*{reason}"):
        read_ledger(written(tmp_path, frame))


def test_validation_is_a_fixed_list_with_several_seeds():
    rows = [
        {"stage": "search", "seed": 1},
        {"stage": "search", "seed": 2},
        {"stage": "grid", "algorithm": "fixed"},
        {"stage": "validate", "algorithm": "fixed", "seed": 1},
        {"stage": "validate", "algorithm": "fixed", "seed": 2},
    ]
    assert is_validation(ledger(rows)).tolist() == [False] * 3 + [True] * 2


def test_configurations_differ_in_all_but_the_seed():
    rows = [
        {"hp.lr": 0.00125, "hp.optimizer": "adam", "hp.seed": 1.0},
        {"hp.lr": 0.00125, "hp.optimizer": "adam", "hp.seed": 2.0},
        {"hp.lr": 0.00126, "hp.optimizer": np.nan, "hp.seed": 2.0},
    ]
    adam, texts = "lr 0.00125, optimizer adam", configuration_texts(ledger(rows))
    assert texts.tolist() == [adam, adam, "lr 0.00126"]


# --- costs


def test_costs_count_what_a_promoted_trial_added():
    frame = ledger(
        [
            {"score": 1.0, "epochs": 3, "hp.lr": 1e-3, "run": "a"},
            {
                "score": 2.0,
                "epochs": 9,
                "hp.lr": 1e-3,
                "run": "a",
                "new_items": 600,
                "device": "cuda:0",
            },
            {"status": "failed", "epochs": 9, "hp.lr": 2e-3, "items": 200},
            # Stopped early, after 5 of its 9 epochs.
            {"score": 1.5, "epochs": 9, "hp.lr": 3e-3, "items": 500},
            {"status": "running", "hp.lr": 4e-3, "items": np.nan},
        ]
    )
    (row,) = costs(frame, ["study"]).to_dict("records")
    assert row == {
        "study": "one_stage",
        "completed": 3,
        "failed": 1,
        "unfinished": 1,
        "configurations": 4,
        "epochs": 3 + 6 + 2 + 5,
        "examples": 300 + 600 + 200 + 500,
        "training hours": 1600 / 3600,
        "worker hours": pytest.approx((1600 + 4 * 10) / 3600),
        "GPU hours": 600 / 3600,
    }


def test_costs_are_related_to_the_largest_and_to_the_three_stage_study():
    frame = ledger(
        [
            {"study": "three_stage_small", "score": 1.0, "items": 4000},
            {"study": "fast", "score": 1.0, "items": 1000},
            {"study": "wide", "score": 1.0, "items": 8000},
        ]
    )
    table = blocks_of(Table, section(studies(frame), "dB", LOGGED).blocks)[0].frame
    assert table["share of the largest"].tolist() == [0.5, 0.125, 1.0]
    assert table["share of three_stage_small"].tolist() == [1.0, 0.25, 2.0]


# --- progress and validation


def test_best_so_far_against_what_was_spent_by_then():
    frame = ledger(
        [
            {"stage": "high", "score": 1.0, "new_items": 50, "minute": 9},
            {"stage": "low", "score": 3.0, "new_items": 10, "minute": 2},
            {"stage": "low", "score": 2.0, "new_items": 20, "minute": 1},
            {"stage": "low", "status": "failed", "new_items": 5, "minute": 3},
            {"stage": "low", "score": 2.5, "new_items": 7, "minute": 4},
            {"study": "other", "stage": "low", "score": 9.0, "new_items": 99},
            *seeds("one_stage", [8.0, 8.2], new_items=100),
        ]
    )
    course = progress(frame)
    assert course["study"].tolist() == ["one_stage"] * 7 + ["other"]
    assert course["examples"].tolist() == [20, 30, 35, 42, 92, 192, 292, 99]
    np.testing.assert_array_equal(
        course["best"], [2.0, 3.0, 3.0, 3.0, 1.0, np.nan, np.nan, 9.0]
    )
    figure, legend = draw_progress(course, validations(course))
    assert legend == {"one_stage": "C0", "other": "C1"}
    lines = figure.axes[0].lines
    steps = [line.get_xydata().tolist() for line in lines]
    assert lines[0].get_drawstyle() == "steps-post"
    assert [[20, 2.0], [30, 3.0], [35, 3.0], [42, 3.0]] in steps
    assert [[92, 1.0]] in steps and [[292, pytest.approx(8.1)]] in steps


def test_validated_configurations_have_t_intervals():
    course = progress(ledger(seeds("fast", [4.65, 4.62, 4.75])))
    (row,) = validations(course).to_dict("records")
    # The logged study's tuned DPRNN; t(0.975, 2) = 4.302653.
    half = 4.302653 * np.std([4.65, 4.62, 4.75], ddof=1) / np.sqrt(3)
    assert row["seeds"] == 3 and row["mean"] == pytest.approx(4.6733333)
    assert row["low"] == pytest.approx(4.6733333 - half)
    assert row["high"] == pytest.approx(4.6733333 + half)
    assert row["examples"] == 3000 and row["configuration"] == "lr 0.001"
    assert row["runs"] == ("r0", "r1", "r2")


def test_best_has_most_items_then_most_seeds_then_the_highest_mean():
    rows = [
        *seeds("fast", [9.0, 9.0, 9.1], **{"hp.lr": 1e-4}),
        *seeds("fast", [5.0, 5.1], train_items=200, **{"hp.lr": 2e-4}),
        *seeds("fast", [4.0, 4.1, 4.2], train_items=200, **{"hp.lr": 3e-4}),
        *seeds("fast", [4.1, 4.2, 4.3], train_items=200, **{"hp.lr": 4e-4}),
        *seeds("fast", [7.0], train_items=200, **{"hp.lr": 5e-4}),
    ]
    found = validations(progress(ledger(rows)))
    assert found["configuration"].tolist() == [f"lr 0.000{i}" for i in (1, 2, 3, 4)]
    assert found["best"].tolist() == [False, False, False, True]


# --- the whole section


def test_no_section_without_completed_trials():
    frame = ledger([{"status": "failed"}, {"status": "running"}])
    assert section(studies(frame)) is None


def test_section_of_studies_with_failures_and_without_searched_keys(noise):
    rows = [
        *search_rows(noise, 30, lambda a, b: a, study="three_stage"),
        *seeds("three_stage", [4.65, 4.62, 4.75], **{"hp.clip": 5.0}),
        {"study": "three_stage", "status": "failed", "failure": "TrainingStopped"},
        {"study": "three_stage", "status": "failed", "failure": "TrainingStopped"},
        {"study": "three_stage", "status": "failed", "stage": "validate"},
        *seeds("baselines", [3.01, 2.87, 3.20], stage="dprnn", **{"hp.lr": np.nan}),
        *seeds("baselines", [5.14, 5.26, 4.89], stage="sepformer"),
        {"study": "fast", "score": 1.0},
    ]
    blocks = section(studies(ledger(rows)), "dB").blocks
    tables = {block.name: block.frame for block in blocks_of(Table, blocks)}
    assert len(blocks_of(Table, blocks)) == len(tables)
    panels = {block.name: len(block.figures) for block in blocks_of(Panels, blocks)}
    assert panels == {"search_progress": 1, "search_keys_three_stage": 2}
    failures = tables["search_failures"]
    assert failures.to_dict("list") == {
        "study": ["three_stage"] * 2,
        "stage": ["search", "validate"],
        "reason": ["TrainingStopped", "not known"],
        "trials": [2, 1],
    }
    costs = tables["search_costs"].set_index("study")["examples"]
    assert costs.to_dict() == {"three_stage": 36000, "baselines": 6000, "fast": 1000}


# --- scores against keys


LR = Prior(1e-4, 1e-2, log=True)
CLIP = Prior(0.5, 20.0)


def keys_of(figures):
    return {figure.axes[0].get_xlabel(): figure.axes[0] for figure in figures}


def points(axes):
    """Returns the points of an axes but the star, which comes last."""
    lines = [line for line in axes.lines if line.get_marker() == "o"]
    return [line.get_xydata().tolist() for line in lines]


def verticals(axes):
    lines = [line.get_xdata() for line in axes.lines if line.get_marker() == "None"]
    return sorted(line[0] for line in lines)


def test_keys_are_drawn_within_the_bounds_that_stages_had():
    rows = [
        {"hp.lr": 1e-3, "hp.clip": 1.0, "hp.optimizer": "sgd", "score": 1.0},
        {"hp.lr": 2e-3, "hp.clip": 9.0, "hp.optimizer": "adam", "score": 3.0},
        {"hp.lr": 3e-3, "hp.clip": 5.0, "hp.optimizer": "sgd", "score": 2.0}
        | {"stage": "narrow", "train_items": 400.0},
    ]
    narrow = Prior(1e-3, 4e-3, log=True)
    spaces = {
        ("one_stage", "search"): {"lr": LR, "clip": CLIP},
        ("one_stage", "narrow"): {"lr": narrow},
    }
    figures, legend = draw_keys(progress(ledger(rows)), spaces, "dB")
    assert [*legend] == ["100 items, 10 epochs", "400 items, 10 epochs"]
    assert len(set(legend.values())) == 2
    keys = keys_of(figures)
    assert [*keys] == ["lr", "clip", "optimizer"]
    assert keys["lr"].get_xscale() == "log" and keys["clip"].get_xscale() == "linear"
    assert verticals(keys["lr"]) == [1e-4, 1e-3, 4e-3, 1e-2]
    assert verticals(keys["clip"]) == [0.5, 20]
    low, high = keys["lr"].get_xlim()
    assert 0.8e-4 < low < 1e-4 and 1e-2 < high < 1.25e-2
    assert points(keys["lr"]) == [[[1e-3, 1], [2e-3, 3]], [[3e-3, 2]]]
    (star,) = (line for line in keys["lr"].lines if line.get_marker() == "*")
    assert star.get_xydata().tolist() == [[3e-3, 2]]  # of the most items
    texts = [text.get_text() for text in keys["optimizer"].get_xticklabels()]
    assert texts == ["adam", "sgd"]
    assert points(keys["optimizer"]) == [[[1, 1], [0, 3]], [[1, 2]]]


def test_grids_of_fixed_stages_have_bounds_where_they_have_an_inside():
    rows = [
        {"hp.factor": factor, "hp.patience": patience, "hp.lr": lr, "score": 1.0}
        | {"stage": "grid", "algorithm": "fixed"}
        for factor in (0.4, 0.6, 0.8)
        for patience in (2.0, 5.0)
        for lr in (1e-3, 2e-3, 3e-3)
    ]
    frame = ledger([{"hp.lr": 1e-3, "score": 0.0}, *rows, *seeds("one_stage", [1, 2])])
    spaces = {("one_stage", "search"): {"lr": LR}}
    # lr was taken over from the search; patience has two ends and nothing between.
    assert grids(progress(frame), spaces) == {
        ("one_stage", "grid"): {"factor": Prior(0.4, 0.8)}
    }
    figures, _ = draw_keys(studies(frame).searched, {}, "dB")
    assert [*keys_of(figures)] == ["lr", "factor", "patience"]


# --- what reports know


def test_studies_are_read_with_their_spaces(tmp_path):
    paths = [
        written(tmp_path, ledger(rows, study=name), name)
        for name, rows in (
            ("fast", [{"hp.lr": 1e-3, "score": 1.0}, *seeds("fast", [1.0, 2.0])]),
            ("wide", [{"hp.lr": 2e-3, "score": 1.0}]),
        )
    ]
    for path in paths:
        path.with_name("spaces.csv").write_text(f'stage,key,prior\nsearch,lr,"{LR}"\n')
    found = read_studies({path: read_ledger(path) for path in paths})
    assert found.spaces == {(name, "search"): {"lr": LR} for name in ("fast", "wide")}
    assert found.runs() == [
        ("fast", {tmp_path / "fast" / "runs" / run for run in ("r1", "r2")}, True)
    ]
    assert found.spent("fast") == (3000, pytest.approx(3030 / 3600))
    assert len(found.searched) == 2
    assert read_studies({}) is None
    paths[1].with_name("spaces.csv").unlink()
    with pytest.raises(ValueError, match="wide/spaces.csv: no such file"):
        read_studies({path: read_ledger(path) for path in paths})
