"""What the keys of a hparams file may be, and which of them may change in a run.

Most keys need no word here: a value must be of the kind of its default in the hparams
file, and above zero where the default is. KEYS holds the exceptions.
"""

import difflib
import math
import re
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from mixtures.variants import TASKS

HPARAMS_FOLDER = Path(__file__).parents[2] / "recipes/PolSESS/separation/hparams"
OBJECT = object()  # stands for what a key of a hparams file builds
# Values of these types are compared; others are objects that the keys build.
PLAIN = (str, int, float, list, type(None))


@dataclass(frozen=True)
class Kind:
    """What a value must be.

    Arguments
    ---------
    fits : callable
        Returns whether a value is one.
    expected : str
        For messages: what was expected.
    nullable : bool
        Whether null is one, too.
    text : bool
        Whether a command line's value is taken as it stands, not read as YAML.
    """

    fits: object
    expected: str
    nullable: bool = False
    text: bool = False


def _is_number(value):
    return type(value) in (int, float) and not math.isnan(value)


def whole(low, nullable=False):
    """Returns the Kind of whole numbers from ``low`` on."""
    return Kind(
        lambda v: type(v) is int and v >= low,
        f"a whole number, at least {low}",
        nullable,
    )


def number(low=0.0, high=math.inf, open_low=True, infinite=False):
    """Returns the Kind of numbers from ``low`` to ``high``, low itself if not open."""
    reach = f" above {low:g}" if open_low else f", at least {low:g}"
    if high < math.inf:
        reach += f", at most {high:g}"
    return Kind(
        lambda v: (
            _is_number(v)
            and (v > low if open_low else v >= low)
            and v <= high
            and (infinite or math.isfinite(v))
        ),
        f"a number{reach}",
    )


def one_of(*names):
    """Returns the Kind of some names."""
    return Kind(lambda v: v in names, f"one of {', '.join(names)}", text=True)


def span(whole_numbers=False):
    """Returns the Kind of two ascending numbers."""
    kind = int if whole_numbers else float
    return Kind(
        lambda v: (
            isinstance(v, list)
            and len(v) == 2
            and all(_is_number(x) and math.isfinite(x) and kind(x) == x for x in v)
            and v[0] <= v[1]
        ),
        f"two {'whole ' * whole_numbers}numbers, the lower one first",
    )


BOOL = Kind(lambda v: isinstance(v, bool), "True or False")
TEXT = Kind(
    lambda v: isinstance(v, str) and v.strip() and v.isprintable(),
    "a printable text",
    text=True,
)
PATH = Kind(TEXT.fits, "a path", text=True)
OPTIONAL_PATH = Kind(TEXT.fits, "a path or null", nullable=True, text=True)
STAGES = Kind(
    lambda v: isinstance(v, list) and v and all(isinstance(x, dict) for x in v),
    "a list of stages such as [{epoch: 1, variants: [SER, SE]}]",
)
COUNTS = (  # whole numbers, at least 1
    *("embedded_items", "N_epochs", "early_stop_patience", "nonfinite_patience"),
    *("batch_size", "test_batch_size", "grad_accumulation_factor"),
)
KEYS = {
    **{name: whole(1) for name in COUNTS},
    "seed": whole(0),
    "data_folder": OPTIONAL_PATH,
    "source_list": OPTIONAL_PATH,
    "init_from": OPTIONAL_PATH,
    "embedded_folder": PATH,
    "output_folder": PATH,
    "save_folder": PATH,
    "task": one_of(*TASKS),
    "sample_rate": whole(1000),
    "pack": Kind(
        lambda v: isinstance(v, bool) or TEXT.fits(v), "True, False or a folder"
    ),
    "curricula": Kind(
        lambda v: isinstance(v, dict) and set(v) >= set(TASKS),
        f"a curriculum for each of {', '.join(TASKS)}",
    ),
    "curriculum": STAGES,
    "speeds": Kind(
        lambda v: isinstance(v, list) and v and all(_is_number(x) and x > 0 for x in v),
        "a list of percentages such as [95, 100, 105]",
    ),
    "ssr_range": span(whole_numbers=True),
    "scene_offset_range": span(),
    "gain_range": span(),
    "train_items": whole(1, nullable=True),
    "score_workers": whole(0, nullable=True),
    "ckpt_interval_minutes": whole(0),
    "kernel_size": whole(2),  # its half is the stride
    "chunk_size": whole(2),
    "lr": number(),
    "weight_decay": number(open_low=False),
    "loss_floor": Kind(
        lambda v: _is_number(v) and v < 0, "a number of dB below 0, or -.inf"
    ),
    "grad_clip_norm": number(infinite=True),
    "lr_factor": number(high=1.0),
    "lr_patience": whole(0),
    "lr_step": number(),
    "lr_warmup": number(open_low=False),
    "lr_horizon": number(),
    "num_workers": whole(0),
    "ckpt_interval_steps": whole(0),
    "precision": one_of("fp32", "bf16", "fp16"),
    "dropout": Kind(
        lambda v: _is_number(v) and 0 <= v < 1, "a number from 0 to below 1"
    ),
    "device": Kind(
        lambda v: isinstance(v, str) and re.fullmatch(r"cpu|cuda(:\d+)?", v),
        "cpu, cuda or cuda:N",
        nullable=True,
        text=True,
    ),
}
# Keys that may change when a run is resumed; any other needs a new output_folder.
FREE_KEYS = (
    "data_folder",
    "source_list",
    "init_from",  # the weights themselves are compared
    "corpus",
    "embedded_folder",
    "embedded_items",
    "output_folder",
    "save_folder",
    "strict",
    "verify_audio",
    "pack",
    "compile",
    "activation_checkpointing",
    "scan_engine",
    "test_only",
    "tensorboard",
    "wandb",
    "N_epochs",
    "early_stop_patience",
    "num_workers",
    "nonfinite_patience",
    "ckpt_interval_steps",
    "test_batch_size",
    "score_workers",
)


