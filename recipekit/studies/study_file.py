"""Reads a study: a YAML of stages, made smaller by a scale if there is one."""

import math
import re
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import yaml

from recipekit.studies.spaces import Prior, read_space
from recipekit.studies.stages import Stage, Study
from recipekit.training.hparams_keys import Keys, unknown
from recipekit.training.identity import identity

ALGORITHMS = ("halton", "tpe")
HALVING_RULES = ("promote", "stop")
EPOCH_KEYS = ("N_epochs", "lr_horizon", "lr_step", "lr_warmup", "lr_cooldown")

# What a value must be: a test and its name.
WHOLE = (lambda v: _is(v, int) and v >= 1, "a whole number, at least 1")
ABOVE_ONE = (lambda v: _is(v, int) and v >= 2, "a whole number, at least 2")
POSITIVE = (lambda v: _is(v, (int, float)) and v > 0, "a number above 0")
SHARE = (lambda v: _is(v, (int, float)) and 0 < v <= 1, "a number above 0, at most 1")
NOT_NEGATIVE = (lambda v: _is(v, (int, float)) and v >= 0, "a number, at least 0")
FLAG = (lambda v: isinstance(v, bool), "True or False")
MAPPING = (
    lambda v: isinstance(v, dict) and all(isinstance(key, str) for key in v),
    "keys and values",
)
GRID = (
    lambda v: MAPPING[0](v) and all(isinstance(x, list) and x for x in v.values()),
    "keys with lists of values",
)
SEEDS = (
    lambda v: isinstance(v, list) and all(_is(seed, int) for seed in v),
    "a list of whole numbers",
)
QUANTILES = (
    lambda v: (
        isinstance(v, list)
        and len(v) == 2
        and all(_is(x, (int, float)) for x in v)
        and 0 <= v[0] < v[1] <= 1
    ),
    "two numbers from 0 to 1, such as [0.1, 0.9]",
)
NAMES = (
    lambda v: v and all(isinstance(name, str) for name in _as_list(v)),
    "the name of an earlier stage, or a list of them",
)
NAME = (
    lambda v: isinstance(v, str) and re.fullmatch(r"[\w-][\w.-]*", v),
    "a name of letters, digits, - and _",
)
STAGES = (
    lambda v: isinstance(v, list) and v and all(isinstance(x, dict) for x in v),
    "a list of stages, each of keys and values",
)
SETS = (
    lambda v: isinstance(v, list) and all(MAPPING[0](x) and x for x in v),
    "a list of settings, such as [{optimizer: adam}, {optimizer: sgd}]",
)
KEYS = (
    lambda v: isinstance(v, list) and all(isinstance(key, str) for key in v),
    "a list of keys",
)
TEXT = (lambda v: isinstance(v, str) and v.strip(), "a text")
# Keys of which a study makes its own: a run has a folder that is named after what it
# computes, and is trained before it is tested.
RESERVED = ("output_folder", "save_folder", "test_only")

# Key -> default and what it must be; None is allowed where it is the default.
STUDY = {
    "name": (None, NAME),
    "hparams": (None, TEXT),
    "settings": ({}, MAPPING),
    "database": (None, TEXT),
    "for_each": (None, SETS),
    "stages": ([], STAGES),
}
STAGE = {
    "name": ("", NAME),
    "hparams": (None, TEXT),
    "settings": ({}, MAPPING),
    "search": (None, MAPPING),
    "runs": (None, MAPPING),
    "varied": ({}, MAPPING),
}
SEARCH = {
    "algorithm": ("halton", (lambda v: v in ALGORITHMS, f"one of {ALGORITHMS}")),
    "trials": (None, WHOLE),
    "hours": (None, POSITIVE),
    "space": ({}, MAPPING),
    "first": ([], SETS),
    "narrow": (None, MAPPING),
    "carry": (None, MAPPING),
    "halving": (None, MAPPING),
}
HALVING = {
    "first_rung": (1, WHOLE),
    "base": (3, ABOVE_ONE),
    "rule": ("promote", (lambda v: v in HALVING_RULES, f"one of {HALVING_RULES}")),
}
RUNS = {
    "top": (None, MAPPING),
    "grid": ({}, GRID),
    "seeds": ([], SEEDS),
    "test": (False, FLAG),
}
TOP = {
    "stages": ("", NAMES),
    "count": (1, WHOLE),
    "within": (None, NOT_NEGATIVE),
    "each": ([], KEYS),
}
NARROW = {
    "stages": ("", NAMES),
    "best": (0.25, SHARE),
    "quantiles": ([0.1, 0.9], QUANTILES),
}
SCALE = {
    "name": (None, NAME),
    "train_items": (1, POSITIVE),
    "N_epochs": (1, POSITIVE),
    "trials": (1, POSITIVE),
    "grid": (1, POSITIVE),
    "top": (1, POSITIVE),
    "lr": (1, POSITIVE),
    "settings": ({}, MAPPING),
    "models": ({}, MAPPING),
}


