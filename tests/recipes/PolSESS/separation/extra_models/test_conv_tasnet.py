"""The mask network of Conv-TasNet against SpeechBrain's."""

import pytest
import torch
from saved_tensors import saved_sizes
from speechbrain.lobes.models import conv_tasnet
from speechbrain.lobes.models.dual_path import Decoder, Encoder
from torch._dynamo.testing import CompileCounterWithBackend

from extra_models.conv_tasnet import MaskNet, TemporalBlock, _DepthwiseConv

N = 16
SMALL = {"N": N, "B": 8, "H": 12, "P": 3, "X": 3, "R": 2}


def pair(num_sources=2, dtype=torch.float32, **changes):
    """Returns SpeechBrain's network and ours with the same, irregular parameters."""
    generator = torch.Generator().manual_seed(0)
    reference = conv_tasnet.MaskNet(**SMALL | changes, C=num_sources).to(dtype)
    for parameter in reference.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=dtype)
        parameter.data += 0.1 * noise
    reference.temporal_conv_net["temporalblock_0_1"].layers["act"].weight.data.fill_(-1)
    ours = MaskNet(**SMALL | changes, C=num_sources).to(dtype)
    ours.load_state_dict(reference.state_dict())
    return reference, ours


def mixture(batch=3, frames=41, dtype=torch.float32):
    """Returns an encoded mixture [batch, N, frames] that asks for its gradient."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(batch, N, frames, generator=generator, dtype=dtype)
    return noise.relu().requires_grad_()


def outputs_and_gradients(network, encoded):
    """Returns the masks and the gradients of the input and of every parameter."""
    masks = network(encoded)
    generator = torch.Generator().manual_seed(2)
    direction = torch.randn(masks.shape, generator=generator, dtype=torch.float64)
    wanted = [encoded, *network.parameters()]
    loss = (masks * direction.to(encoded.dtype)).sum()
    return [masks.detach(), *torch.autograd.grad(loss, wanted)]


def relative_errors(results, references):
    """Returns the largest error of each tensor over the reference's largest entry."""
    return [
        ((result - reference).abs().max() / reference.abs().max()).item()
        for result, reference in zip(results, references, strict=True)
    ]


def test_parameters_are_speechbrains():
    """Names, order, shapes and initial values agree, so that either loads either's."""
    torch.manual_seed(0)
    reference = conv_tasnet.MaskNet(**SMALL, C=2)
    torch.manual_seed(0)
    ours = MaskNet(**SMALL, C=2)
    assert list(reference.state_dict()) == list(ours.state_dict())
    for name, value in reference.state_dict().items():
        assert torch.equal(value, ours.state_dict()[name]), name
    reference.load_state_dict(pair()[1].state_dict())


def test_parameter_count_of_the_full_size():
    """Encoder, mask network of two sources and decoder have 8,708,672 parameters."""
    network = torch.nn.ModuleList(
        [
            Encoder(kernel_size=16, out_channels=256),
            MaskNet(N=256, B=256, H=512, P=3, X=8, R=4, C=2),
            Decoder(256, 1, kernel_size=16, stride=8, bias=False),
        ]
    )
    assert sum(parameter.numel() for parameter in network.parameters()) == 8_708_672


@pytest.mark.parametrize("num_sources", [1, 2])
@pytest.mark.parametrize("batch, frames", [(1, 5), (3, 41), (2, 64)])
def test_equals_speechbrain(num_sources, batch, frames):
    """Outputs and all gradients agree, also with just enough frames to reflect."""
    networks = pair(num_sources, torch.float64)
    encoded = mixture(batch, frames, torch.float64)
    reference, ours = (outputs_and_gradients(each, encoded) for each in networks)
    assert reference[0].shape == (num_sources, batch, N, frames)
    assert max(relative_errors(ours, reference)) < 1e-11


