"""Reports with recordings of a tiny corpus to listen to."""

import shutil

import pandas as pd
import pytest
from made_runs import write_run
from tiny_model import tiny_export

import report
from exported.inference import Separator
from mixtures.dataset import VariantDataset, read_manifest
from polsess_prepare import prepare_polsess
from recipe import MEASURES, RECIPE
from recipekit.reporting.document import Sound
from recipekit.reporting.runs import read_run
from recipekit.scoring.summary import write_results
from reporting import listening
from scoring.scorer import score
from tiny_corpus import write_corpus


@pytest.fixture(scope="module")
def tested_run(tmp_path_factory):
    """A run of a tiny model, tested and exported; and the tiny corpus of its test."""
    folder = tmp_path_factory.mktemp("listening")
    corpus = write_corpus(folder / "corpus", rows=(2, 2, 18))
    export, _ = tiny_export(folder / "model")
    run = write_run(folder / "results" / "1", 1, 0.0)
    shutil.copytree(export, run / "export")
    prepare_polsess(corpus, run / "save")
    dataset = VariantDataset(read_manifest(run / "save" / "test.csv", corpus), "SB")
    separator, rows = Separator.from_export(export), []
    for pair in dataset.pairs(per_variant=False):
        batch = dataset.__getitems__([pair])
        estimates = separator.separate_batch(batch.mixtures).mT
        (row,) = batch.rows
        (scores,) = score(batch.mixtures, estimates, batch.targets, 8000)
        rows.append({name: row[name] for name in MEASURES.columns} | scores)
    write_results(rows, run, MEASURES, {"seconds": 60})
    return run, corpus


def test_report_with_recordings_is_playable(opened, tested_run, tmp_path, monkeypatch):
    monkeypatch.setattr(listening, "EACH", 1)
    run, corpus = tested_run
    path = report.make_report(
        [run.parent], tmp_path, listen=run, data_folder=corpus, logged=True
    )
    page = opened(path)
    headings = page.locator("h2").all_inner_texts()
    assert headings == [
        "Verdict",
        "Settings",
        "Warnings",
        "Learning curves",
        "Provenance",
        "Where it fails",
        "Listening",
        "Worked example: the logged baselines",
    ]
    page.wait_for_function(
        "[...document.querySelectorAll('audio')].every(a => a.readyState > 0)"
    )
    durations = page.evaluate(
        "[...document.querySelectorAll('audio')].map(a => a.duration)"
    )
    assert durations == [0.25] * 15  # 3 times a mixture, two targets, two estimates
    page.evaluate("document.querySelector('audio').play()")
    page.wait_for_function("document.querySelector('audio').currentTime > 0")
    # No sidewise scrolling of the whole page on a telephone
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_best_worst_and_random_are_chosen_once():
    ids = [f"{number:02}" for number in range(20)]
    rows = pd.DataFrame({"id": ids, "variant": "SER", "si_sdri": range(20)})
    rows = pd.concat([rows, rows.assign(variant="C", si_sdri=99.0)])
    chosen = listening.choose(rows)
    assert [*chosen["best"]["si_sdri"]] == [19, 18, 17, 16, 15]
    assert [*chosen["worst"]["si_sdri"]] == [0, 1, 2, 3, 4]
    drawn = {*chosen["random"]["si_sdri"]}
    assert len(drawn) == 5 and drawn <= {*range(5, 15)}
    again = listening.choose(rows.sample(frac=1, random_state=1))
    assert again["random"].equals(chosen["random"])


def test_estimates_are_the_tested_ones_in_the_order_of_targets(tested_run, monkeypatch):
    monkeypatch.setattr(listening, "EACH", 1)
    run, corpus = read_run(tested_run[0], RECIPE), tested_run[1]
    section = listening.section(run, corpus)
    expected = []
    for row in pd.concat(listening.choose(run.tested).values()).to_dict("records"):
        expected.append("mixture")
        for number in (1, 2):
            level = f"{row[f'si_sdr_{number}']:.1f} dB"
            expected += [f"target {number}", f"estimate {number} ({level})"]
    titles = [block.title for block in section.blocks if isinstance(block, Sound)]
    assert titles == expected


def test_another_corpus_is_refused(tested_run, tmp_path):
    run, corpus = tested_run
    other = shutil.copytree(corpus, tmp_path / "other")
    clean = next((corpus / "test" / "clean").iterdir())
    for mix in (other / "test" / "mix").iterdir():
        shutil.copyfile(clean, mix)
    with pytest.raises(ValueError, match="other: the mixture .* Give the corpus"):
        listening.section(read_run(run, RECIPE), other)
