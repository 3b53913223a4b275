"""SPMamba (Li et al., 2024, arXiv 2404.02063): TF-GridNet with Mamba for its LSTMs.

TF-GridNet: Wang et al., 2022, arXiv 2211.12433. Tensors are channel-last, [batch,
frames, frequencies, features], so that sequences along frequency need no copy and
pointwise convolutions are matrix products.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from . import checkpointing
from .mamba import BidirectionalMamba

EPS = 1e-8


class SPMamba(nn.Module):
    """Maps mixtures to the sources' complex spectrograms, and those to waveforms.

    Arguments
    ---------
    num_sources : int
        Number of estimates.
    n_fft, hop_length : int
        Samples of the STFT's Hann window and of its shift.
    num_layers : int
        Blocks.
    emb_dim : int
        Features of a time-frequency unit.
    emb_ks, emb_hs : int
        Units that a sequence's element spans, and its shift.
    n_heads : int
        Heads of the attention between frames.
    qk_dim : int
        Size of a query and a key over all frequencies, rounded up to whole features.
    d_state, d_conv, expand : int
        See Mamba.
    scan_engine : str
        See ``selective_scan``.
    activation_checkpointing : bool
        Compute each block's activations again in the backward pass instead of keeping
        them: less memory, a third more time.
    """

    def __init__(
        self,
        num_sources=2,
        n_fft=256,
        hop_length=64,
        num_layers=6,
        emb_dim=16,
        emb_ks=8,
        emb_hs=1,
        n_heads=4,
        qk_dim=512,
        d_state=16,
        d_conv=4,
        expand=4,
        scan_engine="auto",
        activation_checkpointing=False,
    ):
        super().__init__()
        self.num_sources, self.hop_length = num_sources, hop_length
        self.activation_checkpointing = activation_checkpointing
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        mamba = {"d_state": d_state, "d_conv": d_conv, "expand": expand}
        mamba["scan_engine"] = scan_engine
        num_freqs = n_fft // 2 + 1
        self.conv_in = nn.Conv2d(2, emb_dim, 3, padding=1)
        self.norm_in = nn.GroupNorm(1, emb_dim, eps=1e-5)
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                [
                    SequencePath(emb_dim, emb_ks, emb_hs, mamba),
                    SequencePath(emb_dim, emb_ks, emb_hs, mamba),
                    FrameAttention(emb_dim, num_freqs, n_heads, qk_dim),
                ]
            )
            for _ in range(num_layers)
        )
        self.conv_out = nn.ConvTranspose2d(emb_dim, 2 * num_sources, 3, padding=1)

    def compile(self, **options):
        """Compiles the blocks' parts: they are alike, and the STFT gains nothing.

        Arguments
        ---------
        **options : dict
            Those of ``torch.compile``.
        """
        for block in self.blocks:
            for part in block:
                part.compile(**options)

    def forward(self, mixtures):
        """Maps mixtures [batch, time] to estimates [batch, sources, time].

        The level of a mixture is taken off first and given back to its estimates;
        silence gives silence.
        """
        level = mixtures.std(dim=1, correction=0)
        spectra = self._stft(mixtures / (level[:, None] + EPS))
        x = torch.view_as_real(spectra).permute(0, 3, 2, 1)  # batch, 2, frame, freq
        x = self.norm_in(self.conv_in(x)).permute(0, 2, 3, 1).contiguous()
        for block in self.blocks:
            x = checkpointing.run(self, _grid_block, block, x)
        x = self.conv_out(x.permute(0, 3, 1, 2)).float()
        x = x.unflatten(1, (self.num_sources, 2)).permute(0, 1, 4, 3, 2).contiguous()
        estimates = self._istft(torch.view_as_complex(x), mixtures.shape[1])
        return estimates * level[:, None, None]

    def _stft(self, signals):
        # Zeros beyond the ends: a reflection needs signals longer than half a window.
        return torch.stft(
            signals,
            len(self.window),
            self.hop_length,
            window=self.window,
            pad_mode="constant",
            return_complex=True,
        )

    def _istft(self, spectra, length):
        signals = torch.istft(
            spectra.flatten(0, 1),
            len(self.window),
            self.hop_length,
            window=self.window,
            length=length,
        )
        return signals.unflatten(0, spectra.shape[:2])


def _grid_block(block, x):
    """Applies a block along frequencies, along frames, and between frames."""
    along_freqs, along_frames, attention = block
    x = along_freqs(x)
    x = along_frames(x.transpose(1, 2)).transpose(1, 2)
    return attention(x)


class SequencePath(nn.Module):
    """Residual Mambas along the third dimension, over overlapping pieces.

    Arguments
    ---------
    emb_dim : int
        Features of a unit.
    kernel, stride : int
        Units in a piece, and between the starts of pieces.
    mamba : dict
        Arguments of Mamba.
    """

    def __init__(self, emb_dim, kernel, stride, mamba):
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.norm = nn.LayerNorm(emb_dim, eps=1e-5)
        self.sequence = BidirectionalMamba(emb_dim * kernel, **mamba)
        self.unfolded = nn.ConvTranspose1d(
            2 * emb_dim * kernel, emb_dim, kernel, stride
        )

    def forward(self, x):
        """Maps [batch, rows, units, features] to the same shape."""
        batch, rows, units, features = x.shape
        pieces = max(0, math.ceil((units - self.kernel) / self.stride)) + 1
        padding = (pieces - 1) * self.stride + self.kernel - units
        y = F.pad(self.norm(x).flatten(0, 1), (0, 0, 0, padding))
        y = y.unfold(1, self.kernel, self.stride).mT.flatten(2)
        y = self._overlap_add(self.sequence(y))[:, :units]
        return x + y.unflatten(0, (batch, rows))

    def _overlap_add(self, pieces):
        """Is the transposed convolution, as a matrix product and shifted sums."""
        weight = self.unfolded.weight  # [in, features, kernel]
        spread = F.linear(pieces, weight.permute(2, 1, 0).flatten(0, 1))
        spread = spread.unflatten(2, (self.kernel, -1))
        count = pieces.shape[1]
        length = (count - 1) * self.stride + self.kernel
        summed = self.unfolded.bias.to(spread).expand(len(pieces), length, -1).clone()
        for position in range(self.kernel):
            end = position + (count - 1) * self.stride + 1
            summed[:, position : end : self.stride] += spread[:, :, position]
        return summed


class FrameAttention(nn.Module):
    """Residual self-attention between frames, over all their frequencies at once.

    Arguments
    ---------
    emb_dim, num_freqs : int
        Features of a unit, and units of a frame.
    n_heads : int
    qk_dim : int
        Size of queries and keys, rounded up to whole features of all frequencies.
    """

    def __init__(self, emb_dim, num_freqs, n_heads, qk_dim):
        super().__init__()
        if emb_dim % n_heads:
            raise ValueError(
                f"emb_dim {emb_dim} is not a multiple of n_heads {n_heads}"
            )
        qk_features = math.ceil(qk_dim / num_freqs)
        self.query, self.key = (
            FrameProjection(emb_dim, qk_features, num_freqs, n_heads) for _ in range(2)
        )
        self.value = FrameProjection(emb_dim, emb_dim // n_heads, num_freqs, n_heads)
        self.out = FrameProjection(emb_dim, emb_dim, num_freqs, 1)

    def forward(self, x):
        """Maps [batch, frames, frequencies, features] to the same shape."""
        query, key, value = (
            projection(x).flatten(3)
            for projection in (self.query, self.key, self.value)
        )
        y = F.scaled_dot_product_attention(query, key, value)
        y = y.unflatten(3, (x.shape[2], -1))  # batch, head, frame, freq, feature
        y = y.permute(0, 2, 3, 1, 4).flatten(3)
        return x + self.out(y)[:, 0]


class FrameProjection(nn.Module):
    """A pointwise layer, PReLU, and a norm over all units of a frame, per head.

    Arguments
    ---------
    in_features, out_features : int
        Features of a unit; the latter per head.
    num_freqs : int
    n_heads : int
    """

    def __init__(self, in_features, out_features, num_freqs, n_heads):
        super().__init__()
        self.n_heads = n_heads
        self.linear = nn.Linear(in_features, n_heads * out_features)
        self.slope = nn.Parameter(torch.full((n_heads, 1, 1, 1), 0.25))
        shape = (n_heads, 1, num_freqs, out_features)
        self.weight = nn.Parameter(torch.ones(shape))
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, x):
        """Maps [batch, frames, freqs, in] to [batch, heads, frames, freqs, out]."""
        y = self.linear(x).unflatten(3, (self.n_heads, -1)).permute(0, 3, 1, 2, 4)
        y = torch.where(y < 0, self.slope * y, y)
        return F.layer_norm(y, y.shape[3:], eps=1e-5) * self.weight + self.bias
