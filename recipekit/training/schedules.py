"""Learning-rate schedules, a class each; the hparams files name them.

The rate of a step is that of the schedule times the Brain's ``lr_scale`` of the epoch.
A schedule knows the progress, in epochs with their fractions, so that its rate does not
depend on when a run was interrupted; only the plateau's depends on scores.

To add one: a subclass of Schedule with ``part``, and its lines under ``schedules`` in
the hparams files.
"""

import json
import math
from pathlib import Path
from types import SimpleNamespace

from speechbrain.nnet.schedulers import ReduceLROnPlateau
from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)


def chosen(schedules, name):
    """Returns the schedule of a name, made.

    Arguments
    ---------
    schedules : dict
        Name -> callable that makes one.
    name : str

    Raises
    ------
    ValueError
        Listing the names there are, or naming the key that is wrong.
    """
    if name not in schedules:
        raise ValueError(f"scheduler: {name!r}; expected one of {', '.join(schedules)}")
    return schedules[name]()


@register_checkpoint_hooks
class Schedule:
    """A learning rate that depends on the progress alone, so that it has no state.

    Subclasses say in ``part`` which part of the highest rate there is.

    Arguments
    ---------
    lr : float
        The highest rate.
    horizon : float or None
        Where it ends, in epochs; None if it does not.
    """

    def __init__(self, lr, horizon=None):
        self.lr, self.horizon = lr, horizon

    def part(self, progress):
        """Returns the part of the highest rate after ``progress`` epochs (float)."""
        raise NotImplementedError

    def rate(self, progress):
        """Returns the learning rate after ``progress`` epochs (float)."""
        return self.lr * self.part(progress)

    def observe(self, epoch, loss):
        """Does nothing: validation does not change the rate."""

    @mark_as_saver
    def save(self, path):
        """Leaves an empty file, for the checkpointer to find."""
        Path(path).touch()

    @mark_as_loader
    def load(self, path, end_of_epoch):
        """Loads nothing."""


@register_checkpoint_hooks
class Constant(Schedule):
    """The same rate, which may fall to 0 over the last epochs, the cool-down.

    Until it falls, the rate does not depend on how long the run shall be: so a run may
    be resumed for longer, and decide at any time to end with a cool-down. The fall is
    1 - sqrt, from Hägele et al., 2024 (arXiv 2405.18392, section 3.2).

    Arguments
    ---------
    lr : float
        The rate.
    cooldown : float
        Epochs of the fall; 0: none.
    N_epochs : int
        Where it ends.
    """

    def __init__(self, lr, cooldown=0, N_epochs=math.inf):
        super().__init__(lr)
        if not 0 <= cooldown <= N_epochs:
            raise ValueError(
                f"lr_cooldown: {cooldown}; expected at least 0 and at most N_epochs, "
                f"which is {N_epochs}"
            )
        self.falls = (N_epochs - cooldown, N_epochs)
        self.progress = 0.0

    def part(self, progress):
        """Returns the part of the highest rate after ``progress`` epochs."""
        start, end = self.falls
        if progress <= start:
            return 1.0
        return 1 - math.sqrt(min(1.0, (progress - start) / (end - start)))

    def rate(self, progress):
        """Returns the learning rate after ``progress`` epochs, which it remembers."""
        self.progress = max(self.progress, progress)
        return super().rate(progress)

    @mark_as_saver
    def save(self, path):
        """Saves when the rate falls, and the progress so far, as JSON."""
        state = {"falls": self.falls, "progress": self.progress}
        Path(path).write_text(json.dumps(state), encoding="utf-8")

    @mark_as_loader
    def load(self, path, end_of_epoch):
        """Loads what was saved; refuses a fall that epochs before contradict."""
        before = json.loads(Path(path).read_text(encoding="utf-8"))
        falls, self.progress = tuple(before["falls"]), before["progress"]
        shared = min(self.progress, self.falls[1])  # what both runs have trained
        if falls != self.falls and shared > min(falls[0], self.falls[0]):
            raise ValueError(
                f"lr_cooldown and N_epochs: the run in this output_folder is at epoch "
                f"{self.progress:.1f}, with a rate that falls from epoch {falls[0]} to "
                f"{falls[1]}; now it would fall from {self.falls[0]} to "
                f"{self.falls[1]}. A cool-down begins with epochs that are not trained "
                "yet, and ends the run; or give another output_folder"
            )


