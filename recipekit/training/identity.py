"""What makes two runs the same: the one place that knows which keys make a difference.

A run is resumed, a trial finds the run of an earlier one, a study is refused under the
name of another and a report counts runs as seeds of one setting by this.
"""

from recipekit.files import keyed

# Values of these types are compared; others are objects that keys build.
PLAIN = (str, int, float, list, type(None))
# How long a run lasts: may grow when it is resumed, but differs between repetitions.
LENGTH_KEYS = ("N_epochs", "early_stop_patience", "lr_cooldown")
# Keys of every recipe that may change when a run is resumed.
FREE_KEYS = (
    *LENGTH_KEYS,
    *("data_folder", "output_folder", "save_folder"),
    "init_from",  # the weights themselves are compared
    *("compile", "activation_checkpointing", "num_workers"),
    *("test_only", "test_batch_size"),
    *("nonfinite_patience", "ckpt_interval_steps", "tensorboard", "wandb"),
)


def identity(values, free_keys=(), length=False):
    """Returns those of some values that make a run what it is.

    Arguments
    ---------
    values : dict
        Plain hparams, or settings of trials.
    free_keys : tuple of str
        The recipe's own, beside FREE_KEYS.
    length : bool
        Whether LENGTH_KEYS count: they do between repetitions, and not when a run is
        resumed.

    Returns
    -------
    dict
        Sorted by key.
    """
    free = {*FREE_KEYS, *free_keys} - set(LENGTH_KEYS if length else ())
    return {key: values[key] for key in sorted(values) if key not in free}


def plain(values):
    """Returns those of some hparams that are values, not objects which keys build."""
    return {key: value for key, value in values.items() if isinstance(value, PLAIN)}


def run_name(hparams_file, settings, free_keys=()):
    """Returns the name of the run of a hparams file with some settings (16 digits).

    It does not depend on LENGTH_KEYS, so a longer run of the same configuration resumes
    a shorter one.
    """
    kept = identity(settings, free_keys)
    return keyed.digest([hparams_file, list(kept.items())])[:16]
