"""From manifest rows to batches: mixtures of a variant, and their targets."""

import functools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
import torch
from speechbrain.dataio.dataio import load_data_csv

from corpus.layout import MIX, STORED
from mixtures.variants import FULL_MIX, find_task, fitting, removed_layers
from recipekit.files import keyed
from recipekit.files.csvs import check_columns
from recipekit.training.sampler import KeyedSampler

STEP = np.float32(2**-15)  # of 16-bit samples; a power of two, so scaling is exact
SAMPLED = 32  # rows whose audio is part of a fingerprint


def read_manifest(path, data_folder, items=None):
    """Reads a manifest of polsess_prepare.

    Arguments
    ---------
    path : str or Path
        train.csv, val.csv or test.csv.
    data_folder : str or Path
        Where the corpus is; stands for ``$data_root``.
    items : int, optional
        Use the first ``items`` rows only.

    Returns
    -------
    list of dict
        Rows with the manifest's columns, ``id``, and ``indoor`` as a bool.

    Raises
    ------
    ValueError
        If the manifest is of an older version, or has fewer rows than ``items``.
    """
    table = load_data_csv(str(path), {"data_root": str(data_folder)})
    columns = [*next(iter(table.values()), ())]
    remedy = "The manifest is of an older version. Prepare the corpus again"
    check_columns(path, columns, ["scene_recording"], remedy)
    rows = [
        {"id": row_id, **row, "indoor": row["indoor"] == "True"}
        for row_id, row in table.items()
    ]
    if items is not None and not 0 < items <= len(rows):
        raise ValueError(
            f"train_items: {items}, but {path} has {len(rows)} rows. Take 1 to "
            f"{len(rows)}, or null for all"
        )
    return rows[:items]


@dataclass
class Batch:
    """Mixtures and targets of one batch.

    Arguments
    ---------
    mixtures : torch.Tensor
        [batch, time]
    targets : torch.Tensor
        [batch, sources, time]
    rows : list of dict
        The manifest rows, each with the ``variant`` it is in.
    """

    mixtures: torch.Tensor
    targets: torch.Tensor
    rows: list

    def to(self, device):
        """Returns the batch with its tensors on a device."""
        return replace(
            self,
            mixtures=self.mixtures.to(device, non_blocking=True),
            targets=self.targets.to(device, non_blocking=True),
        )

    def pin_memory(self):
        """Returns the batch with its tensors in page-locked memory."""
        return replace(
            self,
            mixtures=self.mixtures.pin_memory(),
            targets=self.targets.pin_memory(),
        )


class MixtureDataset(torch.utils.data.Dataset):
    """Recordings, each in any variant that fits it.

    Items are looked up by (index of the recording, variant), so that an item does not
    depend on the epoch, the worker or anything else. Subclasses say which recordings
    there are: ``epoch`` returns an epoch's pairs of index and row, ``open`` a
    recording's row and a function that returns a layer of it by name, in steps of 16
    bits: int16, or float32. Their ``fingerprint`` tells these data apart from others.

    Arguments
    ---------
    task : str
        SB, EB or ES.
    """

    def __init__(self, task):
        self.task, self.targets = task, find_task(task).sources

    def __getitem__(self, key):
        """Returns a mixture [time], its sources [sources, time] and its row."""
        batch = self.__getitems__([key])
        return batch.mixtures[0].numpy(), batch.targets[0].numpy(), batch.rows[0]

    def __getitems__(self, keys):
        """Returns the Batch of a list of keys; DataLoaders ask for it."""
        opened = [self.open(index) for index, _ in keys]
        variants = [variant for _, variant in keys]
        rows = [
            row | {"variant": variant}
            for (row, _), variant in zip(opened, variants, strict=True)
        ]
        mixes = [layer(MIX.name) for _, layer in opened]
        frames = len(mixes[0])
        if any(len(mix) != frames for mix in mixes):
            lengths = {
                row[MIX.name]: len(m) for row, m in zip(rows, mixes, strict=True)
            }
            raise ValueError(
                "Recordings of one corpus have one length; these have "
                f"{lengths} samples. Check the corpus with verify_audio: True"
            )
        mixtures = np.empty((len(keys), frames), np.float32)
        sources = np.empty((len(keys), len(self.targets), frames), np.float32)
        layers = [layer for _, layer in opened]
        for arrays in zip(rows, layers, mixes, mixtures, sources, strict=True):
            self._render(*arrays)
        return Batch(torch.from_numpy(mixtures), torch.from_numpy(sources), rows)

    def _render(self, row, read, mix, mixture, sources):
        """Writes a mixture and its sources; reads only the layers that these need."""

        def layer(name):
            samples = read(name)
            if samples.shape != mix.shape:
                raise ValueError(
                    f"{row[name]}: {len(samples)} samples, but its mix {row[MIX.name]} "
                    f"has {len(mix)}. Check the corpus with verify_audio: True"
                )
            return samples

        mixture[:] = mix
        for name in removed_layers(row["variant"], self.task, row["indoor"]):
            mixture -= layer(name)
        for source, (first, *others) in zip(sources, self.targets, strict=True):
            source[:] = layer(first.name)
            for other in others:
                source += layer(other.name)
        mixture *= STEP
        sources *= STEP


