"""Activation checkpointing: less memory for computing a part of a model twice."""

import torch
from torch.utils.checkpoint import checkpoint


def run(model, part, *inputs):
    """Calls a part of a model, recomputed in the backward pass if the model asks so.

    Arguments
    ---------
    model : torch.nn.Module
        Its ``activation_checkpointing`` says whether to keep only the inputs while
        training.
    part : callable
        Of the inputs.
    *inputs
        What to call it with.
    """
    needed = model.activation_checkpointing and model.training
    if needed and torch.is_grad_enabled():
        return checkpoint(part, *inputs, use_reentrant=False)
    return part(*inputs)
