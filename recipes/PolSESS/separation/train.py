#!/usr/bin/env python3
"""Trains and tests a separation model on PolSESS: one script for all models.

    python train.py hparams/dprnn.yaml --seed 123 --data_folder /path/to/PolSESS

Without --data_folder the embedded trial corpus is made and used. Started again with the
same command, a killed run resumes exactly where it was. Every key of the YAML can be
overridden on the command line, `python train.py hparams/dprnn.yaml --help` lists them;
`--test_only True` tests the best checkpoint again.
"""

import functools
import sys
from pathlib import Path

import pandas as pd
import speechbrain as sb
import torch
from speechbrain.utils.distributed import ddp_barrier, if_main_process
from speechbrain.utils.logger import get_logger

from exported.export import export_model, load_weights
from extra_models.masking import separate
from mixtures.curriculum import Curriculum
from mixtures.dataset import EpochSampler, collate
from mixtures.preparation import check_hparams, find_corpus, make_datasets
from recipe import MEASURES, RECIPE
from recipekit.experiment import LOG_CONFIG, begin, held_folder, write_record
from recipekit.reporting.learning_curve import plot_learning_curve
from recipekit.scoring.statistics import mean_of_conditions
from recipekit.scoring.summary import format_table, write_results
from recipekit.studies import trial
from recipekit.training.brain import RecipeBrain
from recipekit.training.command_line import read_command_line
from recipekit.training.steps import TrainingStopped
from scoring.scorer import Scorer, cores_for_scoring
from scoring.si_sdr import improvable_si_sdr, pit_loss, pit_scores

logger = get_logger(__name__)
ROW_COLUMNS = MEASURES.columns[2:]  # of a test row, beside id and variant


class Separation(RecipeBrain):
    """Trains by permutation-invariant SI-SDR, validates, and tests per variant."""

    without_scores = (
        "Every target is silent or is its own mixture; check the corpus with "
        "verify_audio: True"
    )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, recipe=RECIPE, **kwargs)
        self.curriculum = Curriculum(self.hparams.curriculum)

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
        rows = [{key: row[key] for key in ("id", "variant")} for row in batch.rows]
        if stage == sb.Stage.TEST:
            if not predictions.isfinite().all():
                raise TrainingStopped(
                    "The model's estimates of test rows "
                    f"{', '.join(row['id'] for row in batch.rows)} are not finite: its "
                    "weights are spoilt. Train again with a lower lr or in fp32"
                )
            self.tested += rows
            self.scorer.add(batch.mixtures, predictions, batch.targets)
            return torch.zeros(())
        scores = self._valid_scores(predictions, batch)
        self.scores += [row | found for row, found in zip(rows, scores, strict=True)]
        return -torch.tensor([result["si_sdr"] for result in scores]).mean()

    @staticmethod
    def _valid_scores(predictions, batch):
        after = pit_scores(predictions, batch.targets).mean(1)
        before = improvable_si_sdr(batch.mixtures.unsqueeze(1), batch.targets).mean(1)
        finite = predictions.isfinite().flatten(1).all(1)
        return [
            {"si_sdr": score, "si_sdri": score - unprocessed, "finite": intact}
            for score, unprocessed, intact in zip(
                after.tolist(), before.tolist(), finite.tolist(), strict=True
            )
        ]

    # Stages

    def on_stage_start(self, stage, epoch=None):
        """Starts the processes that score a test."""
        super().on_stage_start(stage, epoch)
        if stage == sb.Stage.TEST:
            workers = cores_for_scoring(self.hparams.score_workers, self.world_size)
            self.tested, self.scorer = [], Scorer(self.hparams.sample_rate, workers)

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Takes the scores of a test from the processes that score it."""
        if stage == sb.Stage.TEST:
            scores = zip(self.tested, self.scorer.finish(), strict=True)
            self.scores = [row | found for row, found in scores]
        super().on_stage_end(stage, stage_loss, epoch)

    def valid_stats(self):
        """Returns the mean scores of a validation by name, in dB.

        With ``valid_per_variant`` that of the variants' means, of which each counts
        alike. Silent targets and mixtures that are their target have no score.
        """
        rows = pd.DataFrame(self.scores)
        if not self.hparams.valid_per_variant:
            rows["variant"] = "any"
        grouped = rows.groupby("variant")[["si_sdr", "si_sdri"]]
        means = mean_of_conditions(
            grouped.sum().to_numpy().T, grouped.count().to_numpy().T
        )
        return dict(zip(("si_sdr", "si_sdri"), means.tolist(), strict=True))

    def monitored(self, valid_stats):
        """Returns the score by which checkpoints and trials are compared, in dB."""
        return valid_stats["si_sdri" if self.hparams.valid_per_variant else "si_sdr"]

    def valid_loss(self, valid_stats):
        """Returns minus the mean SI-SDR."""
        return -valid_stats["si_sdr"]

    def train_stats(self, loss):
        """Returns the loss and the SI-SDR that it stands for, in dB."""
        return {"loss": loss, "si_sdr": -loss}

    # What the curriculum says of an epoch

    def describe_epoch(self, epoch):
        """Returns the variants of an epoch."""
        return " ".join(self.curriculum.variants(epoch))

    def lr_scale(self, epoch):
        """Returns what the scheduler's rate is multiplied by in an epoch."""
        return self.curriculum.lr_scale(epoch)

    def scheduler_acts(self, epoch):
        """Returns whether the scheduler may look at an epoch's score."""
        return self.curriculum.plateau_acts(epoch)

    def draw_curve(self, path):
        """Draws SI-SDR and learning rate, with the stages of the curriculum."""
        title = f"{path.parent.name}: {self.hparams.task}, {self.source['corpus']}"
        marks = RECIPE.epoch_marks(vars(self.hparams))
        history, best = self.state.history, self.state.best_epoch
        plot_learning_curve(history, best, marks, path, title, MEASURES)


