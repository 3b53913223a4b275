"""Optimisers and learning-rate schedules by name, for the hparams files.

The rate of a step is that of the schedule times the curriculum's ``lr_scale`` so far. A
schedule knows the progress, in epochs with their fractions, so that its rate does not
depend on when a run was interrupted; only the plateau's depends on scores.
"""

import json
import math
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import torch
from speechbrain.nnet.schedulers import ReduceLROnPlateau
from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)

# Of torch, with its defaults, but for the momentum, without which SGD is no match.
OPTIMIZERS = {
    "sgd": partial(torch.optim.SGD, momentum=0.9),
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "adamax": torch.optim.Adamax,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
}
# Of torch's OneCycleLR: first rate to highest, last rate to first.
ONE_CYCLE_START = 1 / 25
ONE_CYCLE_END = 1e-4


def optimizer_class(name, lr, weight_decay):
    """Returns what makes an optimiser of parameters.

    Arguments
    ---------
    name : str
        A key of OPTIMIZERS.
    lr : float
        Learning rate.
    weight_decay : float
        Decoupled for adamw (Loshchilov & Hutter, 2019); for all others, as in torch, a
        multiple of the weights that is added to the gradient (L2 penalty).

    Returns
    -------
    callable

    Raises
    ------
    ValueError
        Listing the names there are.
    """
    made_by = _named("optimizer", name, OPTIMIZERS)
    return partial(made_by, lr=lr, weight_decay=weight_decay)


def scheduler(name, lr, factor, patience, step, warmup, horizon, N_epochs):
    """Returns a learning-rate schedule; each reads what it needs.

    Arguments
    ---------
    name : str
        plateau, step, cosine, onecycle or constant.
    lr : float
        The highest rate.
    factor : float
        What the rate is multiplied by when it falls (plateau, step).
    patience : int
        Epochs without improvement before it falls (plateau).
    step : float
        Epochs between falls (step).
    warmup : float
        Epochs of rise (cosine, onecycle).
    horizon : float
        Epochs until the end of the fall (cosine, onecycle).
    N_epochs : int
        Epochs of the run, which may not go beyond the horizon.

    Returns
    -------
    Schedule or Plateau

    Raises
    ------
    ValueError
        Naming the key and what was expected.
    """
    if step <= 0:
        raise ValueError(f"lr_step: {step}; expected a number of epochs above 0")
    schedules = {
        "plateau": Plateau(lr, factor, patience),
        "step": Schedule(lr, partial(step_decay, factor=factor, step=step)),
        "cosine": Schedule(lr, partial(cosine, warmup=warmup, end=horizon), horizon),
        "onecycle": Schedule(
            lr, partial(one_cycle, warmup=warmup, end=horizon), horizon
        ),
        "constant": Schedule(lr, lambda progress: 1.0),
    }
    chosen = _named("scheduler", name, schedules)
    if chosen.horizon is None:
        return chosen
    if horizon < N_epochs:
        raise ValueError(
            f"lr_horizon: {horizon}, but N_epochs: {N_epochs}. The rate of {name} is "
            "next to nothing after its horizon; begin a run with the most epochs that "
            "it may be given as lr_horizon"
        )
    if not 0 <= warmup < horizon:
        raise ValueError(
            f"lr_warmup: {warmup}; expected at least 0 and less than lr_horizon, "
            f"which is {horizon} epochs"
        )
    return chosen


def _named(key, name, known):
    if name not in known:
        raise ValueError(f"{key}: {name!r}; expected one of {', '.join(known)}")
    return known[name]


def step_decay(progress, factor, step):
    """Returns the part of the highest rate after ``progress`` epochs."""
    return factor ** (progress // step)


def cosine(progress, warmup, end):
    """Returns the part of the highest rate: a straight rise, then half a cosine to 0.

    From Goyal et al., 2017 (arXiv 1706.02677, 2.2), and Loshchilov & Hutter, 2017
    (arXiv 1608.03983, eq. 5), without restarts.
    """
    if progress < warmup:
        return progress / warmup
    return _half_cosine(1.0, 0.0, (progress - warmup) / (end - warmup))


def one_cycle(progress, warmup, end):
    """Returns the part of the highest rate: half a cosine up, another one down.

    From Smith & Topin, 2018 (arXiv 1708.07120), in the form of torch's OneCycleLR; the
    momentum stays as it is.
    """
    if progress < warmup:
        return _half_cosine(ONE_CYCLE_START, 1.0, progress / warmup)
    last = ONE_CYCLE_START * ONE_CYCLE_END
    return _half_cosine(1.0, last, (progress - warmup) / (end - warmup))


def _half_cosine(first, last, part):
    return last + (first - last) * (1 + math.cos(math.pi * part)) / 2


@register_checkpoint_hooks
class Schedule:
    """A learning rate that depends on the progress alone, so that it has no state.

    Arguments
    ---------
    lr : float
        The highest rate.
    shape : callable
        From the progress in epochs to the part of the highest rate.
    horizon : float or None
        Where the shape ends, in epochs; None if it does not.
    """

    def __init__(self, lr, shape, horizon=None):
        self.lr, self.shape, self.horizon = lr, shape, horizon

    def rate(self, progress):
        """Returns the learning rate after ``progress`` epochs (float)."""
        return self.lr * self.shape(progress)

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
