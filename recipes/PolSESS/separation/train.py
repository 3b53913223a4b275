#!/usr/bin/env python3
"""Trains and tests a separation model on PolSESS: one script for all models.

    python train.py hparams/dprnn.yaml --seed 123 --data_folder /path/to/PolSESS

Without --data_folder the embedded trial corpus is made and used. Started again with the
same command, a killed run resumes exactly where it was. Every key of the YAML can be
overridden on the command line, `python train.py hparams/dprnn.yaml --help` lists them;
`--test_only True` tests the best checkpoint again.
"""

import json
import logging
import shlex
import sys
import time
from pathlib import Path

import pandas as pd
import speechbrain as sb
import torch
from speechbrain.utils.checkpoints import ckpt_recency
from speechbrain.utils.distributed import (
    ddp_barrier,
    ddp_init_group,
    if_main_process,
)
from speechbrain.utils.logger import get_logger

import recipekit
from exported.export import export_model, load_weights
from extra_models.masking import separate
from mixtures.curriculum import Curriculum
from mixtures.dataset import EpochSampler, collate
from mixtures.preparation import check_hparams, find_corpus, make_datasets
from recipekit.console import progress_bar
from recipekit.files.atomic import replacing
from recipekit.files.locks import hold
from recipekit.reporting.learning_curve import plot_learning_curve
from recipekit.studies import trial
from recipekit.training import LOG_CONFIG
from recipekit.training.allocator import keep_freed_memory
from recipekit.training.brain import CarefulBrain, TrainingStopped
from recipekit.training.command_line import read_command_line
from recipekit.training.environment import write_environment
from recipekit.training.hparams_keys import FREE_KEYS, PLAIN
from recipekit.training.loggers import log, start_loggers
from recipekit.training.train_state import TrainState
from scoring.evaluation import format_table, mean_of_variants, write_results
from scoring.scorer import Scorer, cores_for_scoring
from scoring.si_sdr import improvable_si_sdr, pit_loss, pit_scores

logger = get_logger(__name__)


