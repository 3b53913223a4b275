"""Every engine of the selective scan against the equations, and their choice."""

import logging
import operator
from dataclasses import replace
from functools import partial

import pytest
import scan_cases
import torch
from scan_cases import CASES, LARGE_CASES, Case, check, make_inputs, plain_scan

from extra_models import selective_scan as package
from extra_models.selective_scan import selective_scan, torch_engine, unavailable

PLACES = [
    ("torch", "cpu"),
    ("cpp", "cpu"),
    ("torch", "cuda"),
    ("triton", "cuda"),
    ("mamba_ssm", "cuda"),
]
FLOAT64_PLACES = [place for place in PLACES if place[0] in ("torch", "cpp")]


@pytest.fixture(params=PLACES, ids="-".join)
def place(request):
    """Returns the scan of an engine and its device, or skips with its reason."""
    engine, device = request.param
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    reason = unavailable(engine, torch.device(device))
    if reason is not None:
        pytest.skip(f"{engine}: {reason}")
    return partial(selective_scan, engine=engine), device


@pytest.fixture(autouse=True)
def fresh_choice(monkeypatch):
    """No choice of engine is made before a test, and none outlives it."""
    monkeypatch.delenv(package.ENVIRONMENT_VARIABLE, raising=False)
    package._choose.cache_clear()
    yield
    package._choose.cache_clear()


@pytest.mark.parametrize("name", [*CASES, *LARGE_CASES])
def test_parity(place, name):
    scan, device = place
    case = (CASES | LARGE_CASES)[name]
    check(scan, replace(case, device=device))


@pytest.mark.parametrize("name", ["plain", "no_options", "channel_last", "bf16"])
@pytest.mark.parametrize("step, chunk", [(1, 1), (96, 200), (10**3, 10**4)])
def test_torch_chunks(monkeypatch, name, step, chunk):
    """Chunks of one item or several, of one time or several, with remainders."""
    monkeypatch.setattr(torch_engine, "CPU_STEP", step)
    monkeypatch.setattr(torch_engine, "CPU_CHUNK", chunk)
    scan = partial(selective_scan, engine="torch")
    check(scan, replace(CASES[name], batch=3, length=41))


def test_mixed_types(place):
    """Under autocast some inputs are bf16; the others keep their precision."""
    scan, device = place
    inputs = make_inputs(Case(device=device))
    for name in ("u", "C"):
        inputs[name] = inputs[name].detach().bfloat16().requires_grad_()
    expected = scan_cases.results(plain_scan, scan_cases.in_float64(inputs))
    found = scan_cases.results(scan, inputs)
    for name, error in scan_cases.relative_errors(found, expected).items():
        low = name in ("output", "u", "C")
        assert found[name].dtype == (torch.bfloat16 if low else torch.float32), name
        assert error <= (5e-3 if low else 1e-5), name


def test_autocast_changes_nothing(place):
    scan, device = place
    case = Case(device=device)
    expected = scan_cases.results(scan, make_inputs(case))
    with torch.autocast(device, dtype=torch.bfloat16):
        found = scan_cases.results(scan, make_inputs(case))  # backward included
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_large_steps_and_silence_are_finite(place):
    """exp(delta) would overflow: softplus is linear there; nothing comes of nothing."""
    scan, device = place
    inputs = make_inputs(Case(device=device))
    steps = torch.tensor([-120.0, -30.0, 19.0, 21.0, 88.0, 100.0, 1000.0])
    with torch.no_grad():
        inputs["delta"][..., : len(steps)] = steps.to(device)
    expected = scan_cases.results(plain_scan, scan_cases.in_float64(inputs))
    errors = scan_cases.relative_errors(scan_cases.results(scan, inputs), expected)
    assert all(error <= 1e-5 for error in errors.values()), errors

    silence = make_inputs(Case(device=device))
    with torch.no_grad():
        for name in ("u", "B", "C", "z"):
            silence[name].zero_()
    found = scan_cases.results(scan, silence)
    assert all(torch.isfinite(value).all() for value in found.values())
    assert not found["output"].any()


