"""One run of a recipe's train.py: how it begins, its folder and its record."""

from contextlib import contextmanager
from pathlib import Path

import torch
from speechbrain.utils.distributed import ddp_init_group, if_main_process

from recipekit.files.atomic import replacing
from recipekit.files.locks import hold
from recipekit.studies import trial
from recipekit.training.allocator import keep_freed_memory
from recipekit.training.environment import write_environment

# For speechbrain.create_experiment_directory, which train.py calls itself: it copies
# the script that does.
LOG_CONFIG = str(Path(__file__).parent / "training" / "log_config.yaml")


def begin(command_line):
    """Joins the run's other processes; returns the hparams with their objects.

    Arguments
    ---------
    command_line : CommandLine
    """
    if not torch.cuda.is_available():
        keep_freed_memory()
    ddp_init_group(command_line.run_opts)
    return command_line.load()


@contextmanager
def held_folder(path):
    """Makes a run's output folder this run's alone.

    Arguments
    ---------
    path : str or Path

    Raises
    ------
    RuntimeError
        If another process works there.
    """
    if not if_main_process():
        yield
        return
    # A trial whose worker was thought dead is run by two, one after the other.
    with hold(path, wait=trial.is_trial()):
        yield


def write_record(command_line):
    """Writes what a run is: hyperparams.yaml, references resolved, and env.log."""
    folder = Path(command_line.values["output_folder"])
    with replacing(folder / "hyperparams.yaml") as path:
        text = f"# yamllint disable\n{command_line.resolved()}"
        path.write_text(text, encoding="utf-8")
    write_environment(folder / "env.log")
