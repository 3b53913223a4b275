"""The C++ engine: its build, its cache, and what only its kernels promise."""

import logging
import multiprocessing
import shutil
from pathlib import Path

import pytest
import torch
from scan_cases import (
    TOLERANCES,
    Case,
    check,
    make_inputs,
    relative_errors,
    results,
)
from torch.nn import functional

from extra_models import selective_scan as package
from extra_models.selective_scan import cpp_engine, selective_scan

CPU = torch.device("cpu")


def forget():
    """Makes the engine load its library anew."""
    cpp_engine._library.cache_clear()
    package._choose.cache_clear()


@pytest.fixture(autouse=True)
def fresh_engine(monkeypatch):
    """No library is loaded before a test, and none of its outlives it."""
    monkeypatch.delenv(package.ENVIRONMENT_VARIABLE, raising=False)
    forget()
    yield
    forget()


@pytest.fixture
def kernel():
    """The engine with its library, or a skip with the reason why there is none."""
    reason = cpp_engine.unavailable(CPU)
    if reason is not None:
        pytest.skip(reason)
    return cpp_engine


class Workshop:
    """A tiny library to build, an empty cache, and a compiler that keeps a tally."""

    def __init__(self, folder, compiler):
        self.cache = folder / "cache"
        self.tally = folder / "tally"
        self.source = folder / "tiny.cpp"
        self.source.write_text('extern "C" int answer() { return 42; }\n')
        self.compiler = folder / "compiler"
        self.compiler.write_text(
            "#!/bin/sh\n"
            f'case "$*" in *--version*) ;; *) echo >> {self.tally}; sleep 0.2 ;; esac\n'
            f'exec {compiler} "$@"\n'
        )
        self.compiler.chmod(0o755)

    def libraries(self):
        return sorted(self.cache.iterdir())

    def compilations(self):
        return self.tally.read_text().count("\n") if self.tally.exists() else 0


@pytest.fixture
def workshop(tmp_path, monkeypatch):
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    workshop = Workshop(tmp_path, compiler)
    monkeypatch.setenv("CXX", str(workshop.compiler))
    monkeypatch.setenv(cpp_engine.CACHE_VARIABLE, str(workshop.cache))
    monkeypatch.setattr(cpp_engine, "SOURCE", workshop.source)
    monkeypatch.setattr(cpp_engine, "HEADERS", ())
    return workshop


def answer():
    library, reason = cpp_engine._library()
    assert reason is None, reason
    return library.answer()


def test_library_is_compiled_once(workshop):
    assert answer() == 42
    forget()  # as another process would
    assert answer() == 42
    assert workshop.compilations() == 1
    assert [path.suffix for path in workshop.libraries()] == [".so"]


def test_changed_source_is_compiled_anew(workshop):
    assert answer() == 42
    workshop.source.write_text('extern "C" int answer() { return 43; }\n')
    forget()
    assert answer() == 43
    assert len(workshop.libraries()) == 2


@pytest.mark.parametrize("size", [0, 100, -1])
def test_spoilt_library_is_compiled_anew(workshop, size):
    """Loading a library that was cut short can kill the process."""
    answer()
    (path,) = workshop.libraries()
    content = path.read_bytes()
    path.unlink()  # this process has it mapped
    path.write_bytes(content[:size])
    forget()
    assert answer() == 42
    assert workshop.compilations() == 2
    assert cpp_engine._is_sound(path)


def test_processes_that_build_at_once(workshop):
    context = multiprocessing.get_context("fork")
    with context.Pool(3) as pool:
        answers = [pool.apply_async(answer) for _ in range(3)]
        assert [each.get(timeout=60) for each in answers] == [42, 42, 42]
    assert workshop.compilations() >= 2, "they did not build at once"
    assert [path.suffix for path in workshop.libraries()] == [".so"]