def read_text(path):
    """Returns the text of a hparams file."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        near = difflib.get_close_matches(str(path), known_files(), 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"{path}: {what}, expected a hparams file{meant}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: no UTF-8 text, expected YAML ({error})") from error


def plain_values(path, text):
    """Returns the plain values of a hparams file by key; objects are OBJECT.

    ``path`` is for messages.
    """
    try:
        content = YAML().load(text)
    except YAMLError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: not readable as YAML: {reason}") from error
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path}: expected keys and values, as in {known_files()[0]}")
    plain = {}
    for name, value in content.items():
        if str(name).startswith("__"):
            continue
        tag = getattr(getattr(value, "tag", None), "value", None) or ""
        built = tag.startswith("!") or isinstance(value, dict) and name not in KEYS
        plain[name] = OBJECT if built else value
    return plain


def unwrapped(value):
    """Returns ruamel's values as Python's own."""
    if isinstance(value, dict):
        return {key: unwrapped(inside) for key, inside in value.items()}
    if isinstance(value, list):
        return [unwrapped(inside) for inside in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def known_files():
    """Returns the hparams files that come with the recipe."""
    return [f"hparams/{path.name}" for path in sorted(HPARAMS_FOLDER.glob("*.yaml"))]


def kind_of(name, default):
    """Returns the Kind of a key: its own or, by default, that of its default value."""
    if name in KEYS:
        return KEYS[name]
    if isinstance(default, bool):
        return BOOL
    if isinstance(default, int):
        return whole(1 if default > 0 else 0)
    if isinstance(default, float):
        return number(open_low=default > 0)
    if isinstance(default, str):
        return TEXT
    return Kind(lambda v: True, "")


def check_value(name, value, default):
    """Raises ValueError if a value is not what a key may be.

    Arguments
    ---------
    name : str
        The key.
    value
        As YAML gives it.
    default
        What it is in the hparams file.
    """
    kind = kind_of(name, default)
    if value is None and kind.nullable:
        return
    if value is None or not kind.fits(value):
        null = ", or null" * (kind.nullable and "null" not in kind.expected)
        raise ValueError(f"{name}: {value!r}; expected {kind.expected}{null}")


def unknown(name, names, where):
    """Returns a ValueError for a key that is not one of ``names``, with the nearest."""
    near = closest(name, names)
    meant = f"; did you mean {near}?" if near else ""
    return ValueError(f"{where} has no key {name}{meant}")


def closest(name, names):
    """Returns the name that is most like another, or None if none is."""
    return next(iter(difflib.get_close_matches(name, names, 1, cutoff=0.5)), None)
