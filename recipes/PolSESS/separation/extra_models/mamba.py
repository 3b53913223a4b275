"""Mamba (Gu & Dao, 2023, arXiv 2312.00752) over sequences in channel-last layout."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from .selective_scan import causal_conv_silu, selective_scan

DELTA_MIN, DELTA_MAX = 1e-3, 1e-1  # range of the initial step sizes (section 3.6)


class StepSize(nn.Linear):
    """The projection to step sizes Delta, before the softplus.

    Its bias is added inside the scan. Initialised so that softplus(bias) is
    log-uniform in [DELTA_MIN, DELTA_MAX], also by `reset_parameters`, which recipes
    call on any layer that has it.

    Arguments
    ---------
    rank, channels : int
        Numbers of features in and out.
    """

    def __init__(self, rank, channels):
        super().__init__(rank, channels)

    def reset_parameters(self):
        """Initialises weight and bias."""
        bound = self.in_features**-0.5
        nn.init.uniform_(self.weight, -bound, bound)
        with torch.no_grad():
            low, high = math.log(DELTA_MIN), math.log(DELTA_MAX)
            delta = torch.empty_like(self.bias).uniform_(low, high).exp()
            self.bias.copy_(delta + torch.log(-torch.expm1(-delta)))  # softplus^-1

    def forward(self, x):
        """Maps [..., rank] to [..., channels] without the bias."""
        return F.linear(x, self.weight)


class Mamba(nn.Module):
    """A selective state space model with gate and short convolution (figure 3).

    Arguments
    ---------
    width : int
        Number of features of input and output.
    d_state : int
        States per channel, N.
    d_conv : int
        Taps of the causal convolution.
    expand : int
        Inner channels per feature.
    scan_engine : str
        See ``selective_scan``.
    """

    def __init__(self, width, d_state=16, d_conv=4, expand=2, scan_engine="auto"):
        super().__init__()
        channels, self.rank = expand * width, math.ceil(width / 16)
        self.d_state, self.scan_engine = d_state, scan_engine
        self.in_proj = nn.Linear(width, 2 * channels, bias=False)
        self.conv = nn.Conv1d(channels, channels, d_conv, groups=channels)
        self.x_proj = nn.Linear(channels, self.rank + 2 * d_state, bias=False)
        self.step_size = StepSize(self.rank, channels)
        self.A_log = nn.Parameter(torch.empty(channels, d_state))
        self.D = nn.Parameter(torch.empty(channels))
        self.out_proj = nn.Linear(channels, width, bias=False)
        self.reset_parameters()

    def reset_parameters(self):
        """Initialises A as the S4D-Real diagonal -1 ... -N, and D as 1."""
        with torch.no_grad():
            states = torch.arange(1, self.d_state + 1, dtype=torch.float32)
            self.A_log.copy_(states.log().expand_as(self.A_log))
            self.D.fill_(1.0)

    def forward(self, x):
        """Maps [batch, time, width] to the same shape; causal."""
        # Two products: the gradients of halves of one would have to be put together.
        x, z = (F.linear(x, half) for half in self.in_proj.weight.chunk(2))
        taps = self.conv.weight[:, 0]
        x = causal_conv_silu(x, taps, self.conv.bias, self.scan_engine)
        sizes = (self.rank, self.d_state, self.d_state)
        delta, B, C = self.x_proj(x).split(sizes, dim=-1)
        y = selective_scan(
            x.mT,
            self.step_size(delta).mT,
            -self.A_log.float().exp(),
            B.mT,
            C.mT,
            self.D,
            z.mT,
            self.step_size.bias,
            delta_softplus=True,
            engine=self.scan_engine,
        )
        return self.out_proj(y.mT)


class BidirectionalMamba(nn.Module):
    """Two residual Mambas with RMS norm, one of them over the reversed sequence.

    Arguments
    ---------
    width : int
        Number of features of the input.
    **mamba
        Arguments of Mamba.
    """

    def __init__(self, width, **mamba):
        super().__init__()
        self.norms = nn.ModuleList(nn.RMSNorm(width, eps=1e-5) for _ in range(2))
        self.mambas = nn.ModuleList(Mamba(width, **mamba) for _ in range(2))

    def forward(self, x):
        """Maps [batch, time, width] to [batch, time, 2 * width]."""
        outputs = []
        for norm, mamba in zip(self.norms, self.mambas, strict=True):
            x = x.flip(1) if outputs else x  # the second runs backwards
            outputs.append(x + mamba(norm(x.to(norm.weight.dtype))))
        outputs[1] = outputs[1].flip(1)
        return torch.cat(outputs, dim=-1)
