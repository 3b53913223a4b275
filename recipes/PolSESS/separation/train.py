#!/usr/bin/env python3
"""Trains and tests a separation model on PolSESS: one script for all models.

    python train.py hparams/dprnn.yaml --seed 123 --data_folder /path/to/PolSESS

Without --data_folder the embedded trial corpus is made and used. Started again with the
same command, a run goes on exactly where it was killed. Every key of the YAML can be
overridden on the command line; `--test_only True` tests the best checkpoint again.
"""

import dataclasses
import json
import shlex
import sys
import time
from pathlib import Path

import speechbrain as sb
import torch
from hyperpyyaml import load_hyperpyyaml, resolve_references
from speechbrain.utils.checkpoints import ckpt_recency
from speechbrain.utils.distributed import (
    ddp_barrier,
    ddp_init_group,
    if_main_process,
)
from speechbrain.utils.logger import get_logger
from tqdm import tqdm

import search
from command_line import Options, as_flags
from corpus.atomic import replacing
from corpus.locks import hold
from curriculum import Curriculum
from curve import plot_learning_curve
from dataset import EpochSampler, collate
from evaluation import format_table, score, write_results
from export import export_model
from keys import FREE_KEYS, PLAIN
from loggers import log, start_loggers
from masking import separate
from memory import keep_freed_memory
from metrics import improvable_si_sdr, permute_to_best, pit_loss
from preparation import find_corpus, make_datasets
from state import TrainState
from steps import CarefulBrain, TrainingStopped

logger = get_logger(__name__)
VERSION = Path(__file__).resolve().parents[1] / "VERSION"


