"""The selective scan of Mamba on every device, by the fastest engine at hand."""

import functools
import importlib
import os

import torch
import torch.nn.functional as F
from speechbrain.utils.logger import get_logger

logger = get_logger(__name__)

ENVIRONMENT_VARIABLE = "POLSESS_SCAN_ENGINE"
ENGINES = ("mamba_ssm", "triton", "cpp", "torch")
AUTO_ORDER = {"cuda": ("mamba_ssm", "triton", "torch"), "cpu": ("cpp", "torch")}

_SEQUENCES = {"u", "delta", "B", "C", "z"}
_ARGUMENTS = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")


@torch.compiler.disable
def selective_scan(
    u,
    delta,
    A,
    B,
    C,
    D=None,
    z=None,
    delta_bias=None,
    delta_softplus=False,
    engine="auto",
):
    """Returns the output of a selective state space model, differentiable once.

    With the step size ``Delta_t = softplus(delta_t + delta_bias)``, for every batch
    item and channel (Gu and Dao 2023, "Mamba", arXiv 2312.00752, equation 2a and
    section 3; B is discretised as ``Delta B``, as in the authors' code)::

        h_t = exp(Delta_t A) h_{t-1} + Delta_t B_t u_t,    h_{-1} = 0
        y_t = (<C_t, h_t> + D u_t) silu(z_t)

    Computed in float32 whatever the inputs' types and autocast, or in float64 where
    u, delta, B, C or z is float64 (engines cpp and torch only); gradients have their
    inputs' types. Inputs may have any strides; transposed views of tensors
    [batch, length, channels] are the fast case. ``torch.compile`` leaves the function
    as it is.

    Arguments
    ---------
    u, delta : torch.Tensor
        Input and raw step size, [batch, channels, length].
    A : torch.Tensor
        State matrix, diagonal for every channel and negative, [channels, states].
    B, C : torch.Tensor
        Input and output matrices, which change with time, [batch, states, length].
    D : torch.Tensor, optional
        Skip connection, [channels].
    z : torch.Tensor, optional
        Gate, [batch, channels, length].
    delta_bias : torch.Tensor, optional
        Added to delta, [channels].
    delta_softplus : bool
        Whether Delta is the softplus of ``delta + delta_bias`` or the sum itself.
    engine : str
        One of ``ENGINES``; "auto" takes the first usable one of ``AUTO_ORDER``. The
        environment variable POLSESS_SCAN_ENGINE wins over this argument.

    Returns
    -------
    torch.Tensor
        [batch, channels, length], of u's type.

    Raises
    ------
    TypeError
        If an input is not a real floating-point tensor.
    ValueError
        If shapes or devices do not match, or the engine's name is unknown.
    RuntimeError
        If the engine that was asked for by name cannot be used here.
    """
    tensors = dict(u=u, delta=delta, A=A, B=B, C=C, D=D, z=z, delta_bias=delta_bias)
    tensors = {name: x for name, x in tensors.items() if x is not None}
    _check(tensors)
    sequences = [tensors[name].dtype for name in tensors.keys() & _SEQUENCES]
    shared = functools.reduce(torch.promote_types, sequences)
    inner = torch.promote_types(shared, torch.float32)
    if shared == torch.float16:  # no engine needs a kernel for it
        shared = inner
    typed = {
        name: x.to(shared if name in _SEQUENCES else inner)
        for name, x in tensors.items()
    }
    scan = _choose(_requested(engine), u.device).scan
    arguments = [typed.get(name) for name in _ARGUMENTS]
    with torch.autocast(u.device.type, enabled=False):
        return scan(*arguments, delta_softplus).to(u.dtype)


