"""Where models fail, and what the logged baselines allow to say."""

from dataclasses import replace

import numpy as np
import pytest
from made_runs import write_run
from scipy import stats

from mixtures.variants import FULL_MIX
from recipe import RECIPE
from recipekit.reporting.document import Picture
from recipekit.reporting.runs import read_run
from recipekit.reporting.settings import group_settings
from reporting import failures, logged


def planted(number, variant):
    """Gains 4 dB: 3 less in parks (odd), 2 less with event2, 1 more without scene."""
    park, event = 3 * (number % 2), 2 * (number % 4 == 2)
    return 4 - park - event + ("S" not in variant)


@pytest.fixture
def setting(tmp_path):
    runs = []
    for seed in (-1, 1):

        def gain(number, variant, seed=seed):
            return planted(number, variant) + seed

        runs.append(write_run(tmp_path / str(seed), seed, 1.0, gain))
    ((setting,), _) = group_settings([read_run(run, RECIPE) for run in runs])
    return setting


def table(section, name):
    """Returns a table of a section by its name."""
    (found,) = [b for b in section.blocks if getattr(b, "name", "") == name]
    return found.frame


def test_planted_weaknesses_are_found_and_counted(setting):
    section = failures.section([setting])
    scenes = table(section, "by_scene_class")
    assert [*scenes["scene_class"]] == ["park", "tram"]  # the worst first
    assert [*scenes["recordings"]] == [30, 30]
    assert [*scenes["SI-SDRi"]] == pytest.approx([1, 3])
    events = table(section, "by_event_class").set_index("event_class")
    assert [*events.loc["event0", ["SI-SDRi", "low", "high"]]] == pytest.approx([4] * 3)
    assert events.loc["event2", "SI-SDRi"] == pytest.approx(2)
    by_variant = table(section, "by_variant").set_index("variant")
    assert [*by_variant.index] == "SER SE SR S ER E R C".split()
    gained = by_variant.loc["E", "SI-SDRi"] - by_variant.loc["SE", "SI-SDRi"]
    assert gained == pytest.approx(1)
    assert table(section, "by_ssr")["recordings"].sum() == 60
    assert [type(block) for block in section.blocks].count(Picture) == 1
    assert not any(getattr(b, "name", "") == "by_gender" for b in section.blocks)


def test_only_full_mixtures_count_beside_the_variants(setting):
    rows = failures.scored(setting)
    full = rows[rows["variant"].isin(FULL_MIX)]
    by_scene = failures.grouped(rows, "scene_class")
    assert by_scene["SI-SDRi"].mean() == pytest.approx(full["si_sdri"].mean())


def named(setting, **columns):
    """Returns the setting with columns added to its tests, by recording."""
    runs = []
    for run in setting.runs:
        numbers = run.tested["id"].astype(int)
        added = {name: numbers.map(value) for name, value in columns.items()}
        runs.append(replace(run, tested=run.tested.assign(**added)))
    return replace(setting, runs=tuple(runs))


def test_genders_and_languages_where_they_are_known(setting):
    found = failures.section(
        [
            named(
                setting,
                gender1=lambda number: "f",
                gender2=lambda number: ["f", "m", None][number % 3],
                language1=lambda number: ["pl", "en"][number % 2],
                language2=lambda number: "pl",
            )
        ]
    )
    genders = table(found, "by_gender")
    assert dict(zip(genders["gender"], genders["recordings"], strict=True)) == {
        "f + f": 20,
        "f + m": 20,
    }
    languages = table(found, "by_language").set_index("language")
    # The odd recordings are the parks.
    assert languages["SI-SDRi"].to_dict() == pytest.approx({"en + pl": 1, "pl + pl": 3})


def test_intervals_are_over_speakers_where_they_are_known(setting):
    columns = {
        "speaker1": lambda number: f"s{number % 10 // 2}",
        "speaker2": lambda number: f"s{number % 5 + 5}",
        "scene_recording": lambda number: f"scene{number}",
    }
    known = table(failures.section([named(setting, **columns)]), "by_scene_class")
    assert [*known["speakers"]] == [10, 10] and [*known["scene recordings"]] == [30, 30]
    columns["speaker2"] = lambda number: None if number == 7 else "s9"
    partly = table(failures.section([named(setting, **columns)]), "by_scene_class")
    assert partly.set_index("scene_class")["speakers"].to_dict() == {
        "park": pytest.approx(np.nan, nan_ok=True),  # number 7 is there
        "tram": 6,
    }


def test_seven_of_the_ten_logged_gaps_are_told_from_chance():
    gaps = table(logged.section(), "logged_gaps")
    assert len(gaps) == 10
    theirs = stats.ttest_ind([5.68, 5.45, 5.55], [5.14, 5.26, 4.89], equal_var=False)
    first = gaps.iloc[0]
    assert first["p of none, Holm"] == pytest.approx(3 * theirs.pvalue)  # 3rd largest
    assert first["in words"] == (
        "SPMamba − SepFormer = 0.46 dB [0.08, 0.85], undecided with 3 seeds among 10 "
        "comparisons: about 3 more of each needed"
    )
    undecided = gaps["judgement"] != "different"
    assert [*gaps["in words"][undecided].str.split(" = ").str[0]] == [
        "SPMamba − SepFormer",
        "SepFormer − DPRNN tuned",
        "DPRNN − Conv-TasNet",
    ]
    # Both are DPRNN, with the same seeds.
    (paired,) = gaps[gaps["in words"].str.startswith("DPRNN tuned − DPRNN ")].index
    theirs = stats.ttest_rel([4.65, 4.62, 4.75], [3.01, 2.87, 3.20])
    interval = gaps.loc[paired, ["low", "high"]]
    assert [*interval] == pytest.approx([*theirs.confidence_interval()])