def test_each_cpu_has_its_own_library(workshop, monkeypatch):
    monkeypatch.setattr(cpp_engine.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(cpp_engine, "X86_FLAGS", {"AVX2": ("-DB",), "AVX512": ("-DC",)})
    for capability in ("DEFAULT", "AVX2", "AVX512"):
        monkeypatch.setattr(
            torch.backends.cpu, "get_cpu_capability", lambda name=capability: name
        )
        cpp_engine._cached_library()
    assert len(workshop.libraries()) == 3


def test_flags_are_for_this_cpu(monkeypatch):
    capability = ["DEFAULT"]
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability[0])
    monkeypatch.setattr(cpp_engine.platform, "machine", lambda: "AMD64")
    assert cpp_engine._flags() == cpp_engine.FLAGS
    capability[0] = "AVX2"
    assert "-mavx2" in cpp_engine._flags()
    assert not any("avx512" in flag for flag in cpp_engine._flags())
    monkeypatch.setattr(cpp_engine.platform, "machine", lambda: "arm64")
    assert cpp_engine._flags() == cpp_engine.FLAGS


def test_without_a_compiler_torch_takes_over(monkeypatch, tmp_path, caplog):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    inputs = make_inputs(Case())
    with caplog.at_level(logging.INFO, logger=package.logger.name):
        found = selective_scan(**inputs)
        selective_scan(**inputs)
    assert torch.equal(found, selective_scan(**inputs, engine="torch"))
    lines = [line for line in caplog.messages if "no C++ compiler" in line]
    assert len(lines) == 1
    assert "engine torch" in lines[0] and "set CXX or install g++" in lines[0]


@pytest.mark.parametrize("compiler", ["/bin/false", "/nowhere/c++", "g++ '"])
def test_compiler_that_does_not_run(monkeypatch, tmp_path, compiler):
    monkeypatch.setenv("CXX", compiler)
    monkeypatch.setenv(cpp_engine.CACHE_VARIABLE, str(tmp_path))
    reason = cpp_engine.unavailable(CPU)
    assert compiler in reason or "No closing quotation" in reason
    assert not list(tmp_path.iterdir())


def test_source_that_does_not_compile(workshop):
    workshop.source.write_text("int answer() { return nothing; }\n")
    assert "error: 'nothing'" in cpp_engine.unavailable(CPU).translate(
        {8216: 39, 8217: 39}
    )
    assert not workshop.libraries()


