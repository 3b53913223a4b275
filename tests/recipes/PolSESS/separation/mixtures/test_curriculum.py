"""The curriculum is a function of the epoch, and draws of (seed, epoch, row) alone."""

import pytest

from mixtures.curriculum import Curriculum

STAGES = [
    {"epoch": 1, "variants": ["C", "R"]},
    {"epoch": 4, "variants": ["C", "R", "SR", "S"]},
    {"epoch": 10, "variants": ["SER", "SE"], "plateau": True},
]


def test_curriculum_stages_and_plateau():
    curriculum = Curriculum(STAGES)
    assert [len(curriculum.variants(epoch)) for epoch in (1, 3, 4, 9, 10, 99)] == [
        *(2, 2, 4, 4, 2, 2)
    ]
    acts = [curriculum.plateau_acts(epoch) for epoch in (1, 4, 9, 10, 99)]
    assert acts == [False, False, False, True, True]


def test_learning_rate_is_scaled_from_the_starts_of_stages_on():
    scaled = [stage | {"lr_scale": 0.25} for stage in STAGES[1:]]
    curriculum = Curriculum([STAGES[0], *scaled])
    scales = [curriculum.lr_scale(epoch) for epoch in (1, 3, 4, 9, 10, 99)]
    assert scales == [1, 1, 0.25, 0.25, 0.0625, 0.0625]


def test_draws_are_uniform_over_what_fits_and_independent_of_order():
    curriculum = Curriculum(STAGES)
    drawn = [curriculum.draw(1, 4, f"row{n}", True) for n in range(3000)]
    counts = {name: drawn.count(name) for name in ("C", "R", "SR")}
    assert sum(counts.values()) == 3000 and min(counts.values()) > 900
    assert drawn[::-1] == [
        curriculum.draw(1, 4, f"row{n}", True) for n in reversed(range(3000))
    ]
    assert drawn != [curriculum.draw(1, 5, f"row{n}", True) for n in range(3000)]
    assert curriculum.draw(1, 10, "row", False) == "SE"
    assert Curriculum([{"epoch": 1, "variants": ["SR"]}]).draw(1, 1, "r", False) is None


@pytest.mark.parametrize(
    "stages, message",
    [
        ([], "must start "),
        ([{"epoch": 2, "variants": ["C"]}], "must start "),
        ([{"epoch": 1, "variants": ["C"]}] * 2, "an epoch of its own"),
        ([{"epoch": 1, "variants": ["X"]}], "epoch 1: variants"),
        ([{"epoch": 1, "variants": "SER"}], "epoch 1: variants 'SER'"),
        ([{"epoch": 1, "variants": []}], "epoch 1: variants"),
        ([{"epoch": 1, "variants": ["C"], "plato": True}], "unknown keys"),
        ([{"epoch": 1}], "is not a valid stage; expected, for example"),
        (["C", "R"], "'C' is not a valid stage"),
    ],
)
def test_wrong_curricula_are_named(stages, message):
    with pytest.raises(ValueError, match=message):
        Curriculum(stages)
