"""A plain float64 selective scan, and cases that compare engines with it."""

import math
from dataclasses import dataclass

import torch

ARGUMENTS = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")
TOLERANCES = {
    torch.float32: 1e-5,
    torch.bfloat16: 2e-2,
    torch.float16: 2e-2,
    torch.float64: 1e-12,
}


def plain_scan(
    u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False
):
    """The equations of the selective scan, one time step after the other."""
    batch, channels, length = u.shape
    state = torch.zeros(batch, channels, A.shape[1], dtype=u.dtype)
    outputs = []
    for t in range(length):
        step = delta[:, :, t]
        if delta_bias is not None:
            step = step + delta_bias
        if delta_softplus:
            step = torch.logaddexp(step, torch.zeros_like(step))
        decay = torch.exp(step[:, :, None] * A)
        state = decay * state + (step * u[:, :, t])[:, :, None] * B[:, None, :, t]
        output = (C[:, None, :, t] * state).sum(-1)
        if D is not None:
            output = output + D * u[:, :, t]
        if z is not None:
            output = output * z[:, :, t] / (1 + torch.exp(-z[:, :, t]))
        outputs.append(output)
    return torch.stack(outputs, dim=-1)


@dataclass(frozen=True)
class Case:
    """Sizes, options and memory layout of one comparison."""

    batch: int = 2
    channels: int = 6
    states: int = 16
    length: int = 13
    options: tuple = ("D", "z", "delta_bias")
    softplus: bool = True
    layout: str = "contiguous"  # or channel_last, or strided
    dtype: torch.dtype = torch.float32
    device: str = "cpu"
    seed: int = 0


def make_inputs(case):
    """Returns the keyword arguments of a scan, its tensors leaves with gradients."""
    generator = torch.Generator().manual_seed(case.seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    long = (case.batch, case.channels, case.length)
    narrow = (case.batch, case.states, case.length)
    tensors = {
        "u": normal(*long),
        "delta": normal(*long) - 2,
        # As Mamba initialises it, but not the same for all channels
        "A": -torch.arange(1, case.states + 1) * normal(case.channels, 1).exp(),
        "B": normal(*narrow),
        "C": normal(*narrow),
        "D": normal(case.channels),
        "z": normal(*long),
        "delta_bias": normal(case.channels),
    }
    if not case.softplus:  # else the step size would be negative and the state grow
        tensors["delta"] = tensors["delta"].exp()
        tensors["delta_bias"] = tensors["delta_bias"].abs()
    for name in ("D", "z", "delta_bias"):
        if name not in case.options:
            del tensors[name]
    parameters_dtype = torch.promote_types(case.dtype, torch.float32)
    for name, x in tensors.items():
        sequence = x.dim() == 3
        x = x.to(case.device, case.dtype if sequence else parameters_dtype)
        x = _laid_out(x, case.layout) if sequence else x
        tensors[name] = x.detach().requires_grad_()
    return {**tensors, "delta_softplus": case.softplus}


def _laid_out(x, layout):
    """Returns the tensor [batch, channels or states, length] in another memory."""
    if layout == "channel_last":
        return x.transpose(1, 2).contiguous().transpose(1, 2)
    if layout == "strided":  # every second step of half of a wider projection
        memory = x.new_full((x.shape[0], 2 * x.shape[1], 2 * x.shape[2]), math.nan)
        memory[:, x.shape[1] :, ::2] = x
        return memory[:, x.shape[1] :, ::2]
    return x.contiguous()


def in_float64(inputs):
    """Returns a scan's arguments as float64 leaves on the CPU."""
    return {
        name: x.detach().cpu().double().requires_grad_() if torch.is_tensor(x) else x
        for name, x in inputs.items()
    }


def results(scan, inputs):
    """Returns the output of a scan and the gradients of all its tensors, by name.

    The gradients are those of the output's product with fixed random weights.
    """
    output = scan(**inputs)
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(output.shape, generator=generator).bfloat16()
    output.backward(weights.to(output))
    tensors = {name: x for name, x in inputs.items() if torch.is_tensor(x)}
    return {"output": output.detach()} | {n: x.grad for n, x in tensors.items()}


def relative_errors(found, expected):
    """Returns by name the largest deviation over the largest expected magnitude."""
    return {
        name: float(
            (found[name].cpu().double() - value).abs().max()
            / value.abs().max().clamp(min=1e-30)
        )
        for name, value in expected.items()
    }


def check(scan, case):
    """Asserts that a scan's output and gradients are those of the plain float64 loop.

    Arguments
    ---------
    scan : callable
        With the arguments of ``selective_scan``, without ``engine``.
    case : Case
        What to compare, within ``TOLERANCES`` of its type.
    """
    inputs = make_inputs(case)
    expected = results(plain_scan, in_float64(inputs))
    found = results(scan, inputs)
    assert found["output"].dtype == inputs["u"].dtype
    for name, x in inputs.items():
        if torch.is_tensor(x):
            assert x.grad is not None and x.grad.dtype == x.dtype, name
    errors = relative_errors(found, expected)
    wrong = {n: e for n, e in errors.items() if not e <= TOLERANCES[case.dtype]}
    assert not wrong, f"{case}: relative errors {wrong}"


# Each differs from the plain case in what could go wrong by itself.
CASES = {
    "plain": Case(),
    "length_1": Case(length=1),
    "batch_1": Case(batch=1, length=7),
    "channels_1": Case(channels=1, length=5),
    "states_1": Case(states=1),
    "states_8": Case(states=8, length=11),
    "states_64": Case(states=64, channels=5, length=9),
    "states_odd": Case(states=5, channels=3, length=6),
    "no_options": Case(options=()),
    "only_D": Case(options=("D",)),
    "only_z": Case(options=("z",)),
    "only_delta_bias": Case(options=("delta_bias",), softplus=False),
    "no_softplus": Case(softplus=False),
    "channel_last": Case(layout="channel_last", channels=19),
    "strided": Case(layout="strided", channels=9),
    "bf16": Case(dtype=torch.bfloat16),
    "bf16_channel_last": Case(dtype=torch.bfloat16, layout="channel_last"),
    "fp16": Case(dtype=torch.float16),
}
# Too large for Triton's interpreter: longer and wider than a chunk of any engine
LARGE_CASES = {
    "long": Case(batch=1, channels=5, length=517, layout="channel_last"),
    "long_states_64": Case(batch=2, channels=33, states=64, length=131),
    "wide": Case(batch=3, channels=300, length=67, layout="channel_last"),
    "large_batch": Case(batch=130, channels=18, length=35),
    "bf16_long": Case(channels=21, length=259, dtype=torch.bfloat16),
}
