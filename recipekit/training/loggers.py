"""Train loggers: a file always; TensorBoard and Weights & Biases by a key."""

import shutil
from pathlib import Path

from speechbrain.utils.distributed import ddp_broadcast, if_main_process
from speechbrain.utils.train_logger import TensorboardLogger, WandBLogger

from recipekit.files import keyed


def start_loggers(hparams, history, project):
    """Returns the loggers of a run, which show what its history says.

    The file and TensorBoard are written anew from the history, so that epochs which a
    killed run had logged but not saved do not stand there twice. W&B resumes the run
    of the same output folder, in which epochs have their numbers.

    Arguments
    ---------
    hparams : SimpleNamespace
        Keys output_folder, train_logger (the file's), tensorboard, wandb.
    history : list of dict
        Entries of the epochs so far (``history``).
    project : str
        Of W&B.

    Returns
    -------
    list of TrainLogger
    """
    folder = Path(hparams.output_folder)
    loggers = [hparams.train_logger]
    if if_main_process():
        Path(hparams.train_logger.save_file).write_text("", encoding="utf-8")
        shutil.rmtree(folder / "tensorboard", ignore_errors=True)
    if hparams.tensorboard:
        loggers.append(TensorboardLogger(str(folder / "tensorboard")))
    for entry in history:
        log(loggers, entry)
    if hparams.wandb:
        wandb_logger = _start_wandb(folder, project)
        # The next step of a run that is taken up again; only the main process has one.
        seen = ddp_broadcast(wandb_logger.run.step if wandb_logger.run else None)
        for entry in history:
            if entry["epoch"] >= seen:
                log([wandb_logger], entry)
        loggers.append(wandb_logger)
    return loggers


def log(loggers, entry):
    """Gives an epoch's entry of the history to all loggers."""
    meta = {name: entry[name] for name in ("epoch", "examples", "lr", "skipped")}
    for logger in loggers:
        logger.log_stats(
            meta, train_stats=entry["train"], valid_stats=entry["valid"], verbose=False
        )


def _start_wandb(folder, project):
    try:
        import wandb
    except ImportError as error:
        raise ValueError("wandb: True needs the package: pip install wandb") from error
    run = None
    if if_main_process():
        try:
            run = wandb.init(
                project=project,
                name="-".join(folder.parts[-2:]),
                id=keyed.name(str(folder.resolve())),
                resume="allow",
                dir=str(folder),
            )
        except wandb.errors.Error as error:
            raise RuntimeError(
                f"wandb: True, but no run could be started ({error}). Log in with "
                "`wandb login`, or set WANDB_MODE=offline"
            ) from error
    return WandBLogger(lambda: run)