class Step(Schedule):
    """A rate that falls at even distances.

    Arguments
    ---------
    lr : float
        The first rate.
    factor : float
        What it is multiplied by when it falls.
    step : float
        Epochs between falls.
    """

    def __init__(self, lr, factor, step):
        super().__init__(lr)
        if step <= 0:
            raise ValueError(f"lr_step: {step}; expected a number of epochs above 0")
        self.factor, self.step = factor, step

    def part(self, progress):
        """Returns the part of the highest rate after ``progress`` epochs."""
        return self.factor ** (progress // self.step)


class _Warmed(Schedule):
    """A rate that rises to the highest and ends at a horizon.

    Arguments
    ---------
    lr : float
        The highest rate.
    warmup : float
        Epochs of rise.
    horizon : float
        Epochs until the end of the fall.
    N_epochs : int
        Epochs of the run, which may not go beyond the horizon.
    """

    def __init__(self, lr, warmup, horizon, N_epochs):
        super().__init__(lr, horizon)
        if horizon < N_epochs:
            raise ValueError(
                f"lr_horizon: {horizon}, but N_epochs: {N_epochs}. The rate of "
                f"{type(self).__name__.lower()} is next to nothing after its horizon; "
                "begin a run with the most epochs that it may be given as lr_horizon"
            )
        if not 0 <= warmup < horizon:
            raise ValueError(
                f"lr_warmup: {warmup}; expected at least 0 and less than lr_horizon, "
                f"which is {horizon} epochs"
            )
        self.warmup = warmup

    def fallen(self, progress):
        """Returns how much of the fall lies behind, 0..1."""
        return (progress - self.warmup) / (self.horizon - self.warmup)


class Cosine(_Warmed):
    """A straight rise, then half a cosine to 0.

    From Goyal et al., 2017 (arXiv 1706.02677, 2.2), and Loshchilov & Hutter, 2017
    (arXiv 1608.03983, eq. 5), without restarts.
    """

    def part(self, progress):
        """Returns the part of the highest rate after ``progress`` epochs."""
        if progress < self.warmup:
            return progress / self.warmup
        return _half_cosine(1.0, 0.0, self.fallen(progress))


class OneCycle(_Warmed):
    """Half a cosine up, another one down.

    From Smith & Topin, 2018 (arXiv 1708.07120), in the form of torch's OneCycleLR; the
    momentum stays as it is.
    """

    # Of torch's OneCycleLR: first rate to highest, last rate to first.
    START, END = 1 / 25, 1e-4

    def part(self, progress):
        """Returns the part of the highest rate after ``progress`` epochs."""
        if progress < self.warmup:
            return _half_cosine(self.START, 1.0, progress / self.warmup)
        return _half_cosine(1.0, self.START * self.END, self.fallen(progress))


def _half_cosine(first, last, part):
    return last + (first - last) * (1 + math.cos(math.pi * part)) / 2


@register_checkpoint_hooks
class Plateau(ReduceLROnPlateau):
    """SpeechBrain's schedule, with a rate of its own instead of the optimiser's.

    Arguments
    ---------
    lr : float
        The first rate.
    factor : float
        What it is multiplied by when it falls.
    patience : int
        Epochs without improvement before it falls.
    """

    horizon = None

    def __init__(self, lr, factor, patience):
        super().__init__(factor=factor, patience=patience, dont_halve_until_epoch=0)
        self.lr = lr

    def rate(self, progress):
        """Returns the learning rate, whatever the progress."""
        return self.lr

    def observe(self, epoch, loss):
        """Lets the rate fall if the loss (float) has not improved for long enough."""
        holder = SimpleNamespace(param_groups=[{"lr": self.lr}])
        _, self.lr = self([holder], epoch, loss)

    @mark_as_saver
    def save(self, path):
        """Saves all as JSON, in which floats are exact."""
        Path(path).write_text(json.dumps(vars(self)), encoding="utf-8")

    @mark_as_loader
    def load(self, path, end_of_epoch):
        """Loads what was saved."""
        vars(self).update(json.loads(Path(path).read_text(encoding="utf-8")))
