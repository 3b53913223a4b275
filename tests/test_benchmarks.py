"""The benchmarks count, compare and report rightly, and their scripts run."""

import json
import operator
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import measuring
import models
import scan
import speaker_order
from extra_models.mamba import Mamba
from macs import count_macs
from measuring import REFERENCE, Figure, alternate, compare, isolated, write_report


def lstm():
    return torch.nn.LSTM(3, 5, num_layers=2, bidirectional=True, batch_first=True)


# Module, shape of its input, multiply-accumulates by hand.
CLOSED_FORMS = {
    "linear": (lambda: torch.nn.Linear(3, 5), (2, 7, 3), 2 * 7 * 3 * 5),
    "convolution": (
        lambda: torch.nn.Conv1d(4, 6, 5, stride=2, groups=2),
        (1, 4, 21),
        9 * 6 * 2 * 5,
    ),
    "transposed convolution": (
        lambda: torch.nn.ConvTranspose1d(6, 2, 4, stride=2),
        (3, 6, 9),
        3 * 9 * 6 * 2 * 4,
    ),
    "LSTM": (lstm, (2, 7, 3), 2 * 7 * 2 * 4 * 5 * ((3 + 5) + (10 + 5))),
    "Mamba": (
        lambda: Mamba(4, d_state=3, d_conv=2, expand=2, scan_engine="torch"),
        (2, 7, 4),
        # Projections 4->16, 8->7, 1->8, 8->4; 2 taps; scan of 8 channels, 3 states.
        2 * 7 * (4 * 16 + 8 * 7 + 8 + 8 * 4 + 8 * 2 + 8 * (4 * 3 + 3)),
    ),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_macs_are_those_of_the_closed_form(name):
    make, shape, expected = CLOSED_FORMS[name]
    module = make().eval()
    sequence = torch.randn(shape)
    assert count_macs(lambda: module(sequence)) == expected


def test_lstm_counts_alike_with_and_without_mkldnn():
    module, sequence = lstm(), torch.randn(2, 7, 3)
    fused = count_macs(lambda: module(sequence))
    with torch.backends.mkldnn.flags(enabled=False):
        assert count_macs(lambda: module(sequence)) == fused


def test_attention_is_counted_whatever_kernel_would_compute_it():
    module = torch.nn.MultiheadAttention(8, 2, batch_first=True).eval()
    x = torch.randn(3, 7, 8)
    expected = 3 * (4 * 7 * 8 * 8 + 2 * 7 * 7 * 8)
    for weights in (True, False):
        assert count_macs(lambda w=weights: module(x, x, x, need_weights=w)) == expected
    assert torch.backends.mha.get_fastpath_enabled()


def test_alternation_takes_medians_of_rounds_and_leaves_failures_out():
    order = []

    def run(name):
        order.append(name)
        if name == "b":
            raise ValueError("too large\nand more")

    results = alternate({n: lambda n=n: run(n) for n in "abc"}, repeats=2)
    assert "".join(order) == "abc" + "ac" * 2
    assert results["b"] == (None, "ValueError: too large")
    assert results["a"][0] > 0 and results["a"][1].startswith("median of 2, warm-up")


def test_alternation_ends_when_its_time_is_up():
    order = []
    alternate({"a": lambda: order.append("a")}, repeats=5, seconds=0)
    assert len(order) == 2  # the warm-up and one round


@pytest.mark.parametrize(
    ("target", "met"),
    [
        ("ratio <= 0.5", True),
        ("ratio <= 0.49", False),
        ("measured >= 3", True),
        ("measured == 4", False),
        (None, None),
    ],
)
def test_a_target_is_met_by_the_ratio_or_the_measured_value(target, met):
    assert Figure("step", 3.0, "s", 6.0, target).met is met


def test_a_failed_case_misses_its_target():
    row = Figure("step", None, "s", 2.0, "ratio <= 0.5", "out of memory")
    assert row.ratio is None and row.met is False


def test_results_are_compared_with_the_reference_among_them():
    results = {REFERENCE: (8e9, ""), "fp32": (2e9, "n"), "bf16": (None, "why")}
    fp32, bf16 = compare("peak", "GB", results, {"peak, fp32": "measured <= 1"}, 1e-9)
    assert fp32 == Figure("peak, fp32", 2, "GB", 8, "measured <= 1", "n")
    assert (bf16.measured, bf16.reference, bf16.note) == (None, 8, "why")


def test_a_failed_reference_is_named():
    results = {REFERENCE: (None, "no memory"), "fp32": (2, "")}
    (row,) = compare("peak", "B", results, {"peak, fp32": "ratio <= 1"})
    assert row.note == "(reference: no memory)" and row.met is False


def test_report_holds_figures_ratios_misses_and_the_machine(tmp_path):
    rows = [
        Figure("parameters", 2609793, "", 2609793, "measured == 2609793"),
        Figure("step", 0.4567, "s", 0.5, "ratio <= 0.5", "median of 3"),
        Figure("peak", None, "GB", note="bad | worse"),
    ]
    table = write_report("tiny", "A title", rows, tmp_path)
    assert (tmp_path / "tiny.md").read_text() == table
    assert table.startswith("# A title\n")
    assert "| parameters | 2,609,793 | 2,609,793 |  | 1.00 | measured ==" in table
    step = "| step | 0.457 | 0.500 | s | 0.913 | ratio <= 0.5 | no | median of 3 |"
    assert step in table
    assert "| peak |  |  | GB |  |  |  | bad / worse |" in table
    content = json.loads((tmp_path / "tiny.json").read_text())
    assert [row["met"] for row in content["figures"]] == [True, False, None]
    assert content["figures"][1]["ratio"] == pytest.approx(0.4567 / 0.5)
    assert content["machine"]["threads"] == torch.get_num_threads()
    assert torch.__version__.startswith(content["machine"]["versions"]["torch"])


def test_a_process_of_its_own_may_fail():
    assert isolated(operator.mul, 2, 3) == (6, "")
    assert isolated(operator.truediv, 1, 0)[1].startswith("ZeroDivisionError")
    assert isolated(os._exit, 3) == (None, "its process ended with exit code 3")


@pytest.mark.skipif(torch.cuda.is_available(), reason="memory is not limited then")
def test_a_process_of_its_own_may_not_take_all_memory():
    result, failure = isolated(bytearray, int(measuring.MEMORY_LIMIT) + 1)
    assert result is None and failure.startswith("MemoryError")


@pytest.fixture
def in_this_process(monkeypatch):
    for script in (models, scan):
        monkeypatch.setattr(script, "isolated", lambda f, *a: (f(*a), ""))


def figures_of(script, arguments, folder, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["script", *arguments, "--folder", str(folder)])
    script.main()
    (file,) = folder.glob("*.json")
    return {row["what"]: row for row in json.loads(file.read_text())["figures"]}


def test_models_script_measures_beside_the_reference(
    tmp_path, monkeypatch, in_this_process
):
    arguments = ["dprnn", "--seconds", "0.2", "--repeats", "1", "--variants"]
    arguments += ["fp32", "bf16 checkpointed"]
    figures = figures_of(models, arguments, tmp_path, monkeypatch)
    assert set(figures) == {
        "parameters",
        "forward",
        "step, fp32",
        "step, bf16 checkpointed",
        "inference, fp32",
        "peak memory at batch 1, fp32",
        "peak memory at batch 1, bf16 checkpointed",
        "peak memory at batch 4, bf16 checkpointed",
    }
    assert figures["parameters"]["met"] and figures["parameters"]["ratio"] == 1
    del figures["parameters"], figures["forward"]
    for row in figures.values():
        assert row["measured"] > 0 and row["reference"] > 0, row


def test_reference_is_made_of_speechbrains_classes_or_the_torch_engine():
    reference = models.load("dprnn", REFERENCE, {"num_layers": 1})["modules"]
    ours = models.load("dprnn", "fp32", {"num_layers": 1})["modules"]
    for name, module in reference.items():
        for part in module.modules():
            assert type(part).__module__.split(".")[0] in ("speechbrain", "torch")
        torch.testing.assert_close(module.state_dict(), ours[name].state_dict())
    spmamba = models.load("spmamba", REFERENCE, {"num_layers": 1})
    assert spmamba["scan_engine"] == "torch"


def test_a_model_that_differs_from_its_reference_is_not_timed(monkeypatch):
    def load(model, variant, overrides, load=models.load):
        hparams = load(model, variant, overrides)
        if variant == "fp32":
            torch.nn.init.ones_(hparams["modules"]["decoder"].weight)
        return hparams

    monkeypatch.setattr(models, "load", load)
    settings = models.Settings(0.1, 1, overrides={"num_layers": 1})
    with pytest.raises(ArithmeticError, match="dprnn differs from its reference"):
        models.measure("dprnn", settings, ("fp32",))


def test_a_model_that_cannot_be_measured_misses_its_targets(monkeypatch):
    monkeypatch.setattr(models, "isolated", lambda *_: (None, "no memory"))
    rows = models.figures("sepformer", models.Settings())
    assert {row.what for row in rows} == models.TARGETS["sepformer"].keys()
    assert all(row.met is False and row.note == "no memory" for row in rows)


def test_throughput_is_in_steps_per_second(monkeypatch):
    monkeypatch.setattr(
        models, "alternate", lambda runs, *_: dict.fromkeys(runs, (4, ""))
    )
    rates = models.throughput("dprnn", models.Settings(), 2)
    assert rates == {REFERENCE: (0.25, ""), "bf16": (0.25, "")}


def test_scan_script_measures_engines_and_loops(tmp_path, monkeypatch, in_this_process):
    monkeypatch.setattr(scan, "SHAPES", ((10, 8, 5),))
    figures = figures_of(scan, ["--repeats", "1"], tmp_path, monkeypatch)
    assert {
        "fp32, 10 x 8 x 5, torch",
        "fp32, 10 x 8 x 5, torch, memory",
        "fp32, 10 x 8 x 5, mamba's loop",
        "bf16, 10 x 8 x 5, torch",
        "bf16, 10 x 8 x 5, torch, memory",
    } <= set(figures)
    times = [row for row in figures.values() if row["unit"] == "s"]
    assert all(row["measured"] > 0 and row["reference"] > 0 for row in times)


def test_an_engine_that_differs_from_the_loop_is_not_timed(monkeypatch):
    loop = scan.LOOPS[REFERENCE]
    monkeypatch.setitem(scan.LOOPS, "wrong", lambda *a: 1.001 * loop(*a))
    with pytest.raises(ArithmeticError, match="wrong differs from the loop"):
        scan.measure((10, 8, 5), torch.float32, "cpu", ["wrong"], 1)


def test_speaker_order_counts_pairs_that_keep_their_streams():
    draw = np.random.default_rng(0)
    frames = 2 * speaker_order.SECONDS * speaker_order.RATE
    low, high, other = 0.05 * draw.standard_normal((3, frames))
    low[1:] += 0.9 * low[:-1]
    high[1:] -= 0.9 * high[:-1]
    speakers = {"studio": {"a": low, "b": high, "c": other}}
    pairs = speaker_order.draw_pairs(speakers, 9, None)
    assert sorted(pairs) == [("studio", *pair) for pair in ("ab", "ac", "bc")]
    assert len(speaker_order.draw_pairs(speakers, 2, None)) == 2
    women = {"a": "f", "c": "f", "b": "m"}
    assert speaker_order.draw_pairs(speakers, 9, women) == [("studio", "a", "c")]
    for how in speaker_order.AFTER:
        row = speaker_order.figure(pairs, speakers, how, "any pair")
        assert row.measured == 100 and row.note.startswith("3 of 3 pairs of 3 speakers")


def test_speaker_order_does_not_tell_equal_voices_apart():
    frames = 2 * speaker_order.SECONDS * speaker_order.RATE
    right = 0
    for key in range(12):
        one, two = 0.05 * np.random.default_rng(key).standard_normal((2, frames))
        right += speaker_order.kept(one, two, "both at once", key)
    assert 1 < right < 11
