"""Dual-path blocks: SpeechBrain's weights, outputs and gradients; less memory."""

import pytest
import torch
from saved_tensors import saved_sizes
from speechbrain.lobes.models import dual_path as stock
from speechbrain.lobes.models.dual_path import Dual_Path_Model
from torch.nn.parallel import DistributedDataParallel

from extra_models import dual_path
from extra_models.dual_path import AttentionInParts, RNNBlock, TransformerBlock

CHANNELS = 8
TRANSFORMER = {
    "num_layers": 2,
    "d_model": CHANNELS,
    "nhead": 2,
    "d_ffn": 12,
    "dropout": 0.0,
    "use_positional_encoding": True,
    "norm_before": True,
}


def rnn_pair(**settings):
    """Returns SpeechBrain's DPRNN and ours with the same weights."""
    settings = {"num_layers": 2, "K": 6, **settings}
    sizes = (CHANNELS, 5, 1)
    blocks = stock.SBRNNBlock(*sizes), stock.SBRNNBlock(*sizes)
    theirs = Dual_Path_Model(6, CHANNELS, *blocks, **settings)
    ours = Dual_Path_Model(6, CHANNELS, RNNBlock(*sizes), RNNBlock(*sizes), **settings)
    return with_same_weights(theirs, ours)


def transformer_pair(positions=True, **settings):
    """Returns SpeechBrain's SepFormer and ours with the same weights."""
    settings = {
        "num_layers": 2,
        "K": 6,
        "linear_layer_after_inter_intra": False,
        **settings,
    }
    sizes = TRANSFORMER | {"use_positional_encoding": positions}
    blocks = stock.SBTransformerBlock(**sizes), stock.SBTransformerBlock(**sizes)
    theirs = Dual_Path_Model(6, CHANNELS, *blocks, **settings)
    blocks = TransformerBlock(**sizes), TransformerBlock(**sizes)
    ours = Dual_Path_Model(6, CHANNELS, *blocks, **settings)
    return with_same_weights(theirs, ours)