@pytest.mark.parametrize("place", FLOAT64_PLACES, indirect=True, ids="-".join)
@pytest.mark.parametrize("softplus", [True, False])
def test_gradcheck(place, softplus):
    scan, device = place
    case = Case(2, 3, 2, 5, softplus=softplus, dtype=torch.float64, device=device)
    inputs = make_inputs(case)
    tensors = [inputs[name] for name in scan_cases.ARGUMENTS]
    assert torch.autograd.gradcheck(lambda *x: scan(*x, softplus), tensors)


def test_gradients_of_some_inputs_only(place):
    scan, device = place
    expected = scan_cases.results(scan, make_inputs(Case(device=device)))
    inputs = make_inputs(Case(device=device))
    for name in inputs.keys() - {"B", "delta_softplus"}:
        inputs[name].requires_grad_(False)
    found = scan_cases.results(scan, inputs)
    torch.testing.assert_close(found["B"], expected["B"])
    assert all(found[name] is None for name in ("u", "A", "z", "delta_bias"))
    with torch.no_grad():
        assert not scan(**inputs).requires_grad


@pytest.mark.parametrize("batch", [1, 2])  # one item's transposes are contiguous
def test_inputs_are_left_alone(place, batch):
    scan, device = place
    inputs = make_inputs(Case(batch, device=device, layout="channel_last"))
    before = {n: x.detach().clone() for n, x in inputs.items() if torch.is_tensor(x)}
    scan_cases.results(scan, inputs)
    assert all(torch.equal(inputs[name], x) for name, x in before.items())


DEFECTS = {
    "no skip": lambda i: i | {"D": i["D"] * 0},
    "gate of another step": lambda i: i | {"z": i["z"].roll(1, -1)},
    "step without bias": lambda i: i | {"delta_bias": i["delta_bias"] * 0},
    "B and C exchanged": lambda i: i | {"B": i["C"], "C": i["B"]},
    "no softplus": lambda i: i | {"delta_softplus": False},
    "decay a little wrong": lambda i: i | {"A": i["A"] * 1.001},
    "no gradient of one term": lambda i: i | {"delta": _blocked(i["delta"])},
}


def _blocked(x):
    """Returns x, but the gradient of its last time step is lost."""
    return torch.cat([x[..., :-1], x[..., -1:].detach()], dim=-1)


@pytest.mark.parametrize("defect", DEFECTS)
def test_comparison_notices_a_defect(defect):
    def scan(**inputs):
        inputs = DEFECTS[defect](inputs)
        return selective_scan(**inputs, engine="torch")

    with pytest.raises(AssertionError, match="relative errors"):
        check(scan, CASES["plain"])


def test_compiled_model():
    """torch.compile takes what surrounds the scan and leaves the scan as it is."""
    compiled = []

    def backend(graph, inputs):
        compiled.extend(node.target for node in graph.graph.nodes if node.args)
        return graph.forward

    @torch.compile(backend=backend)
    def model(u, **inputs):
        return selective_scan(u / 2, **inputs, engine="torch") * 2

    def reference(u, **inputs):
        return plain_scan(u / 2, **inputs) * 2

    inputs = make_inputs(Case())
    expected = scan_cases.results(reference, scan_cases.in_float64(inputs))
    errors = scan_cases.relative_errors(scan_cases.results(model, inputs), expected)
    assert all(error <= 1e-5 for error in errors.values()), errors
    assert set(compiled) == {operator.truediv, operator.mul, "output"}


def shapes(**changed):
    inputs = make_inputs(Case(batch=2, channels=6, states=4, length=5))
    return inputs | changed


@pytest.mark.parametrize(
    "inputs, error, message",
    [
        (shapes(u=torch.rand(6, 5)), ValueError, r"u \[6, 5\] should be \[batch"),
        (shapes(delta=torch.rand(2, 5, 6)), ValueError, r"delta \[2, 5, 6\].*2, 6, 5"),
        (shapes(A=torch.rand(4, 6)), ValueError, r"A \[4, 6\].*channels, states"),
        (shapes(B=torch.rand(2, 5, 4)), ValueError, r"B \[2, 5, 4\].*\[2, 4, 5\]"),
        (shapes(D=torch.rand(6, 1)), ValueError, r"D \[6, 1\] should be \[channels\]"),
        (shapes(z=torch.rand(2, 6, 4)), ValueError, r"z \[2, 6, 4\]"),
        (shapes(C=torch.rand(2, 4, 5, device="meta")), ValueError, "C is on meta"),
        (shapes(u=torch.ones(2, 6, 5).long()), TypeError, "u is torch.int64"),
        (shapes(A=torch.ones(6, 4) * 1j), TypeError, "A is torch.complex64"),
    ],
)
def test_unfit_inputs_are_named(inputs, error, message):
    with pytest.raises(error, match=message):
        selective_scan(**inputs)


