"""Reads a study: a YAML of stages, made smaller by a scale if there is one."""

import math
import re
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from corpus import keyed
from keys import FREE_KEYS
from studies.spaces import read_space

ALGORITHMS = ("random", "tpe", "asha")
EPOCH_KEYS = ("N_epochs", "lr_horizon", "lr_step", "lr_warmup")
FIXED = "fixed"  # the algorithm of stages that run given configurations


@dataclass(frozen=True)
class Stage:
    """One step of a study; ``search`` or ``runs`` says which trials it has.

    Attributes
    ----------
    name : str
    hparams : str
        The hparams file.
    settings : dict
        Overrides that all trials get.
    needs : tuple of str
        Stages that must be finished before.
    search : dict or None
        algorithm, options, trials, hours, space (key -> Prior), narrow, carry,
        first_rung, base.
    runs : dict or None
        top, grid, seeds, test.
    varied : dict
        The settings of ``for_each`` that this stage is for.
    """

    name: str
    hparams: str
    settings: dict
    needs: tuple = ()
    search: dict | None = None
    runs: dict | None = None
    varied: dict = field(default_factory=dict)

    @property
    def algorithm(self):
        """The name of the algorithm that makes the trials."""
        return self.search["algorithm"] if self.search else FIXED

    @property
    def epochs(self):
        """N_epochs of the highest fidelity, or None for that of the hparams file."""
        return self.settings.get("N_epochs")

    @property
    def rungs(self):
        """The numbers of epochs for which trials are run, ascending."""
        if self.algorithm != "asha":
            return [self.epochs]
        return rungs(self.search["first_rung"], self.epochs, self.search["base"])

    def max_trials(self):
        """Returns after how many trials the stage ends; with asha, promotions count.

        None if hours end it, or if other stages' trials decide.
        """
        if self.runs:
            count = math.prod(len(values) for values in self.runs["grid"].values())
            top = self.runs["top"]
            return (top["count"] if top else 1) * count * max(1, len(self.seeds))
        trials, base = self.search["trials"], self.search["base"]
        if trials is None or self.algorithm != "asha":
            return trials
        return sum(max(1, trials // base**rung) for rung in range(len(self.rungs)))

    @property
    def seeds(self):
        """The seeds of a stage of fixed configurations."""
        return self.runs["seeds"]

    def cost(self):
        """Returns the training examples that the stage costs, or None if unknown.

        An upper bound: early stopping and configurations run before cost less.
        """
        items, trials = self.settings.get("train_items"), self.max_trials()
        if items is None or trials is None or self.epochs is None:
            return None
        if self.algorithm != "asha":
            return trials * items * self.epochs
        total, before = 0, 0
        for number, epochs in enumerate(self.rungs):
            promoted = max(1, self.search["trials"] // self.search["base"] ** number)
            total += promoted * (epochs - before) * items
            before = epochs
        return total


@dataclass(frozen=True)
class Study:
    """Stages with a name, a folder and a database.

    Attributes
    ----------
    name : str
    folder : Path
        Of its runs, ledger and record.
    database : str
        A file, or ``mongodb://HOST:PORT/NAME``.
    stages : tuple of Stage
    record : dict
        What the study is, in YAML's types; equal records are one study.
    """

    name: str
    folder: Path
    database: str
    stages: tuple
    record: dict = field(repr=False)

    def stage(self, name):
        """Returns a stage by its name."""
        return next(stage for stage in self.stages if stage.name == name)

    def run_folder(self, stage, params):
        """Returns the output folder of a trial.

        It depends on what makes a run what it is, not on the stage and not on N_epochs:
        a longer run of the same configuration goes on from a shorter one, and none is
        computed twice.
        """
        settings = {**stage.settings, **params}
        kept = {k: v for k, v in settings.items() if k not in FREE_KEYS}
        digest = keyed.digest([stage.hparams, sorted(kept.items())])
        return self.folder / "runs" / digest[:16]

    def command(self, stage, params, folder):
        """Returns the command line of a trial, without the interpreter."""
        settings = {**stage.settings, **params, "output_folder": str(folder)}
        line = ["train.py", stage.hparams]
        for key, value in settings.items():
            line += [f"--{key}", _as_argument(value)]
        return line


def _as_argument(value):
    """Returns a value as YAML on one line, as train.py reads it."""
    text = yaml.safe_dump(value, default_flow_style=True, width=math.inf)
    return text.removesuffix("...\n").strip()


def rungs(first, last, base):
    """Returns ASHA's numbers of epochs, about ``base`` times as many each."""
    number = int(math.log(last / first) / math.log(base) + 1 + 1e-9)
    spaced = [
        round(first * (last / first) ** (i / (number - 1))) for i in range(number)
    ]
    for place in range(1, number):
        spaced[place] = max(spaced[place], spaced[place - 1] + 1)
    return spaced


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
