"""Selective scan on the CPU by a C++ library, compiled on first use and cached."""

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from torch.autograd.function import once_differentiable

CACHE_VARIABLE = "POLSESS_CACHE"
SOURCE = Path(__file__).with_name("kernel.cpp")
HEADERS = ("kernel_vectors.h", "kernel_convolution.h")
FLAGS = ("-std=c++17", "-O3", "-ffp-contract=fast", "-fPIC", "-shared", "-pthread")
X86_FLAGS = {  # by what torch finds in the CPU
    "AVX2": ("-mavx2", "-mfma"),
    "AVX512": (
        *("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"),
        "-mprefer-vector-width=512",
    ),
}
COMPILE_SECONDS = 300  # after which a compiler counts as hung
DIGEST = hashlib.sha256

# None of these depends on the number of threads, so neither does any rounding.
CHUNK = 32  # time steps whose states the backward pass holds in cache
GROUP = 256  # channels of a unit of work
SLICES = 32  # slices of the batch, at most


def unavailable(device):
    """Returns why tensors on a device cannot be scanned, None if they can.

    The first call of a process opens the library; the first of all compiles it, which
    takes seconds.

    Arguments
    ---------
    device : torch.device
        Of the tensors to come.

    Returns
    -------
    str or None
        The reason in one sentence.
    """
    if device.type != "cpu":
        return f"it needs CPU tensors, not {device.type}"
    return _library()[1]


def scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus):
    """Returns the selective scan, [batch, channels, length]; see ``selective_scan``.

    Where u, delta and z are transposed views of [batch, length, channels] they are read
    as they lie, and the output and their gradients lie likewise; others are copied.
    """
    tensors = (u, delta, z, B, C, A, D, delta_bias)
    keep_states = torch.is_grad_enabled() and any(
        x is not None and x.requires_grad for x in tensors
    )
    sequences = [None if x is None else _rows(_readable(x).mT) for x in tensors[:5]]
    parameters = [None if x is None else x.contiguous() for x in (A.mT, D, delta_bias)]
    out = _Scan.apply(*sequences, *parameters, delta_softplus, keep_states)
    return out.mT.to(u.dtype)


def causal_conv_silu(x, weight, bias):
    """Returns the convolution, differentiable; see the package's function."""
    inner = torch.promote_types(x.dtype, torch.float32)
    weight, bias = weight.to(inner).mT.contiguous(), bias.to(inner).contiguous()
    return _Convolution.apply(_rows(_readable(x)), weight, bias).to(x.dtype)


