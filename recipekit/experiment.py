"""One run of a recipe's train.py: how it begins, and its output folder."""

from contextlib import contextmanager
from pathlib import Path

import speechbrain as sb
import torch
from speechbrain.utils.distributed import ddp_init_group, if_main_process

from recipekit.files.atomic import replacing
from recipekit.files.locks import hold
from recipekit.studies import trial
from recipekit.training.allocator import keep_freed_memory
from recipekit.training.environment import write_environment

LOG_CONFIG = Path(__file__).parent / "training" / "log_config.yaml"


def begin(line):
    """Joins the run's other processes; returns the hparams with their objects.

    Arguments
    ---------
    line : CommandLine
    """
    if not torch.cuda.is_available():
        keep_freed_memory()
    ddp_init_group(line.run_opts)
    return line.load()


@contextmanager
def output_folder(path):
    """Makes a run's folder this run's alone, with its log and env.log.

    Arguments
    ---------
    path : str or Path

    Raises
    ------
    RuntimeError
        If another process works there.
    """
    if not if_main_process():
        _start_log(path)
        yield
        return
    # A trial whose worker was thought dead is run by two, one after the other.
    with hold(path, wait=trial.is_trial()):
        _start_log(path)
        write_environment(Path(path) / "env.log")
        yield


def _start_log(path):
    sb.create_experiment_directory(
        str(path), log_config=str(LOG_CONFIG), save_env_desc=False
    )


def write_record(line):
    """Writes hyperparams.yaml, the hparams file with its references resolved."""
    folder = Path(line.values["output_folder"])
    with replacing(folder / "hyperparams.yaml") as path:
        path.write_text(f"# yamllint disable\n{line.resolved()}", encoding="utf-8")
