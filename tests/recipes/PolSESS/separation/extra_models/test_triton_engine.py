"""The Triton kernels without a GPU: interpreted on the CPU, and compiled for GPUs.

Where there is a GPU, test_selective_scan.py runs them on it. Triton decides when it is
imported whether it interprets, so that is done in a process of its own: this file, run
as a script, which prints what became of each case.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from scan_cases import (
    Case,
    check,
    in_float64,
    make_inputs,
    plain_scan,
    relative_errors,
    results,
)

from extra_models.selective_scan import triton_engine

pytest.importorskip("triton", reason="Triton is not installed")

# Few programs and steps, since one takes milliseconds; blocks and chunks are made
# small, so that their ends lie within.
CHANNELS, STEPS = 4, 4
CASES = {
    "several_chunks": Case(batch=2, channels=3, length=10),
    "several_blocks": Case(batch=1, channels=9, length=4),
    "length_1": Case(batch=1, length=1),
    "states_8": Case(batch=1, channels=4, states=8, length=5),
    "states_64": Case(batch=1, channels=4, states=64, length=5),
    "states_odd": Case(batch=1, channels=3, states=5, length=5),
    "no_options": Case(batch=1, channels=3, length=5, options=()),
    "no_softplus": Case(batch=1, channels=3, length=5, softplus=False),
    "channel_last": Case(batch=2, channels=4, length=5, layout="channel_last"),
    "strided": Case(batch=2, channels=4, length=4, layout="strided"),
    "bf16": Case(batch=1, channels=4, length=5, dtype=torch.bfloat16),
    "fp16": Case(batch=1, channels=4, length=3, dtype=torch.float16),
}


# Values that are added to delta and to its bias
SHIFTS = {
    # exp(delta) is so small that 1 + exp(delta) has lost most of it.
    "small_steps": (Case(batch=1, channels=4, length=5), -6, -6),
    # Beyond the end the bias is alone, and its exponential overflows.
    "negative_bias": (Case(batch=1, channels=4, length=5, softplus=False), 100, -100),
}


def scan(u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False):
    """The engine's scan with the optional arguments of `selective_scan`."""
    return triton_engine.scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus)


def check_shifted(case, shift, bias_shift):
    """Asserts parity, as `check` does, for shifted step sizes."""
    inputs = make_inputs(case)
    with torch.no_grad():
        inputs["delta"] += shift
        inputs["delta_bias"] += bias_shift
    expected = results(plain_scan, in_float64(inputs))
    errors = relative_errors(results(scan, inputs), expected)
    assert all(error <= 1e-5 for error in errors.values()), errors


def interpret_all():
    """Prints a JSON object: for each case null, or how it failed."""
    assert triton_engine.unavailable(torch.device("cpu")) is None
    triton_engine.CHANNELS, triton_engine.STEPS = CHANNELS, STEPS
    checks = {name: (check, scan, case) for name, case in CASES.items()}
    checks |= {name: (check_shifted, *shift) for name, shift in SHIFTS.items()}
    failures = dict.fromkeys(checks)
    for name, (function, *arguments) in checks.items():
        try:
            function(*arguments)
        except Exception as error:
            failures[name] = repr(error)
    print(json.dumps(failures))


@pytest.fixture(scope="module")
def failures():
    environment = os.environ | {
        "TRITON_INTERPRET": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONWARNINGS": "ignore",
    }
    run = subprocess.run(
        [sys.executable, str(Path(__file__))],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", [*CASES, *SHIFTS])
def test_parity_when_interpreted(failures, name):
    assert failures[name] is None, failures[name]


@pytest.fixture
def jit():
    import triton

    if not isinstance(triton_engine._forward, triton.JITFunction):
        pytest.skip("TRITON_INTERPRET is set: nothing is compiled")
    return triton


def launches_of(monkeypatch, case):
    """Returns the arguments of both kernels' launches, by kernel."""
    launches = {}

    class Recorder(str):
        def __getitem__(self, grid):
            return self.launch

        def launch(self, *arguments, num_warps):
            launches[str(self)] = arguments, num_warps

    for name in ("_forward", "_backward"):
        monkeypatch.setattr(triton_engine, name, Recorder(name))
    scan(**make_inputs(case)).sum().backward()
    monkeypatch.undo()
    return launches


def source_of(triton, kernel, arguments):
    """Returns a kernel's source, specialised to arguments as at its launch."""
    names = {torch.float32: "*fp32", torch.bfloat16: "*bf16"}
    constants, attributes = {}, {}

    def kind(value, *path):
        if isinstance(value, tuple):
            return tuple(kind(part, *path, i) for i, part in enumerate(value))
        is_parameter = kernel.params[path[0]].is_constexpr
        if not torch.is_tensor(value) and (is_parameter or value in (None, 1)):
            constants[path] = value
            return "constexpr"
        if torch.is_tensor(value) or value % 16 == 0:
            attributes[path] = [["tt.divisibility", 16]]
        return names[value.dtype] if torch.is_tensor(value) else "i32"

    signature = {
        name: kind(value, i)
        for i, (name, value) in enumerate(zip(kernel.arg_names, arguments, strict=True))
    }
    return triton.compiler.ASTSource(kernel, signature, constants, attributes)


@pytest.mark.parametrize(
    "capability, case",
    [
        (80, Case(channels=64, layout="channel_last")),
        (90, Case(channels=64, layout="channel_last", dtype=torch.bfloat16)),
        (80, Case(channels=5, states=5, options=(), dtype=torch.bfloat16)),
    ],
)
def test_kernels_compile_for_gpus(jit, monkeypatch, tmp_path, capability, case):
    """All their variables fit into registers, and no sum is by atomics."""
    from triton.backends.compiler import GPUTarget

    launches = launches_of(monkeypatch, case)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    for name, (arguments, num_warps) in launches.items():
        compiled = jit.compile(
            source_of(jit, getattr(triton_engine, name), arguments),
            target=GPUTarget("cuda", capability, 32),
            options={"num_warps": num_warps},
        )
        assert not re.search(r"\b(atom|red)\.", compiled.asm["ptx"])
        cubin = tmp_path / "kernel.cubin"
        cubin.write_bytes(compiled.asm["cubin"])
        usage = subprocess.run(
            [jit.knobs.nvidia.cuobjdump.path, "-res-usage", str(cubin)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert re.search(r"REG:\d+ STACK:0 .*LOCAL:0 ", usage), usage


def test_unavailable_says_why(jit, monkeypatch):
    assert "CUDA" in triton_engine.unavailable(torch.device("cpu"))
    cuda = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (6, 1))
    assert "7.0" in triton_engine.unavailable(cuda)
    monkeypatch.setattr(triton_engine, "triton", None)
    assert triton_engine.unavailable(cuda) == "Triton is not installed"


def test_float64_is_refused():
    inputs = make_inputs(Case(dtype=torch.float64))
    with pytest.raises(TypeError, match="float64"):
        scan(**inputs)


if __name__ == "__main__":
    interpret_all()
