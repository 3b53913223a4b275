"""Reports of made-up runs: what is found, grouped, compared and shown."""

import json
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from made_runs import noisy, write_run

import report
from recipe import MEASURES, RECIPE
from recipekit.reporting import comparison, runs
from recipekit.reporting import results as results_section
from recipekit.reporting.ledgers import NUMBERS, TEXTS, TIMES, find_ledgers, read_ledger
from recipekit.reporting.settings import group_settings


def read(folders):
    """Returns settings and what was left out."""
    ledgers = {path.resolve(): read_ledger(path) for path in find_ledgers(folders)}
    found, left_out = runs.find_runs(folders, ledgers, RECIPE)
    settings, repeated = group_settings(found)
    return settings, [*left_out, *repeated]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two models and two settings of one of them, three seeds each."""
    folder = tmp_path_factory.mktemp("study")
    for seed in (42, 123, 456):
        for name, score, level, options in (
            ("tuned", 4.6, 5.0, {"model": "dprnn", "lr": 0.00125}),
            ("plain", 3.0, 3.0, {"model": "dprnn", "lr": 0.00015}),
            ("twin", 2.9, 3.0, {"model": "convtasnet"}),
        ):
            gain = noisy(level, seed, name=name)
            write_run(
                folder / name / str(seed), seed, score + seed / 1e4, gain, **options
            )
    return folder


def test_runs_that_differ_in_their_seed_are_one_setting(study):
    settings, left_out = read([study])
    assert not left_out
    assert [(s.label, len(s.runs)) for s in settings] == [
        ("Conv-TasNet", 3),
        ("DPRNN (lr 0.00125)", 3),
        ("DPRNN (lr 0.00015)", 3),
    ]
    assert [run.seed for run in settings[0].runs] == [42, 123, 456]


def test_models_are_told_by_their_classes(tmp_path):
    names = {"sepformer": "SepFormer", "spmamba": "SPMamba"}
    for stem, name in names.items():
        run = runs.read_run(write_run(tmp_path / stem, 1, 0.0, model=stem), RECIPE)
        assert run.model == name


def test_overview_holds_scores_with_their_intervals(study):
    table = results_section.overview(read([study])[0], None, MEASURES)
    assert table["setting"][0] == "DPRNN (lr 0.00125)"  # the best first
    row = table.iloc[0]
    # Scores 4.6042, 4.6123, 4.6456, and Student's t with 2 degrees of freedom.
    level = results_section.validation_level(read([study])[0][1])
    std = 0.02195
    assert level == pytest.approx(
        (4.6207, 4.6207 - 4.303 * std / 3**0.5, 4.6207 + 4.303 * std / 3**0.5), abs=1e-3
    )
    assert row["validation score"] == level[0] and row["seeds"] == 3
    assert row["examples"] == 3 * 150 and row["hours"] == 1.5
    assert row["test SI-SDRi"] == pytest.approx(5.0, abs=0.3)
    assert row["test SI-SDRi, low"] < row["test SI-SDRi"] < row["test SI-SDRi, high"]
    tested = read([study])[0][1].tested
    whole = [each[each["variant"].isin(["SER", "SE"])] for each in tested]
    expected = sum(each["si_sdr"].mean() for each in whole) / 3
    assert row["test SI-SDR"] == pytest.approx(expected)
    assert row["record"] == study / "tuned" / "456"  # of the best seed


def test_validation_is_shown_with_the_improvement_until_all_are_tested(tmp_path):
    for seed, score in ((1, 2.0), (2, 2.2)):
        write_run(tmp_path / str(seed), seed, score)
    (row,) = results_section.overview(read([tmp_path])[0], None, MEASURES).to_dict(
        "records"
    )
    # 8 dB more than unprocessed; Student's t with 1 degree of freedom.
    assert row["validation SI-SDRi"] == pytest.approx(10.1)
    half = 12.706 * 0.1414 / 2**0.5
    assert row["validation SI-SDRi, high"] - 10.1 == pytest.approx(half, rel=1e-3)
    assert row["validation score"] == pytest.approx(2.1)
    assert results_section.unprocessed(read([tmp_path])[0], MEASURES)[0] == (
        pytest.approx(-8)
    )


def test_one_tested_seed_has_the_interval_over_recordings(tmp_path):
    folder = write_run(tmp_path / "1", 1, 2.0, noisy(1.0, 1))
    ((setting,), _) = read([tmp_path])
    scores = json.loads((folder / "summary.json").read_text())["scores"]["SER+SE"]
    found = results_section.tested_level(setting, "si_sdri", MEASURES)
    stated = [scores["si_sdri"][name] for name in ("mean", "low", "high")]
    assert found == pytest.approx(stated)


def test_test_table_is_by_variant_and_of_the_full_mixtures(study):
    settings = read([study])[0]
    table = results_section.test_table(settings, MEASURES)
    table = table[table["setting"] == "DPRNN (lr 0.00125)"]
    groups = "SER SE SR S ER E R C SER+SE".split()
    assert [*table["variant"]] == [*groups, "mean of variants"]
    assert [*table["recordings"]][:-1] == [30, 30] * 3 + [30, 60, 60]
    tested = pd.concat(settings[1].tested)
    expected = tested[tested["variant"].isin(["SER", "SE"])]["si_sdri"].mean()
    assert table.iloc[-2]["SI-SDRi"] == pytest.approx(expected)


@pytest.mark.parametrize("told", [(), (1,), (1, 2)])
def test_mean_of_variants_is_shown_where_summaries_tell_it(tmp_path, told):
    for seed in (1, 2):
        folder = write_run(tmp_path / str(seed), seed, 2.0, noisy(1.0, seed))
        path = folder / "summary.json"
        summary = json.loads(path.read_text())
        summary["scores"].pop("mean of variants", None)
        if seed in told:
            rows = len(pd.read_csv(folder / "test_results.csv"))
            metrics = {name: {"mean": float(seed)} for name in MEASURES.metrics}
            summary["scores"]["mean of variants"] = {"rows": rows} | metrics
        path.write_text(json.dumps(summary))
    page = report.make_report([tmp_path], tmp_path / "out").read_text("utf-8")
    row = pd.read_csv(tmp_path / "out" / "test.csv").iloc[-1]
    assert (row["variant"] == "mean of variants") == bool(told)
    if told:
        assert page.count("mean of variants") >= 2
        assert row["SI-SDR"] == row["STOI"] == pytest.approx(sum(told) / len(told))
        assert row["seeds"] == len(told)


def cut(path, lines=None, characters=None):
    text = path.read_text()
    kept = text.splitlines(keepends=True)[:lines] if lines else text[:characters]
    path.write_text("".join(kept))


@pytest.mark.parametrize("cut_to", [{"lines": 200}, {"characters": -3}])
def test_truncated_results_are_not_accepted(tmp_path, cut_to, capsys):
    write_run(tmp_path / "sound", 1, 2.0, noisy(1.0, 1))
    broken = write_run(tmp_path / "cut", 2, 2.0, noisy(1.0, 2)) / "test_results.csv"
    cut(broken, **cut_to)
    report.make_report([tmp_path], tmp_path / "out")
    said = capsys.readouterr().err
    assert f"{broken}: " in said and "--test_only" in said
    assert pd.read_csv(tmp_path / "out" / "settings.csv")["seeds"].item() == 1


def test_runs_of_earlier_versions_are_named(tmp_path):
    """They have SpeechBrain's rounded log, but no history."""
    write_run(tmp_path / "sound", 1, 2.0)
    earlier = write_run(tmp_path / "earlier", 2, 2.0) / "history.json"
    earlier.rename(earlier.with_name("train_log.txt"))
    ((setting,), (reason,)) = read([tmp_path])
    assert len(setting.runs) == 1
    assert reason.startswith(f"{earlier}: no such file")


