"""Where models fail, and what the logged baselines allow to say."""

import pandas as pd
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
    section = failures.section([setting], {})
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
    rows = failures.scored(setting, {})
    full = rows[rows["variant"].isin(FULL_MIX)]
    by_scene = failures.grouped(rows, "scene_class")
    assert by_scene["SI-SDRi"].mean() == pytest.approx(full["si_sdri"].mean())


def test_gender_where_speakers_are_known(setting, tmp_path):
    save = setting.runs[1].folder / "save"
    save.mkdir()
    manifest = pd.DataFrame({"ID": [f"{n:04}" for n in range(60)]})
    manifest["speaker1"] = "ann"
    manifest["speaker2"] = ["eve", "bob", "unknown"] * 20
    manifest.to_csv(save / "test.csv", index=False)
    path = tmp_path / "speakers.csv"
    path.write_text("speaker,gender\nann,f\neve,f\nbob,m\n")
    found = table(failures.section([setting], failures.read_genders(path)), "by_gender")
    assert dict(zip(found["gender"], found["recordings"], strict=True)) == {
        "same": 20,
        "different": 20,
    }


def test_seven_of_the_ten_logged_gaps_are_significant():
    gaps = table(logged.section(), "logged_gaps")
    assert len(gaps) == 10
    theirs = stats.ttest_ind([5.68, 5.45, 5.55], [5.14, 5.26, 4.89], equal_var=False)
    first = gaps.iloc[0]
    assert first["p"] == pytest.approx(theirs.pvalue)
    assert first["p, Holm"] == pytest.approx(3 * theirs.pvalue)  # the third largest
    assert first["in words"].startswith(
        "SPMamba − SepFormer = 0.46 dB [0.08, 0.85], not significant among 10"
    )
    verdicts = gaps["in words"].str.endswith(", significant")
    assert verdicts.sum() == 7
    assert [*gaps["in words"][~verdicts].str.split(" = ").str[0]] == [
        "SPMamba − SepFormer",
        "SepFormer − DPRNN tuned",
        "DPRNN − Conv-TasNet",
    ]
