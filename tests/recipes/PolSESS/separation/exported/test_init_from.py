"""Training that starts from an export: from its weights, and no other model's."""

import json

import pandas as pd
import pytest
import safetensors.torch
import torch
from tiny_run import arguments, last_checkpoint, run

from exported.export import load_weights
from tiny_corpus import write_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("tuned") / "tiny", rows=(4, 2, 2))


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    run(arguments(corpus, folder, N_epochs=1, lr=0.01))
    return folder


def weights(folder):
    return safetensors.torch.load_file(folder / "export" / "model.safetensors")


def test_training_starts_from_the_weights_of_an_export(corpus, trained, tmp_path):
    """A step of next to no length leaves them where they were; seed 8 would not."""
    changes = {"init_from": str(trained / "export"), "seed": 8, "lr": 1e-12}
    run(arguments(corpus, tmp_path / "tuned", **changes, N_epochs=1))
    before, after = weights(trained), weights(tmp_path / "tuned")
    assert before.keys() == after.keys()
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=0, atol=1e-8)
    # Resuming: the same weights from elsewhere are fine, others are refused.
    state = last_checkpoint(tmp_path / "tuned")["state"]
    assert len(state["settings"]["weights_digest"]) == 16
    others = {"init_from": str(tmp_path / "tuned" / "export"), "seed": 8, "lr": 1e-12}
    line = arguments(corpus, tmp_path / "tuned", **others, N_epochs=2)
    done = run(line, check=False)
    assert done.returncode == 1 and "other weights to start from" in done.stdout


def test_an_export_is_tested_without_training(corpus, trained, tmp_path):
    changes = {"init_from": str(trained / "export"), "test_only": True}
    run(arguments(corpus, tmp_path, **changes))
    scores = [pd.read_csv(f / "test_results.csv").si_sdr for f in (trained, tmp_path)]
    assert scores[0].to_numpy() == pytest.approx(scores[1].to_numpy(), abs=1e-3)
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary["provenance"]["epoch"] == 0
    assert not (tmp_path / "export").exists()


HERE = {"sample_rate": 8000, "task": "SB"}


def test_what_does_not_fit_is_named(trained, tmp_path):
    model = {"masknet": torch.nn.Linear(2, 2)}
    cases = [
        (trained / "nowhere", HERE, "expected an exported model"),
        (trained, HERE, "did you mean .*export"),
        (trained / "export", HERE | {"sample_rate": 16000}, "has sample_rate 8000"),
        (trained / "export", HERE | {"task": "EB"}, "has num_spks 2, but this run 1"),
        (trained / "export", HERE, "holds another model: masknet.weight has the shape"),
    ]
    for folder, hparams, said in cases:
        with pytest.raises(ValueError, match=f"init_from: .*{said}"):
            load_weights(folder, model, hparams)


def test_a_truncated_export_is_named(trained, tmp_path):
    for name in ("hyperparams.yaml", "model.safetensors"):
        content = (trained / "export" / name).read_bytes()
        (tmp_path / name).write_bytes(content)
    (tmp_path / "model.safetensors").write_bytes(content[:-20])
    with pytest.raises(ValueError, match="init_from: .*model.safetensors"):
        load_weights(tmp_path, {}, HERE)