def _is(value, kind):
    return isinstance(value, kind) and not isinstance(value, bool)


def read_study(path, recipe, scale=None, overrides=None):
    """Reads and checks a study.

    Arguments
    ---------
    path : str or Path
        Its YAML; see sweeps/README.md.
    recipe : Recipe
    scale : str, Path or dict, optional
        YAML of factors that make it smaller, or these themselves, ``name`` included.
    overrides : dict, optional
        Settings that all stages get.

    Returns
    -------
    Study

    Raises
    ------
    ValueError
        Naming the file, the stage, the key, and what was expected.
    """
    path = Path(path)
    try:
        content = _filled("the study", _load(path), STUDY)
        name = content["name"] or path.stem
        stages = _for_each(content)
        for stage in stages:
            stage["settings"] = content["settings"] | stage["settings"]
            stage["hparams"] = stage["hparams"] or content["hparams"]
        given = scale if isinstance(scale, dict) else _load(scale) if scale else {}
        factors = _filled("the scale", given, SCALE)
        if scale:
            name = f"{name}-{factors['name'] or Path(scale).stem}"
        built = []
        for stage in stages:
            _check_counts(stage)
            _scale(stage, factors)
            model = factors["models"].get(_stem(stage["hparams"]), {})
            more = factors["settings"] | model  # for keys that the study leaves open
            _check_overrides(stage, overrides or {})
            stage["settings"] = more | stage["settings"] | (overrides or {})
            built.append(_stage(stage, built, recipe))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    record = {
        "name": name,
        "stages": [
            {
                **stage,
                "settings": identity(stage["settings"], recipe.free_keys, length=True),
            }
            for stage in stages
        ],
    }
    folder = Path("results") / name
    database = content["database"] or str(folder / "orion.json")
    return Study(
        *(name, folder, database, tuple(built), record),
        free_keys=recipe.free_keys,
        unit=recipe.measures.unit,
    )


def _load(path):
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, ValueError) as error:  # not UTF-8, month 13
        raise ValueError(f"{path} is not valid YAML: {error}") from None
    if content is None:
        raise ValueError(f"{path} is empty; sweeps/README.md says what to write")
    return _with_numbers(content)


def _with_numbers(value):
    """Returns nested values with numbers for texts such as 1e-4, YAML's idea of which
    is not everybody's.
    """
    if isinstance(value, dict):
        return {key: _with_numbers(inside) for key, inside in value.items()}
    if isinstance(value, list):
        return [_with_numbers(inside) for inside in value]
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return float(value)
    return value


def _filled(where, mapping, table):
    """Returns a mapping with its defaults; raises ValueError where it is wrong."""
    if not isinstance(mapping, dict):
        raise ValueError(f"{where}: expected keys and values, found {mapping!r}")
    unknown = set(mapping) - set(table)
    if unknown:
        raise ValueError(
            f"{where}: unknown keys {', '.join(sorted(map(str, unknown)))}; expected "
            f"some of {', '.join(table)}"
        )
    filled = {}
    for key, (default, (fits, expected)) in table.items():
        value = mapping.get(key, default)
        if not (value is None and default is None) and not fits(value):
            raise ValueError(f"{where}, {key}: {value!r}; expected {expected}")
        filled[key] = deepcopy(value)
    return filled


def _for_each(content):
    """Returns the stages, one set for each of ``for_each``, with names of their own."""
    stages = [
        _filled(f"stage {stage.get('name')}", stage, STAGE)
        for stage in content["stages"]
    ]
    for stage in stages:
        where = f"stage {stage['name']}"
        stage["origin"] = stage["name"]
        for part, table in (("search", SEARCH), ("runs", RUNS)):
            if stage[part] is not None:
                stage[part] = _filled(f"{where}, {part}", stage[part], table)
        for owner, part, table in (
            ("search", "narrow", NARROW),
            ("search", "carry", TOP),
            ("search", "halving", HALVING),
            ("runs", "top", TOP),
        ):
            if stage[owner] and stage[owner][part] is not None:
                raw = stage[owner][part]
                stage[owner][part] = _filled(f"{where}, {part}", raw, table)
        for part in _references(stage):
            part["stages"] = _as_list(part["stages"])
    if not content["for_each"]:
        return stages
    names = [stage["name"] for stage in stages]
    found = []
    for settings in content["for_each"]:
        settings = dict(settings)
        space = settings.pop("space", {})
        if not MAPPING[0](space):
            raise ValueError(f"for_each, space: {space!r}; expected {MAPPING[1]}")
        suffix = "-".join(str(value) for value in settings.values())
        for stage in deepcopy(stages):
            if stage["search"] and not stage["search"]["narrow"]:
                stage["search"]["space"] |= space
            stage["name"] = f"{stage['name']}-{suffix}"
            stage["settings"] |= settings
            stage["varied"] = dict(settings)
            for part in _references(stage):
                part["stages"] = [
                    f"{name}-{suffix}" if name in names else name
                    for name in part["stages"]
                ]
            found.append(stage)
    return found


