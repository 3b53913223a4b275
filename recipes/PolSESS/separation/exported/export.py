"""Writes a trained model as a folder that SpeechBrain and ``inference`` load."""

import shutil
from pathlib import Path

import safetensors.torch
import torch
from ruamel.yaml import YAML
from ruamel.yaml.representer import SafeRepresenter

from exported.inference import HPARAMS_FILE, WEIGHTS_FILE, Separator, read_export
from exported.safe_yaml import (
    KNOWN_CLASSES,
    PRETRAINER,
    DescriptionConstructor,
    read_description,
)
from exported.streaming import SeparationError
from mixtures.variants import num_sources
from recipekit.files.tagged_yaml import New

# Our classes by the names of what evaluates alike with the same weights.
STOCK_NAMES = {
    f"{known.__module__}.{known.__name__}": name
    for name, known in KNOWN_CLASSES.items()
}
# Arguments that make no difference to a trained model.
TRAINING_ARGUMENTS = ("activation_checkpointing", "dropout", "scan_engine")
# What stock SpeechBrain needs to build a model that is none of its own.
CARRIED = (
    "extra_models/__init__.py",
    "extra_models/checkpointing.py",
    "extra_models/mamba.py",
    "extra_models/selective_scan",
    "extra_models/spmamba.py",
)

README = """\
# Speech separation model ({task}, {sample_rate} Hz, {num_spks} source(s))

Trained with SpeechBrain on the corpus: {corpus}.
`hyperparams.yaml` says from which seed and epoch, with which validation score and
versions. Input: mono, {sample_rate} Hz.

With SpeechBrain alone (reads the `.ckpt` files, which are pickles{code}):

    {loading}
    estimates = model.separate_batch(mixtures)  # [batch, time] -> [batch, time, source]

With the recipe (reads `model.safetensors`, any file length, rate and channels):

    python separate.py FOLDER recording.wav --out separated
"""
STOCK_LOADING = """\
from speechbrain.inference.separation import SepformerSeparation
    model = SepformerSeparation.from_hparams(source=FOLDER, savedir=CACHE)"""
FOREIGN_LOADING = """\
from speechbrain.inference.interfaces import foreign_class
    model = foreign_class(source=FOLDER, savedir=CACHE)"""


class TrainingConstructor(DescriptionConstructor):
    """Reads the hyperparams.yaml of a training run, which is our own.

    Objects that are no part of the model are read by name only and never written.
    """

    def new(self, name, node):
        """Reads ``!new:`` by its stock name, without what only training needs."""
        name = STOCK_NAMES.get(name, name)
        if name not in KNOWN_CLASSES:
            return New(name, {})
        new = super().new(name, node)
        for argument in TRAINING_ARGUMENTS:
            new.arguments.pop(argument, None)
        return new

    def number_of_sources(self, node):
        """Reads the model's number of sources as a number."""
        return num_sources(*self.construct_sequence(node))


TrainingConstructor.add_multi_constructor("!new:", TrainingConstructor.new)
TrainingConstructor.add_constructor(
    "!apply:mixtures.variants.num_sources", TrainingConstructor.number_of_sources
)
# What an export cannot hold stays nameable: reading it back refuses it.
TrainingConstructor.add_constructor(None, TrainingConstructor.other)


class DescriptionRepresenter(SafeRepresenter):
    """Writes New as ``!new:`` tags."""

    def new(self, value):
        """Writes one object."""
        return self.represent_mapping(f"!new:{value.name}", value.arguments)


DescriptionRepresenter.add_representer(New, DescriptionRepresenter.new)


