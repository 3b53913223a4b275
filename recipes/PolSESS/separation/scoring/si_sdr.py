"""SI-SDR and its best permutation, in float32 at least, for the loss and for scores."""

from itertools import permutations

import torch

EPS = 1e-10  # of the unit-power estimate: scores lie within -100..100 dB
SILENT_RMS = 1e-7  # -140 dBFS, a hundredth of 16-bit rounding noise


def si_sdr(estimate, target):
    """Returns the scale-invariant signal-to-distortion ratio (Le Roux et al. 2019,
    "SDR - half-baked or well done?", arXiv 1811.02508, equation 3), differentiable.

    Both signals are made zero-mean and brought to unit power first, so that ``EPS``
    means the same at every level: the score is ``10 log10(ratio + EPS)`` with
    ``ratio = |projection|^2 / (|rest|^2 + EPS)``. The floor is -100 dB, the ceiling
    +100 dB, and a score within -60..60 dB is moved by less than 0.001 dB. A silent
    estimate or target scores the floor, with gradients of zero.

    Half-precision signals are cast up and autocast is off inside, since EPS is zero in
    fp16. Signals that are not finite give NaN.

    Arguments
    ---------
    estimate : torch.Tensor
        Estimated sources, shape [..., T].
    target : torch.Tensor
        True sources, a shape that broadcasts with the estimate's.

    Returns
    -------
    torch.Tensor
        SI-SDR in dB, shape [...], float32 (float64 where an input is float64).
    """
    dtype = torch.promote_types(estimate.dtype, target.dtype)
    dtype = torch.promote_types(dtype, torch.float32)
    with torch.autocast(estimate.device.type, enabled=False):
        estimate = _standardised(estimate.to(dtype))
        target = _standardised(target.to(dtype))
        projection = (estimate * target).mean(-1, keepdim=True) * target
        rest = estimate - projection
        ratio = projection.square().mean(-1) / (rest.square().mean(-1) + EPS)
        return 10 * torch.log10(ratio + EPS)


def _standardised(signal):
    """Returns the signal with zero mean and unit power; silence stays silence."""
    signal = signal - signal.mean(-1, keepdim=True)
    return signal / _rms(signal).clamp(min=SILENT_RMS)


def _rms(signal):
    norm = torch.linalg.vector_norm(signal, dim=-1, keepdim=True)
    return norm / signal.shape[-1] ** 0.5


def sounding(targets):
    """Returns which targets (bool, shape [...]) are not silent.

    The one rule for silence: a silent target has no score. It is left out of the loss,
    and its scores in validation and test are NaN, left out of means and counted.
    """
    targets = targets.to(torch.promote_types(targets.dtype, torch.float32))
    targets = targets - targets.mean(-1, keepdim=True)
    return _rms(targets)[..., 0] > SILENT_RMS


def improvable_si_sdr(mixtures, targets):
    """Returns the SI-SDR of mixtures, from which improvements are counted.

    NaN where a mixture is its target, which nothing can improve (variant C of the
    enhancement tasks). Shapes as in ``si_sdr``.
    """
    mixtures, targets = torch.broadcast_tensors(mixtures, targets)
    scores = si_sdr(mixtures, targets)
    return scores.masked_fill((mixtures == targets).all(-1), torch.nan)


def permute_to_best(estimates, targets):
    """Returns the estimates in the order of the targets, and their scores.

    The order is the permutation with the highest mean SI-SDR of each item.

    Arguments
    ---------
    estimates : torch.Tensor
        Estimated sources in any order, shape [B, S, T].
    targets : torch.Tensor
        True sources, shape [B, S, T].

    Returns
    -------
    estimates : torch.Tensor
        Reordered estimates, shape [B, S, T].
    scores : torch.Tensor
        SI-SDR of each reordered estimate in dB, shape [B, S].

    Raises
    ------
    ValueError
        If the shapes differ or are not [B, S, T].
    """
    if estimates.shape != targets.shape or estimates.dim() != 3:
        raise ValueError(
            f"estimates {tuple(estimates.shape)} and targets {tuple(targets.shape)} "
            "should both have the same shape [batch, sources, samples]"
        )
    batch, sources, _ = targets.shape
    device = targets.device
    pairs = si_sdr(estimates[:, :, None], targets[:, None])  # [B, estimate, target]
    orders = torch.tensor(list(permutations(range(sources))), device=device)
    scores = pairs[:, orders, torch.arange(sources, device=device)]  # [B, order, S]
    best = scores.mean(-1).argmax(-1)
    rows = torch.arange(batch, device=device)
    return estimates[rows[:, None], orders[best]], scores[rows, best]


def pit_scores(estimates, targets):
    """Returns the SI-SDR (dB) of the best permutations, shape [B, S].

    NaN where a target is silent. Arguments are those of ``permute_to_best``.
    """
    _, scores = permute_to_best(estimates, targets)
    return scores.masked_fill(~sounding(targets), torch.nan)


def pit_loss(estimates, targets, floor=-torch.inf):
    """Returns minus the mean SI-SDR (dB) of the best permutations, a scalar.

    Silent targets are left out; a loss without any other is zero.

    Arguments
    ---------
    estimates : torch.Tensor
        Estimated sources in any order, shape [B, S, T].
    targets : torch.Tensor
        True sources, shape [B, S, T].
    floor : float
        What the loss of a source (dB) is held at if it falls below: without gradient,
        so that sources which are all but solved leave the others in charge. The idea
        is that of ``threshold`` in SpeechBrain's SepFormer recipes (-30 dB), which
        leaves such examples out of the mean.
    """
    _, scores = permute_to_best(estimates, targets)
    heard = sounding(targets)
    if not heard.any():
        return 0 * estimates.sum()
    return (-scores[heard]).clamp(min=floor).mean()
