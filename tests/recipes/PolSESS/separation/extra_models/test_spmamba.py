"""SPMamba against plain constructions of what its papers say, in float64."""

import math

import pytest
import torch
from saved_tensors import saved_sizes
from torch.nn import functional as F

from extra_models.mamba import BidirectionalMamba, Mamba, StepSize
from extra_models.spmamba import FrameAttention, SequencePath, SPMamba

TINY = {
    "n_fft": 32,
    "hop_length": 8,
    "num_layers": 2,
    "emb_dim": 4,
    "emb_ks": 3,
    "n_heads": 2,
    "qk_dim": 32,
    "d_state": 4,
    "expand": 2,
}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def mamba_by_steps(mamba, x):
    """Runs a Mamba one step at a time: [time, width] to the same shape."""
    taps = mamba.conv.weight[:, 0]
    inner = mamba.in_proj(x)
    u, gate = inner[:, : len(taps)], inner[:, len(taps) :]
    history = torch.zeros_like(taps)
    state = torch.zeros_like(mamba.A_log)
    outputs = []
    for now, opening in zip(u, gate, strict=True):
        history = torch.cat([history[:, 1:], now[:, None]], 1)
        convolved = F.silu((history * taps).sum(1) + mamba.conv.bias)
        low_rank, B, C = mamba.x_proj(convolved).split(
            [mamba.rank, mamba.d_state, mamba.d_state]
        )
        raw = mamba.step_size.weight @ low_rank + mamba.step_size.bias
        delta = torch.log1p(raw.exp())
        decay = torch.exp(-delta[:, None] * mamba.A_log.exp())
        state = decay * state + delta[:, None] * B * convolved[:, None]
        y = state @ C + mamba.D * convolved
        outputs.append(mamba.out_proj(y * F.silu(opening)))
    return torch.stack(outputs)


def test_mamba_is_its_recurrence():
    mamba = Mamba(6, d_state=3, d_conv=4, expand=2, scan_engine="torch").double()
    with torch.no_grad():  # values that initialisation makes special
        mamba.A_log += torch.randn_like(mamba.A_log)
        mamba.D += torch.randn_like(mamba.D)
    x = torch.randn(2, 9, 6, dtype=torch.float64)
    expected = torch.stack([mamba_by_steps(mamba, item) for item in x])
    torch.testing.assert_close(mamba(x), expected)


def test_initial_values_survive_the_resetting_of_every_layer():
    mamba = Mamba(16, d_state=8)
    for module in mamba.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    states = torch.arange(1.0, 9.0).log()
    assert torch.equal(mamba.A_log, states.expand(32, 8))
    assert torch.equal(mamba.D, torch.ones(32))
    delta = F.softplus(mamba.step_size.bias)
    assert 1e-3 * 0.999 <= delta.min() < 3e-3 and 3e-2 < delta.max() <= 0.1 * 1.001


def test_step_sizes_start_log_uniform():
    delta = F.softplus(StepSize(1, 20_000).bias.double()).log()
    expected = torch.linspace(math.log(1e-3), math.log(1e-1), 20_000)
    torch.testing.assert_close(
        delta.sort().values, expected.double(), atol=0.06, rtol=0
    )


def test_each_direction_sees_its_past_only():
    model = BidirectionalMamba(5, d_state=4, expand=2).double()
    x = torch.randn(1, 12, 5, dtype=torch.float64)
    changed = x.clone()
    changed[0, 6] += 1
    differs = (model(x) != model(changed))[0].unflatten(1, (2, 5)).any(2)
    assert differs[6:, 0].all() and not differs[:6, 0].any()
    assert differs[:7, 1].all() and not differs[7:, 1].any()


@pytest.mark.parametrize(
    ("kernel", "stride", "units"), [(3, 1, 7), (4, 2, 9), (5, 3, 2)]
)
def test_path_is_unfold_mamba_and_transposed_convolution(kernel, stride, units):
    path = SequencePath(2, kernel, stride, {"d_state": 4, "expand": 2}).double()
    x = torch.randn(2, 3, units, 2, dtype=torch.float64)
    y = F.layer_norm(x, (2,), path.norm.weight, path.norm.bias, 1e-5)
    whole = kernel + stride * math.ceil(max(0, units - kernel) / stride)
    y = F.pad(y.flatten(0, 1).mT, (0, whole - units))
    pieces = F.unfold(y[..., None], (kernel, 1), stride=(stride, 1))
    # Elements of F.unfold are (feature, position), those of the path the reverse.
    pieces = pieces.unflatten(1, (2, kernel)).transpose(1, 2).flatten(1, 2)
    y = path.unfolded(path.sequence(pieces.mT).mT)[..., :units].mT
    torch.testing.assert_close(path(x), x + y.unflatten(0, (2, 3)))