class _Scan(torch.autograd.Function):
    """The scan of sequences [batch, length, features], A being [states, channels]."""

    @staticmethod
    def forward(ctx, u, delta, z, B, C, A, D, bias, softplus, keep_states):
        """Returns the output; keeps the inputs and the states before every chunk."""
        chunks = -(-u.shape[1] // CHUNK)
        starts = A.new_empty(u.shape[0], chunks, *A.shape) if keep_states else None
        inputs = dict(
            u=u, delta=delta, z=z, B=B, C=C, A=A, D=D, bias=bias, starts=starts
        )
        sizes = (*u.shape, A.shape[0], CHUNK, GROUP, _slices(u), softplus)
        out = _empty_rows(u)
        _run("scan", u.dtype, _ScanArguments(*sizes), inputs, out=out)
        ctx.save_for_backward(*inputs.values())
        ctx.names, ctx.sizes = tuple(inputs), sizes
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_out):
        """Returns the inputs' gradients, the states being computed again by chunks."""
        inputs = dict(zip(ctx.names, ctx.saved_tensors, strict=True))
        u, A = inputs["u"], inputs["A"]
        grads = {
            name: x if x is None else _empty_rows(x)
            for name, x in inputs.items()
            if name in ("u", "delta", "z")
        }
        groups = -(-u.shape[2] // GROUP)
        units = dict(B=groups, C=groups, A=_slices(u), D=_slices(u), bias=_slices(u))
        partial = {
            name: x if x is None else A.new_empty(units[name], *x.shape)
            for name, x in inputs.items()
            if name in units
        }
        outputs = {f"grad_{name}": x for name, x in (grads | partial).items()}
        arguments = _ScanArguments(*ctx.sizes)
        inputs["grad_out"] = _rows(grad_out)
        _run("scan_backward", u.dtype, arguments, inputs, **outputs)
        for name, x in partial.items():
            grads[name] = x if x is None else _sum_in_order(x).to(inputs[name].dtype)
        return (*(grads.get(name) for name in ctx.names[:8]), None, None)


class _Convolution(torch.autograd.Function):
    """``causal_conv_silu`` with weight [K, channels]."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        """Returns the output; keeps the inputs."""
        ctx.save_for_backward(x, weight, bias)
        ctx.sizes = (*x.shape, weight.shape[0], _slices(x))
        inputs, out = dict(x=x, weight=weight, bias=bias), _empty_rows(x)
        _run("convolution", x.dtype, _ConvolutionArguments(*ctx.sizes), inputs, out=out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_out):
        """Returns the inputs' gradients."""
        x, weight, bias = ctx.saved_tensors
        inputs = dict(x=x, weight=weight, bias=bias, grad_out=_rows(grad_out))
        grad_x = _empty_rows(x)
        grad_weight = weight.new_empty(_slices(x), *weight.shape)
        grad_bias = bias.new_empty(_slices(x), *bias.shape)
        _run(
            *("convolution_backward", x.dtype, _ConvolutionArguments(*ctx.sizes)),
            inputs,
            grad_x=grad_x,
            grad_weight=grad_weight,
            grad_bias=grad_bias,
        )
        return grad_x, _sum_in_order(grad_weight), _sum_in_order(grad_bias)


def _slices(x):
    return max(1, min(SLICES, x.shape[0]))


def _readable(x):
    """Returns x in a type that the kernel reads, which float16 is not."""
    return x.float() if x.dtype == torch.float16 else x


def _rows(x):
    """Returns [batch, time, features] with adjacent features, copied if need be."""
    return x if x.stride(-1) == 1 else x.contiguous()


def _empty_rows(x):
    """Returns a dense tensor like x, to be filled."""
    empty = x.new_empty(x.shape)
    _library()[0].prefer_huge_pages(ctypes.c_void_p(empty.data_ptr()), empty.nbytes)
    return empty


def _sum_in_order(partial_sums):
    """Returns the sum over the first axis, rounded alike for any number of threads."""
    total = partial_sums[0]
    for partial_sum in partial_sums[1:]:
        total += partial_sum
    return total


class _Rows(ctypes.Structure):
    """A tensor [batch, time, features] with adjacent features; strides in elements."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("batch_stride", ctypes.c_int64),
        ("time_stride", ctypes.c_int64),
    ]


def _fields(sizes, rows, pointers):
    kinds = ((sizes, ctypes.c_int64), (rows, _Rows), (pointers, ctypes.c_void_p))
    return [(name, kind) for names, kind in kinds for name in names.split()]


class _ScanArguments(ctypes.Structure):
    """The kernel's struct Scan."""

    _fields_ = _fields(
        "batch length channels states chunk group slices softplus threads",
        "u delta z B C out grad_out grad_u grad_delta grad_z",
        "A D bias starts grad_A grad_B grad_C grad_D grad_bias",
    )


class _ConvolutionArguments(ctypes.Structure):
    """The kernel's struct Convolution."""

    _fields_ = _fields(
        "batch length channels taps slices threads",
        "x out grad_out grad_x",
        "weight bias grad_weight grad_bias",
    )


def _run(function, dtype, arguments, inputs, **outputs):
    """Runs a function of the library over tensors named as its arguments are."""
    arguments.threads = torch.get_num_threads()
    for name, x in (inputs | outputs).items():
        if isinstance(getattr(arguments, name), _Rows) and x is not None:
            setattr(arguments, name, _Rows(x.data_ptr(), *x.stride()[:2]))
        elif x is not None:
            setattr(arguments, name, x.data_ptr())
    dtype = str(dtype).removeprefix("torch.")
    getattr(_library()[0], f"{function}_{dtype}")(ctypes.byref(arguments))


class BuildError(Exception):
    """Says in one sentence why the library cannot be built."""


@functools.cache
def _library():
    """Returns the library and None, or None and the reason why there is none."""
    try:
        return ctypes.CDLL(str(_cached_library())), None
    except (OSError, RuntimeError, ValueError, BuildError) as error:
        return None, f"its library cannot be had: {error}"


def _cached_library():
    """Returns the library's path, compiling it if the cache has no sound one.

    Its name tells what it was made of and for: source, flags, compiler, machine. So a
    cache that computers share never gives one the instructions of another. Its last
    bytes are a digest of the others: what was cut short or spoilt is built again.
    """
    compiler = _compiler()
    command = [*compiler, *_flags()]
    sources = [SOURCE, *(SOURCE.with_name(name) for name in HEADERS)]
    source = b"".join(path.read_bytes() for path in sources)
    made_of = [_output([*compiler, "--version"]), command, platform.machine()]
    key = DIGEST(source + repr(made_of).encode()).hexdigest()[:24]
    path = _cache_folder() / f"selective_scan-{key}.so"
    if not _is_sound(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            built = Path(folder) / path.name
            _output([*command, str(SOURCE), "-o", str(built)])
            library = built.read_bytes()
            built.write_bytes(library + DIGEST(library).digest())
            os.replace(built, path)  # at once, whoever else builds it now
    return path


def _compiler():
    """Returns the compiler's command as a list of words."""
    if os.environ.get("CXX"):
        return shlex.split(os.environ["CXX"])
    for name in ("c++", "g++", "clang++"):
        if shutil.which(name):
            return [name]
    raise BuildError("no C++ compiler (set CXX or install g++)")


def _flags():
    """Returns the compiler's flags for this CPU."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return FLAGS
    return FLAGS + X86_FLAGS.get(torch.backends.cpu.get_cpu_capability(), ())


def _cache_folder():
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE])
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "polsess"


def _is_sound(path):
    """Returns whether a cached library is there and ends in its digest."""
    if not path.is_file():
        return False
    content, size = path.read_bytes(), DIGEST().digest_size
    return DIGEST(content[:-size]).digest() == content[-size:]


def _output(command):
    """Returns what a command prints; raises BuildError if it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=COMPILE_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise BuildError(f"{command[0]} took over {COMPILE_SECONDS} s") from None
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line]
        raise BuildError(
            f"{shlex.join(command[:1])} failed with status {done.returncode}"
            + "".join(f": {line}" for line in errors[:1])
        )
    return done.stdout