def export_model(hparams_file, modules, folder, provenance):
    """Writes a pretrained model: description, weights and how to use them.

    The folder is written beside its final name and loaded once before it gets that
    name, so an earlier export is only ever replaced by one that works.

    Arguments
    ---------
    hparams_file : str or Path
        The hyperparams.yaml of the training run, references resolved.
    modules : dict
        Those of ``masking.separate``, with the weights to export.
    folder : str or Path
        What to write: hyperparams.yaml, model.safetensors, README.md, one ``.ckpt`` a
        module and, for a model that is not SpeechBrain's, custom.py and its modules.
    provenance : dict
        Where the weights come from: corpus, seed, epoch, score, versions.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    FileExistsError
        If the folder holds something else than an export.
    SeparationError
        If the model is not made of classes that an export may name.
    """
    folder = Path(folder)
    if folder.exists() and not (folder / HPARAMS_FILE).is_file():
        raise FileExistsError(
            f"{folder}: exists and is not an export; remove it or export elsewhere"
        )
    hparams = read_description(Path(hparams_file), TrainingConstructor)
    specified = hparams["modules"]
    description = {
        "sample_rate": hparams["sample_rate"],
        "num_spks": num_sources(hparams["task"]),
        "task": hparams["task"],
        "provenance": _plain(provenance),
        "modules": specified,
        "pretrainer": New(PRETRAINER, {"loadables": dict(specified)}),
    }
    states = {name: module.state_dict() for name, module in modules.items()}

    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    writer = YAML(typ="safe", pure=True)
    writer.Representer = DescriptionRepresenter
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False
    writer.dump(description, partial / HPARAMS_FILE)
    foreign = "separator" in specified
    readme = README.format(
        **description,
        corpus=provenance["corpus"],
        code=", and runs the code of `custom.py`" * foreign,
        loading=FOREIGN_LOADING if foreign else STOCK_LOADING,
    )
    (partial / "README.md").write_text(readme, encoding="utf-8")
    if foreign:
        _carry_code(partial)
    for name, state in states.items():
        torch.save(state, partial / f"{name}.ckpt")
    weights = {
        f"{name}.{key}": value
        for name, state in states.items()
        for key, value in state.items()
    }
    (partial / WEIGHTS_FILE).write_bytes(safetensors.torch.save(weights))

    Separator.from_export(partial)
    earlier = folder.with_name(f".{folder.name}.earlier")
    shutil.rmtree(earlier, ignore_errors=True)
    if folder.exists():
        folder.rename(earlier)
    partial.rename(folder)
    shutil.rmtree(earlier, ignore_errors=True)
    return folder


def load_weights(folder, modules, hparams):
    """Loads the weights of an export into modules that are to be trained.

    Arguments
    ---------
    folder : str or Path
        What ``export_model`` wrote.
    modules : dict
        Those of ``masking.separate``; their weights are replaced.
    hparams : dict
        With sample_rate and task.

    Returns
    -------
    str
        The export's fingerprint.

    Raises
    ------
    ValueError
        Naming the folder and what is wrong: no export, another rate, number of sources
        or architecture.
    """
    try:
        description, weights, fingerprint = read_export(folder)
    except SeparationError as error:
        raise ValueError(f"init_from: {error}") from error
    wanted = {
        "sample_rate": hparams["sample_rate"],
        "num_spks": num_sources(hparams["task"]),
    }
    for key, value in wanted.items():
        if description[key] != value:
            raise ValueError(
                f"init_from: {folder} has {key} {description[key]}, but this run "
                f"{value}. Choose the same task and sample_rate"
            )
    held = torch.nn.ModuleDict(modules)
    shapes = {name: tuple(value.shape) for name, value in held.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in weights.items()}
    for name in {**shapes, **given}:
        if shapes.get(name) != given.get(name):
            raise ValueError(
                f"init_from: {folder} holds another model: {name} has the shape "
                f"{given.get(name, 'absent')} there and {shapes.get(name, 'absent')} "
                "here. Give the hparams file and the sizes of that model"
            )
    held.load_state_dict(weights)
    return fingerprint


def _carry_code(folder):
    """Copies what foreign_class needs; sources only, nothing compiled."""
    recipe = Path(__file__).resolve().parents[1]
    interface = recipe / "exported" / "custom_interface.py"
    shutil.copyfile(interface, folder / "custom.py")
    for name in CARRIED:
        source, target = recipe / name, folder / name
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, target, ignore=ignored)
        else:
            shutil.copyfile(source, target)


def _plain(provenance):
    """Turns NumPy and torch scalars into numbers that YAML knows."""
    return {
        key: value.item() if hasattr(value, "item") else value
        for key, value in provenance.items()
    }
