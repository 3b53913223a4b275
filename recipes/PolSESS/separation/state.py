"""What a run must remember beside weights, optimiser and counters."""

import json

from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from speechbrain.utils.distributed import main_process_only


@register_checkpoint_hooks
class TrainState:
    """The one place for a run's own state, saved with each checkpoint.

    Attributes
    ----------
    history : list of dict
        The train loggers' arguments of each finished epoch; logs and the learning
        curve are functions of it.
    best_score : float or None
        Highest monitored validation score so far, in dB.
    best_epoch : int or None
    finite_steps : int
        Steps of the current epoch that count in its average loss.
    skipped_in_a_row, skipped : int
        Steps left out for a non-finite loss or gradient, and all of them so far.
    items : int
        Training examples seen.
    seconds : float
        Time spent in finished epochs, on all machines together.
    """

    def __init__(self):
        self.history = []
        self.best_score = None
        self.best_epoch = None
        self.finite_steps = 0
        self.skipped_in_a_row = 0
        self.skipped = 0
        self.items = 0
        self.seconds = 0.0

    @mark_as_saver
    @main_process_only
    def save(self, path):
        """Saves the state as JSON, in which floats are exact."""
        with open(path, "w", encoding="utf-8") as file:
            json.dump(vars(self), file)

    @mark_as_loader
    def load(self, path, end_of_epoch):
        """Loads the state."""
        del end_of_epoch  # the state is that of the moment of saving
        with open(path, encoding="utf-8") as file:
            vars(self).update(json.load(file))
