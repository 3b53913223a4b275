"""What a study is: stages, the trials they have, the commands, and what they cost."""

import math
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from recipekit.files import keyed
from recipekit.training.identity import run_name

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
        algorithm, trials, hours, space (key -> Prior), own (those of its keys that are
        not narrowed), first, narrow, carry, halving (first_rung, base, rule).
    runs : dict or None
        top, grid, seeds, test.
    varied : dict
        The settings of ``for_each`` that this stage is for.
    origin : str
        Its name without these. Stages of one origin draw the same points of the unit
        cube, so that a comparison of their settings is not one of luck.
    """

    name: str
    hparams: str
    settings: dict
    needs: tuple = ()
    search: dict | None = None
    runs: dict | None = None
    varied: dict = field(default_factory=dict)
    origin: str = ""

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
        halving = self.search and self.search["halving"]
        if not halving:
            return [self.epochs]
        return rungs(halving["first_rung"], self.epochs, halving["base"])

    def max_trials(self):
        """Returns how many trials the stage has; with halving about, with longer ones.

        None if hours end it.
        """
        if self.runs:
            count = math.prod(len(values) for values in self.runs["grid"].values())
            top = self.runs["top"]
            if top:
                count *= top["count"] * top["groups"]
            return count * max(1, len(self.seeds))
        if self.search["hours"]:
            return None
        return sum(self._trials_of_rungs())

    def _trials_of_rungs(self):
        """Returns how many trials about reach each rung."""
        trials, halving = self.search["trials"], self.search["halving"]
        base = halving["base"] if halving else 1
        return [max(1, trials // base**rung) for rung in range(len(self.rungs))]

    @property
    def seeds(self):
        """The seeds of a stage of fixed configurations."""
        return self.runs["seeds"]

    def cost(self):
        """Returns the training examples that the stage costs, or None if unknown.

        Early stopping and configurations that were run before cost less; halving may
        let some more go on, since the ranks change while trials come in.
        """
        items, trials = self.settings.get("train_items"), self.max_trials()
        if items is None or trials is None or self.epochs is None:
            return None
        if self.runs:
            return trials * items * self.epochs
        starts = [0, *self.rungs[:-1]]  # from which a promoted trial resumes
        counts = self._trials_of_rungs()
        return items * sum(
            count * (end - start)
            for count, start, end in zip(counts, starts, self.rungs, strict=True)
        )


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
    free_keys : tuple of str
        The recipe's own (``identity``).
    unit : str
        Of the scores.
    """

    name: str
    folder: Path
    database: str
    stages: tuple
    record: dict = field(repr=False)
    free_keys: tuple = field(repr=False, default=())
    unit: str = ""

    @property
    def digest(self):
        """What tells studies of one name in one database apart."""
        return keyed.digest(self.record)[:8]

    def stage(self, name):
        """Returns a stage by its name."""
        return next(stage for stage in self.stages if stage.name == name)

    def varied(self, stage):
        """Returns the keys that trials of a stage may set, as a set."""
        keys = {"seed", "N_epochs"}
        if stage.search:
            return keys | set(stage.search["space"])
        top = stage.runs["top"]
        for name in top["stages"] if top else ():
            keys |= self.varied(self.stage(name))
        return keys | set(stage.runs["grid"])

    def run_folder(self, stage, params):
        """Returns the output folder of a trial.

        It depends on what makes a run what it is, not on the stage and not on N_epochs:
        a longer run of the same configuration resumes a shorter one, and none is
        computed twice.
        """
        settings = {**stage.settings, **params}
        return self.folder / "runs" / run_name(stage.hparams, settings, self.free_keys)

    def command(self, stage, params, folder):
        """Returns the command line of a trial, without the interpreter."""
        settings = {**stage.settings, **params, "output_folder": str(folder)}
        line = ["train.py", stage.hparams]
        for key, value in settings.items():
            line += [f"--{key}", _as_argument(value)]
        return line


def _as_argument(value):
    """Returns a value on one line, as train.py reads it."""
    if isinstance(value, str):
        return value
    text = yaml.safe_dump(value, default_flow_style=True, width=math.inf)
    return text.removesuffix("...\n").strip()


def rungs(first, last, base):
    """Returns numbers of epochs, each ``base`` times the one before, up to the last."""
    found = [first]
    while found[-1] * base < last:
        found.append(found[-1] * base)
    return [*found, last] if first < last else [last]