def test_a_monitored_improvement_is_the_score(tmp_path):
    folder = write_run(tmp_path / "r", 1, 4.0, valid_per_variant=True)
    run = runs.read_run(folder, RECIPE)
    assert run.score == 12.0


def test_comparison_finds_the_planted_difference_only(study):
    (test_set,) = comparison.find_test_sets(read([study])[0], MEASURES)
    for scores in test_set.scores.values():
        assert scores.shape == (3, 60)  # seeds, full mixtures
    table = comparison.compare_settings(test_set, MEASURES)
    assert (table["judgement"] == comparison.DIFFERENT).sum() == 2
    (same,) = table.loc[table["judgement"] != comparison.DIFFERENT, "in words"]
    assert "lr 0.00125" not in same


def test_recordings_of_other_corpora_with_the_same_names_are_not_compared(tmp_path):
    for corpus in ("real", "other"):
        for model in ("dprnn", "convtasnet"):
            folder = tmp_path / corpus / model
            write_run(folder, 1, 1.0, noisy(1.0, 1), model, corpus)
    found = comparison.find_test_sets(read([tmp_path])[0], MEASURES)
    assert [[*test_set.scores] for test_set in found] == [
        ["Conv-TasNet (corpus other SB)", "DPRNN (corpus other SB)"],
        ["Conv-TasNet (corpus real SB)", "DPRNN (corpus real SB)"],
    ]


