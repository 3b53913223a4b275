"""Counts the multiply-accumulates (MACs) of a forward pass.

Matrix products, convolutions and attention are counted by torch's FlopCounterMode, two
FLOPs to a MAC. What it does not see, or only in some implementations, by formula:

- LSTM layer with I features and H units: 4 H (I + H) per step and direction.
- Mamba, per step: one MAC for every weight of its linear layers and of its depthwise
  convolution; for the selective scan with N states 4 N per channel (Delta A, Delta u B,
  the state times its decay, C h), and one each for Delta u, the skip D u and the gate.

Elementwise functions, norms and the FFTs of STFTs are left out.
"""

from contextlib import ExitStack
from functools import wraps
from unittest import mock

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import recipe_path  # noqa: F401
from extra_models.mamba import Mamba


def lstm_macs(lstm, sequence, *_):
    """Returns the MACs of a torch.nn.LSTM over a sequence [batch, time, I]."""
    directions = 2 if lstm.bidirectional else 1
    hidden, inputs, macs = lstm.hidden_size, lstm.input_size, 0
    for _ in range(lstm.num_layers):
        macs += directions * 4 * hidden * (inputs + hidden)
        inputs = directions * hidden
    return sequence.shape[:-1].numel() * macs


def mamba_macs(block, sequence):
    """Returns the MACs of a Mamba over a sequence [batch, time, width]."""
    layers = (block.in_proj, block.conv, block.x_proj, block.step_size, block.out_proj)
    macs = sum(layer.weight.numel() for layer in layers)
    macs += 4 * block.A_log.numel() + 3 * block.D.numel()
    return sequence.shape[:-1].numel() * macs


FORMULAS = {torch.nn.LSTM: lstm_macs, Mamba: mamba_macs}


def count_macs(run):
    """Returns the MACs of what a callable without arguments computes.

    Every implementation counts alike: what an LSTM or Mamba is made of on some device
    is not counted beside its formula, and attention is computed in its plain form.
    """
    counter = FlopCounterMode(display=False)
    by_formula = 0

    def counted(function, formula):
        @wraps(function)
        def call(*args, **kwargs):
            nonlocal by_formula
            before = counter.get_total_flops()
            result = function(*args, **kwargs)
            seen = (counter.get_total_flops() - before) // 2
            by_formula += formula(*args, **kwargs) - seen
            return result

        return call

    fastpath = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.callback(torch.backends.mha.set_fastpath_enabled, fastpath)
        torch.backends.mha.set_fastpath_enabled(False)
        stack.enter_context(torch.no_grad())
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        for kind, formula in FORMULAS.items():
            call = counted(kind.forward, formula)
            stack.enter_context(mock.patch.object(kind, "forward", call))
        with counter:
            run()
    return counter.get_total_flops() // 2 + by_formula
