"""The forward pass of training and inference, for every model."""

import torch

MASKING = ("encoder", "masknet", "decoder")  # SpeechBrain's names
LAYOUTS = (MASKING, ("separator",))


def separate(modules, mixtures):
    """Separates mixtures with a masking network, or with one that does it all.

    Arguments
    ---------
    modules : torch.nn.ModuleDict or dict
        ``separator`` [batch, time] -> [batch, sources, time], or ``encoder`` [batch,
        time] -> [batch, filters, frames]; ``masknet`` -> masks [sources, batch,
        filters, frames]; ``decoder`` back to [batch, time].
    mixtures : torch.Tensor
        [batch, time]

    Returns
    -------
    torch.Tensor
        Estimates [batch, sources, time], as long as the mixtures. Their level is
        free where the model was trained by a scale-invariant loss.
    """
    if "separator" in modules:
        return modules["separator"](mixtures)
    encoded = modules["encoder"](mixtures)
    masked = modules["masknet"](encoded) * encoded
    num_sources, batch = masked.shape[:2]
    decoded = modules["decoder"](masked.flatten(0, 1))
    estimates = decoded.reshape(num_sources, batch, -1).transpose(0, 1)
    missing = mixtures.shape[-1] - estimates.shape[-1]
    return torch.nn.functional.pad(estimates, (0, missing))  # cuts if negative