@torch.compiler.disable
def causal_conv_silu(x, weight, bias, engine="auto"):
    """Returns Mamba's short convolution, ``silu(bias + sum_k weight_k x_{t-K+1+k})``.

    Arguments
    ---------
    x : torch.Tensor
        [batch, length, channels], zero before its start.
    weight : torch.Tensor
        Taps of every channel, [channels, K].
    bias : torch.Tensor
        [channels]
    engine : str
        As for ``selective_scan``; cpp has a kernel of its own, the others use torch's.

    Returns
    -------
    torch.Tensor
        [batch, length, channels], of x's type.

    Raises
    ------
    TypeError, ValueError
        If x is not real floating point, or the shapes do not match.
    """
    channels, taps = weight.shape
    if x.dim() != 3 or x.shape[2] != channels or bias.shape != (channels,):
        raise ValueError(
            f"x {list(x.shape)} should be [batch, length, channels] of weight "
            f"{list(weight.shape)}, [channels, K], and bias {list(bias.shape)}, "
            "[channels]"
        )
    if not x.is_floating_point():
        raise TypeError(f"x is {x.dtype}, should be real floating point")
    module = _choose(_requested(engine), x.device)
    if hasattr(module, "causal_conv_silu"):
        return module.causal_conv_silu(x, weight, bias)
    padded = F.pad(x.mT, (taps - 1, 0))
    return F.silu(F.conv1d(padded, weight[:, None], bias, groups=channels)).mT.to(
        x.dtype
    )


def _requested(engine):
    return os.environ.get(ENVIRONMENT_VARIABLE) or engine


def _check(tensors):
    """Raises TypeError or ValueError for the first tensor that does not fit."""
    u, A = tensors["u"], tensors["A"]
    if u.dim() != 3 or A.dim() != 2:
        raise ValueError(
            f"u {list(u.shape)} should be [batch, channels, length] "
            f"and A {list(A.shape)} [channels, states]"
        )
    batch, channels, length = u.shape
    if not u.numel():
        raise ValueError(f"u {list(u.shape)} is empty")
    states = A.shape[1]
    layouts = {
        "A": ("[channels, states]", [channels, states]),
        "B": ("[batch, states, length]", [batch, states, length]),
        "C": ("[batch, states, length]", [batch, states, length]),
        "D": ("[channels]", [channels]),
        "delta_bias": ("[channels]", [channels]),
    }
    of_u = ("[batch, channels, length]", [batch, channels, length])
    for name, x in tensors.items():
        layout, shape = layouts.get(name, of_u)
        if not x.is_floating_point():
            raise TypeError(f"{name} is {x.dtype}, should be real floating point")
        if list(x.shape) != shape:
            raise ValueError(
                f"{name} {list(x.shape)} should be {layout} = {shape}, "
                f"by u {list(u.shape)} and A {list(A.shape)}"
            )
        if x.device != u.device:
            raise ValueError(f"{name} is on {x.device}, should be on u's {u.device}")


def unavailable(engine, device):
    """Returns why an engine cannot be used on a device, None if it can.

    Arguments
    ---------
    engine : str
        One of ``ENGINES``.
    device : torch.device
        Of the tensors to come.

    Returns
    -------
    str or None
        The reason in one sentence.
    """
    try:
        return _module(engine).unavailable(device)
    except Exception as error:  # what a package raises that does not fit its machine
        first_line, *_ = str(error).splitlines() or [type(error).__name__]
        return f"it cannot be imported ({first_line})"


def _module(engine):
    return importlib.import_module(f".{engine}_engine", __name__)


@functools.cache  # so the choice is made, and logged, once per process and device
def _choose(request, device):
    """Returns the module of the engine that serves a request on a device."""
    if request not in ("auto", *ENGINES):
        raise ValueError(
            f"engine {request!r} of the selective scan should be 'auto' or one of "
            f"{ENGINES} (argument engine or environment variable "
            f"{ENVIRONMENT_VARIABLE})"
        )
    candidates = (request,)
    if request == "auto":
        candidates = AUTO_ORDER.get(device.type, ("torch",))
    stepped_aside = []
    for engine in candidates:
        reason = unavailable(engine, device)
        if reason is None:
            logger.info(
                "Selective scan on %s: engine %s%s",
                device,
                engine,
                "".join(stepped_aside),
            )
            return _module(engine)
        stepped_aside.append(f"; {engine} stepped aside: {reason}")
    raise RuntimeError(
        f"the selective scan's engine {request} cannot be used on {device}: {reason}; "
        "ask for 'auto' to take one that can"
    )