def with_same_weights(theirs, ours):
    """Gives both the same weights, none of them zero or one as at the start."""
    generator = torch.Generator().manual_seed(0)
    for parameter in theirs.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data += 0.1 * noise
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def noise(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def run(model, x, bf16=False):
    """Returns the output and the gradients of the input and of all weights."""
    x = x.clone().requires_grad_()
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        output = model(x)
    (output * noise(*output.shape, seed=2).to(output)).sum().backward()
    gradients = {name: weight.grad for name, weight in model.named_parameters()}
    return output, {"input": x.grad, **gradients}


def assert_same(results, expected, error=1e-6):
    """Asserts that outputs and gradients are equal, relative to each one's peak."""
    (output, gradients), (wanted, wanted_gradients) = results, expected
    assert output.shape == wanted.shape
    assert wanted.abs().max() > 1e-3
    assert gradients.keys() == wanted_gradients.keys()
    pairs = {"output": (output, wanted)} | {
        name: (gradients[name], wanted_gradients[name]) for name in gradients
    }
    # The key's bias shifts all scores of a query alike: its gradient is rounding noise.
    floor = 1e-3 * max(wanted.abs().max() for _, wanted in pairs.values())
    for name, (got, wanted) in pairs.items():
        difference = (got - wanted).abs().max()
        assert difference <= error * max(wanted.abs().max(), floor), name


@pytest.mark.parametrize("make_pair", [rnn_pair, transformer_pair])
@pytest.mark.parametrize("num_spks", [1, 2])
@pytest.mark.parametrize("frames", [1, 6, 23])
def test_equals_speechbrain(make_pair, num_spks, frames):
    """Any length gives SpeechBrain's masks and gradients."""
    theirs, ours = (model.double() for model in make_pair(num_spks=num_spks))
    x = noise(3, 6, frames).double()
    assert ours(x).shape == (num_spks, 3, 6, frames)
    assert_same(run(ours, x), run(theirs, x), error=1e-9)


@pytest.mark.parametrize("make_pair", [rnn_pair, transformer_pair])
def test_equals_speechbrain_in_fp32(make_pair):
    """In the precision of training nothing but the last digits differs."""
    theirs, ours = make_pair()
    x = noise(2, 6, 95)
    assert_same(run(ours, x), run(theirs, x), error=1e-5)


def test_positional_encoding_is_speechbrains():
    """Without it the order of the frames is free; with it, it is not."""
    x = noise(2, 20, CHANNELS).double()
    for positions in (True, False):
        sizes = TRANSFORMER | {"use_positional_encoding": positions}
        theirs = stock.SBTransformerBlock(**sizes).double()
        ours = TransformerBlock(**sizes).double()
        ours.load_state_dict(theirs.state_dict())
        assert_same(run(ours, x), run(theirs, x), error=1e-9)
        turned = ours(x.flip(1)).flip(1)
        assert torch.allclose(turned, ours(x)) != positions


@pytest.mark.parametrize("make_pair", [rnn_pair, transformer_pair])
def test_weights_load_both_ways(make_pair):
    """A state dict of one is a state dict of the other."""
    theirs, ours = make_pair()
    mine, stocks = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(stocks)
    assert [v.shape for v in mine.values()] == [v.shape for v in stocks.values()]
    theirs.load_state_dict({name: value + 1 for name, value in mine.items()})
    ours.load_state_dict(theirs.state_dict())
    assert_same(run(ours, noise(1, 6, 9)), run(theirs, noise(1, 6, 9)))


def test_dropout_of_the_last_layer_acts():
    """Outputs are zeroed at the given rate and scaled, while training only."""
    torch.manual_seed(0)
    block = RNNBlock(4, 50, 1, dropout=0.3)
    x = noise(4, 50, 4)
    dropped, kept = block(x), block.eval()(x)
    assert (dropped == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    passed = dropped != 0
    torch.testing.assert_close(dropped[passed], kept[passed] / 0.7)
    assert (kept != 0).all()


def test_transformer_dropout_acts_in_training_only():
    torch.manual_seed(0)
    block = TransformerBlock(**TRANSFORMER | {"dropout": 0.3})
    x = noise(2, 10, CHANNELS)
    assert not torch.equal(block(x), block(x))
    block.eval()
    assert torch.equal(block(x), block(x))


def test_norm_after_is_refused():
    with pytest.raises(ValueError, match="norm_before"):
        TransformerBlock(**TRANSFORMER | {"norm_before": False})


@pytest.mark.parametrize("bf16", [False, True])
def test_attention_weights_are_not_kept(bf16):
    """No tensor has the size of all weights, as SpeechBrain's have."""
    time = 200
    x = noise(2, time, CHANNELS).requires_grad_()
    weights = 2 * TRANSFORMER["nhead"] * time**2 * 2  # bytes in bf16
    ours = TransformerBlock(**TRANSFORMER)
    theirs = stock.SBTransformerBlock(**TRANSFORMER)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        assert max(saved_sizes(theirs, x)) >= weights
        assert max(saved_sizes(ours, x)) < weights / 5


@pytest.mark.parametrize("time", [1, 7, 12])
@pytest.mark.parametrize("limit", [1, 600, 2**20])
def test_attention_in_parts(monkeypatch, time, limit):
    """Any parts give torch's attention and its gradients, contiguous or not."""
    monkeypatch.setattr(dual_path, "PART_WEIGHTS", limit)
    heads = noise(5, 3, 2, 4, time).double().permute(0, 4, 1, 2, 3).requires_grad_()
    query, key, value = heads.transpose(1, 3).unbind(2)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    expected = expected.transpose(1, 2)
    attended = AttentionInParts.apply(heads)
    torch.testing.assert_close(attended, expected)
    gradient = noise(*expected.shape, seed=2).double()
    got, wanted = (
        torch.autograd.grad(output, heads, gradient) for output in (attended, expected)
    )
    torch.testing.assert_close(got, wanted)


def test_attention_in_parts_is_for_bf16_without_dropout():
    heads = noise(2, 30, 3, 2, 4).requires_grad_()
    for dtype, dropout in ((torch.bfloat16, 0.0), (torch.bfloat16, 0.3), (None, 0.0)):
        first, second = (dual_path._attend(heads.to(dtype), dropout) for _ in range(2))
        in_parts = "AttentionInParts" in first.grad_fn.name()
        assert in_parts == (dtype is torch.bfloat16 and not dropout)
        assert torch.equal(first, second) == (not dropout)


def tiny(checkpointing, block, dropout=0.3):
    """Returns a model in training, its weights always the same."""
    torch.manual_seed(0)
    sizes = {"dropout": dropout, "activation_checkpointing": checkpointing}
    if block is RNNBlock:
        sizes |= {"input_size": CHANNELS, "hidden_channels": 5, "num_layers": 1}
    else:
        sizes = TRANSFORMER | sizes
    blocks = block(**sizes), block(**sizes)
    return Dual_Path_Model(6, CHANNELS, *blocks, num_layers=2, K=10)


@pytest.mark.parametrize("block", [RNNBlock, TransformerBlock])
@pytest.mark.parametrize("bf16", [False, True])
def test_checkpointing_keeps_gradients(block, bf16):
    """The same dropout is drawn again in the backward pass, in the same precision."""
    x = noise(2, 6, 95)
    results = []
    for checkpointing in (True, False):
        model = tiny(checkpointing, block)
        torch.manual_seed(5)
        results.append(run(model, x, bf16))
    assert_same(*results)


@pytest.mark.parametrize("block", [RNNBlock, TransformerBlock])
def test_checkpointing_keeps_less(block):
    """Less than half is kept between the passes, and nothing differs in evaluation."""
    x = noise(2, 6, 95)
    kept = {mode: sum(saved_sizes(tiny(mode, block), x)) for mode in (True, False)}
    assert kept[True] < kept[False] / 2
    evaluating = tiny(True, block).eval()
    plain = tiny(False, block).eval()
    assert sum(saved_sizes(evaluating, x)) == sum(saved_sizes(plain, x))
    assert torch.equal(evaluating(x), plain(x))


@pytest.mark.parametrize("make_pair", [rnn_pair, transformer_pair])
def test_bf16_is_close_to_fp32(make_pair):
    """Autocast moves masks by about a rounding, and gradients little more."""
    _, ours = make_pair()
    x = noise(2, 6, 95)
    masks, gradients = run(ours, x)
    low_masks, low_gradients = run(ours, x, bf16=True)
    assert low_masks.dtype == torch.bfloat16
    assert 1e-3 < (low_masks - masks).norm() / masks.norm() < 0.02
    gradients, low_gradients = (
        torch.cat([gradient.flatten() for gradient in each.values()])
        for each in (gradients, low_gradients)
    )
    assert torch.cosine_similarity(gradients, low_gradients, dim=0) > 0.98


@pytest.mark.parametrize("block", [RNNBlock, TransformerBlock])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_compiles(block, checkpointing):
    """torch.compile traces both passes; this backend needs no C++ compiler."""
    model = tiny(checkpointing, block, dropout=0.0)
    x = noise(2, 6, 33)
    expected = run(model, x)
    model.compile(backend="aot_eager")
    assert_same(run(model, x), expected)


@pytest.fixture
def process_group(tmp_path):
    """One process that is a group."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("block", [RNNBlock, TransformerBlock])
def test_checkpointing_under_ddp(block, process_group):
    """Each gradient is reduced once though its block runs twice."""
    model = tiny(True, block, dropout=0.0)
    expected = run(tiny(False, block, dropout=0.0), noise(2, 6, 33))
    wrapped = DistributedDataParallel(model)
    output, gradients = run(wrapped, noise(2, 6, 33))
    gradients = {name.removeprefix("module."): g for name, g in gradients.items()}
    assert_same((output, gradients), expected)


def test_sizes_of_the_papers():
    """The counts of the public implementations, encoder and decoder included."""
    rnn = [RNNBlock(64, 128, 1) for _ in range(2)]
    dprnn = Dual_Path_Model(64, 64, *rnn, num_layers=6, K=100)
    assert count(dprnn) + 2 * 64 * 16 == 2_609_793
    sizes = TRANSFORMER | {"num_layers": 8, "d_model": 256, "nhead": 8, "d_ffn": 1024}
    sepformer = Dual_Path_Model(
        256,
        256,
        TransformerBlock(**sizes),
        TransformerBlock(**sizes),
        num_layers=2,
        K=250,
        linear_layer_after_inter_intra=False,
    )
    assert count(sepformer) + 2 * 256 * 16 == 25_679_361


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())
