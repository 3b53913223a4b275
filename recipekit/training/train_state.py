"""What a run must remember beside weights and optimiser: epochs, scores, counters."""

import json

from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from speechbrain.utils.distributed import main_process_only

SHOWN = 8  # differing settings that a message names
# Settings that are digests, and what it means that they differ.
DIGESTS = {
    "rows_digest": "other recordings (the corpus, or what is in it, has changed)",
    "weights_digest": "other weights to start from (init_from)",
}


@register_checkpoint_hooks
class TrainState:
    """The one place for a run's own state, saved with each checkpoint.

    It is the run's epoch counter as well: which epoch comes next, which was the best
    and whether the run stops early all follow from the scores of the epochs that are
    finished, so that no restart can make them differ.

    Arguments
    ---------
    limit : int
        Epochs of the run.
    patience : int
        Epochs in a row without a new best score after which the run ends.

    Attributes
    ----------
    current : int
        The epoch that runs or, between epochs, ran last; counted from 1.
    history : list of dict
        An entry for each finished epoch (``history``); logs and the learning curve are
        functions of it.
    settings : dict or None
        The hparams that make the run what it is; see ``keep_settings``.
    finite_steps : int
        Steps of the current epoch that count in its average loss.
    skipped_in_a_row, skipped : int
        Steps left out for a non-finite loss or gradient, and all of them so far.
    items : int
        Training examples seen.
    """

    def __init__(self, limit, patience):
        self.limit, self.patience = limit, patience
        self.current = 0
        self.history = []
        self.settings = None
        self.finite_steps = 0
        self.skipped_in_a_row = 0
        self.skipped = 0
        self.items = 0

    def __iter__(self):
        return self

    def __next__(self):
        """Returns the next epoch; ends at the limit or when the patience is used up."""
        if self.current >= self.limit or self.stops_early:
            raise StopIteration
        self.current += 1
        return self.current

    @property
    def scores(self):
        """The monitored score of each finished epoch, higher is better."""
        return [entry["score"] for entry in self.history]

    @property
    def seconds(self):
        """The time spent in each finished epoch, from its last start."""
        return [entry["seconds"] for entry in self.history]

    @property
    def best_epoch(self):
        """The first epoch with the highest score; 0 before the first one."""
        scores = self.scores
        if not scores:
            return 0
        return 1 + max(range(len(scores)), key=scores.__getitem__)

    @property
    def stops_early(self):
        """Whether the last ``patience`` finished epochs brought no new best score."""
        return len(self.scores) - self.best_epoch >= self.patience

    def end_epoch(self, entry, score, seconds):
        """Adds a finished epoch.

        Arguments
        ---------
        entry : dict
            Of the history, without its score and seconds.
        score : float
            The monitored one.
        seconds : float
            That it took.
        """
        self.history.append({**entry, "score": score, "seconds": seconds})

    def keep_settings(self, settings):
        """Keeps the settings of a new run; refuses to resume with other ones.

        Arguments
        ---------
        settings : dict
            Of JSON values.

        Raises
        ------
        ValueError
            Naming what differs from the settings that the run was begun with.
        """
        if self.settings is None:
            self.settings = settings
        before = self.settings
        changed = [
            DIGESTS.get(key)
            or f"{key} {before.get(key, 'absent')} (now {settings.get(key, 'absent')})"
            for key in {**before, **settings}
            if before.get(key) != settings.get(key)
        ]
        if changed:
            more = f" and {len(changed) - SHOWN} more" * (len(changed) > SHOWN)
            raise ValueError(
                "The run in this output_folder was begun with "
                f"{', '.join(changed[:SHOWN])}{more}. Give the same values to resume, "
                "or another output_folder"
            )

    @mark_as_saver
    @main_process_only
    def save(self, path):
        """Saves the state as JSON, in which floats are exact."""
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self._kept(), file)

    @mark_as_loader
    def load(self, path, end_of_epoch=True):
        """Loads the state; within an epoch, this epoch comes next once more."""
        del end_of_epoch  # a finished epoch is in the history
        with open(path, encoding="utf-8") as file:
            loaded = json.load(file)
        if loaded.keys() != self._kept().keys():
            raise ValueError(
                f"{path}: the checkpoint is of another version of the recipe, which "
                "this one cannot resume. Start again in another output_folder"
            )
        vars(self).update(loaded)
        self.current = len(self.history)

    def _kept(self):
        """Returns what a checkpoint holds: limits may change, ``current`` follows."""
        derived = ("limit", "patience", "current")
        return {key: value for key, value in vars(self).items() if key not in derived}
