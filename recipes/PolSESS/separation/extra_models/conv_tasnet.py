"""The mask network of Conv-TasNet (Luo & Mesgarani 2019, arXiv 1809.07454), faster."""

import torch
import torch.nn.functional as F
from speechbrain.lobes.models import conv_tasnet
from speechbrain.nnet.CNN import Conv1d

from . import checkpointing


class MaskNet(torch.nn.Module):
    """SpeechBrain's non-causal mask network with global layer norms, computed faster.

    Parameters, their names and their initialisation are SpeechBrain's, and so are
    outputs and gradients to rounding, which is why exports name SpeechBrain's class.

    Arguments
    ---------
    N : int
        Number of filters of the encoder.
    B : int
        Number of channels between the temporal blocks.
    H : int
        Number of channels in a temporal block.
    P : int
        Kernel size of the depthwise convolutions, odd.
    X : int
        Number of temporal blocks in a repeat, with dilations 1, 2, ..., 2 ** (X - 1).
    R : int
        Number of repeats.
    C : int
        Number of sources.
    activation_checkpointing : bool
        Keep only the inputs of the temporal blocks while training, and compute the
        rest again in the backward pass.

    Raises
    ------
    ValueError
        If P is even.
    """

    def __init__(self, N, B, H, P, X, R, C, activation_checkpointing=False):
        super().__init__()
        if P % 2 == 0:
            raise ValueError(f"the kernel size P is {P}; give an odd one")
        self.C = C
        self.activation_checkpointing = activation_checkpointing
        self.layer_norm = conv_tasnet.ChannelwiseLayerNorm(N)
        self.bottleneck_conv1x1 = Conv1d(B, 1, in_channels=N, bias=False)
        self.temporal_conv_net = torch.nn.ModuleDict(
            {
                f"temporalblock_{r}_{x}": TemporalBlock(B, H, P, 2**x)
                for r in range(R)
                for x in range(X)
            }
        )
        self.mask_conv1x1 = Conv1d(C * N, 1, in_channels=B, bias=False)

    def compile(self, **options):
        """Compiles the temporal blocks, where the time goes: a graph serves them all.

        Arguments
        ---------
        **options : dict
            Those of ``torch.compile``.
        """
        for block in self.temporal_conv_net.values():
            block.compile(**options)

    def forward(self, mixture_w):
        """Returns the masks of the sources, at least 0.

        Arguments
        ---------
        mixture_w : torch.Tensor
            Encoded mixtures, [batch, N, frames].

        Returns
        -------
        torch.Tensor
            [C, batch, N, frames]

        Raises
        ------
        ValueError
            If there are no more frames than the widest convolution reaches to a side.
        """
        norm = self.layer_norm
        gamma, beta = norm.gamma.flatten(), norm.beta.flatten()
        y = mixture_w.transpose(1, 2)
        y = F.layer_norm(y, gamma.shape, gamma, beta, conv_tasnet.EPS)
        y = F.linear(y, _pointwise_weight(self.bottleneck_conv1x1))
        for block in self.temporal_conv_net.values():
            y = checkpointing.run(self, block, y, block.dilation)
        weight = _pointwise_weight(self.mask_conv1x1)
        weight = weight.reshape(self.C, 1, -1, weight.shape[1])
        return torch.relu(weight @ y.transpose(1, 2))


class TemporalBlock(conv_tasnet.TemporalBlock):
    """SpeechBrain's temporal block (figure 1c of the paper, without a skip path).

    A global layer norm is one affine map per channel once the moments of its input are
    known, and what follows it is linear: the map goes into the weights of the next
    convolution, and the normalised signal is never computed. This holds at the edges
    too, because SpeechBrain pads by reflection, which leaves a constant constant.

    Arguments
    ---------
    B : int
        Number of channels of input and output.
    H : int
        Number of channels within.
    P : int
        Kernel size, odd.
    dilation : int
        Dilation in frames.
    """

    def __init__(self, B, H, P, dilation):
        super().__init__((None, None, B), H, P, 1, "same", dilation)
        self.dilation = dilation

    def forward(self, x, dilation):
        """Maps [batch, frames, B] to the same shape; frames first is the quickest.

        Arguments
        ---------
        x : torch.Tensor
            [batch, frames, B]
        dilation : int
            The block's own. As an argument, it is a variable of the compiled graph.
        """
        first, second = self.layers, self.layers["DSconv"]
        y = F.linear(x, _pointwise_weight(first["conv"]))

        y, mean, power = _PReLUMoments.apply(y, first["act"].weight)
        gain, offset = _norm_as_affine(first["norm"], mean, power)
        taps = second["conv_0"].conv.weight.squeeze(1).t()  # [P, H]
        bias = offset * taps.sum(0)
        taps = gain * taps
        y = _DepthwiseConv.apply(y, taps.to(y.dtype), bias.to(y.dtype), dilation)

        y, mean, power = _PReLUMoments.apply(y, second["act"].weight)
        gain, offset = _norm_as_affine(second["act_0"], mean, power)
        weight = _pointwise_weight(second["conv_1"])  # [B, H]
        bias = (offset * weight).sum(-1).unsqueeze(1)  # no product: stays in float32
        weight = (gain * weight).transpose(1, 2)
        return torch.baddbmm(x, y, weight.to(y.dtype)).add_(bias.to(y.dtype))


