"""The Brain of all recipes: a run's epochs, from its start or resume to its results.

All that a run must remember is in its TrainState; logs, the history and the learning
curve are functions of it.
"""

import logging
import shlex
import sys
import time
from pathlib import Path

import speechbrain as sb
import torch
from speechbrain.dataio.dataloader import make_dataloader
from speechbrain.utils.checkpoints import ckpt_recency
from speechbrain.utils.distributed import if_main_process
from speechbrain.utils.logger import get_logger

import recipekit
from recipekit.training.history import write_history
from recipekit.training.identity import identity, plain
from recipekit.training.loaders import ShownLoader
from recipekit.training.loggers import log, start_loggers
from recipekit.training.steps import CarefulBrain, TrainingStopped
from recipekit.training.train_state import TrainState

logger = get_logger(__name__)


class RecipeBrain(CarefulBrain):
    """Trains, validates, and resumes a killed run to the bit.

    A recipe's Brain has SpeechBrain's ``compute_forward`` and ``compute_objectives``;
    the latter adds to ``self.scores`` a dict for each row that it validates: the first
    two columns of ``recipe.measures.describing``, ``finite`` (whether the estimates
    were) and its scores. Hooks beside those of CarefulBrain:

    - ``valid_stats()``: the mean scores of the validation by name (required),
    - ``monitored(valid_stats)``: the score that decides, higher is better (required),
    - ``valid_loss(valid_stats)``: the loss that these amount to (required),
    - ``scheduler_acts(epoch)``: whether it may look at the epoch's score (True),
    - ``draw_curve(path)``: draws ``self.state.history`` as a PNG (nothing),
    - ``without_scores``: what it means that a validation has no score at all.

    Keys beside those of CarefulBrain: output_folder, save_folder, num_workers,
    early_stop_patience, train_logger, tensorboard, wandb.

    Arguments
    ---------
    *args, **kwargs
        Those of Brain.
    recipe : Recipe
    digests : dict
        ``rows_digest``, of the data that the run trains and validates on, and
        ``weights_digest``, of weights that it starts from: compared when the run is
        resumed, as keys are, and the first between the trials of a study.
    source : dict
        What results and exports say of where they come from, beside what the Brain
        knows; such as the corpus.
    write_record : callable
        Called when training starts or resumes, once it is sure to be the same run.
    shorter : bool
        Whether a run that has begun more than N_epochs may be asked for its first ones,
        as a trial of a search may.
    """

    def __init__(
        self,
        *args,
        recipe,
        digests=None,
        source=None,
        write_record=lambda: None,
        shorter=False,
        **kwargs,
    ):
        super().__init__(*args, measures=recipe.measures, **kwargs)
        self.recipe, self.digests, self.source = recipe, digests or {}, source or {}
        self.write_record, self.shorter = write_record, shorter
        self.scores = []

    # Hooks

    without_scores = "Check the data"

    def valid_stats(self):
        """Returns the mean scores (dict) of the validation in ``self.scores``."""
        raise NotImplementedError

    def monitored(self, valid_stats):
        """Returns the score by which checkpoints and trials are compared."""
        raise NotImplementedError

    def valid_loss(self, valid_stats):
        """Returns the loss that mean scores amount to."""
        raise NotImplementedError

    def scheduler_acts(self, epoch):
        """Returns whether the scheduler may look at an epoch's score."""
        return True

    def draw_curve(self, path):
        """Draws the learning curve of ``self.state.history``."""

    # Data

    def train_loader(self, dataset, sampler, collate):
        """Returns the loader of the training set; checkpoints keep its place.

        Arguments
        ---------
        dataset : torch.utils.data.Dataset
        sampler : torch.utils.data.Sampler
            This process' share; ``set_epoch`` makes it an epoch's.
        collate : callable
        """
        self.train_sampler = sampler
        loader = make_dataloader(
            dataset,
            sampler=sampler,
            batch_size=self.hparams.batch_size,
            num_workers=self.hparams.num_workers,
            collate_fn=collate,
            pin_memory=self.device_type == "cuda",
        )
        self.checkpointer.add_recoverable("dataloader-TRAIN", loader)
        return loader

    def fixed_loader(self, dataset, keys, collate, title):
        """Returns a loader of this process' share of fixed items.

        Arguments
        ---------
        dataset : torch.utils.data.Dataset
        keys : list
            What the dataset is asked for, of all processes.
        collate : callable
        title : str
            Of its progress bar.
        """
        loader = ShownLoader(
            dataset,
            batch_size=self.hparams.test_batch_size,
            sampler=keys[self.rank :: self.world_size],
            collate_fn=collate,
            num_workers=self.hparams.num_workers,
            pin_memory=self.device_type == "cuda",
        )
        loader.title = title if self.shows_bars else None
        return loader

    # A run: resume, epochs, the end of each

    def fit_run(self, train_loader, valid_loader):
        """Trains until the epochs or the patience end; resumes a killed run."""
        self.fit(self.state, train_loader, valid_loader, progressbar=False)

    def on_fit_start(self):
        """Resumes, and makes the logs those of the resumed state."""
        epochs_begun = self._check_resumable()
        super().on_fit_start()
        self.state.keep_settings(self.settings())
        if if_main_process() and epochs_begun <= self.hparams.N_epochs:
            self.write_record()
            write_history(self.hparams.output_folder, self.state.history)
        # Of all processes: SpeechBrain's loggers write in one and wait for the others.
        self.loggers = start_loggers(
            self.hparams, self.state.history, self.recipe.folder.parent.name
        )
        finished = len(self.state.history)
        if finished >= self.hparams.N_epochs:
            logger.info(f"Training had already ended, after epoch {finished}")
        elif self.state.stops_early:
            logger.info(
                f"Training had already ended, after epoch {finished}: the last "
                f"{self.hparams.early_stop_patience} brought no better score than "
                f"epoch {self.state.best_epoch}"
            )
        elif self.state.items:
            logger.info(f"Resuming after epoch {finished}, step {self.step}")

    def _check_resumable(self):
        """Refuses a folder that holds another run, before any of it is loaded.

        Returns how many epochs of it have begun.
        """
        newest = self.checkpointer.find_checkpoint()
        if newest is None:
            return 0
        self.state.load(newest.paramfiles["state"])
        self.state.keep_settings(self.settings())
        begun = len(self.state.history) + (not newest.meta["end-of-epoch"])
        if begun > self.hparams.N_epochs and not self.shorter:
            raise ValueError(
                f"N_epochs: {self.hparams.N_epochs}, but the run in this output_folder "
                f"has begun epoch {begun}. Give at least {begun}, or another "
                "output_folder; --test_only True tests what is there"
            )
        return begun

    def settings(self):
        """Returns what must stay the same for a run to be one run, as JSON values."""
        settings = identity(plain(vars(self.hparams)), self.recipe.free_keys)
        # By default N_epochs, which is free with schedules that have no end.
        settings["lr_horizon"] = self.hparams.lr_scheduler.horizon
        settings["precision"] = self.precision
        settings["grad_accumulation_factor"] = self.grad_accumulation_factor
        settings["processes"] = self.world_size
        return settings | self.digests

    def on_stage_start(self, stage, epoch=None):
        """Draws an epoch's rows and shows a bar, or empties what keeps scores."""
        self.scores = []
        if stage != sb.Stage.TRAIN:
            return
        self.epoch_start = time.monotonic()
        self.train_sampler.set_epoch(epoch)
        steps = -(-len(self.train_sampler) // self.hparams.batch_size)
        self.start_steps(epoch, steps)

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Gathers what all processes found; a validation ends the epoch."""
        if stage == sb.Stage.TRAIN:
            self.bar.close()
            counted = stage_loss if self.state.finite_steps else float("nan")
            self.train_loss = self._mean_over_processes(counted)
            return
        self.scores = self._gather(self.scores)
        if stage == sb.Stage.VALID:
            self.end_epoch(epoch)

    def end_epoch(self, epoch):
        """Schedules, saves, logs and draws what an epoch has come to."""
        if not all(row["finite"] for row in self.scores):
            raise TrainingStopped(
                f"After epoch {epoch} the model's estimates are not finite: its "
                "weights are spoilt. Try a lower lr or grad_clip_norm, or precision "
                "fp32"
            )
        valid = self.valid_stats()
        score = self.monitored(valid)
        if score != score:
            raise ValueError(f"No validation row has a score. {self.without_scores}")
        state, lr = self.state, self.lr()
        if self.scheduler_acts(epoch):
            self.hparams.lr_scheduler.observe(epoch, -score)
        entry = {
            "epoch": epoch,
            "examples": state.items,
            "lr": lr,
            "skipped": state.skipped,
            "train": self.train_stats(self.train_loss),
            "valid": {"loss": self.valid_loss(valid), **valid},
        }
        state.end_epoch(entry, score, time.monotonic() - self.epoch_start)
        self.checkpointer.save_and_keep_only(
            meta={
                "score": score,
                "epoch": epoch,
                "items": state.items,
                "seconds": sum(state.seconds),
            },
            max_keys=["score"],
            importance_keys=[ckpt_recency],
            keep_recent=False,
            num_to_keep=2,
            verbosity=logging.DEBUG,
        )
        log(self.loggers, entry)
        if if_main_process():
            folder = Path(self.hparams.output_folder)
            write_history(folder, state.history)
            self.draw_curve(folder / "learning_curve.png")
            self._report_epoch(entry["train"], valid)

    def _report_epoch(self, train, valid):
        state = self.state
        best = self.measures.with_unit(max(state.scores))
        logger.info(
            f"Epoch {state.current}: training {self.in_words(train)}, validation "
            f"{self.in_words(valid)} (best score {best} in epoch "
            f"{state.best_epoch}); {state.seconds[-1]:.0f} s"
        )
        if state.stops_early and state.current < state.limit:
            logger.info(
                f"Training ends early: {state.patience} epochs without a better "
                f"score than that of epoch {state.best_epoch} (early_stop_patience)"
            )

    def _gather(self, rows):
        """Returns the score rows of all processes, in one order for any number."""
        if self.distributed_launch:
            parts = [None] * self.world_size
            torch.distributed.all_gather_object(parts, rows)
            rows = [row for part in parts for row in part]
        names = self.measures.describing[:2]
        return sorted(rows, key=lambda row: [row[name] for name in names])

    def _mean_over_processes(self, value):
        if not self.distributed_launch:
            return value
        total = torch.tensor(value, device=self.device)
        torch.distributed.all_reduce(total)
        return float(total) / self.world_size

    # What a run comes to

    def test(self, loader, first_weights=False):
        """Tests the best checkpoint; the scores are in ``self.scores``.

        Arguments
        ---------
        loader : DataLoader
        first_weights : bool
            Whether without a checkpoint the weights are to be tested as they are.

        Returns
        -------
        dict
            What the scores come from (``provenance``).

        Raises
        ------
        FileNotFoundError
            If there is no checkpoint to test.
        ValueError
            If the checkpoint is of another run.
        """
        best = self.checkpointer.find_checkpoint(max_key="score")
        meta = {"epoch": 0, "score": None, "items": 0, "seconds": 0.0}
        if best is not None:
            meta = best.meta
            trained = TrainState(self.state.limit, self.state.patience)
            trained.load(best.paramfiles["state"])
            # What cannot change the scores may differ.
            here = {"processes": self.world_size, "precision": self.precision}
            trained.settings |= here
            trained.keep_settings(self.settings() | here)
        elif not first_weights:
            raise FileNotFoundError(
                f"{self.hparams.save_folder}: no checkpoint to test. Train first, with "
                "the same output_folder, or give init_from"
            )
        self.evaluate(loader, max_key="score" if best else None, progressbar=False)
        return self.provenance(meta)

    def trial_result(self):
        """Returns the objective of a search's trial and what is to be kept with it.

        Of the first N_epochs alone: a run that was promoted to a higher fidelity gives
        for a lower one what it gave there.
        """
        entries = self.state.history[: self.hparams.N_epochs]
        if not entries:
            raise ValueError("A trial has no result before its first epoch has ended")
        best = max(entries, key=lambda entry: entry["score"])
        meta = {
            "epoch": best["epoch"],
            "score": best["score"],
            "items": entries[-1]["examples"],
            "seconds": sum(entry["seconds"] for entry in entries),
        }
        more = {"epochs": len(entries), **self.digests}
        return -best["score"], self.provenance(meta) | more

    def provenance(self, checkpoint):
        """Returns what a score or an export comes from.

        Arguments
        ---------
        checkpoint : dict
            The meta of the checkpoint whose weights are meant.
        """
        return {
            "command": shlex.join(["python", *sys.argv]),
            **self.source,
            "seed": self.hparams.seed,
            "epoch": checkpoint["epoch"],
            "validation_score": checkpoint["score"],
            "items": checkpoint["items"],
            "seconds": round(checkpoint["seconds"], 1),
            "processes": self.world_size,
            "device": str(self.device),
            "recipe": recipekit.__version__,
            "torch": str(torch.__version__),
            "speechbrain": sb.__version__,
        }