def test_tasks_are_not_ranked_with_each_other(tmp_path):
    """Speech of one speaker is enhanced by more dB than that of two is separated."""
    for task, score in (("SB", 2.0), ("ES", 12.0)):
        write_run(tmp_path / task, 1, score, task=task)
    page = report.make_report([tmp_path], tmp_path / "out").read_text("utf-8")
    assert "<p>real ES: DPRNN " in page and "<p>real SB: DPRNN " in page
    assert "highest" not in page


def test_a_run_that_repeats_a_seed_is_left_out(tmp_path):
    write_run(tmp_path / "a", 1, 2.0)
    write_run(tmp_path / "b", 1, 2.5, data_folder="/elsewhere/real", num_workers=7)
    ((setting,), (reason,)) = read([tmp_path])
    assert len(setting.runs) == 1
    assert reason == (
        f"{tmp_path / 'b'}: has the setting and the seed of {tmp_path / 'a'}"
    )


def test_runs_of_a_search_are_left_to_its_section(tmp_path):
    names = ["searched", "validated", "again"]
    rows = pd.DataFrame(columns=[*TEXTS, *NUMBERS, *TIMES], index=range(3))
    rows["stage"] = rows["algorithm"] = ["tpe", "fixed", "fixed"]
    rows["run"], rows["seed"], rows["seconds"] = names, [1, 2, 3], [60, 7200, 7200]
    rows["study"], rows["status"], rows["score"] = "s", "completed", 2.0
    for name, seed in zip(names, rows["seed"], strict=True):
        write_run(tmp_path / "runs" / name, seed, 2.0)
    rows.to_csv(tmp_path / "ledger.csv", index=False)
    ((setting,), left_out) = read([tmp_path])
    assert [run.seed for run in setting.runs] == [2, 3] and not left_out
    assert setting.runs[0].seconds == 7200


def test_broken_runs_are_named_on_the_page_and_on_stderr(tmp_path, study, capsys):
    shutil.copytree(study / "plain", tmp_path / "runs")
    shutil.copytree(study / "twin" / "42", tmp_path / "runs" / "sound")
    (tmp_path / "runs" / "42" / "history.json").write_text("[]")
    broken = tmp_path / "runs" / "123" / "test_results.csv"
    broken.write_text("id,variant\n")
    (tmp_path / "runs" / "456" / "hyperparams.yaml").write_text("seed: [")
    report.main([str(tmp_path), "--out", str(tmp_path / "out")])
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3 and all(line.startswith("Left out: ") for line in said)
    for name in ("42/history.json", "123/test_results.csv", "456/hyperparams.yaml"):
        assert sum(name in line for line in said) == 1
    assert "Worked example" not in page  # unless asked for
    assert f"Left out: {tmp_path / 'runs' / '42' / 'history.json'}: no epoch" in page
    assert f"{broken}: lacks the columns indoor, ssr" in page
    assert f"{tmp_path / 'runs' / '456' / 'hyperparams.yaml'}: while parsing" in page


def test_command_line_writes_the_page_its_tables_and_pictures(study, tmp_path):
    command = [sys.executable, report.__file__, study, "--out", tmp_path / "out"]
    subprocess.run(command, check=True)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= {"report.html", "settings.csv", "test.csv", "comparison_1.csv"}
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert page.count("<details>") == 4  # tests, runs, two models' learning curves
    assert 'id="curves_2"' in page and "python " in page
    records = pd.read_csv(tmp_path / "out" / "settings.csv")["record"]
    assert (tmp_path / "out" / records[0] / "history.json").is_file()


def test_synthetic_corpora_are_named(tmp_path):
    for corpus in ("embedded_400_8000", "real"):
        write_run(tmp_path / corpus, 1, 2.0, corpus=corpus)
    page = report.make_report([tmp_path], tmp_path / "out").read_text("utf-8")
    assert "corpus embedded_400_8000 SB is made of the embedded synthetic" in page
    assert "corpus real SB is" not in page


def test_a_folder_without_runs_is_named(study, tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path}: no run .* is in or below it"):
        report.make_report([study, tmp_path], tmp_path / "out")