class VariantDataset(MixtureDataset):
    """Rows of a manifest, the same in every epoch.

    Arguments
    ---------
    rows : list of dict
        From read_manifest.
    task : str
        SB, EB or ES.
    pack : Pack, optional
        Where to read the same rows from instead of their wavs.
    """

    def __init__(self, rows, task, pack=None):
        super().__init__(task)
        self.rows, self.pack = rows, pack

    def __len__(self):
        return len(self.rows)

    def epoch(self, epoch):
        """Returns all rows, with their indices."""
        del epoch
        return enumerate(self.rows)

    def fingerprint(self):
        """Returns what tells its rows apart from those of another or a changed corpus.

        All their names, and the audio of SAMPLED of them: enough to notice a corpus
        that was made again, in its place or in another, at the cost of reading a few
        files.
        """
        names = [row["id"] for row in self.rows]
        sampled = set(keyed.shuffled(names, "fingerprint")[:SAMPLED])
        audio = [
            keyed.digest(Path(row[layer.name]).read_bytes())
            for row in self.rows
            if row["id"] in sampled
            for layer in STORED
            if row[layer.name]
        ]
        return [names, audio]

    def open(self, index):
        """Returns a row, and what reads its layers by name."""
        row = self.rows[index]
        if self.pack:
            return row, functools.partial(self.pack.read, index)
        return row, functools.partial(_read_wav, row)

    def pairs(self, per_variant):
        """Returns the fixed (index, variant) pairs of a validation or test.

        Arguments
        ---------
        per_variant : bool
            True: each row in every variant that fits it. False: in its full mix.
        """
        return [
            (index, variant)
            for index, row in enumerate(self.rows)
            for variant in fitting(row["indoor"])
            if per_variant or variant in FULL_MIX
        ]


def _read_wav(row, name):
    try:
        with soundfile.SoundFile(row[name]) as file:
            found, rate = (file.samplerate, file.channels), int(row["sample_rate"])
            if found != (rate, 1):
                raise ValueError(
                    "found {} Hz and {} channel(s), ".format(*found)
                    + f"expected {rate} Hz and 1"
                )
            if file.subtype == "PCM_16":  # quicker than to have it converted
                return file.read(dtype="int16")
            return file.read(dtype="float32") / STEP
    except (RuntimeError, OSError, ValueError) as error:
        raise RuntimeError(
            f"{row[name]} (row {row['id']}, layer {name}) cannot be read: {error}. "
            "Check the corpus with verify_audio: True"
        ) from error


def collate(batch):
    """Returns the Batch that the dataset made: a DataLoader must not collate it."""
    return batch


class EpochSampler(KeyedSampler):
    """Draws an epoch's rows, their order and their variants from (seed, epoch, id).

    Arguments
    ---------
    dataset : MixtureDataset
    curriculum : Curriculum
    seed : int
    rank, world_size : int
        This process and the number of processes, see KeyedSampler.
    """

    def __init__(self, dataset, curriculum, seed, rank=0, world_size=1):
        self.dataset, self.curriculum, self.seed = dataset, curriculum, seed
        super().__init__(self.pairs, seed, rank, world_size)

    def pairs(self, epoch):
        """Returns the ids of an epoch's rows, each with (index, variant).

        Raises
        ------
        ValueError
            If no row fits the curriculum.
        """
        drawn = []
        for index, row in self.dataset.epoch(epoch):
            variant = self.curriculum.draw(self.seed, epoch, row["id"], row["indoor"])
            if variant is not None:
                drawn.append((row["id"], (index, variant)))
        if not drawn:
            raise ValueError(
                f"Epoch {epoch}: no training row has one of the curriculum's variants "
                f"{', '.join(self.curriculum.variants(epoch))}"
            )
        return drawn
