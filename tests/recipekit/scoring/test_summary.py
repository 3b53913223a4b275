"""Summaries of tests of another recipe: read, shown, or named as broken."""

import json

import numpy as np
import pytest
from words import MEASURES

from recipekit.scoring.summary import print_table


def test_table_of_a_test(runs, capsys):
    print_table([str(runs / "fast1")], MEASURES)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["room", "n", "accuracy", "[95", "%", "CI]", "F1"]
    assert [line.split("  ")[0].strip() for line in lines[2:-2]] == [
        "quiet",
        "loud",
        "quiet+loud",
        "mean of rooms",
    ]
    assert lines[-2] == "Intervals: over recordings (n = 40)"
    assert lines[-1] == "Corpus: digits"


@pytest.mark.parametrize("broken", ["[]", '{"provenance": {}, "scores": {"loud": {}}}'])
def test_a_summary_that_is_not_valid_is_named(runs, broken):
    path = runs / "fast1" / "summary.json"
    path.write_text(broken)
    with pytest.raises(ValueError, match=f"{path}: not a valid summary"):
        print_table([str(path.parent)], MEASURES)
    path.write_text(json.dumps({"provenance": {}, "scores": {}}))
    with pytest.raises(ValueError, match=f"{path}: not a valid summary"):
        print_table([str(path.parent)], MEASURES)  # it does not say the corpus
    path.unlink()
    with pytest.raises(ValueError, match=f"{path}: no such file"):
        print_table([str(path.parent)], MEASURES)


def test_mean_counts_each_condition_alike(runs):
    summary = json.loads((runs / "slow1" / "summary.json").read_text())["scores"]
    rooms = [summary[room]["accuracy"]["mean"] for room in MEASURES.conditions]
    assert summary["mean of rooms"]["accuracy"]["mean"] == pytest.approx(np.mean(rooms))