def test_attention_is_softmax_between_frames():
    model = FrameAttention(4, num_freqs=5, n_heads=2, qk_dim=12).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(1, 6, 5, 4, dtype=torch.float64)

    def project(layer, y, head, width):
        rows = slice(head * width, (head + 1) * width)
        y = y @ layer.linear.weight[rows].T + layer.linear.bias[rows]
        y = torch.where(y < 0, y * layer.slope[head, 0, 0, 0], y)
        centred = y - y.mean((2, 3), keepdim=True)
        variance = centred.square().mean((2, 3), keepdim=True)
        y = centred / (variance + 1e-5).sqrt()
        return y * layer.weight[head, 0] + layer.bias[head, 0]

    heads = []
    for head in range(2):
        query = project(model.query, x, head, 3).flatten(2)  # 12 / 5 rounded up
        key = project(model.key, x, head, 3).flatten(2)
        value = project(model.value, x, head, 2).flatten(2)
        weights = (query @ key.mT / math.sqrt(15)).softmax(-1)
        heads.append((weights @ value).unflatten(2, (5, 2)))
    expected = x + project(model.out, torch.cat(heads, 3), 0, 4)
    torch.testing.assert_close(model(x), expected)


def derived_size(layers, emb_dim, kernel, heads, qk_dim, freqs=129, sources=2):
    """Counts SPMamba's parameters layer by layer from its papers."""
    width, states, taps = emb_dim * kernel, 16, 4
    inner, rank = 4 * width, math.ceil(width / 16)
    mamba = 2 * width * inner + inner * (taps + 1) + inner * (rank + 2 * states)
    mamba += rank * inner + inner + inner * states + inner + inner * width
    path = 2 * emb_dim + 2 * (mamba + width) + 2 * width * emb_dim * kernel + emb_dim

    def projection(features):
        return emb_dim * features + features + 1 + 2 * features * freqs

    attention = projection(emb_dim)
    attention += heads * 2 * projection(math.ceil(qk_dim / freqs))
    attention += heads * projection(emb_dim // heads)
    ends = 2 * emb_dim * 9 + emb_dim + 2 * emb_dim + emb_dim * 2 * sources * 9
    return layers * (2 * path + attention) + ends + 2 * sources


def size(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_sizes_are_those_of_the_public_implementation_and_of_the_papers():
    reduced = SPMamba(num_layers=4, emb_ks=4, n_heads=2, qk_dim=256)
    assert size(reduced) == 1_156_368 == derived_size(4, 16, 4, 2, 256)
    assert size(SPMamba()) == 6_094_498 == derived_size(6, 16, 8, 4, 512)


def test_every_parameter_is_alive():
    model = SPMamba(**TINY)
    model(torch.randn(2, 200)).square().sum().backward()
    dead = [name for name, p in model.named_parameters() if not p.grad.abs().sum() > 0]
    assert not dead


def test_engine_reaches_every_mamba():
    model = SPMamba(**TINY, scan_engine="torch")
    mambas = [module for module in model.modules() if isinstance(module, Mamba)]
    assert len(mambas) == 8 and {m.scan_engine for m in mambas} == {"torch"}
    with pytest.raises(ValueError, match="tortoise"):
        SPMamba(**TINY, scan_engine="tortoise")(torch.randn(1, 50))


@pytest.mark.parametrize("length", [1, 7, 8, 31, 33, 200])
def test_any_length_and_number_of_sources(length):
    estimates = SPMamba(num_sources=3, **TINY)(torch.randn(2, length))
    assert estimates.shape == (2, 3, length) and estimates.isfinite().all()


def test_silence_gives_silence_beside_a_signal():
    model = SPMamba(**TINY)
    mixtures = torch.stack([torch.zeros(100), torch.randn(100)]).requires_grad_()
    estimates = model(mixtures.detach())
    assert not estimates[0].any() and estimates[1].any()
    estimates.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_estimates_follow_the_level_of_the_mixture():
    model = SPMamba(**TINY).double()
    mixtures = torch.randn(1, 150, dtype=torch.float64)
    torch.testing.assert_close(
        model(1000 * mixtures), 1000 * model(mixtures), rtol=1e-6, atol=1e-9
    )


def test_spectra_come_back_as_the_signals_they_are_of():
    model = SPMamba(**TINY).double()
    signals = torch.randn(2, 77, dtype=torch.float64)
    back = model._istft(model._stft(signals)[:, None], 77)
    torch.testing.assert_close(back[:, 0], signals)


def test_checkpointing_changes_memory_only():
    saved = {}
    gradients = {}
    for kept in (False, True):
        torch.manual_seed(1)
        model = SPMamba(**TINY, activation_checkpointing=kept).double()
        mixtures = torch.randn(2, 200, dtype=torch.float64)
        saved[kept] = sum(saved_sizes(model, mixtures))
        model(mixtures).square().sum().backward()
        gradients[kept] = [p.grad for p in model.parameters()]
    torch.testing.assert_close(gradients[True], gradients[False])
    assert saved[True] < saved[False] / 5