class Engine:
    """An engine that is usable where it has no reason not to be."""

    def __init__(self, reason, result=1.0):
        self.reason = reason
        self.result = result

    def unavailable(self, device):
        return self.reason

    def scan(self, u, *arguments):
        return torch.full_like(u, self.result)


@pytest.fixture
def engines(monkeypatch):
    """Stand-ins for the engines: cpp steps aside, triton and torch can be used."""
    engines = {
        "cpp": Engine("no compiler"),
        "triton": Engine(None, 2.0),
        "torch": Engine(None, 1.0),
    }

    def module(name):
        if name == "mamba_ssm":
            raise ImportError("No module named 'mamba_ssm'")
        return engines[name]

    monkeypatch.setattr(package, "_module", module)
    return engines


def test_auto_names_its_engine_once(engines, caplog):
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            assert selective_scan(**shapes()).eq(1).all()
    assert [record.getMessage() for record in caplog.records] == [
        "Selective scan on cpu: engine torch; cpp stepped aside: no compiler"
    ]


def test_auto_takes_the_first_usable(engines):
    engines["cpp"].reason = None
    assert package._choose("auto", torch.device("cpu")) is engines["cpp"]
    assert package._choose("auto", torch.device("cuda:0")) is engines["triton"]
    assert package._choose("auto", torch.device("cuda:1")) is engines["triton"]
    assert package._choose("auto", torch.device("mps")) is engines["torch"]


def test_argument_names_the_engine(engines):
    assert selective_scan(**shapes(), engine="triton").eq(2).all()


def test_environment_wins(engines, monkeypatch):
    monkeypatch.setenv(package.ENVIRONMENT_VARIABLE, "triton")
    assert selective_scan(**shapes(), engine="torch").eq(2).all()


def test_unusable_engine_is_an_error(engines):
    with pytest.raises(RuntimeError, match="engine cpp .* on cpu: no compiler"):
        selective_scan(**shapes(), engine="cpp")
    with pytest.raises(RuntimeError, match="No module named 'mamba_ssm'"):
        selective_scan(**shapes(), engine="mamba_ssm")
    with pytest.raises(ValueError, match="'fast' .* should be 'auto' or one of"):
        selective_scan(**shapes(), engine="fast")


def test_real_engines_say_why_they_step_aside():
    if torch.cuda.is_available():
        pytest.skip("no engine is out of place beside a CUDA device")
    assert unavailable("torch", torch.device("cpu")) is None
    for engine in ("mamba_ssm", "triton"):
        if engine == "triton" and unavailable(engine, torch.device("cpu")) is None:
            continue  # under Triton's interpreter
        assert unavailable(engine, torch.device("cpu"))


@pytest.mark.parametrize("engine", ["cpp", "torch"])
def test_convolution_refuses_what_does_not_fit(engine):
    if reason := package.unavailable(engine, torch.device("cpu")):
        pytest.skip(reason)
    with pytest.raises(ValueError, match=r"x \[1, 4, 64\] should be"):
        package.causal_conv_silu(
            torch.ones(1, 4, 64), torch.ones(4, 4), torch.ones(4), engine
        )
    with pytest.raises(TypeError, match="int64"):
        package.causal_conv_silu(
            torch.ones(1, 4, 4, dtype=torch.int64),
            torch.ones(4, 4),
            torch.ones(4),
            engine,
        )


def test_package_that_is_broken_steps_aside(monkeypatch, tmp_path):
    (tmp_path / "mamba_ssm").mkdir()
    (tmp_path / "mamba_ssm" / "__init__.py").write_text("raise RuntimeError('misfit')")
    monkeypatch.syspath_prepend(tmp_path)
    assert "misfit" in package.unavailable("mamba_ssm", torch.device("cuda"))