def test_equals_speechbrain_in_float32():
    """The same at the precision of training, whose rounding is that of the sums."""
    reference, ours = (outputs_and_gradients(each, mixture()) for each in pair())
    largest = max(gradient.abs().max().item() for gradient in reference[1:])
    torch.testing.assert_close(ours[0], reference[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours[1:], reference[1:], rtol=0, atol=1e-5 * largest)


def test_equals_speechbrain_after_training():
    """Twenty steps of Adam from the same start give the same network."""
    networks = pair(dtype=torch.float64)
    encoded = mixture(dtype=torch.float64).detach()
    for network in networks:
        optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
        for _ in range(20):
            optimiser.zero_grad()
            (network(encoded) - encoded).square().mean().backward()
            optimiser.step()
    reference, ours = (list(network.parameters()) for network in networks)
    assert max(relative_errors(ours, reference)) < 1e-8


def test_silence():
    """Silence is divided by the norms' epsilon only: finite, as SpeechBrain's."""
    networks = pair(dtype=torch.float64)
    encoded = torch.zeros(1, N, 41, dtype=torch.float64, requires_grad=True)
    reference, ours = (outputs_and_gradients(each, encoded) for each in networks)
    assert torch.stack([each.isfinite().all() for each in ours]).all()
    torch.testing.assert_close(ours, reference, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_gradients_of_the_depthwise_convolution(kernel_size):
    """They are those of finite differences, whatever the kernel size."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 9, 3), (2, kernel_size, 3), (2, 1, 3)]
    inputs = [
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in shapes
    ]
    assert torch.autograd.gradcheck(_DepthwiseConv.apply, (*inputs, 3))


def test_refuses_an_even_kernel():
    """Reflection to both sides needs a middle tap."""
    with pytest.raises(ValueError, match="kernel size P is 4; give an odd one"):
        MaskNet(**SMALL | {"P": 4}, C=2)


def test_refuses_what_is_too_short_to_reflect():
    """As many frames as the widest convolution reaches are one too few."""
    with pytest.raises(ValueError, match="4 frames are too few .* reaches 4 "):
        pair()[1](mixture(frames=4))


def test_checkpointing_saves_memory_and_changes_no_gradient(monkeypatch):
    """Every block runs twice in training and once without gradients or in eval."""
    calls = []
    forward = TemporalBlock.forward

    def counted(*args):
        calls.append(1)
        return forward(*args)

    monkeypatch.setattr(TemporalBlock, "forward", counted)
    _, ours = pair()
    encoded = mixture(frames=401)
    expected = outputs_and_gradients(ours, encoded)
    plain_bytes = sum(saved_sizes(ours, encoded))
    ours.activation_checkpointing = True
    assert sum(saved_sizes(ours, encoded)) < plain_bytes / 3

    blocks = len(ours.temporal_conv_net)
    calls.clear()
    torch.testing.assert_close(outputs_and_gradients(ours, encoded), expected)
    assert len(calls) == 2 * blocks
    calls.clear()
    with torch.no_grad():
        ours(encoded)
    outputs_and_gradients(ours.eval(), encoded)
    assert len(calls) == 2 * blocks


@pytest.mark.parametrize("checkpointing", [False, True])
def test_bfloat16_is_as_good_as_speechbrains(checkpointing):
    """Against float32, the error under autocast is no larger than SpeechBrain's."""
    reference, ours = pair(X=5)
    ours.activation_checkpointing = checkpointing
    encoded = mixture(frames=401)
    exact = outputs_and_gradients(reference, encoded)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = [outputs_and_gradients(each, encoded) for each in (ours, reference)]
    errors, reference_errors = (
        [
            torch.linalg.vector_norm(result - each) / torch.linalg.vector_norm(each)
            for result, each in zip(results, exact, strict=True)
        ]
        for results in rounded
    )
    assert errors[0] < 0.02
    assert torch.stack(errors).mean() < 1.1 * torch.stack(reference_errors).mean()


@pytest.mark.parametrize("checkpointing", [False, True])
def test_compiles_to_one_graph_for_all_dilations(checkpointing):
    """Beside the first dilation's, one graph serves all; gradients stay right."""
    _, ours = pair(R=1)
    encoded = mixture()
    expected = outputs_and_gradients(ours, encoded)
    ours.activation_checkpointing = checkpointing
    torch.compiler.reset()
    counter = CompileCounterWithBackend("aot_eager")
    ours.compile(backend=counter)
    results = outputs_and_gradients(ours, encoded)
    assert counter.frame_count == 2
    assert max(relative_errors(results, expected)) < 1e-5
