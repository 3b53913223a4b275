"""Exports are loaded without running what they hold, and only whole ones."""

import pickle

import pytest
import safetensors.torch
import torch
from tiny_model import tiny_export

from exported.inference import Separator
from exported.streaming import SeparationError


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Folder of a tiny exported model; not to be changed."""
    return tiny_export(tmp_path_factory.mktemp("model"))[0]


@pytest.fixture
def copied(exported, tmp_path):
    """Copy of the export that a test may spoil."""
    (tmp_path / "copy").mkdir()
    for name in ("hyperparams.yaml", "model.safetensors"):
        (tmp_path / "copy" / name).write_bytes((exported / name).read_bytes())
    return tmp_path / "copy"


@pytest.mark.parametrize(
    "line, named",
    [
        ("x: !apply:os.system ['touch {mark}']", "!apply:os.system"),
        ("x: !new:subprocess.Popen {{args: [touch, '{mark}']}}", "subprocess.Popen"),
        ("x: !name:os.system", "!name:os.system"),
        ("x: !module:antigravity", "!module:antigravity"),
        ("x: !!python/object/apply:os.system ['touch {mark}']", "python/object/apply"),
        ("x: !ref <sample_rate>", "!ref"),
        ("!apply:os.system ['touch {mark}']: x", "!apply:os.system"),
    ],
)
def test_hostile_description_runs_nothing(copied, tmp_path, line, named):
    mark = tmp_path / "pwned"
    with open(copied / "hyperparams.yaml", "a") as yaml:
        yaml.write("\n" + line.format(mark=mark) + "\n")
    with pytest.raises(SeparationError, match=f"{named}.* is refused"):
        Separator.from_export(copied)
    assert not mark.exists()


@pytest.mark.parametrize(
    "line",
    [
        "x: [}",
        "x: " + "[" * 400,
        "x: !new:speechbrain.lobes.models.dual_path.Encoder [16]",
        "sample_rate: 16000",
        "- x",
    ],
)
def test_malformed_descriptions_are_errors(copied, line):
    with open(copied / "hyperparams.yaml", "a") as yaml:
        yaml.write(f"\n{line}\n")
    with pytest.raises(SeparationError, match="hyperparams.yaml: ") as raised:
        Separator.from_export(copied)
    assert "\n" not in str(raised.value)


class Touch:
    """Creates a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        """Asks unpickling to open the file for writing."""
        return open, (str(self.path), "w")


@pytest.mark.parametrize("name", ["encoder.ckpt", "model.safetensors"])
def test_pickles_are_not_read(copied, tmp_path, name):
    payload = pickle.dumps(Touch(tmp_path / "pwned"))
    (copied / name).write_bytes(payload)
    if name == "model.safetensors":
        with pytest.raises(SeparationError, match=name):
            Separator.from_export(copied)
    else:
        Separator.from_export(copied)
    assert not (tmp_path / "pwned").exists()
    pickle.loads(payload).close()
    assert (tmp_path / "pwned").exists()  # the payload would have worked


def test_bad_weights_are_errors(copied):
    file = copied / "model.safetensors"
    whole = file.read_bytes()
    weights = safetensors.torch.load(whole)

    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SeparationError, match="model.safetensors"):
        Separator.from_export(copied)
    missing = {k: v for k, v in weights.items() if k != "encoder.conv1d.weight"}
    safetensors.torch.save_file(missing, file)
    with pytest.raises(SeparationError, match="encoder.conv1d.weight"):
        Separator.from_export(copied)
    safetensors.torch.save_file({**weights, "surplus": torch.zeros(1)}, file)
    with pytest.raises(SeparationError, match="surplus"):
        Separator.from_export(copied)
    file.unlink()
    with pytest.raises(SeparationError, match="model.safetensors"):
        Separator.from_export(copied)


@pytest.mark.parametrize(
    "found, changed, named",
    [
        ("sample_rate: 8000", "rate: 8000", "sample_rate"),
        ("sample_rate: 8000", "sample_rate: fast", "sample_rate"),
        ("num_spks: 2\ntask", "num_spks: 3\ntask", "num_spks"),
        ("modules:", "parts:", "modules"),
        ("kernel_size: 16", "kernels: 16", "kernels"),
    ],
)
def test_inconsistent_descriptions_are_errors(copied, found, changed, named):
    file = copied / "hyperparams.yaml"
    assert found in file.read_text()
    file.write_text(file.read_text().replace(found, changed, 1))
    with pytest.raises(SeparationError, match=named):
        Separator.from_export(copied)


def test_missing_export_is_an_error(tmp_path):
    with pytest.raises(SeparationError, match="hyperparams.yaml"):
        Separator.from_export(tmp_path)
