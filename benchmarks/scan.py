"""Measures the engines of the selective scan, forward and backward.

    python benchmarks/scan.py [--repeats 5]

Shapes and layout are SPMamba's for 4 s. The reference is a loop over time-major slices,
differentiated by autograd; the loop of mamba's reference implementation, which indexes
time in the last dimension, is so slow that a tenth of the batch is timed, once, and
multiplied. Memory is what a call adds to its process (to torch's tensors on a GPU).
"""

import argparse
import functools
from pathlib import Path

import torch
from torch.nn import functional as F

import recipe_path  # noqa: F401
from extra_models.selective_scan import ENGINES, selective_scan, unavailable
from measuring import (
    REFERENCE,
    RESULTS,
    Figure,
    alternate,
    compare,
    isolated,
    peak_memory,
    write_report,
)

SHAPES = ((501, 256, 126), (129, 256, 498))  # batch, channels, length
STATES, RANK = 16, 4
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
MAMBA_LOOP = "mamba's loop"
# cpp: 0.6 of the first C++ version, which took 0.25 s for both shapes on two cores.
TARGETS = {
    "torch": "ratio <= 1",
    "cpp": "measured <= 0.15",
    "torch, memory": "measured <= 1.2",
}


def inputs(shape, dtype, device):
    """Returns the arguments of ``selective_scan`` as Mamba passes them.

    Sequences are transposed views of [batch, length, features]; B and C are slices of
    one projection.
    """
    batch, channels, length = shape
    noise = functools.partial(
        torch.randn, generator=torch.Generator(device).manual_seed(0), device=device
    )
    u, delta, z, projected = (
        noise(batch, length, features, dtype=dtype).mT
        for features in (channels, channels, channels, RANK + 2 * STATES)
    )
    A, D, delta_bias = -noise(channels, STATES).exp(), noise(channels), noise(channels)
    B, C = projected[:, RANK:].chunk(2, dim=1)
    return [x.requires_grad_() for x in (u, delta, A, B, C, D, z, delta_bias)]


def time_major_loop(u, delta, A, B, C, D, z, delta_bias):
    """Does the selective scan by a loop over slices [batch, channels, states]."""
    u, delta, B, C, z = (x.float().movedim(2, 0) for x in (u, delta, B, C, z))
    delta = F.softplus(delta + delta_bias)
    state, outputs = torch.zeros_like(u[0])[..., None], []
    for u_t, delta_t, B_t, C_t in zip(u, delta, B, C, strict=True):
        decayed = torch.exp(delta_t[..., None] * A) * state
        state = decayed + (delta_t * u_t)[..., None] * B_t[:, None]
        outputs.append((state * C_t[:, None]).sum(-1))
    return ((torch.stack(outputs) + D * u) * F.silu(z)).movedim(0, 2)


def last_dimension_loop(u, delta, A, B, C, D, z, delta_bias):
    """Does the selective scan as mamba's reference does, [..., length] indexed."""
    u, delta, B, C, z = (x.float() for x in (u, delta, B, C, z))
    delta = F.softplus(delta + delta_bias[:, None])
    decay = torch.exp(torch.einsum("bdl,dn->bdln", delta, A))
    added = torch.einsum("bdl,bnl,bdl->bdln", delta, B, u)
    state, outputs = torch.zeros_like(added[:, :, 0]), []
    for t in range(u.shape[2]):
        state = decay[:, :, t] * state + added[:, :, t]
        outputs.append(torch.einsum("bdn,bn->bd", state, C[:, :, t]))
    return (torch.stack(outputs, dim=2) + D[:, None] * u) * F.silu(z)


LOOPS = {REFERENCE: time_major_loop, MAMBA_LOOP: last_dimension_loop}


def scan(name, arguments):
    """Scans forward and backward by a loop or an engine; returns output, gradients."""
    if name in LOOPS:
        output = LOOPS[name](*arguments)
    else:
        output = selective_scan(*arguments, delta_softplus=True, engine=name)
    return output, *torch.autograd.grad(output, arguments, torch.ones_like(output))


def measure(shape, dtype, device, engines, repeats):
    """Times engines and mamba's loop beside the reference, in this process.

    Returns
    -------
    dict
        What ``alternate`` returns.
    """
    arguments, part = inputs(shape, dtype, device), shape[0] // 10
    for name in engines:
        check(name, arguments)
    runs = {n: functools.partial(scan, n, arguments) for n in (REFERENCE, *engines)}
    results = alternate(runs, repeats, device)
    if dtype == torch.float32:
        arguments = inputs((part, *shape[1:]), dtype, device)
        check(MAMBA_LOOP, arguments)
        run = {MAMBA_LOOP: functools.partial(scan, MAMBA_LOOP, arguments)}
        seconds, note = alternate(run, 1, device)[MAMBA_LOOP]
        note += f"; {part} sequences, scaled"
        results[MAMBA_LOOP] = seconds and seconds * shape[0] / part, note
    return results


def check(name, arguments):
    """Raises ArithmeticError if output or a gradient differs from the reference's."""
    pairs = zip(scan(name, arguments), scan(REFERENCE, arguments), strict=True)
    for which, (ours, theirs) in enumerate(pairs):
        error = (ours - theirs).float().norm() / theirs.float().norm()
        if not error < TOLERANCES[arguments[0].dtype]:
            raise ArithmeticError(
                f"{name} differs from the loop by {error:.1e} in result {which} of "
                "output and gradients of u, delta, A, B, C, D, z, delta_bias"
            )


def added_memory(shape, dtype, device, name):
    """Returns by how many bytes a scan, forward and backward, raises the peak."""
    scan(name, inputs((1, 32, 32), dtype, device))  # loads what the engine needs
    arguments = inputs(shape, dtype, device)
    before = peak_memory(device)
    scan(name, arguments)
    return peak_memory(device) - before


def figures(shape, type_name, device, repeats):
    """Runs the cases of a shape and a type and returns their Figures."""
    case = shape, TYPES[type_name], device
    what = f"{type_name}, {' x '.join(map(str, shape))}"
    targets = {}
    if (type_name, device) == ("fp32", "cpu"):
        targets = {f"{what}, {name}": target for name, target in TARGETS.items()}
    engines = [name for name in ENGINES if not unavailable(name, torch.device(device))]
    times, failure = isolated(measure, *case, engines, repeats)
    if failure:
        return [Figure(what, None, note=failure)]
    peaks = {REFERENCE: isolated(added_memory, *case, REFERENCE)} | {
        f"{name}, memory": isolated(added_memory, *case, name) for name in engines
    }
    rows = compare(what, "s", times, targets)
    return rows + compare(what, "GB", peaks, targets, 1e-9)


def main():
    """Measures all shapes and types and writes a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--types", nargs="+", choices=TYPES, default=list(TYPES))
    parser.add_argument("--folder", type=Path, default=RESULTS, help="of the table")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = []
    for type_name in options.types:
        for shape in SHAPES:
            rows += figures(shape, type_name, device, options.repeats)
    title = f"Selective scan, forward and backward, {device}"
    write_report("scan", title, rows, options.folder)


if __name__ == "__main__":
    main()
