"""The report of another recipe has its names and nothing else."""

import pandas as pd
import pytest
from words import RECIPE

from recipekit.reporting.document import Section, Text
from recipekit.reporting.report import make_report


def test_report_has_the_names_of_the_recipe(runs, tmp_path):
    own = Section("own", "Own", (Text("Of this recipe alone."),))
    sections = [lambda settings: own, lambda settings: None]
    page = make_report(RECIPE, [runs], tmp_path / "out", sections).read_text("utf-8")
    table = pd.read_csv(tmp_path / "out" / "settings.csv")
    assert [*table["setting"]] == ["Listener (lr 0.01)", "Listener (lr 0.001)"]
    assert [*table["seeds"]] == [2, 2]
    assert [*table["validation score"]] == pytest.approx([0.65, 0.45])
    assert [*table["test accuracy"]] == pytest.approx([0.75, 0.55], abs=0.02)
    assert {*pd.read_csv(tmp_path / "out" / "runs.csv")["seed"]} == {1, 2}
    tested = pd.read_csv(tmp_path / "out" / "test.csv")
    groups = ["quiet", "loud", "quiet+loud", "mean of rooms"]
    assert [*tested["room"]] == groups * 2
    assert {"accuracy", "F1", "std"} <= {*tested}
    (comparison,) = pd.read_csv(tmp_path / "out" / "comparison_1.csv").to_dict(
        "records"
    )
    assert comparison["difference"] == pytest.approx(0.2, abs=0.03)
    assert comparison["in words"].startswith(
        "Listener (lr 0.01) − Listener (lr 0.001) = 0.2"
    )
    assert "accuracy on the validation set" in page and "Of this recipe alone" in page
    assert " dB" not in page and "SI-SDR" not in page
