"""What the keys of a hparams file may be.

Most keys need no word: a value must be of the kind of its default in the hparams file,
and above zero where the default is. KINDS and a recipe's own table hold the exceptions.
"""

import difflib
import math
import re
from dataclasses import dataclass

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

OBJECT = object()  # stands for what a key of a hparams file builds


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


def is_number(value):
    """Returns whether a value is a number and no NaN."""
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
            is_number(v)
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
            and all(is_number(x) and math.isfinite(x) and kind(x) == x for x in v)
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
COUNTS = (  # whole numbers, at least 1
    *("N_epochs", "early_stop_patience", "nonfinite_patience"),
    *("batch_size", "test_batch_size", "grad_accumulation_factor"),
)
# Keys of every recipe; a recipe adds its own.
KINDS = {
    **{name: whole(1) for name in COUNTS},
    "seed": whole(0),
    "data_folder": OPTIONAL_PATH,
    "init_from": OPTIONAL_PATH,
    "output_folder": PATH,
    "save_folder": PATH,
    "train_items": whole(1, nullable=True),
    "ckpt_interval_minutes": whole(0),
    "ckpt_interval_steps": whole(0),
    "num_workers": whole(0),
    "lr": number(),
    "weight_decay": number(open_low=False),
    "grad_clip_norm": number(infinite=True),
    "lr_factor": number(high=1.0),
    "lr_patience": whole(0),
    "lr_step": number(),
    "lr_warmup": number(open_low=False),
    "lr_cooldown": number(open_low=False),
    "lr_horizon": number(),
    "precision": one_of("fp32", "bf16", "fp16"),
    "dropout": Kind(
        lambda v: is_number(v) and 0 <= v < 1, "a number from 0 to below 1"
    ),
    "device": Kind(
        lambda v: isinstance(v, str) and re.fullmatch(r"cpu|cuda(:\d+)?", v),
        "cpu, cuda or cuda:N",
        nullable=True,
        text=True,
    ),
}


class Keys:
    """The keys of a recipe's hparams files.

    Arguments
    ---------
    recipe : Recipe
    """

    def __init__(self, recipe):
        self.folder = recipe.folder / "hparams"
        self.kinds = KINDS | recipe.kinds

    def known_files(self):
        """Returns the hparams files that come with the recipe."""
        return [f"hparams/{path.name}" for path in sorted(self.folder.glob("*.yaml"))]

    def shared(self):
        """Returns the keys that all hparams files of the recipe have."""
        texts = [path.read_text("utf-8") for path in sorted(self.folder.glob("*.yaml"))]
        first, *others = [re.findall(r"(?m)^([a-zA-Z]\w*):", text) for text in texts]
        return [key for key in first if all(key in keys for keys in others)]

    def read_text(self, path):
        """Returns the text of a hparams file; raises ValueError if it has none."""
        known = self.known_files()
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "does not exist"
            near = difflib.get_close_matches(str(path), known, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            if str(path) in known:
                meant = f"; run this from {self.folder.parent}"
            raise ValueError(f"{path}: {what}, expected a hparams file{meant}")
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path}: not UTF-8 text, expected YAML ({error})"
            ) from error

    def plain_values(self, path, text):
        """Returns the plain values of a hparams file by key; objects are OBJECT.

        ``path`` is for messages.
        """
        try:
            content = YAML().load(text)
        except YAMLError as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{path}: not readable as YAML: {reason}") from error
        if not isinstance(content, dict) or not content:
            example = self.known_files()[0]
            raise ValueError(f"{path}: expected keys and values, as in {example}")
        plain = {}
        for name, value in content.items():
            if str(name).startswith("__"):
                continue
            tag = getattr(getattr(value, "tag", None), "value", None) or ""
            mapping = isinstance(value, dict) and name not in self.kinds
            plain[name] = OBJECT if tag.startswith("!") or mapping else value
        return plain

    def kind_of(self, name, default):
        """Returns the Kind of a key: its own or, else, that of its default value."""
        if name in self.kinds:
            return self.kinds[name]
        if isinstance(default, bool):
            return BOOL
        if isinstance(default, int):
            return whole(1 if default > 0 else 0)
        if isinstance(default, float):
            return number(open_low=default > 0)
        if isinstance(default, str):
            return TEXT
        return Kind(lambda v: True, "")

    def check_value(self, name, value, default):
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
        kind = self.kind_of(name, default)
        if value is None and kind.nullable:
            return
        if value is None or not kind.fits(value):
            null = ", or null" * (kind.nullable and "null" not in kind.expected)
            raise ValueError(f"{name}: {value!r}; expected {kind.expected}{null}")


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


def split_keys(arguments, switches=()):
    """Splits a command line of ``--key value`` pairs.

    Arguments
    ---------
    arguments : list of str
    switches : collection of str
        Keys that may stand without a value, for True.

    Returns
    -------
    words : list of str
        Before and between the keys.
    given : dict
        Key -> its value as text; "help" -> "".

    Raises
    ------
    ValueError
        Naming the word that is wrong.
    """
    files, given, rest = [], {}, list(arguments)
    for word in rest:
        # Surrogates stand in for bytes that are no text here.
        if not word.replace("\n", " ").replace("\t", " ").isprintable():
            raise ValueError(
                f"{ascii(word)}: expected printable UTF-8 text; rename the file or "
                "folder, or set LC_ALL=C.UTF-8"
            )
    while rest:
        word = rest.pop(0)
        if word in ("-h", "--help"):
            given["help"] = ""
            continue
        name, has_value, value = word.partition("=")
        if not name.startswith("-"):
            files.append(word)
            continue
        if not re.fullmatch(r"--\w+", name):
            raise ValueError(f"{name}: expected --KEY VALUE, with two dashes")
        name = name[2:]
        if not has_value:
            follows = rest and not rest[0].startswith("--")
            if name in switches and not (
                follows and rest[0].lower() in ("true", "false")
            ):
                value = "True"
            elif not follows:
                raise ValueError(f"--{name}: a value is missing, as in --{name} VALUE")
            else:
                value = rest.pop(0)
        if name in given:
            raise ValueError(f"--{name} is given twice, as {given[name]} and {value}")
        given[name] = value
    return files, given


def unknown(name, names, where):
    """Returns a ValueError for a key that is not one of ``names``, with the nearest."""
    near = closest(name, names)
    meant = f"; did you mean {near}?" if near else ""
    return ValueError(f"{where} has no key {name}{meant}")


def closest(name, names):
    """Returns the name that is most like another, or None if none is."""
    return next(iter(difflib.get_close_matches(name, names, 1, cutoff=0.5)), None)
