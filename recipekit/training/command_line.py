"""The command line of train.py: read and checked as a whole before any work begins."""

import copy
import dataclasses
import re
from io import StringIO
from pathlib import Path

import torch
from hyperpyyaml import load_hyperpyyaml, resolve_references
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from speechbrain.utils.run_opts import HELP_TEXTS, RunOptions

from recipekit.training.hparams_keys import (
    OBJECT,
    TEXT,
    Keys,
    split_keys,
    unknown,
    unwrapped,
)

# SpeechBrain's own options that mean something here. Others have a key of ours in the
# hparams files, are without effect, or would put their results over those of a run.
OFFERED = (
    *("device", "distributed_backend", "find_unused_parameters", "noprogressbar"),
    *("ckpt_interval_minutes", "compile_mode", "compile_using_fullgraph"),
    "compile_using_dynamic_shape_tracing",
)
RUN_OPTIONS = {
    field.name: field.default
    for field in dataclasses.fields(RunOptions)
    if field.name in OFFERED
}
# Keys that may stand without a value, as SpeechBrain's readers write them.
SWITCHES = {"test_only", *(k for k, v in RUN_OPTIONS.items() if v is False)}
KEY_LINE = re.compile(r"(\w+):\s*([^#]*?)\s*(?:#\s*(.*))?")
INDENT = 34  # of the comments that --help shows


@dataclasses.dataclass
class CommandLine:
    """What a command line asks for.

    Attributes
    ----------
    hparams_file : Path
    overrides : dict
        Of keys of the hparams file.
    run_opts : RunOptions
        SpeechBrain's.
    text : str
        The hparams file's.
    values : dict
        The hparams that are plain values.
    """

    hparams_file: Path
    overrides: dict
    run_opts: RunOptions
    text: str
    values: dict = None

    def resolved(self):
        """Returns the hparams file's text with overrides in, references resolved."""
        overrides = copy.deepcopy(self.overrides)  # HyperPyYAML changes them
        return resolve_references(StringIO(self.text), overrides).read()

    def load(self):
        """Returns the hparams with the objects that they build.

        Raises
        ------
        ValueError
            Naming the file, if an object cannot be built.
        """
        try:
            return load_hyperpyyaml(self.resolved())
        except Exception as error:  # of whatever the file builds
            reason = " ".join(str(part) for part in error.args)
            raise ValueError(f"{self.hparams_file}: {reason}") from error


def read_command_line(arguments, description, recipe):
    """Reads ``HPARAMS.yaml --key value ...`` and checks every value.

    Arguments
    ---------
    arguments : list of str
        What follows the script's name.
    description : str
        Of the script, for --help.
    recipe : Recipe

    Returns
    -------
    CommandLine

    Raises
    ------
    ValueError
        Naming the file or key, what was expected and the nearest known key.
    SystemExit
        After --help.
    """
    keys = Keys(recipe)
    files, given = split_keys(arguments, SWITCHES)
    if "help" in given:
        print(_help(files, description, keys))
        raise SystemExit(0)
    if not files:
        raise ValueError(
            f"expected a hparams file first, such as {keys.known_files()[0]}"
        )
    if len(files) > 1:
        raise ValueError(
            f"{files[1]}: a stray word. Expected one hparams file, then --KEY VALUE; "
            "a value with spaces needs quotes"
        )
    path = Path(files[0])
    text = keys.read_text(path)
    defaults = keys.plain_values(path, text)
    overrides, options = {}, {}
    for name, value in given.items():
        if name in defaults:
            if defaults[name] is OBJECT and name not in keys.kinds:
                raise ValueError(
                    f"{name}: builds an object in {path} and has no value that a "
                    "command line could give. Change it in a copy of the file"
                )
            overrides[name] = _value(keys, name, value, defaults[name])
        elif name in RUN_OPTIONS:
            options[name] = unwrapped(_value(keys, name, value, RUN_OPTIONS[name]))
            keys.check_value(name, options[name], RUN_OPTIONS[name])
        else:
            raise unknown(name, [*defaults, *RUN_OPTIONS], path)
    line = CommandLine(path, overrides, _run_opts(path, options), text)
    # What is wrong in itself comes first: references may fail because of it.
    _checked(keys, {**defaults, **overrides}, defaults)
    missing = [key for key in keys.shared() if key not in defaults]
    if missing:
        raise ValueError(
            f"{path}: lacks the key {missing[0]}, which every hparams file of this "
            f"recipe has. Add it as in {keys.known_files()[0]}"
        )
    resolved = keys.plain_values(path, _resolved(line))
    line.values = _checked(keys, resolved, defaults)
    return line