def _references(stage):
    """Returns the parts of a stage that name other stages."""
    search, runs = stage["search"] or {}, stage["runs"] or {}
    parts = [search.get("narrow"), search.get("carry"), runs.get("top")]
    return [part for part in parts if part]


def _as_list(value):
    return value if isinstance(value, list) else [value]


def _check_overrides(stage, overrides):
    """Raises ValueError for overrides of keys that trials of a stage set themselves."""
    search, runs = stage["search"] or {}, stage["runs"] or {}
    own = {*search.get("space", ()), *runs.get("grid", ())}
    own |= {"seed"} if runs.get("seeds") else set()
    if taken := sorted(own & set(overrides)):
        raise ValueError(
            f"stage {stage['name']}: --{taken[0]} would change nothing: the study says "
            "itself which values it tries"
        )


def _check_counts(stage):
    """Raises ValueError for numbers that a scale would turn into others."""
    where, settings = f"stage {stage['name']}", stage["settings"]
    for key in ("N_epochs", "train_items"):
        if settings.get(key) is not None and not WHOLE[0](settings[key]):
            raise ValueError(f"{where}, {key}: {settings[key]!r}; expected {WHOLE[1]}")


def _scale(stage, factors):
    """Multiplies a stage's numbers; none becomes less than it may be."""
    settings, search, runs = stage["settings"], stage["search"], stage["runs"]
    for keys, factor in (
        (("train_items",), factors["train_items"]),
        (EPOCH_KEYS, factors["N_epochs"]),
    ):
        for key in keys:
            if _is(settings.get(key), (int, float)) and settings[key] > 0:
                settings[key] = _times(settings[key], factor)
    for value in settings.values():
        if isinstance(value, list) and all(_begins(each) for each in value):
            _scale_beginnings(value, factors["N_epochs"])
    if search and search["trials"]:
        # A scale leaves halving one trial to run for longer.
        least = search["halving"]["base"] if search["halving"] else 1
        least = min(least, search["trials"])
        search["trials"] = _times(search["trials"], factors["trials"], least)
    if search and search["hours"]:
        search["hours"] *= factors["trials"]
    if search and search["halving"]:
        first = _times(search["halving"]["first_rung"], factors["N_epochs"])
        search["halving"]["first_rung"] = first
        if factors["N_epochs"] < 1 and first >= settings.get("N_epochs", first):
            search["halving"] = None  # too few epochs are left
    _scale_rates(stage, factors["lr"])
    for key, values in runs["grid"].items() if runs else ():
        count = _times(len(values), factors["grid"], min(2, len(values)))
        step = (len(values) - 1) / max(1, count - 1)
        runs["grid"][key] = [values[round(i * step)] for i in range(count)]
    for part in _references(stage):
        if "count" in part:
            part["count"] = _times(part["count"], factors["top"])


def _begins(value):
    """Returns whether a value says what holds from an epoch on."""
    return isinstance(value, dict) and _is(value.get("epoch"), int)


def _scale_beginnings(values, factor):
    """Multiplies the epochs from which on something holds; they stay apart."""
    last = 0
    for value in sorted(values, key=lambda value: value["epoch"]):
        value["epoch"] = last = _times(value["epoch"], factor, last + 1)


def _scale_rates(stage, factor):
    """Multiplies the learning rates of settings, known configurations and spaces."""
    search, settings = stage["search"], stage["settings"]
    if factor == 1:
        return
    first, grid = (search or {}).get("first", ()), (stage["runs"] or {}).get("grid", {})
    for known in (settings, stage["varied"], *first):
        if _is(known.get("lr"), (int, float)):
            known["lr"] = float(f"{known['lr'] * factor:.6g}")
    if "lr" in grid:
        grid["lr"] = [float(f"{value * factor:.6g}") for value in grid["lr"]]
    if search and "lr" in search["space"]:
        prior = Prior.parse("lr", search["space"]["lr"])
        if prior.choices is not None:
            scaled = replace(prior, choices=tuple(c * factor for c in prior.choices))
        else:
            scaled = replace(prior, low=prior.low * factor, high=prior.high * factor)
        search["space"]["lr"] = str(scaled)


def _stem(hparams):
    return Path(str(hparams)).stem


