"""Exports of version 0.5.0 load and separate as that version did."""

from pathlib import Path

import pytest
import torch

from exported.inference import Separator
from exported.safe_yaml import build, read_description

EXPORTS = Path(__file__).with_name("exports_0_5")
# What version 0.5.0 made of ``mixture()``: every 2000th sample of both estimates.
SEPARATED = {
    "convtasnet": [-0.00144, -0.05603, -0.00692, -0.00118]
    + [-0.00926, -0.07735, 0.00214, 0.00487],
    "spmamba": [0.00392, -0.0521, 0.00656, 0.05716]
    + [-0.01878, -0.12312, -0.00413, 0.05338],
}


def mixture():
    time = torch.arange(8000)
    return 0.1 * (torch.sin(time / 7.0) + torch.sin(time**1.2 / 90))


@pytest.mark.parametrize("model", SEPARATED)
def test_separates_as_before(model):
    separator = Separator.from_export(EXPORTS / model)
    estimates = separator.separate_batch(mixture()[None])[0]
    found = estimates[1000::2000].flatten().tolist()
    assert found == pytest.approx(SEPARATED[model], abs=2e-4)


@pytest.mark.parametrize("model", ["dprnn", "sepformer"])
def test_description_is_still_built(model):
    modules = read_description(EXPORTS / model / "hyperparams.yaml")["modules"]
    built = {}
    assert all(build(module, built).state_dict() for module in modules.values())
