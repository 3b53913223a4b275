"""Trains, tests or searches the toy recipe with the library alone."""

import functools
import os
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import speechbrain as sb
import torch

from recipe import NOISES, RECIPE
from recipekit.experiment import LOG_CONFIG, begin, held_folder, write_record
from recipekit.files import keyed
from recipekit.scoring.summary import format_table, write_results
from recipekit.studies import trial
from recipekit.training.brain import RecipeBrain
from recipekit.training.command_line import read_command_line
from recipekit.training.sampler import KeyedSampler

LENGTH, TONES = 64, 3


@dataclass
class Batch:
    signals: torch.Tensor  # [batch, time]
    tones: torch.Tensor  # [batch]
    rows: list

    def to(self, device):
        return replace(
            self, signals=self.signals.to(device), tones=self.tones.to(device)
        )


class Corpus(torch.utils.data.Dataset):
    """Tones in noise, drawn by their names."""

    def __init__(self, subset, count):
        self.rows = [
            {
                "id": f"{subset}-{number}",
                "noise": keyed.choice(NOISES, subset, number, "noise"),
                "tone": number % TONES,
            }
            for number in range(count)
        ]

    def __getitem__(self, index):
        row = self.rows[index]
        loudness = {"quiet": 0.5, "loud": 2.0}[row["noise"]]
        noise = keyed.generator(row["id"]).standard_normal(LENGTH)
        tone = np.sin(2 * np.pi * (row["tone"] + 2) * np.arange(LENGTH) / LENGTH)
        return row, (tone + loudness * noise).astype(np.float32)

    def __len__(self):
        return len(self.rows)


def collate(items):
    rows, signals = zip(*items, strict=True)
    tones = torch.tensor([row["tone"] for row in rows])
    return Batch(torch.from_numpy(np.stack(signals)), tones, list(rows))


class Tones(RecipeBrain):
    """Classifies tones by cross-entropy."""

    def compute_forward(self, batch, stage):
        return self.modules.classifier(batch.signals).log_softmax(-1)

    def compute_objectives(self, predictions, batch, stage):
        likelihoods = predictions.gather(1, batch.tones[:, None])[:, 0]
        if stage != sb.Stage.TRAIN:
            right = (predictions.argmax(1) == batch.tones).float()
            for row, score, hit in zip(
                batch.rows, likelihoods.tolist(), right.tolist(), strict=True
            ):
                found = {"likelihood": score, "accuracy": hit, "finite": True}
                self.scores.append(row | found)
        elif os.environ.get("TOY_KILLED") == f"{self.state.current}.{self.step}":
            os.kill(os.getpid(), signal.SIGKILL)
        return -likelihoods.mean()

    def valid_stats(self):
        means = pd.DataFrame(self.scores)[["likelihood", "accuracy"]].mean()
        return means.to_dict()

    def monitored(self, valid_stats):
        return valid_stats["likelihood"]

    def valid_loss(self, valid_stats):
        return -valid_stats["likelihood"]


def main(arguments):
    line = read_command_line(arguments, "Trains the toy recipe.", RECIPE)
    hparams = begin(line)
    folder = Path(hparams["output_folder"])
    with held_folder(folder):
        sb.create_experiment_directory(
            str(folder), log_config=LOG_CONFIG, save_env_desc=False
        )
        train, valid, test = (
            Corpus(subset, count)
            for subset, count in (("train", 24), ("val", 12), ("test", 12))
        )
        brain = Tones(
            hparams["modules"],
            hparams["opt_class"],
            hparams,
            line.run_opts,
            hparams["checkpointer"],
            recipe=RECIPE,
            digests={"rows_digest": keyed.digest(train.rows)},
            source={"corpus": "tones"},
            write_record=functools.partial(write_record, line),
            shorter=trial.is_trial(),
        )
        names = [(row["id"], index) for index, row in enumerate(train.rows)]
        sampler = KeyedSampler(lambda epoch: names, hparams["seed"])
        brain.fit_run(
            brain.train_loader(train, sampler, collate),
            brain.fixed_loader(valid, list(range(len(valid))), collate, "validation"),
        )
        if trial.is_trial():
            return trial.report(*brain.trial_result())
        everything = list(range(len(test)))
        source = brain.test(brain.fixed_loader(test, everything, collate, "test"))
        rows = [{k: v for k, v in row.items() if k != "finite"} for row in brain.scores]
        report = write_results(rows, folder, RECIPE.measures, source)
        print(format_table(report, RECIPE.measures))


if __name__ == "__main__":
    with trial.reported_failures():
        main(sys.argv[1:])
