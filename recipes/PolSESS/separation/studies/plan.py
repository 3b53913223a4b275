"""Reads a study: a YAML of stages, made smaller by a scale if there is one."""

import math
import re
from copy import deepcopy
from pathlib import Path

import yaml

from keys import FREE_KEYS
from studies.spaces import read_space
from studies.stages import Stage, Study

ALGORITHMS = ("random", "tpe", "asha")
EPOCH_KEYS = ("N_epochs", "lr_horizon", "lr_step", "lr_warmup")

STUDY_KEYS = {"name", "hparams", "settings", "database", "for_each", "stages"}
STAGE_KEYS = {"name", "hparams", "settings", "search", "runs", "varied"}
SEARCH = {
    "algorithm": "random",
    "options": {},
    "trials": None,
    "hours": None,
    "space": {},
    "narrow": None,
    "carry": None,
    "first_rung": 1,
    "base": 3,
}
RUNS = {"top": None, "grid": {}, "seeds": [], "test": False}
NARROW = {"stages": None, "best": 0.25, "quantiles": [0.1, 0.9]}
CARRY = {"stages": None, "count": 1, "within": None, "results": False}
TOP = {"stages": None, "count": 1, "within": None}
SCALE = {
    "name": None,
    "train_items": 1,
    "N_epochs": 1,
    "trials": 1,
    "grid": 1,
    "top": 1,
    "settings": {},
    "models": {},
}


