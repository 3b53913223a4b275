"""Exports load in a stock SpeechBrain, load in ours, and are replaced whole."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML
from tiny_model import tiny_export, tiny_model

from exported import export
from exported.inference import SeparationError, Separator
from extra_models import masking

STOCK = """
import sys, numpy, torch
from speechbrain.inference.interfaces import foreign_class
from speechbrain.inference.separation import SepformerSeparation
for folder in sys.argv[1:]:
    source, cache = folder + "/export", folder + "/cache"
    if "spmamba" in folder:
        model = foreign_class(source=source, savedir=cache)
        import extra_models.spmamba
        assert "/export/" in extra_models.spmamba.__file__
    else:
        assert "extra_models" not in sys.modules
        model = SepformerSeparation.from_hparams(source=source, savedir=cache)
    mixtures = torch.from_numpy(numpy.load(folder + "/mixtures.npy"))
    numpy.save(folder + "/estimates.npy", model.separate_batch(mixtures).numpy())
ours = {"extra_models.dual_path", "mixtures", "exported", "recipekit"}
assert not ours & set(sys.modules)
"""


SOURCE = {"corpus": "noise"}  # the provenance of test exports


def separate_with_stock(folders):
    """Separates in a process that knows SpeechBrain and not this repository."""
    recipe = os.path.realpath(os.path.dirname(export.__file__))
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    elsewhere = [
        path for path in paths if path and not recipe.startswith(os.path.realpath(path))
    ]
    subprocess.run(
        [sys.executable, "-c", STOCK, *folders],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(elsewhere)},
        cwd=folders[0],
        check=True,
    )


def test_stock_speechbrain_and_ours_separate_as_training_does(tmp_path):
    cases = [  # model, task, batch, sources
        ("dprnn", "SB", 2, 2),
        ("dprnn", "EB", 1, 1),
        ("convtasnet", "SB", 2, 2),
        ("sepformer", "SB", 2, 2),
        ("spmamba", "SB", 2, 2),
        ("spmamba", "ES", 1, 1),
    ]
    folders = [tmp_path / f"{model}_{task}" for model, task, *_ in cases]
    expected = []
    for folder, (model, task, batch, sources) in zip(folders, cases, strict=True):
        exported, modules = tiny_export(folder, task, model)
        mixtures = torch.randn(batch, 16 + 8 * 1000)
        np.save(folder / "mixtures.npy", mixtures.numpy())
        for module in modules.values():
            module.eval()
        with torch.inference_mode():
            expected.append(masking.separate(modules, mixtures).mT)
        assert expected[-1].shape == (batch, 8016, sources)
        ours = Separator.from_export(exported).estimate(mixtures)
        torch.testing.assert_close(ours, expected[-1])

    separate_with_stock(folders)
    for folder, trained in zip(folders, expected, strict=True):
        separated = torch.from_numpy(np.load(folder / "estimates.npy"))
        torch.testing.assert_close(separated, trained)


def test_describes_itself(tmp_path):
    folder, _ = tiny_export(tmp_path, "ES")
    text = (folder / "hyperparams.yaml").read_text()
    assert not any(word in text for word in ("!apply", "!ref", "extra_models"))
    plain = YAML(typ="rt").load(text)
    assert (plain["sample_rate"], plain["num_spks"], plain["task"]) == (8000, 1, "ES")
    assert plain["modules"]["masknet"]["num_spks"] == 1
    assert plain["provenance"]["seed"] == 1234
    assert plain["provenance"]["score"] == 4.5
    readme = (folder / "README.md").read_text()
    assert "1 source" in readme and "on the corpus: noise" in readme


def test_what_only_training_needs_is_not_exported(tmp_path):
    hparams_file, modules = tiny_model(tmp_path, model="spmamba")
    text = hparams_file.read_text()
    assert "scan_engine: auto" in text and "activation_checkpointing: false" in text
    hparams_file.write_text(text.replace("scan_engine: auto", "scan_engine: cpp"))
    folder = export.export_model(hparams_file, modules, tmp_path / "export", SOURCE)
    text = (folder / "hyperparams.yaml").read_text()
    assert "scan_engine" not in text and "activation_checkpointing" not in text


def test_compiled_modules_and_numpy_scores_are_exported_plain(tmp_path):
    hparams_file, modules = tiny_model(tmp_path)
    for module in modules.values():
        module.compile()
    score = {"corpus": "noise", "score": np.float32(4.5), "epoch": torch.tensor(3)}
    folder = export.export_model(hparams_file, modules, tmp_path / "export", score)
    weights = Separator.from_export(folder).modules.state_dict()
    assert set(weights) == set(torch.nn.ModuleDict(modules).state_dict())


def test_failed_export_keeps_the_earlier_one(tmp_path, monkeypatch):
    folder, modules = tiny_export(tmp_path)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with torch.no_grad():
        modules["encoder"].conv1d.weight.fill_(0.5)

    hparams_file = tmp_path / "run" / "hyperparams.yaml"
    monkeypatch.setattr(export.safetensors.torch, "save", disk_full)
    with pytest.raises(OSError, match="No space"):
        export.export_model(hparams_file, modules, folder, SOURCE)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before

    monkeypatch.undo()
    export.export_model(hparams_file, modules, folder, SOURCE)
    assert (Separator.from_export(folder).modules["encoder"].conv1d.weight == 0.5).all()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["export", "run"]


def disk_full(*_):
    """Stands for writing onto a full disk."""
    raise OSError("No space left on device")


def test_folders_that_are_no_export_are_not_replaced(tmp_path):
    hparams_file, modules = tiny_model(tmp_path)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match="thesis"):
        export.export_model(
            hparams_file, modules, tmp_path / "thesis", {"corpus": "noise"}
        )
    assert (tmp_path / "thesis" / "chapter1.tex").read_text() == "years of work"


def test_model_of_classes_unknown_to_inference_is_not_exported(tmp_path):
    hparams_file, modules = tiny_model(tmp_path)
    text = hparams_file.read_text()
    hparams_file.write_text(text.replace("dual_path.Encoder", "dual_path.Novelty"))
    with pytest.raises(SeparationError, match="dual_path.Novelty"):
        export.export_model(
            hparams_file, modules, tmp_path / "export", {"corpus": "noise"}
        )
    assert not (tmp_path / "export").exists()
