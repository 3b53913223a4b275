"""Blocks for SpeechBrain's Dual_Path_Model: same weights, less memory, real dropout.

DPRNN (Luo et al. 2020, arXiv 1910.06379) is made of RNNBlock, SepFormer (Subakan et al.
2021, arXiv 2010.13154) of TransformerBlock.
"""

import torch
import torch.nn.functional as F
from speechbrain.lobes.models.dual_path import SBRNNBlock, SBTransformerBlock
from torch.autograd.function import once_differentiable

from . import checkpointing

PART_WEIGHTS = 2**20  # attention weights at a time: 2 MB, which caches hold


class RNNBlock(SBRNNBlock):
    """Bidirectional LSTM layers with dropout after each of them, the last one included.

    The dropout of ``torch.nn.LSTM``, and so that of SBRNNBlock, acts between layers
    only, which is nowhere in a block of one. The weights are SBRNNBlock's.

    Arguments
    ---------
    input_size : int
        Number of features of the input.
    hidden_channels : int
        Number of hidden units per direction.
    num_layers : int
        Number of layers.
    dropout : float
        Probability of an output being zeroed while training, in [0, 1).
    activation_checkpointing : bool
        Computes the block again in the backward pass rather than keep its activations.
    """

    def __init__(
        self,
        input_size,
        hidden_channels,
        num_layers,
        dropout=0.0,
        activation_checkpointing=False,
    ):
        between = dropout if num_layers > 1 else 0.0  # torch warns of one without use
        super().__init__(input_size, hidden_channels, num_layers, dropout=between)
        self.dropout = torch.nn.Dropout(dropout)
        self.activation_checkpointing = activation_checkpointing

    def forward(self, x):
        """Maps [batch, time, input_size] to [batch, time, 2 * hidden_channels]."""
        return self.dropout(checkpointing.run(self, super().forward, x))


class TransformerBlock(SBTransformerBlock):
    """Transformer layers whose attention weights are never all in memory.

    The weights are SBTransformerBlock's, and so are the outputs of one with
    ``norm_before``. With dropout, which acts on attention weights too, torch has fused
    attention on GPUs only.

    Arguments
    ---------
    num_layers : int
        Number of layers.
    d_model : int
        Number of features.
    nhead : int
        Number of attention heads.
    d_ffn : int
        Number of hidden units of the feed-forward networks.
    dropout : float
        Probability of an attention weight, a hidden unit or an output of attention or
        feed-forward network being zeroed while training, in [0, 1).
    use_positional_encoding : bool
        Adds sines of the position to the input.
    norm_before : bool
        Must be True, which is not the default of SBTransformerBlock.
    activation_checkpointing : bool
        Computes each layer again in the backward pass rather than keep its activations.

    Raises
    ------
    ValueError
        If ``norm_before`` is not True.
    """

    def __init__(
        self,
        num_layers,
        d_model,
        nhead,
        d_ffn=2048,
        dropout=0.1,
        use_positional_encoding=False,
        norm_before=False,
        activation_checkpointing=False,
    ):
        if not norm_before:
            raise ValueError(
                "TransformerBlock normalises before its layers only: set norm_before "
                "to True, or use SpeechBrain's SBTransformerBlock"
            )
        super().__init__(
            num_layers,
            d_model,
            nhead,
            d_ffn,
            dropout=dropout,
            use_positional_encoding=use_positional_encoding,
            norm_before=norm_before,
        )
        self.activation_checkpointing = activation_checkpointing

    def forward(self, x):
        """Maps [batch, time, d_model] to the same shape."""
        if self.use_positional_encoding:
            x = x + self.pos_enc(x)
        for layer in self.mdl.layers:
            x = checkpointing.run(self, _transformer_layer, layer, x)
        return self.mdl.norm(x)


def _transformer_layer(layer, x):
    """Runs SpeechBrain's TransformerEncoderLayer with normalize_before."""
    attention = layer.self_att.att
    projected = F.linear(
        layer.norm1(x), attention.in_proj_weight, attention.in_proj_bias
    )
    heads = projected.unflatten(-1, (3, attention.num_heads, attention.head_dim))
    attended = _attend(heads, attention.dropout if layer.training else 0.0)
    x = x + layer.dropout1(attention.out_proj(attended.flatten(2)))
    return x + layer.dropout2(layer.pos_ffn.ffn(layer.norm2(x)))


def _attend(heads, dropout):
    """Maps queries, keys and values [batch, time, 3, heads, features] to [batch, time,
    heads, features].
    """
    if heads.is_cpu and heads.dtype == torch.bfloat16 and not dropout:
        return AttentionInParts.apply(heads)
    attended = F.scaled_dot_product_attention(*_split(heads), dropout_p=dropout)
    return attended.transpose(1, 2)


class AttentionInParts(torch.autograd.Function):
    """Attention without dropout for bfloat16 on CPUs, some sequences at a time.

    There the backward pass of torch's fused attention takes longer than in float32:
    both passes together 1.5 times as long as here for 250 frames, 4 times for 34. The
    weights are computed again in the backward pass, as in FlashAttention (Dao et al.
    2022, arXiv 2205.14135, section 3.1).
    """

    @staticmethod
    def forward(ctx, heads):
        """Maps [batch, time, 3, heads, features] to [batch, time, heads, features]."""
        attended = heads.new_empty(heads[:, :, 0].shape)
        for part, out in _parts(heads, attended):
            query, key, value = _split(part)
            out.copy_((_weights(query, key) @ value).transpose(1, 2))
        ctx.save_for_backward(heads, attended)
        return attended

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        """Maps the gradient of the output to that of the input."""
        heads, attended = ctx.saved_tensors
        result = torch.empty_like(heads)
        for part, out, grad, grads in _parts(heads, attended, gradient, result):
            query, key, value = _split(part)
            out, grad = out.transpose(1, 2), grad.transpose(1, 2)
            weights = _weights(query, key)
            shift = (out * grad).sum(-1, keepdim=True)
            scores = (grad @ value.transpose(-1, -2)).sub_(shift).mul_(weights)
            scores *= query.shape[-1] ** -0.5
            for target, product in zip(
                _split(grads),
                (scores @ key, scores.mT @ query, weights.mT @ grad),
                strict=True,
            ):
                target.copy_(product)
        return result


def _parts(heads, *others):
    """Yields parts of the batch whose attention weights are few."""
    _, time, _, num_heads, _ = heads.shape
    size = max(1, PART_WEIGHTS // (num_heads * time**2))
    return zip(*(tensor.split(size) for tensor in (heads, *others)), strict=True)


def _split(heads):
    """Returns query, key and value [batch, heads, time, features]."""
    return heads.transpose(1, 3).unbind(2)


def _weights(query, key):
    """Returns the attention weights [batch, heads, time, time]."""
    return (query * query.shape[-1] ** -0.5 @ key.mT).softmax(-1)