class Separation(CarefulBrain):
    """Trains by permutation-invariant SI-SDR, validates, and tests per variant.

    Arguments
    ---------
    *args, **kwargs
        Those of Brain.
    write_record : callable
        Called when training starts or goes on, once it is sure to be the same run.
    """

    def __init__(self, *args, write_record=lambda: None, **kwargs):
        super().__init__(*args, **kwargs)
        self.write_record = write_record
        self.curriculum = Curriculum(self.hparams.curriculum)
        self.state = TrainState()
        self.checkpointer.add_recoverable("state", self.state)
        self.bar = None

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
            return pit_loss(predictions, batch.targets)
        if stage == sb.Stage.VALID:
            scores = self._valid_scores(predictions, batch)
        else:
            scores = score(
                batch.mixtures, predictions, batch.targets, self.hparams.sample_rate
            )
        self.scores += [
            {"id": row["id"], "variant": row["variant"], **result}
            for row, result in zip(batch.rows, scores, strict=True)
        ]
        return -torch.tensor([result["si_sdr"] for result in scores]).mean()

    @staticmethod
    def _valid_scores(predictions, batch):
        _, scores = permute_to_best(predictions, batch.targets)
        before = improvable_si_sdr(batch.mixtures.unsqueeze(1), batch.targets)
        return [
            {"si_sdr": after, "si_sdri": after - at_first}
            for after, at_first in zip(
                scores.mean(1).tolist(), before.mean(1).tolist(), strict=True
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
        super().on_fit_start()
        self.state.keep_settings(self.settings())
        if if_main_process():
            self.write_record()
        # Of all processes: SpeechBrain's loggers write in one and wait for the others.
        self.loggers = start_loggers(self.hparams, self.state.history)
        finished = len(self.state.history)
        if finished >= self.hparams.N_epochs or self.hparams.epoch_counter.should_stop:
            logger.info(f"Training had already ended, after epoch {finished}")
        elif self.state.items:
            logger.info(f"Going on after epoch {finished}, step {self.step}")

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
        """Sets the epoch's sampler and a progress bar."""
        self.scores = []
        if stage != sb.Stage.TRAIN:
            return
        self.began = time.monotonic()
        self.train_sampler.set_epoch(epoch)
        self.lr_scale = self.curriculum.lr_scale(epoch)
        self.steps_per_epoch = -(-len(self.train_sampler) // self.hparams.batch_size)
        if self.step == 0:  # not when an epoch is gone on with
            self.state.finite_steps = 0
        variants = " ".join(self.curriculum.variants(epoch))
        self.bar = tqdm(
            desc=f"epoch {epoch}/{self.hparams.N_epochs} ({variants})",
            initial=self.step,
            total=self.steps_per_epoch,
            dynamic_ncols=True,
            disable=self.noprogressbar or not if_main_process(),
        )

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Gathers scores; after validation schedules, logs and saves."""
        if stage == sb.Stage.TRAIN:
            self.bar.close()
            counted = stage_loss if self.state.finite_steps else float("nan")
            self.train_si_sdr = -self._mean_over_processes(counted)
            return
        self.scores = self._gather(self.scores)
        if stage == sb.Stage.VALID:
            self._end_epoch(epoch)

    def _end_epoch(self, epoch):
        valid = {}
        for name in ("si_sdr", "si_sdri"):
            scores = torch.tensor([row[name] for row in self.scores])
            valid[name] = float(scores[~scores.isnan()].double().mean())
        spoilt = any(row["si_sdr"] != row["si_sdr"] for row in self.scores)
        monitored = self.monitored(valid)
        if spoilt or monitored != monitored:
            raise TrainingStopped(
                f"The validation score of epoch {epoch} is not a number: the weights "
                "are spoilt. Try a lower lr or grad_clip_norm, or precision fp32"
            )
        state, lr, counter = self.state, self._lr(), self.hparams.epoch_counter
        counter.update_metric(monitored)
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
        state.history.append(entry)
        state.seconds.append(time.monotonic() - self.began)
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
        )
        log(self.loggers, entry)
        if if_main_process():
            self._plot()
            logger.info(
                f"Epoch {epoch}: training SI-SDR {self.train_si_sdr:.2f} dB, "
                f"validation SI-SDR {valid['si_sdr']:.2f} dB, SI-SDRi "
                f"{valid['si_sdri']:.2f} dB (best score {counter.best_score:.2f} dB in "
                f"epoch {counter.best_limit}); {time.monotonic() - self.began:.0f} s"
            )

    def monitored(self, valid_stats):
        """Returns the score by which checkpoints and trials are compared, in dB."""
        name = "si_sdri" if self.hparams.valid_per_variant else "si_sdr"
        return valid_stats[name]

    def _plot(self):
        path = Path(self.hparams.output_folder) / "learning_curve.png"
        title = f"{path.parent.name}: {self.hparams.task}, {self.hparams.corpus}"
        best_epoch = self.hparams.epoch_counter.best_limit
        plot_learning_curve(
            self.state.history, best_epoch, self.curriculum, path, title
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

    def _fit_valid(self, valid_set, epoch, enable):
        super()._fit_valid(valid_set, epoch, not self.bar.disable)

    def fixed_loader(self, dataset, per_variant, batch_size):
        """Returns a loader of this process' share of a dataset's fixed pairs."""
        pairs = dataset.pairs(per_variant)[self.rank :: self.world_size]
        return torch.utils.data.DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=pairs,
            collate_fn=collate,
            num_workers=self.hparams.num_workers,
            pin_memory=self.device_type == "cuda",
        )


def test(brain, dataset):
    """Tests the best checkpoint; writes and prints results, returns their source."""
    hparams = brain.hparams
    best = brain.checkpointer.find_checkpoint(max_key="score")
    if best is None:
        raise FileNotFoundError(
            f"{hparams.save_folder}: no checkpoint to test. Train first, with the same "
            "output_folder"
        )
    trained = TrainState()
    trained.load(best.paramfiles["state"], end_of_epoch=True)
    settings = brain.settings()
    trained.keep_settings({key: settings[key] for key in ("task", "rows")})
    loader = brain.fixed_loader(dataset, True, hparams.test_batch_size)
    brain.evaluate(loader, max_key="score", progressbar=not brain.noprogressbar)
    source = provenance(brain, best.meta)
    if not if_main_process():
        return source
    rows = {row["id"]: row for row in dataset.rows}
    columns = ("indoor", "ssr", "scene_class", "event_class")
    results = [
        result | {name: rows[result["id"]][name] for name in columns}
        for result in brain.scores
    ]
    folder = Path(hparams.output_folder)
    print(format_table(write_results(results, folder, hparams.seed, source)))
    logger.info(f"Per-file scores: {folder / 'test_results.csv'}")
    return source


def trial_result(brain):
    """Returns the objective of a search's trial and what is to be kept with it.

    Of the first N_epochs alone: a run that was gone on with to a higher fidelity gives
    for a lower one what it gave there.
    """
    entries = brain.state.history[: brain.hparams.N_epochs]
    best = max(entries, key=lambda entry: brain.monitored(entry["valid_stats"]))
    meta = {
        "epoch": best["stats_meta"]["epoch"],
        "score": brain.monitored(best["valid_stats"]),
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
        "recipe": VERSION.read_text(encoding="utf-8").strip(),
        "torch": str(torch.__version__),
        "speechbrain": sb.__version__,
    }


def main(arguments):
    """Prepares, trains, tests and exports."""
    hparams_file, run_opts, overrides = Options.from_command_line_args(
        as_flags(arguments)
    )
    if not torch.cuda.is_available():
        keep_freed_memory()
        run_opts = dataclasses.replace(
            run_opts,
            distributed_backend="gloo",
            overridden_args=run_opts.overridden_args | {"distributed_backend"},
        )
    ddp_init_group(run_opts)
    with open(hparams_file, encoding="utf-8") as file:
        try:
            hparams = load_hyperpyyaml(file, overrides)
        except KeyError as error:  # an override of no key
            raise ValueError(f"{hparams_file}: {error.args[0]}") from error
    # SpeechBrain takes its own options out of the overrides; the record needs them.
    ours = (run_opts.overridden_args & hparams.keys()) - {"test_only"}
    overrides += "".join(f"\n{key}: {run_opts[key]}" for key in sorted(ours))
    if not if_main_process():
        run(hparams_file, hparams, run_opts, overrides)
        return
    # A trial whose worker was thought dead is run by two, one after the other.
    with hold(hparams["output_folder"], wait=search.is_trial()):
        run(hparams_file, hparams, run_opts, overrides)


def write_record(hparams_file, overrides, folder):
    """Writes the hparams file with its references resolved into the output folder."""
    with (
        open(hparams_file, encoding="utf-8") as file,
        replacing(folder / "hyperparams.yaml") as path,
    ):
        resolved = resolve_references(file, overrides).read()
        path.write_text(f"# yamllint disable\n{resolved}", encoding="utf-8")


def run(hparams_file, hparams, run_opts, overrides):
    """Does the work of main, in an output folder that is this run's alone."""
    output_folder = Path(hparams["output_folder"])
    sb.create_experiment_directory(str(output_folder))
    data_folder, hparams["corpus"] = find_corpus(hparams)
    datasets, hparams["rows"] = make_datasets(hparams, data_folder)
    brain = Separation(
        modules=hparams["modules"],
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=hparams["checkpointer"],
        write_record=lambda: write_record(hparams_file, overrides, output_folder),
    )
    brain.fit(
        hparams["epoch_counter"],
        datasets["train"],
        brain.fixed_loader(
            datasets["val"], hparams["valid_per_variant"], hparams["test_batch_size"]
        ),
        progressbar=False,  # the Brain's own shows SI-SDR
        train_loader_kwargs={
            "batch_size": hparams["batch_size"],
            "num_workers": hparams["num_workers"],
            "collate_fn": collate,
            "pin_memory": brain.device_type == "cuda",
        },
    )
    if search.is_trial():  # a search must not see the test set
        return search.report(*trial_result(brain))
    source = test(brain, datasets["test"])
    if if_main_process():
        folder = export_model(
            output_folder / "hyperparams.yaml",
            hparams["modules"],
            output_folder / "export",
            source,
        )
        logger.info(f"Exported the best model to {folder}")
    ddp_barrier()


if __name__ == "__main__":
    with search.reported_failures():
        main(sys.argv[1:])