class Separation(CarefulBrain):
    """Trains by permutation-invariant SI-SDR, validates, and tests per variant.

    Arguments
    ---------
    *args, **kwargs
        Those of Brain.
    write_record : callable
        Called when training starts or resumes, once it is sure to be the same run.
    """

    def __init__(self, *args, write_record=lambda: None, **kwargs):
        super().__init__(*args, **kwargs)
        self.write_record = write_record
        self.curriculum = Curriculum(self.hparams.curriculum)
        self.state = self.hparams.epoch_counter
        self.bar = self.scorer = None

    # Forward pass and objective

    def compute_forward(self, batch, stage):
        """Returns estimates [batch, sources, time] of a batch's mixtures."""
        # Processes may have unequal shares of a validation, which DDP would wait for.
        training = stage == sb.Stage.TRAIN
        modules = self.modules if training else self.hparams.modules
        return separate(modules, batch.mixtures)

    def compute_objectives(self, predictions, batch, stage):
        """Returns the loss in dB; keeps the scores when not training."""
        if stage == sb.Stage.TRAIN:
            return pit_loss(predictions, batch.targets, self.hparams.loss_floor)
        self.rows += [
            {key: row[key] for key in ("id", "variant")} for row in batch.rows
        ]
        if stage == sb.Stage.TEST:
            if not predictions.isfinite().all():
                raise TrainingStopped(
                    "The model's estimates of test rows "
                    f"{', '.join(row['id'] for row in batch.rows)} are not finite: its "
                    "weights are spoilt. Train again with a lower lr or in fp32"
                )
            self.scorer.add(batch.mixtures, predictions, batch.targets)
            return torch.zeros(())
        scores = self._valid_scores(predictions, batch)
        self.scores += scores
        return -torch.tensor([result["si_sdr"] for result in scores]).mean()

    @staticmethod
    def _valid_scores(predictions, batch):
        scores = pit_scores(predictions, batch.targets)
        before = improvable_si_sdr(batch.mixtures.unsqueeze(1), batch.targets)
        finite = predictions.isfinite().flatten(1).all(1)
        return [
            {"si_sdr": after, "si_sdri": after - at_first, "finite": intact}
            for after, at_first, intact in zip(
                scores.mean(1).tolist(),
                before.mean(1).tolist(),
                finite.tolist(),
                strict=True,
            )
        ]

    # Data

    def _train_loader_specifics(self, dataset, loader_kwargs):
        """Gives the training loader its keyed sampler, also under DDP."""
        self.train_sampler = EpochSampler(
            dataset, self.curriculum, self.hparams.seed, self.rank, self.world_size
        )
        return {**loader_kwargs, "sampler": self.train_sampler}

    # Stages

    def on_fit_start(self):
        """Recovers, and makes the logs those of the recovered state."""
        begun = self._check_resumable()
        super().on_fit_start()
        self.state.keep_settings(self.settings())
        if if_main_process() and begun <= self.hparams.N_epochs:
            self.write_record()
        # Of all processes: SpeechBrain's loggers write in one and wait for the others.
        self.loggers = start_loggers(self.hparams, self.state.history)
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
        # A trial of a search may ask again for what it was before its promotion.
        if begun > self.hparams.N_epochs and not trial.is_trial():
            raise ValueError(
                f"N_epochs: {self.hparams.N_epochs}, but the run in this output_folder "
                f"has begun epoch {begun}. Give at least {begun}, or another "
                "output_folder; --test_only True tests what is there"
            )
        return begun

    def settings(self):
        """Returns what must stay the same for a run to be one run, as JSON values."""
        settings = {
            key: value
            for key, value in vars(self.hparams).items()
            if key not in FREE_KEYS and isinstance(value, PLAIN)
        }
        # By default N_epochs, which is free with schedules that have no end.
        settings["lr_horizon"] = self.hparams.lr_scheduler.horizon
        settings["precision"] = self.precision
        settings["grad_accumulation_factor"] = self.grad_accumulation_factor
        settings["processes"] = self.world_size
        return json.loads(json.dumps(settings))

    def on_stage_start(self, stage, epoch=None):
        """Sets the epoch's sampler and a progress bar, or what keeps scores."""
        self.rows, self.scores = [], []
        if stage == sb.Stage.TEST:
            workers = cores_for_scoring(self.hparams.score_workers, self.world_size)
            self.scorer = Scorer(self.hparams.sample_rate, workers)
        if stage != sb.Stage.TRAIN:
            return
        self.began = time.monotonic()
        self.train_sampler.set_epoch(epoch)
        self.lr_scale = self.curriculum.lr_scale(epoch)
        self.steps_per_epoch = -(-len(self.train_sampler) // self.hparams.batch_size)
        if self.step == 0:  # not when an epoch is resumed
            self.state.finite_steps = 0
        variants = " ".join(self.curriculum.variants(epoch))
        self.bar = progress_bar(
            desc=f"epoch {epoch}/{self.hparams.N_epochs} ({variants})",
            initial=self.step,
            total=self.steps_per_epoch,
            disable=not self.shows_bars,
        )

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Gathers scores; after validation schedules, logs and saves."""
        if stage == sb.Stage.TRAIN:
            self.bar.close()
            counted = stage_loss if self.state.finite_steps else float("nan")
            self.train_si_sdr = -self._mean_over_processes(counted)
            return
        if stage == sb.Stage.TEST:
            self.scores = self.scorer.finish()
        pairs = zip(self.rows, self.scores, strict=True)
        self.scores = self._gather([{**row, **scores} for row, scores in pairs])
        if stage == sb.Stage.VALID:
            self._end_epoch(epoch)

    def valid_stats(self):
        """Returns the mean scores of a validation by name, in dB.

        With ``valid_per_variant`` that of the variants' means, of which each counts
        alike. Silent targets and mixtures that are their target have no score.
        """
        rows = pd.DataFrame(self.scores)
        if not self.hparams.valid_per_variant:
            rows["variant"] = "any"
        grouped = rows.groupby("variant")[["si_sdr", "si_sdri"]]
        means = mean_of_variants(
            grouped.sum().to_numpy().T, grouped.count().to_numpy().T
        )
        return dict(zip(("si_sdr", "si_sdri"), means.tolist(), strict=True))

    def _end_epoch(self, epoch):
        if not all(row["finite"] for row in self.scores):
            raise TrainingStopped(
                f"After epoch {epoch} the model's estimates are not finite: its "
                "weights are spoilt. Try a lower lr or grad_clip_norm, or precision "
                "fp32"
            )
        valid = self.valid_stats()
        monitored = self.monitored(valid)
        if monitored != monitored:
            raise ValueError(
                "No validation row has a score: every target is silent or is its own "
                "mixture. Check the corpus with verify_audio: True"
            )
        state, lr = self.state, self._lr()
        if self.curriculum.plateau_acts(epoch):
            self.hparams.lr_scheduler.observe(epoch, -monitored)
        entry = {
            "stats_meta": {
                "epoch": epoch,
                "examples": state.items,
                "lr": lr,
                "skipped": state.skipped,
            },
            "train_stats": {"loss": -self.train_si_sdr, "si_sdr": self.train_si_sdr},
            "valid_stats": {"loss": -valid["si_sdr"], **valid},
        }
        state.end_epoch(entry, monitored, time.monotonic() - self.began)
        self.checkpointer.save_and_keep_only(
            meta={
                "score": monitored,
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
            self._plot()
            logger.info(
                f"Epoch {epoch}: training SI-SDR {self.train_si_sdr:.2f} dB, "
                f"validation SI-SDR {valid['si_sdr']:.2f} dB, SI-SDRi "
                f"{valid['si_sdri']:.2f} dB (best score {max(state.scores):.2f} dB in "
                f"epoch {state.best_epoch}); {state.seconds[-1]:.0f} s"
            )
            if state.stops_early and epoch < state.limit:
                logger.info(
                    f"Training ends early: {state.patience} epochs without a better "
                    f"score than that of epoch {state.best_epoch} (early_stop_patience)"
                )

    def monitored(self, valid_stats):
        """Returns the score by which checkpoints and trials are compared, in dB."""
        name = "si_sdri" if self.hparams.valid_per_variant else "si_sdr"
        return valid_stats[name]

    def _plot(self):
        path = Path(self.hparams.output_folder) / "learning_curve.png"
        title = f"{path.parent.name}: {self.hparams.task}, {self.hparams.corpus}"
        plot_learning_curve(
            self.state.history, self.state.best_epoch, self.curriculum, path, title
        )

    def _gather(self, rows):
        """Returns the score rows of all processes, in one order for any number."""
        if self.distributed_launch:
            parts = [None] * self.world_size
            torch.distributed.all_gather_object(parts, rows)
            rows = [row for part in parts for row in part]
        return sorted(rows, key=lambda row: (row["id"], row["variant"]))

    def _mean_over_processes(self, value):
        if not self.distributed_launch:
            return value
        total = torch.tensor(value, device=self.device)
        torch.distributed.all_reduce(total)
        return float(total) / self.world_size

    @property
    def shows_bars(self):
        """Whether this process shows progress."""
        return if_main_process() and not self.noprogressbar

    def fixed_loader(self, dataset, per_variant, title):
        """Returns a loader of this process' share of a dataset's fixed pairs.

        Arguments
        ---------
        dataset : VariantDataset
        per_variant : bool
            Whether each row comes in every variant, or as its full mix.
        title : str
            Of the loader's progress bar.
        """
        pairs = dataset.pairs(per_variant)[self.rank :: self.world_size]
        loader = ShownLoader(
            dataset,
            batch_size=self.hparams.test_batch_size,
            sampler=pairs,
            collate_fn=collate,
            num_workers=self.hparams.num_workers,
            pin_memory=self.device_type == "cuda",
        )
        loader.title = title if self.shows_bars else None
        return loader


class ShownLoader(torch.utils.data.DataLoader):
    """A DataLoader that shows its progress under its ``title``, if it has one."""

    title = None

    def __iter__(self):
        return iter(
            progress_bar(
                super().__iter__(),
                desc=self.title,
                total=len(self),
                leave=False,
                disable=self.title is None,
            )
        )


def test(brain, dataset):
    """Tests the best checkpoint, or without one the weights of ``init_from``.

    Writes and prints the results, returns their source.
    """
    hparams = brain.hparams
    best = brain.checkpointer.find_checkpoint(max_key="score")
    meta = {"epoch": 0, "score": None, "items": 0, "seconds": 0.0}
    if best is not None:
        meta = best.meta
        trained = TrainState(hparams.N_epochs, hparams.early_stop_patience)
        trained.load(best.paramfiles["state"])
        # What cannot change the scores may differ.
        here = {"processes": brain.world_size, "precision": brain.precision}
        trained.settings |= here
        trained.keep_settings(brain.settings() | here)
    elif not hparams.weights:
        raise FileNotFoundError(
            f"{hparams.save_folder}: no checkpoint to test. Train first, with the same "
            "output_folder, or give init_from"
        )
    loader = brain.fixed_loader(dataset, True, "test")
    brain.evaluate(loader, max_key="score" if best else None, progressbar=False)
    source = provenance(brain, meta)
    if not if_main_process():
        return source
    rows = {row["id"]: row for row in dataset.rows}
    columns = ("indoor", "ssr", "scene_class", "event_class")
    results = [
        result | {name: rows[result["id"]][name] for name in columns}
        for result in brain.scores
    ]
    folder = Path(hparams.output_folder)
    report = write_results(results, folder, hparams.seed, source)
    print(format_table(report))
    logger.info(f"Per-file scores: {folder / 'test_results.csv'}")
    return source


def trial_result(brain):
    """Returns the objective of a search's trial and what is to be kept with it.

    Of the first N_epochs alone: a run that was promoted to a higher fidelity gives for
    a lower one what it gave there.
    """
    entries = brain.state.history[: brain.hparams.N_epochs]
    scores = brain.state.scores[: len(entries)]
    meta = {
        "epoch": 1 + scores.index(max(scores)),
        "score": max(scores),
        "items": entries[-1]["stats_meta"]["examples"],
        "seconds": sum(brain.state.seconds[: len(entries)]),
    }
    more = {"epochs": len(entries), "rows": brain.hparams.rows}
    return -meta["score"], provenance(brain, meta) | more


def provenance(brain, checkpoint):
    """Returns what a score or an export comes from.

    Arguments
    ---------
    brain : Separation
    checkpoint : dict
        The meta of the checkpoint whose weights are meant.
    """
    return {
        "command": shlex.join(["python", *sys.argv]),
        "corpus": brain.hparams.corpus,
        "task": brain.hparams.task,
        "seed": brain.hparams.seed,
        "epoch": checkpoint["epoch"],
        "validation_score": checkpoint["score"],
        "items": checkpoint["items"],
        "seconds": round(checkpoint["seconds"], 1),
        "processes": brain.world_size,
        "device": str(brain.device),
        "recipe": recipekit.__version__,
        "torch": str(torch.__version__),
        "speechbrain": sb.__version__,
    }


def main(arguments):
    """Prepares, trains, tests and exports."""
    line = read_command_line(arguments, __doc__)
    check_hparams(line.values, line.run_opts.device)
    if not torch.cuda.is_available():
        keep_freed_memory()
    ddp_init_group(line.run_opts)
    hparams = line.load()
    hparams["weights"] = None
    if hparams["init_from"]:
        hparams["weights"] = load_weights(
            hparams["init_from"], hparams["modules"], hparams
        )
    if not if_main_process():
        run(line, hparams)
        return
    # A trial whose worker was thought dead is run by two, one after the other.
    with hold(hparams["output_folder"], wait=trial.is_trial()):
        run(line, hparams)


def run(line, hparams):
    """Does the work of main, in an output folder that is this run's alone."""
    output_folder = Path(hparams["output_folder"])
    sb.create_experiment_directory(
        str(output_folder),
        log_config=str(LOG_CONFIG),
        save_env_desc=False,
    )
    if if_main_process():
        write_environment(output_folder / "env.log")
    data_folder, hparams["corpus"] = find_corpus(hparams)
    datasets, hparams["rows"] = make_datasets(hparams, data_folder)
    brain = Separation(
        modules=hparams["modules"],
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts=line.run_opts,
        checkpointer=hparams["checkpointer"],
        write_record=lambda: write_record(line, output_folder),
    )
    brain.fit(
        hparams["epoch_counter"],
        datasets["train"],
        brain.fixed_loader(datasets["val"], hparams["valid_per_variant"], "validation"),
        progressbar=False,  # the Brain's own shows SI-SDR
        train_loader_kwargs={
            "batch_size": hparams["batch_size"],
            "num_workers": hparams["num_workers"],
            "collate_fn": collate,
            "pin_memory": brain.device_type == "cuda",
        },
    )
    if trial.is_trial():  # a search must not see the test set
        return trial.report(*trial_result(brain))
    source = test(brain, datasets["test"])
    if if_main_process() and source["epoch"]:
        folder = export_model(
            output_folder / "hyperparams.yaml",
            hparams["modules"],
            output_folder / "export",
            source,
        )
        logger.info(f"Exported the best model to {folder}")
    ddp_barrier()


def write_record(line, folder):
    """Writes the hparams file with its references resolved into the output folder."""
    with replacing(folder / "hyperparams.yaml") as path:
        path.write_text(f"# yamllint disable\n{line.resolved()}", encoding="utf-8")


if __name__ == "__main__":
    with trial.reported_failures():
        main(sys.argv[1:])
