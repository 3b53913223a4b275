"""Scores of test rows and their reports: other implementations, planted values."""

import json

import fast_bss_eval
import numpy as np
import pandas as pd
import pytest
import torch
from pystoi import stoi
from scipy import stats

from recipe import MEASURES
from recipekit.scoring.summary import (
    count_units,
    format_table,
    over,
    summarise,
    write_results,
)
from scoring import scorer as scorer_module
from scoring.scorer import Scorer, score
from scoring.si_sdr import pit_scores

RATE = 8000
SAMPLES = 2 * RATE


def speechlike(*shape, seed=0):
    """Returns low-passed noise in syllables and pauses, rms about 0.1."""
    generator = torch.Generator().manual_seed(seed)
    signal = torch.randn(*shape, SAMPLES + 4, generator=generator)
    signal = signal.unfold(-1, 5, 1).mean(-1)
    gains = torch.rand(*shape, SAMPLES // 800, generator=generator).square()
    return 0.4 * signal * gains.repeat_interleave(800, -1)


def batch(items=1, sources=2):
    """Returns mixtures, estimates (sources in swapped order) and targets."""
    targets = speechlike(items, sources)
    mixtures = targets.sum(1) + 0.3 * speechlike(items, seed=1)
    estimates = targets + 0.3 * mixtures[:, None] + 0.1 * speechlike(items, 1, seed=2)
    return mixtures, estimates.flip(1), targets


def test_scores_equal_other_implementations():
    """SI-SDR, both improvements and STOI per source are those of other packages."""
    mixtures, estimates, targets = batch(3)
    rows = score(mixtures, estimates, targets, RATE)
    inputs = mixtures[:, None].expand_as(targets)
    ordered = estimates.flip(1)

    def single(measure, signals):
        """Returns each source's score against its own target, [B, S]."""
        pair = targets[:, :, None].double(), signals[:, :, None].double()
        return measure(*pair, zero_mean=measure is fast_bss_eval.si_sdr)[..., 0]

    si_sdr = single(fast_bss_eval.si_sdr, ordered)
    expected = {
        "si_sdr": si_sdr,
        "si_sdri": si_sdr - single(fast_bss_eval.si_sdr, inputs),
        "sdri": single(fast_bss_eval.sdr, ordered) - single(fast_bss_eval.sdr, inputs),
        "stoi": torch.tensor(
            [
                [stoi(t.numpy(), e.numpy(), RATE) for t, e in zip(*item, strict=True)]
                for item in zip(targets, ordered, strict=True)
            ]
        ),
    }
    for name, values in expected.items():
        for row, sources in zip(rows, values.tolist(), strict=True):
            assert row[name] == pytest.approx(np.mean(sources), abs=1e-2)
            assert [row[f"{name}_1"], row[f"{name}_2"]] == pytest.approx(
                sources, abs=1e-2
            )


def test_improvement_of_the_mixture_is_zero():
    """A model that puts out its input improves nothing."""
    mixtures, _, targets = batch()
    (row,) = score(mixtures, mixtures[:, None].expand_as(targets), targets, RATE)
    assert row["si_sdri"] == row["sdri"] == 0


def test_single_source_has_no_source_columns():
    """S = 1 (enhancement) gives the five means only."""
    (row,) = score(*batch(sources=1), RATE)
    assert set(row) == set(MEASURES.metrics)


def test_batch_size_changes_nothing():
    """Eight items at once score as one by one."""
    signals = batch(8)
    together = pd.DataFrame(score(*signals, RATE))
    alone = pd.DataFrame(
        [
            row
            for i in range(8)
            for row in score(*(signal[i : i + 1] for signal in signals), RATE)
        ]
    )
    pd.testing.assert_frame_equal(together, alone, rtol=0, atol=1e-4)
    assert together["si_sdr"].nunique() == 8


@pytest.mark.parametrize("rate, mode", [(8000, "nb"), (16000, "wb")])
def test_pesq_mode_follows_the_rate(rate, mode):
    """8 kHz is scored narrow band, 16 kHz wide band, other rates not at all."""
    pesq = pytest.importorskip("pesq").pesq
    mixtures, estimates, targets = batch()
    (row,) = score(mixtures, estimates, targets, rate)
    expected = [
        pesq(rate, targets[0, i].numpy(), estimates[0, 1 - i].numpy(), mode)
        for i in range(2)
    ]
    assert [row["pesq_1"], row["pesq_2"]] == pytest.approx(expected)
    assert row["pesq"] == pytest.approx(np.mean(expected))
    assert np.isnan(score(mixtures, estimates, targets, 11025)[0]["pesq"])


def test_pesq_may_be_absent(monkeypatch):
    """Without the optional package its columns are NaN and the others stay."""
    monkeypatch.setattr(scorer_module, "pesq", None)
    (row,) = score(*batch(), RATE)
    assert [name for name, value in row.items() if np.isnan(value)] == [
        "pesq",
        "pesq_1",
        "pesq_2",
    ]


def test_pesq_error_is_nan():
    """A clip that PESQ refuses (shorter than 1/4 s) is NaN; so is STOI's."""
    pytest.importorskip("pesq")
    (row,) = score(*(signal[..., :1500] for signal in batch()), RATE)
    assert np.isnan(row["pesq"]) and np.isnan(row["stoi"])
    assert np.isfinite([row["si_sdr"], row["si_sdri"], row["sdri"]]).all()


def test_silence_is_no_crash():
    """A silent target is undefined, a silent estimate bad, and neighbours untouched."""
    mixtures, estimates, targets = batch(3)
    reference = score(mixtures, estimates, targets, RATE)
    targets[0, 1] = 0
    estimates[1] = 0
    silent_target, silent_estimate, untouched = score(
        mixtures, estimates, targets, RATE
    )
    assert all(np.isnan(silent_target[f"{name}_2"]) for name in MEASURES.metrics)
    assert np.isfinite([silent_target[f"{n}_1"] for n in ("si_sdr", "sdri")]).all()
    assert silent_estimate["si_sdr"] == pytest.approx(-100, abs=1e-3)
    assert -120 < silent_estimate["sdri"] < -80
    assert np.isnan(silent_estimate["stoi"])
    assert untouched == pytest.approx(reference[2], abs=1e-4, nan_ok=True)


@pytest.mark.parametrize("constant", [0.0, 0.1])
def test_a_silent_target_has_no_score_in_validation_and_test(constant):
    """One rule for both: NaN, also for silence with an offset."""
    mixtures, estimates, targets = batch(2)
    targets[0, 1] = constant
    (silent, whole) = score(mixtures, estimates, targets, RATE)
    validated = pit_scores(estimates, targets)
    assert np.isnan(silent["si_sdr"]) and np.isnan(validated[0].mean())
    assert validated[1].tolist() == pytest.approx(
        [whole["si_sdr_1"], whole["si_sdr_2"]], abs=1e-5
    )
    assert validated[0, 0].item() == pytest.approx(silent["si_sdr_1"], abs=1e-5)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_worker_processes_score_the_same_in_order(workers):
    scorer, expected = Scorer(RATE, workers), []
    for seed in range(5):
        mixtures, estimates, targets = batch(2)
        estimates = estimates + 0.01 * seed * mixtures[:, None]
        scorer.add(mixtures, estimates, targets)
        expected += score(mixtures, estimates, targets, RATE)
    found = scorer.finish()
    pd.testing.assert_frame_equal(
        pd.DataFrame(found), pd.DataFrame(expected), rtol=0, atol=1e-5
    )
    assert len({row["si_sdr"] for row in found}) == 10


def test_batches_are_scored_whatever_the_number_of_threads():
    """MKL's batched solver fails with two; scores and the setting stay."""
    threads = torch.get_num_threads()
    signals = [signal.tile(2) for signal in batch(8)]
    expected = score(*signals, RATE)
    try:
        torch.set_num_threads(2)
        found = score(*signals, RATE)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert [row["sdri"] for row in found] == [row["sdri"] for row in expected]


def test_an_error_of_a_scoring_process_is_not_swallowed():
    scorer = Scorer(RATE, 1)
    mixtures, estimates, targets = batch()
    scorer.add(mixtures, estimates[:, :1], targets)
    with pytest.raises(ValueError, match="same shape"):
        scorer.finish()


def scored(variant, values, **others):
    """Returns a frame of one variant whose metrics all have the same values."""
    columns = dict.fromkeys(MEASURES.metrics, values) | others
    return pd.DataFrame({"id": range(len(values)), "variant": variant, **columns})


def test_interval_of_recordings_alone_is_students():
    values = np.random.default_rng(0).normal(5, 2, 20)
    found = summarise(scored("SER", values), MEASURES)["SER"]["si_sdri"]
    expected = stats.ttest_1samp(values, 0).confidence_interval()
    assert found["mean"] == pytest.approx(values.mean())
    assert (found["low"], found["high"]) == pytest.approx(tuple(expected))
    one = summarise(scored("SER", values[:1]), MEASURES)["SER"]["si_sdri"]
    assert one == {"mean": values[0], "low": None, "high": None, "missing": 0}


def test_interval_over_speakers_and_scenes():
    """Speakers are known of both places, or the interval is over what is known."""
    generator = np.random.default_rng(0)
    first, second = generator.integers(6, size=(2, 60))
    effects = generator.normal(0, 2, 7)
    values = effects[first] + effects[6 - second] + generator.normal(0, 1, 60)
    rows = scored("SER", values)
    alone = summarise(rows, MEASURES)["SER"]["si_sdr"]
    rows = rows.assign(speaker1=first, speaker2=6 - second, scene_recording="")
    assert count_units(rows, MEASURES) == {"speakers": 7}
    known = summarise(rows, MEASURES)["SER"]["si_sdr"]
    assert known["mean"] == alone["mean"]
    assert known["high"] - known["low"] > 1.5 * (alone["high"] - alone["low"])
    rows["scene_recording"] = [f"scene{number // 2}" for number in range(60)]
    counts = {"speakers": 7, "scene recordings": 30}
    assert count_units(rows, MEASURES) == counts
    assert over(counts) == "speakers (n = 7: few) and scene recordings (n = 30)"
    rows.loc[3, "speaker2"] = None
    assert count_units(rows, MEASURES) == {"scene recordings": 30}
    rows.loc[5, "scene_recording"] = ""
    assert count_units(rows, MEASURES) == {"recordings": 60}
    assert summarise(rows, MEASURES)["SER"]["si_sdr"] == alone


def test_groups_and_missing_values():
    """Variants come in the house order, SER+SE joins the full mixtures only."""
    rows = pd.concat(
        [
            scored("C", [7.0, 9.0]),
            scored("SE", [1.0, 2.0], pesq=np.nan),
            scored("SER", [3.0, np.nan, 5.0, 6.0]),
        ]
    )
    summary = summarise(rows, MEASURES)
    assert list(summary) == ["SER", "SE", "C", "SER+SE", "mean of variants"]
    assert [group["rows"] for group in summary.values()] == [4, 2, 2, 6, 8]
    assert summary["SER+SE"]["si_sdr"]["mean"] == pytest.approx(17 / 5)
    assert summary["SER+SE"]["si_sdr"]["missing"] == 1
    assert summary["C"]["stoi"]["mean"] == pytest.approx(8)
    nothing = {"mean": None, "low": None, "high": None, "missing": 2}
    assert summary["SE"]["pesq"] == nothing
    assert summarise(rows[rows["variant"] == "C"], MEASURES) == {"C": summary["C"]}


def test_mean_of_variants_counts_each_variant_alike():
    """Closed form: C with four rows counts as SER with one; NaN are left out."""
    rows = pd.concat(
        [scored("SER", [4.0]), scored("C", [0.0, 0.0, 2.0, np.nan], stoi=np.nan)]
    )
    found = summarise(rows, MEASURES)["mean of variants"]
    assert found["si_sdr"]["mean"] == pytest.approx((4 + 2 / 3) / 2)
    assert found["si_sdr"]["missing"] == 1
    assert found["stoi"]["mean"] == pytest.approx(4)  # C has none


def test_interval_of_the_mean_of_variants_draws_recordings():
    """Two variants of one recording are no two recordings; the error is in closed form.

    With the same scores in both variants the mean is that of the recordings, and so is
    its error: half the rows would give an interval narrower by the root of two.
    """
    values = np.random.default_rng(1).normal(0, 2, 300)
    found = summarise(
        pd.concat([scored("SER", values), scored("ER", values)]), MEASURES
    )
    found = found["mean of variants"]["si_sdr"]
    error = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    assert found["mean"] == pytest.approx(values.mean())
    assert found["high"] - found["low"] == pytest.approx(2 * error, rel=0.15)


def result_rows():
    """Returns three rows as the test loop makes them, in no order, PESQ absent."""
    scores = {"si_sdr": 1.23456, "si_sdri": 2.5, "sdri": 3.0, "stoi": 0.71239}
    rows = [("b", "SER", True), ("a", "C", False), ("a", "SE", False)]
    return [
        {
            "id": row,
            "variant": variant,
            "indoor": indoor,
            "ssr": -3,
            "scene_class": "park, in town",
            "event_class": "Dog",
            "speaker1": "ann",
            "speaker2": "bob",
            "scene_recording": "park7",
            "gender1": "f",
            **dict.fromkeys(("gender2", "language1", "language2"), ""),
            **scores,
            "pesq": np.nan,
            "si_sdr_1": 1.0,
            "si_sdr_2": 1.46912,
        }
        for row, variant, indoor in rows
    ]


def test_written_files(tmp_path):
    """The CSV is sorted, complete and enough to give the summary again."""
    folder = tmp_path / "results"
    written = write_results(
        result_rows(), folder, MEASURES, {"epoch": 3, "scene": "łąka"}
    )
    lines = (folder / "test_results.csv").read_text(encoding="utf-8").splitlines()
    described = '-3,"park, in town",Dog,ann,bob,park7,f,,,'
    scores = "1.2346,2.5000,3.0000,0.7124,,1.0000,1.4691"
    assert lines == [
        "id,variant,indoor,ssr,scene_class,event_class,speaker1,speaker2,"
        "scene_recording,gender1,gender2,language1,language2,"
        "si_sdr,si_sdri,sdri,stoi,pesq,si_sdr_1,si_sdr_2",
        f"a,SE,False,{described},{scores}",
        f"a,C,False,{described},{scores}",
        f"b,SER,True,{described},{scores}",
    ]
    report = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert (
        report
        == written
        == {
            "provenance": {"epoch": 3, "scene": "łąka"},
            "units": {"speakers": 2, "scene recordings": 1},
            "scores": summarise(pd.read_csv(folder / "test_results.csv"), MEASURES),
        }
    )
    assert sorted(path.name for path in folder.iterdir()) == [
        "summary.json",
        "test_results.csv",
    ]


def report_on(rows):
    """Returns the report on rows, as it is written."""
    scores, units = summarise(rows, MEASURES), count_units(rows, MEASURES)
    return {"provenance": {"corpus": "noise"}, "units": units, "scores": scores}


def test_table_says_how_many_rows_have_a_score():
    rows = scored("SER", [2.0, np.nan, 4.0])
    report = report_on(rows)
    assert "  2 of 3  " in format_table(report, MEASURES).splitlines()[2]


def test_no_rows_is_an_error(tmp_path):
    """Nothing scored is an error that says where to look, and writes nothing."""
    with pytest.raises(ValueError, match="test manifest"):
        write_results([], tmp_path, MEASURES, {})
    assert not list(tmp_path.iterdir())


def test_table():
    """The table is aligned, ends with SER+SE and has a dash for absent scores."""
    rows = pd.concat(
        [scored(v, [2.0, 2.0], stoi=0.5, pesq=np.nan) for v in ("SER", "C")]
    )
    assert format_table(report_on(rows), MEASURES).splitlines() == [
        "variant           n   SI-SDR [95 % CI]  SI-SDRi [95 % CI]  SDRi   STOI  PESQ",
        "----------------  -  -----------------  -----------------  ----  -----  ----",
        "SER               2  2.00 [2.00, 2.00]  2.00 [2.00, 2.00]  2.00  0.500     -",
        "C                 2  2.00 [2.00, 2.00]  2.00 [2.00, 2.00]  2.00  0.500     -",
        "SER+SE            2  2.00 [2.00, 2.00]  2.00 [2.00, 2.00]  2.00  0.500     -",
        "mean of variants  4  2.00 [2.00, 2.00]  2.00 [2.00, 2.00]  2.00  0.500     -",
        "Intervals: over recordings (n = 2: few)",
        "Corpus: noise",
    ]
