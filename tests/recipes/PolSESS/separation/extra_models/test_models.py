"""What every model of hparams/ can do, at tiny sizes."""

import pytest
import torch
from tiny_model import SIZES, tiny_model

from extra_models.masking import separate
from scoring.si_sdr import pit_loss


def gradients(modules, precision=torch.float32):
    """Returns the estimates and gradients of one step on fixed noise."""
    generator = torch.Generator().manual_seed(3)
    mixtures = torch.randn(2, 1600, generator=generator)
    targets = torch.randn(2, 2, 1600, generator=generator)
    bf16 = precision is torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        estimates = separate(modules, mixtures)
    pit_loss(estimates, targets).backward()
    parameters = torch.nn.ModuleDict(modules).parameters()
    return estimates.float(), torch.cat([p.grad.flatten() for p in parameters])


@pytest.mark.parametrize("model", SIZES)
def test_compiled_models_train_alike(tmp_path, model):
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    _, modules = tiny_model(tmp_path, model=model)
    for module in modules.values():
        module.eval()  # without dropout
    expected = gradients(modules)
    for module in modules.values():
        module.zero_grad()
        module.compile(backend="aot_eager")  # traces; inductor would take a minute
    torch.testing.assert_close(gradients(modules), expected, rtol=1e-3, atol=1e-4)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0


@pytest.mark.parametrize("model", SIZES)
def test_models_train_in_bf16(tmp_path, model):
    _, modules = tiny_model(tmp_path, model=model)
    torch.manual_seed(0)
    estimates, wide = gradients(modules)
    for module in modules.values():
        module.zero_grad()
    torch.manual_seed(0)
    rough, narrow = gradients(modules, torch.bfloat16)
    assert (rough - estimates).norm() < 0.05 * estimates.norm()
    assert not torch.equal(rough, estimates)
    assert torch.nn.functional.cosine_similarity(narrow, wide, dim=0) > 0.98