def _checked(keys, values, defaults):
    """Returns the values that are no objects, as Python's own, after a check."""
    plain = {
        name: unwrapped(value) for name, value in values.items() if value is not OBJECT
    }
    for name, value in plain.items():
        keys.check_value(name, value, defaults.get(name))
    return plain


def _value(keys, name, text, default):
    """Returns the value that a key's text stands for."""
    kind = keys.kind_of(name, default)
    if kind.nullable and text == "null":
        return None
    if kind.text:
        return text
    try:
        return YAML().load(text)  # which keeps the style for the record
    except YAMLError as error:
        raise ValueError(
            f"{name}: {text!r} cannot be read; expected {kind.expected}"
        ) from error


def _resolved(line):
    """Returns the resolved text; explains references that lead nowhere."""
    try:
        return line.resolved()
    except (ValueError, LookupError, TypeError, RecursionError, YAMLError) as error:
        reason = " ".join(str(part) for part in error.args)
        raise ValueError(
            f"{line.hparams_file}: a reference (!ref <...>) leads nowhere: {reason}"
        ) from error


def _run_opts(path, options):
    """Returns SpeechBrain's options, the device checked."""
    device = options.get("device")
    if device and device != "cpu":
        count, wanted = torch.cuda.device_count(), int(device.partition(":")[2] or 0)
        if wanted >= count:
            raise ValueError(f"device: {device}, but torch finds {count} GPUs here")
    if not torch.cuda.is_available():
        options = {"distributed_backend": "gloo", **options}
    return RunOptions(param_file=str(path), overridden_args=set(options), **options)


def _help(files, description, keys):
    """Returns what --help prints: with a hparams file, its keys."""
    lines = [description.strip(), ""]
    if not files:
        lines += ["hparams files:", *(f"    {name}" for name in keys.known_files()), ""]
        lines += ["With one of them before --help, its keys are listed."]
    for path in map(Path, files):
        lines += [f"Keys of {path}: default, what it must be", *_key_lines(path, keys)]
    lines += ["", "Options of SpeechBrain:"]
    lines += [
        _aligned(f"    --{name} {default}", HELP_TEXTS[name])
        for name, default in RUN_OPTIONS.items()
    ]
    return "\n".join(lines)


def _key_lines(path, keys):
    """Yields a line for each plain key of a hparams file, under its sections."""
    text = keys.read_text(path)
    defaults = keys.plain_values(path, text)
    section, before = None, ""
    for line in text.splitlines():
        if line.startswith("# ") and not before.strip():
            section = re.split(r"[:.]", line[2:])[0]
        before = line
        match = KEY_LINE.fullmatch(line)
        if not match or match[1] not in defaults or match[2].startswith("!new"):
            continue
        name, default, comment = match.groups()
        kind = keys.kind_of(name, defaults[name])
        if not kind.expected:  # builds an object
            continue
        if section:
            yield f"\n  {section}"
            section = None
        expected = None if kind is TEXT else kind.expected
        text = "; ".join(part for part in (expected, comment) if part)
        yield _aligned(f"    --{name} {default}", text)


def _aligned(head, text):
    return f"{head:<{INDENT}}  {text}"