def read_study(path, scale=None, overrides=None):
    """Reads and checks a study.

    Arguments
    ---------
    path : str or Path
        Its YAML; see sweeps/README.md.
    scale : str or Path, optional
        YAML of factors that make it smaller.
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
    content = _load(path)
    try:
        _check_keys("the study", content, STUDY_KEYS)
        name = content.get("name", path.stem)
        stages = _for_each(content)
        for stage in stages:
            stage["settings"] = content.get("settings", {}) | stage.get("settings", {})
            stage.setdefault("hparams", content.get("hparams"))
        factors = SCALE
        if scale is not None:
            factors = _filled(f"scale {scale}", _load(Path(scale)), SCALE)
            name = f"{name}-{factors['name'] or Path(scale).stem}"
            stages = [_scaled(stage, factors) for stage in stages]
        built = []
        for stage in stages:
            stage["settings"] |= factors["settings"]
            stage["settings"] |= factors["models"].get(_stem(stage["hparams"]), {})
            stage["settings"] |= overrides or {}
            built.append(_stage(stage, built))
        if not built:
            raise ValueError("no stages")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    record = {
        "name": name,
        "stages": [
            {**stage, "settings": _without_free(stage["settings"])} for stage in stages
        ],
    }
    folder = Path("results") / name
    database = content.get("database") or str(folder / "orion.pkl")
    return Study(name, folder, database, tuple(built), record)


def _load(path):
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected keys and values, found {content!r}")
    return content


def _without_free(settings):
    """Leaves out what may differ from machine to machine; fidelity stays."""
    kept = {"N_epochs", *settings} - (set(FREE_KEYS) - {"N_epochs"})
    return {key: settings[key] for key in sorted(kept) if key in settings}


def _check_keys(where, mapping, known):
    if not isinstance(mapping, dict):
        raise ValueError(f"{where}: expected keys and values, found {mapping!r}")
    unknown = set(mapping) - set(known)
    if unknown:
        raise ValueError(
            f"{where}: unknown keys {', '.join(sorted(map(str, unknown)))}; expected "
            f"some of {', '.join(sorted(known))}"
        )


def _filled(where, mapping, defaults):
    _check_keys(where, mapping, defaults)
    return {**deepcopy(defaults), **mapping}


def _for_each(content):
    """Returns the stages, one set for each of ``for_each``, with names of their own."""
    stages = content.get("stages") or []
    sets = content.get("for_each")
    if not sets:
        return deepcopy(stages)
    names = [stage["name"] for stage in stages]
    found = []
    for settings in sets:
        suffix = "-".join(str(value) for value in settings.values())
        for stage in deepcopy(stages):
            stage["name"] = f"{stage['name']}-{suffix}"
            stage["settings"] = {**stage.get("settings", {}), **settings}
            stage["varied"] = settings
            for part in _references(stage):
                part["stages"] = [
                    f"{name}-{suffix}" if name in names else name
                    for name in _as_list(part["stages"])
                ]
            found.append(stage)
    return found


def _references(stage):
    parts = (stage.get("search") or {}), (stage.get("runs") or {})
    found = [parts[0].get("narrow"), parts[0].get("carry"), parts[1].get("top")]
    return [part for part in found if part]


def _as_list(value):
    return value if isinstance(value, list) else [value]


def _scaled(stage, factors):
    """Returns a stage with its numbers multiplied; none becomes less than it may be."""
    stage = deepcopy(stage)
    settings = stage["settings"]
    if settings.get("train_items"):
        settings["train_items"] = _times(
            settings["train_items"], factors["train_items"]
        )
    for key in EPOCH_KEYS:
        if settings.get(key):
            settings[key] = _times(settings[key], factors["N_epochs"])
    search, runs = stage.get("search"), stage.get("runs")
    if search:
        if search.get("trials"):
            search["trials"] = _times(search["trials"], factors["trials"], 2)
        if search.get("hours"):
            search["hours"] *= factors["trials"]
        if "first_rung" in search:
            search["first_rung"] = _times(search["first_rung"], factors["N_epochs"])
    if runs:
        for key, values in runs.get("grid", {}).items():
            count = _times(len(values), factors["grid"], min(2, len(values)))
            places = [
                round(i * (len(values) - 1) / max(1, count - 1)) for i in range(count)
            ]
            runs["grid"][key] = [values[place] for place in places]
    for part in _references(stage):
        if "count" in part:
            part["count"] = _times(part["count"], factors["top"])
    return stage


def _stem(hparams):
    return Path(str(hparams)).stem


def _times(number, factor, least=1):
    return max(least, math.floor(number * factor + 0.5))


def _stage(raw, earlier):
    """Returns a Stage, checked against those before it."""
    name = raw.get("name")
    where = f"stage {name}"
    _check_keys(where, raw, STAGE_KEYS)
    if not re.fullmatch(r"[\w.-]+", str(name)) or name in [s.name for s in earlier]:
        raise ValueError(
            f"{where}: each stage needs a name of its own (letters, - and _)"
        )
    if ("search" in raw) == ("runs" in raw):
        raise ValueError(f"{where}: expected either search or runs")
    search, runs = raw.get("search"), raw.get("runs")
    if search is not None:
        search = _search(where, search, raw["settings"], earlier)
    else:
        runs = _filled(f"{where}, runs", runs, RUNS)
        if runs["top"]:
            runs["top"] = _filled(f"{where}, top", runs["top"], TOP)
    needs = []
    for part in _references({"search": search, "runs": runs}):
        part["stages"] = _as_list(part["stages"])
        for other in part["stages"]:
            if other not in [s.name for s in earlier]:
                raise ValueError(
                    f"{where}: depends on {other}, which is no earlier stage"
                )
            needs.append(other)
    searched = {*(search or {}).get("space", {}), *(runs or {}).get("grid", {})}
    _check_hparams(where, raw["hparams"], {*raw["settings"], *searched})
    varied = raw.get("varied", {})
    needs = tuple(needs)
    return Stage(name, raw["hparams"], raw["settings"], needs, search, runs, varied)


def _search(where, raw, settings, earlier):
    search = _filled(f"{where}, search", raw, SEARCH)
    if search["algorithm"] not in ALGORITHMS:
        raise ValueError(
            f"{where}: unknown algorithm {search['algorithm']}; expected one of "
            f"{', '.join(ALGORITHMS)}"
        )
    if (search["trials"] is None) == (search["hours"] is None):
        raise ValueError(f"{where}: expected either trials or hours")
    try:
        space = read_space(search["space"])
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    for part, defaults in (("narrow", NARROW), ("carry", CARRY)):
        if search[part]:
            search[part] = _filled(f"{where}, {part}", search[part], defaults)
    if search["narrow"]:  # begins with the space of the stage before
        before = [s for s in earlier if s.name in _as_list(search["narrow"]["stages"])]
        inherited = before[0].search["space"] if before and before[0].search else {}
        space = {**inherited, **space}
    if not space:
        raise ValueError(f"{where}: the space has no keys")
    search["space"] = space
    if search["algorithm"] == "asha":
        last = settings.get("N_epochs")
        if not last or search["first_rung"] * search["base"] > last:
            raise ValueError(
                f"{where}: asha needs N_epochs of at least first_rung x base "
                f"({search['first_rung']} x {search['base']}), found {last}"
            )
        if search["trials"] is None or search["carry"]:
            raise ValueError(f"{where}: asha takes trials, neither hours nor carry")
    return search


def _check_hparams(where, hparams, keys):
    """Raises ValueError if the hparams file lacks a key that the stage sets."""
    path = Path(str(hparams))
    if not path.is_file():
        raise ValueError(
            f"{where}: hparams {hparams} is no file (seen from {Path.cwd()})"
        )
    known = re.findall(r"^(\w+):", path.read_text(encoding="utf-8"), re.MULTILINE)
    unknown = sorted(keys - set(known))
    if unknown:
        raise ValueError(f"{where}: {hparams} has no key {', '.join(unknown)}")
