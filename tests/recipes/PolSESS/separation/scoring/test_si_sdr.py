"""SI-SDR, its permutation and the loss: closed forms and other implementations."""

import fast_bss_eval
import pytest
import torch
from torchmetrics.functional.audio import (
    permutation_invariant_training,
    scale_invariant_signal_distortion_ratio,
)

from scoring.si_sdr import permute_to_best, pit_loss, pit_scores, si_sdr

SAMPLES = 8000


def noise(*shape, seed=0):
    """Returns white noise of unit power."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def orthogonal_pair():
    """Returns a zero-mean target and zero-mean noise of equal power, orthogonal."""
    phase = torch.arange(SAMPLES, dtype=torch.float64) * 2 * torch.pi / SAMPLES
    return torch.sin(440 * phase).float(), torch.sin(700 * phase).float()


@pytest.mark.parametrize("ratio", [-60, -30, -5, 0, 12.5, 40, 60])
@pytest.mark.parametrize("rms", [1e-4, 1e-2, 1])
def test_known_ratio_at_usual_levels(ratio, rms):
    """Target plus orthogonal noise scores their power ratio, unbiased by EPS."""
    target, disturbance = orthogonal_pair()
    estimate = target + 10 ** (-ratio / 20) * disturbance
    score = si_sdr(rms * estimate, rms * target)
    assert score.item() == pytest.approx(ratio, abs=2e-3)


@pytest.mark.parametrize("gain", [-1, 1e-5, 3, 1e4])
def test_scale_of_the_estimate_is_free(gain):
    """Level and sign of the estimate change nothing, nor those of the target."""
    target = noise(SAMPLES)
    estimate = target + 0.3 * noise(SAMPLES, seed=1)
    expected = si_sdr(estimate, target)
    torch.testing.assert_close(si_sdr(gain * estimate, target), expected)
    torch.testing.assert_close(si_sdr(estimate, gain * target), expected)


def test_offsets_are_removed():
    """A constant added to either signal is no distortion."""
    target, disturbance = orthogonal_pair()
    score = si_sdr(target + 0.1 * disturbance + 0.5, target - 2)
    assert score.item() == pytest.approx(20, abs=1e-3)


@pytest.mark.parametrize("level", [0.01, 0.3, 1, 10, 100])
def test_equals_other_implementations(level):
    """Random signals score as in torchmetrics and fast_bss_eval."""
    targets = noise(4, 2, SAMPLES)
    estimates = targets + level * noise(4, 2, SAMPLES, seed=1) + 0.2
    scores = si_sdr(estimates, targets)
    assert scores.shape == (4, 2)
    others = [
        scale_invariant_signal_distortion_ratio(
            estimates.double(), targets.double(), zero_mean=True
        ),
        fast_bss_eval.si_sdr(
            targets[:, :, None].double(), estimates[:, :, None].double(), zero_mean=True
        )[..., 0],
    ]
    for other in others:
        torch.testing.assert_close(scores, other.float(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("rms", [1e-2, 1])
def test_half_precision_is_cast_up(dtype, rms):
    """Half inputs score as the same rounded signals in fp32, autocast or not."""
    target = (rms * noise(2, SAMPLES)).to(dtype)
    estimate = target + (0.1 * rms * noise(2, SAMPLES, seed=1)).to(dtype)
    expected = si_sdr(estimate.float(), target.float())
    assert expected.isfinite().all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = si_sdr(estimate, target)
    for score in (si_sdr(estimate, target), inside):
        assert score.dtype == torch.float32
        assert torch.equal(score, expected)


@pytest.mark.parametrize("silent", ["estimate", "target", "both", "neither"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_silence_is_finite(silent, dtype):
    """A silent estimate scores the floor, a perfect one the ceiling, a silent target
    nothing at all; gradients are finite."""
    signal = noise(1, 2, SAMPLES)
    quiet = torch.zeros_like(signal)
    estimate = (quiet if silent in ("estimate", "both") else signal.clone()).to(dtype)
    target = (quiet if silent in ("target", "both") else signal).to(dtype)
    estimate.requires_grad_()
    loss = pit_loss(estimate, target)
    loss.backward()
    expected = {"neither": -100, "estimate": 100, "target": 0, "both": 0}[silent]
    assert loss.item() == pytest.approx(expected, abs=0.01)
    assert estimate.grad.isfinite().all()


def test_not_finite_is_seen():
    """An overflowed estimate gives NaN, not a score."""
    estimates = noise(1, 2, SAMPLES)
    estimates[0, 0, 5] = torch.inf
    assert pit_loss(estimates, noise(1, 2, SAMPLES, seed=1)).isnan()


def test_gradient_raises_the_score():
    """A small step along the gradient raises the score by what the gradient says."""
    target = noise(SAMPLES).double()
    estimate = (target + noise(SAMPLES, seed=1).double()).requires_grad_()
    score = si_sdr(estimate, target)
    score.backward()
    step = 1e-3 * estimate.grad / estimate.grad.norm()
    gain = si_sdr(estimate.detach() + step, target) - score
    assert gain.item() == pytest.approx(1e-3 * estimate.grad.norm().item(), rel=1e-3)


@pytest.mark.parametrize("sources", [1, 2, 3])
def test_best_permutation(sources):
    """Order, scores and loss are those of torchmetrics' exhaustive search."""
    targets = noise(6, sources, SAMPLES)
    order = noise(6, sources, seed=2).argsort(-1)
    mixed = targets[torch.arange(6)[:, None], order]
    estimates = mixed + noise(6, sources, SAMPLES, seed=1)
    expected, places = permutation_invariant_training(
        estimates,
        targets,
        lambda *pair: scale_invariant_signal_distortion_ratio(*pair, zero_mean=True),
    )
    ordered, scores = permute_to_best(estimates, targets)
    assert torch.equal(ordered, estimates[torch.arange(6)[:, None], places])
    torch.testing.assert_close(scores, si_sdr(ordered, targets))
    torch.testing.assert_close(scores.mean(-1), expected, atol=1e-3, rtol=0)
    loss = pit_loss(estimates, targets)
    torch.testing.assert_close(loss, -expected.mean(), atol=1e-3, rtol=0)