def _pointwise_weight(conv):
    """Returns the weight [out, in] of SpeechBrain's convolution of kernel size 1."""
    return conv.conv.weight.squeeze(-1)


def _norm_as_affine(norm, mean, power):
    """Returns gain and offset [batch, 1, H] of a norm whose input has these moments."""
    variance = (power - mean.square()).clamp(min=0)
    gain = norm.gamma * torch.rsqrt(variance + conv_tasnet.EPS)
    return gain, norm.beta - gain * mean


class _PReLUMoments(torch.autograd.Function):
    """PReLU, and the mean and mean square of its output, [batch, 1, 1] in float32.

    The backward pass of torch's own PReLU takes eight times its forward pass on a CPU.
    Here it works in place, since fresh memory costs as much as the arithmetic.
    """

    @staticmethod
    def forward(ctx, x, slope):
        y = F.prelu(x, slope.to(x.dtype))
        ctx.save_for_backward(x, y, slope)
        # A copy: torch 2.11 compiles wrong gradients where anything in a Function's
        # forward is an alias of an output or changes it (pytorch issue 180642).
        wide = y.to(torch.promote_types(y.dtype, torch.float32), copy=True)
        mean = wide.mean((1, 2), keepdim=True)
        return y, mean, wide.square_().mean((1, 2), keepdim=True)

    @staticmethod
    def backward(ctx, grad_y, grad_mean, grad_power):
        x, y, slope = ctx.saved_tensors
        per_element = 1 / x[0].numel()
        grad = torch.addcmul(grad_y, y, (2 * per_element * grad_power).to(y.dtype))
        grad.add_((per_element * grad_mean).to(y.dtype))
        grad_x = torch.ops.aten.threshold_backward(grad, x, 0)  # where x > 0
        negative = grad.sub_(grad_x)
        grad_x.addcmul_(negative, slope.to(x.dtype))
        return grad_x, negative.mul_(x).sum(dtype=slope.dtype).reshape(1)


class _DepthwiseConv(torch.autograd.Function):
    """Depthwise convolution as shifted multiply-adds, with weights for each item.

    x is [batch, frames, H], taps [batch, P, H], bias [batch, 1, H].
    """

    @staticmethod
    def forward(ctx, x, taps, bias, dilation):
        ctx.save_for_backward(x, taps)
        ctx.dilation = dilation
        padded = _reflect(x, dilation * (taps.shape[1] // 2))
        y = bias
        for k, tap in enumerate(taps.split(1, dim=1)):
            start = k * dilation
            y = torch.addcmul(y, padded[:, start : start + x.shape[1]], tap)
        return y

    @staticmethod
    def backward(ctx, grad_y):
        x, taps = ctx.saved_tensors
        frames = x.shape[1]
        reach = ctx.dilation * (taps.shape[1] // 2)
        padded = _reflect(x, reach)
        grad_padded = torch.zeros_like(padded)
        grad_taps = []
        for k, tap in enumerate(taps.split(1, dim=1)):
            span = slice(k * ctx.dilation, k * ctx.dilation + frames)
            grad_padded[:, span].addcmul_(grad_y, tap)
            grad_taps.append((grad_y * padded[:, span]).sum(1, keepdim=True))
        before, grad_x, after = grad_padded.split([reach, frames, reach], dim=1)
        grad_x[:, 1 : reach + 1] += before.flip(1)
        grad_x[:, -reach - 1 : -1] += after.flip(1)
        return grad_x, torch.cat(grad_taps, 1), grad_y.sum(1, keepdim=True), None


def _reflect(x, reach):
    """Returns x [batch, frames, H] with reflections of ``reach`` frames around it."""
    if x.shape[1] <= reach:
        raise ValueError(
            f"{x.shape[1]} frames are too few for a convolution that reaches {reach} "
            "to each side: give longer mixtures"
        )
    before = x[:, 1 : reach + 1].flip(1)
    return torch.cat([before, x, x[:, -reach - 1 : -1].flip(1)], 1)