def _times(number, factor, least=1):
    return max(least, math.floor(number * factor + 0.5))


def _stage(raw, earlier, recipe):
    """Returns a Stage, checked against those before it."""
    name, search, runs = raw["name"], raw["search"], raw["runs"]
    where, before = f"stage {name}", {stage.name: stage for stage in earlier}
    if name in before:
        raise ValueError(f"{where}: each stage needs a name of its own")
    if (search is None) == (runs is None):
        raise ValueError(f"{where}: expected either search or runs")
    _check_counts(raw)
    epochs = raw["settings"].get("N_epochs")
    needs = [other for part in _references(raw) for other in part["stages"]]
    for other in needs:
        if other not in before:
            raise ValueError(
                f"{where}: depends on {other}, which is not an earlier stage"
            )
    if search:
        space = _space(where, search, before)
        search = {**search, "space": space, "own": list(search["space"])}
        _check_search(where, search, epochs)
    if runs and runs["top"]:
        runs = {**runs, "top": _grouped(where, runs["top"], before)}
    values = {key: [value] for key, value in raw["settings"].items()}
    for key, prior in (search or {}).get("space", {}).items():
        values[key] = prior.choices or prior.bounds
    for known in (search or {}).get("first", ()):
        for key, value in known.items():
            values[key] = [*values.get(key, []), value]
    values |= (runs or {}).get("grid", {})
    _check_hparams(where, raw["hparams"], values, Keys(recipe))
    needs = tuple(dict.fromkeys(needs))
    return Stage(
        *(name, raw["hparams"], raw["settings"], needs, search, runs),
        *(raw["varied"], raw["origin"]),
    )


def _grouped(where, top, before):
    """Returns ``top`` with the number of groups of each of which it takes the best."""
    groups = 1
    if top["each"]:
        source = before[top["stages"][0]]
        if not (source.runs and source.runs["top"]):
            raise ValueError(
                f"{where}, top, each: {source.name} has no configurations of other "
                "stages, of each of which the best could be taken"
            )
        searched = set()
        for other in map(before.get, source.needs):
            searched |= set(other.search["space"] if other.search else ())
        searched -= set(source.runs["grid"])
        if set(top["each"]) != searched:
            raise ValueError(
                f"{where}, top, each: {', '.join(top['each'])}; expected the keys in "
                f"which the configurations of {source.name} were searched: "
                f"{', '.join(sorted(searched))}"
            )
        groups = source.runs["top"]["count"]
    return {**top, "groups": groups}


def _space(where, search, before):
    """Returns the priors of a search; narrowing begins with those before it."""
    try:
        space = read_space(search["space"])
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if search["narrow"]:
        parent = before[search["narrow"]["stages"][0]]
        if not parent.search:
            raise ValueError(
                f"{where}: narrows the space of {parent.name}, which is not a search"
            )
        space = {**parent.search["space"], **space}
    unsearchable = {"seed", "N_epochs"} & set(space)
    if not space or unsearchable:
        found = f"{', '.join(unsearchable)} cannot be searched" if space else "no keys"
        raise ValueError(f"{where}, space: {found}")
    return space


def _check_search(where, search, epochs):
    if (search["trials"] is None) == (search["hours"] is None):
        raise ValueError(f"{where}: expected either trials or hours")
    for known in search["first"]:
        if set(known) != set(search["space"]):
            raise ValueError(
                f"{where}, first: {known} has other keys than the space, which has "
                f"{', '.join(search['space'])}"
            )
        for key, prior in search["space"].items():
            if prior.choices is not None and known[key] not in prior.choices:
                raise ValueError(f"{where}, first, {key}: {known[key]!r} is no choice")
    if halving := search["halving"]:
        if not epochs or halving["first_rung"] >= epochs:
            raise ValueError(
                f"{where}: halving needs more N_epochs than first_rung, "
                f"{halving['first_rung']}, found {epochs}"
            )
        if search["trials"] is None:
            raise ValueError(f"{where}: halving takes trials, not hours")


def _check_hparams(where, hparams, values, keys):
    """Raises ValueError for keys that a hparams file lacks, and for wrong values.

    ``values`` has the list of all values that a key may get.
    """
    if hparams is None:
        raise ValueError(f"{where}: names no hparams, such as hparams/dprnn.yaml")
    path = Path(hparams)
    try:
        defaults = keys.plain_values(path, keys.read_text(path))
        for key in sorted(values):
            if key in RESERVED:
                raise ValueError(
                    f"{key} cannot be set: runs have folders of their own in "
                    "results/<name of the study> (`name:` is another)"
                )
            if key not in defaults:
                raise unknown(key, defaults, path)
            for value in values[key]:
                keys.check_value(key, value, defaults[key])
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