def test_unequal_shapes_are_refused():
    """Shapes that would silently broadcast are an error that names both."""
    with pytest.raises(ValueError, match=r"\(2, 1, 8000\).*\(2, 2, 8000\)"):
        permute_to_best(noise(2, 1, SAMPLES), noise(2, 2, SAMPLES))


def test_loss_floor_takes_solved_sources_out_of_charge():
    """Beyond the floor a source has no gradient; others keep theirs, to the bit."""
    target = noise(1, 2, SAMPLES)
    estimate = target + noise(1, 2, SAMPLES, seed=1) * torch.tensor([[1e-3], [1.0]])
    gradients = []
    for floor in (-torch.inf, -30.0):
        leaf = estimate.clone().requires_grad_()
        loss = pit_loss(leaf, target, floor)
        loss.backward()
        gradients.append(leaf.grad)
    assert loss.item() == pytest.approx((-30 - si_sdr(estimate, target)[0, 1]) / 2)
    without, held = gradients
    assert without[0, 0].any() and not held[0, 0].any()
    assert torch.equal(without[0, 1], held[0, 1])


def test_a_silent_target_leaves_the_loss_to_the_other_source():
    target, estimate = noise(2, 2, SAMPLES), noise(2, 2, SAMPLES, seed=1)
    target[0, 1] = 0
    scores = pit_scores(estimate, target)
    assert scores.isnan().tolist() == [[False, True], [False, False]]
    assert -pit_loss(estimate, target).item() == pytest.approx(
        scores[~scores.isnan()].mean().item(), abs=1e-5
    )