def dataio_prep(hparams):
    """Finds or makes the corpus; returns its name, datasets by subset and a digest."""
    data_folder, corpus = find_corpus(hparams)
    return corpus, *make_datasets(hparams, data_folder)


def fit(brain, datasets):
    """Trains on the curriculum's variants, validates on full mixes or per variant."""
    hparams = brain.hparams
    sampler = EpochSampler(
        datasets["train"],
        *(brain.curriculum, hparams.seed, brain.rank, brain.world_size),
    )
    pairs = datasets["val"].pairs(hparams.valid_per_variant)
    brain.fit_run(
        brain.train_loader(datasets["train"], sampler, collate),
        brain.fixed_loader(datasets["val"], pairs, collate, "validation"),
    )


def test(brain, dataset):
    """Tests in every variant, writes and prints the results; returns their source."""
    hparams = brain.hparams
    loader = brain.fixed_loader(dataset, dataset.pairs(True), collate, "test")
    source = brain.test(loader, first_weights="weights_digest" in brain.digests)
    if if_main_process():
        rows = {row["id"]: row for row in dataset.rows}
        results = [
            result | {name: rows[result["id"]][name] for name in ROW_COLUMNS}
            for result in brain.scores
        ]
        folder = Path(hparams.output_folder)
        report = write_results(results, folder, MEASURES, source)
        print(format_table(report, MEASURES))
        logger.info(f"Per-file scores: {folder / 'test_results.csv'}")
    return source


def main(arguments):
    """Trains, then tests and exports, or reports to the search whose trial this is."""
    line = read_command_line(arguments, __doc__, RECIPE)
    check_hparams(line.values, line.run_opts.device)
    hparams = begin(line)
    digests = {}
    if hparams["init_from"]:
        digests["weights_digest"] = load_weights(
            hparams["init_from"], hparams["modules"], hparams
        )
    folder = Path(hparams["output_folder"])
    with held_folder(folder):
        sb.create_experiment_directory(
            str(folder), log_config=LOG_CONFIG, save_env_desc=False
        )
        corpus, datasets, digests["rows_digest"] = dataio_prep(hparams)
        brain = Separation(
            modules=hparams["modules"],
            opt_class=hparams["opt_class"],
            hparams=hparams,
            run_opts=line.run_opts,
            checkpointer=hparams["checkpointer"],
            digests=digests,
            source={"corpus": corpus, "task": hparams["task"]},
            write_record=functools.partial(write_record, line),
            shorter=trial.is_trial(),
        )
        fit(brain, datasets)
        if trial.is_trial():  # a search must not see the test set
            return trial.report(*brain.trial_result())
        source = test(brain, datasets["test"])
        if if_main_process() and source["epoch"]:
            record, modules = folder / "hyperparams.yaml", hparams["modules"]
            exported = export_model(record, modules, folder / "export", source)
            logger.info(f"Exported the best model to {exported}")
        ddp_barrier()


if __name__ == "__main__":
    with trial.reported_failures():
        main(sys.argv[1:])
