"""Each warning is given where its cause is planted, and not where it is not."""

import numpy as np
import pytest
from made_settings import MEASURES, ledger, seeds, setting, studies

from recipekit.reporting import cautions
from recipekit.studies.spaces import Prior

SPACE = {
    "lr": Prior(1e-4, 1e-2, log=True),
    "clip": Prior(0.0, 20.0),
    "patience": Prior(1, 5, integer=True),
    "optimizer": Prior(choices=("adam", "sgd")),
}


def searched(**values):
    """Returns what is known of a study whose best trial has the given values."""
    best = {"hp.lr": 1e-3, "hp.clip": 10.0, "hp.patience": 3.0, "hp.optimizer": "adam"}
    best |= {f"hp.{key}": value for key, value in values.items()}
    worse = {"hp.lr": 2e-4, "hp.clip": 0.1, "hp.patience": 1.0, "hp.optimizer": "sgd"}
    rows = [best | {"score": 2.0, "train_items": 50.0}, worse | {"score": 1.0}]
    rows += seeds("one_stage", [2.0, 2.1], **best)
    return studies(ledger(rows), {("one_stage", "search"): SPACE})


def test_an_optimum_inside_its_space_is_no_warning():
    assert cautions.at_bounds(searched()) == []


@pytest.mark.parametrize(
    "values, said",
    [
        ({"lr": 9e-3}, "lr 0.009 (0.0001 to 0.01)"),
        ({"lr": 1.2e-4}, "lr 0.00012 (0.0001 to 0.01)"),  # 4 % of the decades
        ({"clip": 19.5}, "clip 19.5 (0 to 20)"),
        ({"patience": 5.0}, "patience 5 (1 to 5)"),
        (
            {"clip": 0.5, "patience": 1.0},
            "clip 0.5 (0 to 20) and patience 1 (1 to 5)",
        ),
    ],
)
def test_an_optimum_at_a_bound_is_named(values, said):
    (text,) = cautions.at_bounds(searched(**values))
    assert text.startswith("one_stage: its best is at a bound of what was searched: ")
    assert f": {said}. Better" in text


def test_the_bounds_are_those_of_the_last_stage_that_searched_the_best():
    best = {"hp.lr": 1.97e-3}
    rows = [best | {"stage": stage, "score": 2.0} for stage in ("search", "narrow")]
    rows += seeds("one_stage", [2.0, 2.1], **best)
    spaces = {
        ("one_stage", "search"): {"lr": SPACE["lr"]},
        ("one_stage", "narrow"): {"lr": Prior(1e-3, 2e-3, log=True)},
    }
    (text,) = cautions.at_bounds(studies(ledger(rows), spaces))
    assert ": lr 0.00197 (0.001 to 0.002). Better" in text
    # Without a validation the best trial of the most training counts.
    (text,) = cautions.at_bounds(studies(ledger(rows[:2]), spaces))
    assert ": lr 0.00197 (0.001 to 0.002). Better" in text
    # A grid lists other keys: lr is judged by the stage that searched it.
    grid = best | {"stage": "grid", "algorithm": "fixed", "hp.patience": 3.0}
    rows = [best | {"score": 1.0}, grid | {"score": 2.0}]
    spaces = {("one_stage", "search"): {"lr": Prior(1e-4, 2e-3, log=True)}}
    bounds = {("one_stage", "grid"): {"patience": Prior(1.0, 5.0)}}
    (text,) = cautions.at_bounds(studies(ledger(rows), spaces, bounds))
    assert ": lr 0.00197 (0.0001 to 0.002). Better" in text


def test_settings_with_equal_scores_count_as_one():
    settings = [
        setting("a", [1.0, 2.0]),
        setting("b", [1.0, 2.0]),
        setting("c", [1.0, 2.1]),
        setting("d", [1.0, 2.0], model="Reader"),
    ]
    (text,) = cautions.equal_scores(settings)
    assert text.startswith("a and b have equal scores with every seed")


def test_a_flat_landscape_is_told_from_a_steep_one():
    shifts = np.array([-0.3, 0.0, 0.3])
    flat = [setting(f"s{n}", [*(0.1 * n + shifts)]) for n in range(3)]
    # F = 1 / 3 with 2 and 6 degrees of freedom: p = (1 + 2 F / 6)^-3.
    (text,) = cautions.flat(flat, "%")
    assert text.startswith(
        "Listener: its 3 settings differ no more than seeds do: standard deviation "
        "0.10 between their means, 0.30 % between seeds of one (F test, p = 0.73)"
    )
    steep = [setting(f"s{n}", [*(n + shifts)]) for n in range(3)]
    assert cautions.flat(steep, "%") == []
    assert cautions.flat(flat[:2], "%") == []  # two are compared by the verdict
    apart = [setting(f"s{n}", [*shifts], corpus=str(n)) for n in range(3)]
    assert cautions.flat(apart, "%") == []


def test_bests_chosen_by_reported_seeds_are_named():
    rows = [
        {"study": "reused", "run": "r", "score": 2.0, "hp.lr": 1e-3},
        *seeds("reused", [2.0, 1.8]),
        {"study": "fresh", "run": "f", "score": 2.0, "hp.lr": 1e-3},
        *seeds("fresh", [2.0, 1.8]),
        *seeds("several", [2.0, 1.8]),
        *seeds("several", [1.0, 0.8], **{"hp.lr": 2e-3}),
    ]
    rows[1]["run"] = "r"  # the run of the search, resumed
    (text,) = cautions.chosen_by_reported_seeds(studies(ledger(rows)))
    assert text.endswith(
        "the best of several (one of 2) and reused (its search ran seed 42)."
    )
    assert cautions.chosen_by_reported_seeds(studies(ledger(rows[3:6]))) == []


def test_studies_without_a_validation_are_named():
    rows = [{"study": "half", "score": 1.0}, *seeds("whole", [1.0, 2.0])]
    (text,) = cautions.unvalidated(studies(ledger(rows)))
    assert text.startswith("half: no configuration")


def test_few_seeds_and_few_units_are_named():
    settings = [setting(f"s{n}", [1.0, 2.0], level=1.0) for n in range(6)]
    (text,) = cautions.few_seeds([*settings, setting("enough", [1.0, 2.0, 3.0])])
    assert text.startswith("Fewer than 3 seeds: s0, s1, s2, s3 and 2 more.")
    (text,) = cautions.few_units(settings, MEASURES)
    assert text.startswith("The test recordings of talks have 5 talkers:")


def test_a_section_without_a_warning_says_what_was_looked_for():
    settings = [setting("a", [1.0, 2.0, 3.0])]
    section = cautions.section(settings, None, MEASURES, [])
    (block,) = section.blocks
    assert (
        block.text.startswith("None. Looked for: optima at a bound")
        and not section.tone
    )
    section = cautions.section(settings, None, MEASURES, ["Left out: this."])
    assert [block.text for block in section.blocks] == ["Left out: this."]
    assert section.tone == "warning"