def test_cache_that_cannot_be_written(workshop):
    workshop.cache.write_text("a file, not a folder")
    assert str(workshop.cache) in cpp_engine.unavailable(CPU)


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv(cpp_engine.CACHE_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cpp_engine._cache_folder() == tmp_path / "polsess"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cpp_engine._cache_folder() == Path.home() / ".cache" / "polsess"


def test_other_devices_are_refused_without_a_build(monkeypatch):
    monkeypatch.setattr(cpp_engine, "_cached_library", lambda: pytest.fail("built"))
    assert "CPU" in cpp_engine.unavailable(torch.device("cuda"))


@pytest.fixture
def threads():
    """Sets the number of threads, and sets it back after the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def assert_same(found, expected):
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_threads_change_no_bit_of_the_scan(kernel, threads):
    case = Case(batch=37, channels=290, length=40, layout="channel_last")
    threads(1)
    expected = results(kernel.scan, make_inputs(case))
    for number in (2, 3):
        threads(number)
        for _ in range(3):
            assert_same(results(kernel.scan, make_inputs(case)), expected)


def test_layouts_change_no_bit(kernel):
    """The layout that is read in place, and those that are copied."""
    case = Case(batch=3, channels=21, length=70)
    expected = results(kernel.scan, make_inputs(case))
    for layout in ("channel_last", "strided"):
        other = Case(batch=3, channels=21, length=70, layout=layout)
        assert_same(results(kernel.scan, make_inputs(other)), expected)


def test_model_layout_is_kept_and_not_copied(kernel, monkeypatch):
    """[batch, length, channels] in and out; B and C are slices of a projection."""
    inputs = make_inputs(Case(channels=21, length=33, layout="channel_last"))
    projection = torch.randn(2, 33, 40)
    wider = torch.randn(2, 33, 42)
    inputs |= dict(
        B=projection[..., 5:21].mT.requires_grad_(),
        C=projection[..., 21:37].mT.requires_grad_(),
        z=wider[..., 21:].mT.requires_grad_(),
    )
    dense = {
        name: x.detach().contiguous().requires_grad_() if torch.is_tensor(x) else x
        for name, x in inputs.items()
    }
    expected = results(kernel.scan, dense)
    copied = []
    contiguous = torch.Tensor.contiguous
    monkeypatch.setattr(
        torch.Tensor, "contiguous", lambda x: copied.append(x) or contiguous(x)
    )
    found = results(kernel.scan, inputs)
    sequences = [x for x in copied if x.dim() == 3]
    assert len(sequences) == 1  # the gradient, which comes as [batch, channels, length]
    assert_same(found, expected)
    for name in ("output", "u", "delta"):
        assert found[name].mT.is_contiguous(), name


@pytest.mark.parametrize("channels", [5, 16, 33])
def test_padding_is_not_read_nor_written(kernel, channels):
    """Channels beyond a whole number of vectors, amid memory of others."""
    inputs = make_inputs(Case(channels=channels, layout="strided"))
    assert all(torch.isfinite(x).all() for x in results(kernel.scan, inputs).values())


@pytest.fixture(params=["this CPU", "DEFAULT"])
def either_kernel(kernel, request, monkeypatch):
    """The kernel for this CPU, and the one for those without wide vectors."""
    if request.param == "DEFAULT":
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
        forget()
    return kernel


def test_short_vectors(either_kernel):
    check(either_kernel.scan, Case(channels=7, length=41))
    check(either_kernel.scan, Case(channels=9, dtype=torch.bfloat16))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["u", "delta", "A"])
def test_not_a_number_stays_so(either_kernel, name, dtype):
    inputs = make_inputs(Case(dtype=dtype))
    defaults = dict(D=None, z=None, delta_bias=None)
    with torch.no_grad():
        inputs[name].select(-2 if name == "A" else 1, 2).fill_(torch.nan)
        output = either_kernel.scan(**(defaults | inputs))
    assert output[:, 2].isnan().all()
    assert not output[:, [0, 1, 3, 4, 5]].isnan().any()


def test_steps_of_any_size(either_kernel):
    """Decays from 1 down to 0, where the exponential must not wrap."""
    steps = torch.tensor([0, 1e-30, 1e-3, 0.3, 1, 5, 30, 80, 100, 1e4, 1e9, 1e12])
    ones = torch.ones(len(steps), 1, 2)
    first = ones * torch.tensor([1.0, 0.0])  # a state of 1, then a step of each size
    delta = torch.stack([torch.ones_like(steps), steps], dim=-1)[:, None]
    options = dict(D=None, z=None, delta_bias=None, delta_softplus=False)
    scan = either_kernel.scan
    found = scan(first, delta, -torch.ones(1, 1), ones, ones, **options)
    expected = torch.exp(-steps.double()).float()
    torch.testing.assert_close(found[:, 0, 1], expected, rtol=1e-5, atol=2e-38)


def plain_convolution(x, weight, bias):
    taps = weight.shape[1]
    padded = functional.pad(x.mT, (taps - 1, 0))
    mixed = functional.conv1d(padded, weight[:, None], bias, groups=len(weight)).mT
    return mixed * torch.sigmoid(mixed)


def convolution_inputs(batch, length, channels, taps, dtype):
    generator = torch.Generator().manual_seed(0)
    inner = torch.promote_types(dtype, torch.float32)
    wider = torch.randn(batch, length, 2 * channels, generator=generator).to(dtype)
    return dict(
        x=wider[..., channels:].requires_grad_(),
        weight=torch.randn(channels, taps, generator=generator).to(inner),
        bias=torch.randn(channels, generator=generator).to(inner),
    )


def convolve(function, inputs):
    inputs = {name: x.detach().requires_grad_() for name, x in inputs.items()}
    return results(function, inputs)


@pytest.mark.parametrize("shape", [(2, 9, 21, 4), (1, 1, 1, 4), (3, 2, 40, 3)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_convolution(kernel, shape, dtype):
    inputs = convolution_inputs(*shape, dtype)
    expected = convolve(
        plain_convolution, {name: x.double() for name, x in inputs.items()}
    )
    found = convolve(kernel.causal_conv_silu, inputs)
    assert found["output"].dtype == found["x"].dtype == dtype
    assert found["output"].is_contiguous()
    errors = relative_errors(found, expected)
    assert max(errors.values()) <= TOLERANCES[dtype], errors


def test_threads_change_no_bit_of_the_convolution(kernel, threads):
    inputs = convolution_inputs(40, 31, 50, 4, torch.float32)
    threads(1)
    expected = convolve(kernel.causal_conv_silu, inputs)
    for number in (2, 3):
        threads(number)
        for _ in range(3):
            assert_same(convolve(kernel.causal_conv_silu, inputs), expected)
