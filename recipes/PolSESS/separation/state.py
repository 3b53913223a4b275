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
    settings : dict or None
        The hparams that make the run what it is; see ``keep_settings``.
    finite_steps : int
        Steps of the current epoch that count in its average loss.
    skipped_in_a_row, skipped : int
        Steps left out for a non-finite loss or gradient, and all of them so far.
    items : int
        Training examples seen.
    seconds : list of float
        Time spent in each finished epoch, from its last start.
    """

    def __init__(self):
        self.history = []
        self.settings = None
        self.finite_steps = 0
        self.skipped_in_a_row = 0
        self.skipped = 0
        self.items = 0
        self.seconds = []

    def keep_settings(self, settings):
        """Keeps the settings of a new run; refuses to go on with other ones.

        Arguments
        ---------
        settings : dict
            Of JSON values.

        Raises
        ------
        ValueError
            Naming what differs from the settings that the run was begun with.
        """
        changed = [
            f"{key} {self.settings.get(key)} (now {settings[key]})"
            for key in settings
            if self.settings is not None and self.settings.get(key) != settings[key]
        ]
        if changed:
            raise ValueError(
                f"The run in this output_folder was begun with {', '.join(changed)}. "
                "Give the same values to go on, or another output_folder"
            )
        self.settings = settings

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
