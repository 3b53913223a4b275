"""The verdict on settings whose order, spread and cost are planted."""

import re

import numpy as np
import pytest
from made_settings import MEASURES, ledger, seeds, setting, studies
from scipy import stats

from recipekit.reporting.verdict import (
    compare_seeds,
    contenders,
    section,
    unit_counts,
)


def sentences(settings, known=None):
    return [block.text for block in section(settings, known, MEASURES).blocks]


def test_verdict_is_three_sentences_of_the_best_the_gap_and_the_cost():
    settings = [
        setting("slow", [1.0, 1.2, 1.4], name="lr 0.001"),
        setting("quick", [3.0, 3.2, 3.4], name="lr 0.01"),
        setting("wrong", [-1.0, -1.2, -1.4], name="lr 1"),
    ]
    first, second, third = sentences(settings)
    half = 4.302653 * 0.2 / np.sqrt(3)  # Student's t, two degrees of freedom
    assert first == (
        f"Of 3, quick scores highest: 15.20 % [{15.2 - half:.2f}, {15.2 + half:.2f}] "
        "gain in the validation (3.20 % hits, −12.00 % unprocessed), with lr 0.01."
    )
    assert second.startswith("quick − slow = 2.00 % [")
    assert third == (
        "It took 3,000 training examples (1.5 h), the next 3,000 training examples "
        "(1.5 h). This rests on 3 seeds each."
    )


def test_verdict_is_by_the_test_where_all_were_tested():
    settings = [
        setting("lucky", [9.0, 9.2], level=3.0),  # in the validation only
        setting("able", [1.0, 1.2], level=7.0),
    ]
    first, second, third = sentences(settings)
    assert re.match(
        r"Of 2, able scores highest: 7\.0\d % \[.*\] gain on the test", first
    )
    assert second.startswith("able − lucky = 4.0")
    assert third.endswith("This rests on 2 seeds each, 40 test recordings, 5 talkers.")
    untested = [*settings, setting("new", [0.0, 0.1])]
    assert sentences(untested)[0].startswith("Of 3, lucky scores highest: 21.10 %")


def test_a_study_ranks_by_its_best_alone():
    """What it passed over in the validation must not win by the test."""
    fast = {"studies": ("fast",)}
    settings = [
        setting("passed over", [1.0, 1.2], level=9.0, **fast),
        setting("fast's best", [2.0, 2.2], level=5.0, best_of=("fast",), **fast),
        setting("baseline", [0.0, 0.2], level=4.0),
    ]
    chosen = contenders(settings, MEASURES)
    assert [each.label for each in chosen] == ["fast's best", "baseline"]
    # Alone, its best is compared with the next of the validation.
    known = studies(ledger(seeds("fast", [2.0, 2.2])))
    first, second, _ = sentences(settings[:2], known)
    assert first.startswith("fast's best, chosen from 2 in the validation: 5.0")
    assert second.startswith("passed over − fast's best = 4.")


def test_a_study_costs_all_its_trials_and_the_cheapest_is_named():
    rows = [{"study": "wide", "score": 1.0, "items": 70000.0}]
    rows += [{"study": "fast", "score": 1.0, "items": 500.0}]
    for study in ("wide", "fast"):
        rows += seeds(study, [1.0, 1.1])
    settings = [
        setting("wide's best", [3.0, 3.1], best_of=("wide",), studies=("wide",)),
        setting("plain", [2.0, 2.1, 2.2]),
        setting("fast's best", [1.0, 1.1], best_of=("fast",), studies=("fast",)),
    ]
    hours = (70000 + 2000 + 30) / 3600
    assert sentences(settings, studies(ledger(rows)))[2] == (
        f"It took 72,000 training examples ({hours:.2g} h), the next 3,000 training "
        "examples (1.5 h), the cheapest, fast's best with 13.05 % [12.41, 13.69] gain, "
        "2,500 training examples (0.7 h). This rests on 2 to 3 seeds each."
    )


def test_each_corpus_has_its_verdict():
    settings = [
        setting("a", [1.0, 1.1], corpus="north"),
        setting("b", [2.0, 2.1], corpus="south"),
        setting("c", [3.0, 3.1], corpus="south"),
    ]
    texts = sentences(settings)
    assert texts[0].startswith("north: a: 13.05 %") and len(texts) == 2 + 3
    assert texts[2].startswith("south: Of 2, c scores highest: 15.05 %")
    assert section([], None, MEASURES) is None


@pytest.mark.parametrize(
    "other, said",
    [
        ([4.37, 4.35, 4.45], "different"),
        ([5.37, 5.35, 5.45], "different"),
        ([4.42, 4.80, 4.70], "undecided with 3 seeds: .* of each needed"),
    ],
)
def test_seeds_of_two_settings_are_compared_as_pairs(other, said):
    logged = [4.65, 4.62, 4.75]
    pair = [setting("a", logged), setting("b", other)]
    theirs = stats.ttest_rel(logged, other)
    low, high = theirs.confidence_interval()
    gap = np.mean(logged) - np.mean(other)
    numbers = f"{gap:.2f} % [{low:.2f}, {high:.2f}]".replace("-", "−")
    text = compare_seeds(pair, pair, MEASURES)
    assert re.fullmatch(f"a − b = {re.escape(numbers)}, {said}.", text)


def test_settings_that_are_not_ranked_tell_how_much_seeds_spread():
    pair = [setting("a", [4.65, 4.62, 4.75]), setting("b", [4.45, 4.30, 4.63])]
    more = [
        setting("c", [4.05, 4.03, 4.16]),
        setting("d", [4.15, 4.10, 4.24]),
    ]
    alone, sure = (
        compare_seeds(pair, known, MEASURES) for known in (pair, pair + more)
    )
    assert "undecided" in alone and "different" in sure


def test_one_seed_is_not_judged():
    pair = [setting("a", [1.0]), setting("b", [2.5, 2.7])]
    text = compare_seeds(pair, pair, MEASURES)
    assert text.startswith("a − b = −1.60 %: with one seed, ")
    assert text.endswith("cannot be judged.")


def test_units_are_counted_where_tests_name_them():
    settings = [setting("a", [1.0], level=1.0), setting("b", [1.0])]
    assert unit_counts(settings, MEASURES) == {"talkers": 5}
    assert unit_counts(settings[1:], MEASURES) == {}
