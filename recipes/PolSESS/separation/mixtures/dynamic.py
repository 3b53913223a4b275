"""Mixing on the fly: training rows drawn and rendered when they are loaded.

The rows are those of an endless corpus of the same sources, drawn by the run's seed. An
epoch of n rows takes the next n of it, so no two epochs have a row in common, and a row
is a function of the seed, its number and the source list alone.
"""

import functools
from dataclasses import replace
from pathlib import Path

from speechbrain.utils.logger import get_logger

from corpus.plan import POLSESS_RULES, MixingRules
from corpus.render import Renderer
from corpus.tables import scene_classes
from mixtures.dataset import MixtureDataset

logger = get_logger(__name__)

# Reverb settings from which indoor rows draw, about as many for each scene class. Each
# worker keeps their transfer functions once used: 64 KB a second of a recording at
# 8 kHz, which makes 66 MB for recordings of 4 s, twice that at 16 kHz.
REVERB_BANK = 256


class DynamicDataset(MixtureDataset):
    """Recordings that are rendered when they are asked for; the index is a row.

    Arguments
    ---------
    planner : Planner
        Draws the rows.
    read : callable
        Of a Segment; returns it like read_segment.
    sample_rate : int
        Hz.
    items : int
        Rows of an epoch.
    task : str
        SB, EB or ES.
    """

    def __init__(self, planner, read, sample_rate, items, task):
        super().__init__(task)
        self.planner, self.read, self.sample_rate = planner, read, sample_rate
        self.items = items
        self.unreadable = {""}  # sources that were warned of; "": none was to blame

    @functools.cached_property
    def renderer(self):
        """What renders; its kept reverbs are this process' own."""
        settings = self.planner.rules.responses or 1
        kept = settings * len(self.planner.scene_classes)
        return Renderer(self.read, self.sample_rate, kept)

    def __getstate__(self):
        return {key: value for key, value in vars(self).items() if key != "renderer"}

    def __len__(self):
        return self.items

    def epoch(self, epoch):
        """Returns pairs of index and row of an epoch, counted from 1."""
        first = (epoch - 1) * self.items
        return [(index, self.row(index)) for index in range(first, first + self.items)]

    def open(self, index):
        """Renders a row; returns it, and what returns its layers."""
        recording = self.renderer.render_row(self.planner, index)
        for _, name, detail in recording.redraws:
            if name not in self.unreadable:
                self.unreadable.add(name)
                logger.warning(f"{name}: {detail}. It is left out")
        return self.row(index), recording.layers.__getitem__

    def row(self, index):
        """Returns what is known of a row without rendering it."""
        scene_class = self.planner.scene_class(index)
        indoor = scene_classes()[scene_class].indoor
        return {"id": str(index), "indoor": indoor, "scene_class": scene_class}


def mixing_rules(hparams):
    """Returns the MixingRules that hparams ask for, without a reverb bank.

    Raises
    ------
    ValueError
        Naming the key that is wrong, or that needs dynamic_mixing.
    """
    rules = {
        "speeds": hparams["speeds"],
        "ssr_range": hparams["ssr_range"],
        "scene_offset_range": hparams["scene_offset_range"],
        "gain_range": hparams["gain_range"],
    }
    for key, value in rules.items():
        default = list(getattr(POLSESS_RULES, key))
        if not isinstance(value, list):
            raise ValueError(f"{key} {value!r}: expected a list such as {default}")
        if value != default and not hparams["dynamic_mixing"]:
            raise ValueError(
                f"{key} {value}: needs dynamic_mixing: True; a corpus on disk is as it "
                "was made"
            )
    if hparams["source_list"] and not hparams["dynamic_mixing"]:
        raise ValueError(
            f"source_list {hparams['source_list']}: needs dynamic_mixing: True"
        )
    return MixingRules(**{key: tuple(value) for key, value in rules.items()})


def with_bank(rules, used):
    """Returns rules whose rows draw from REVERB_BANK settings at least.

    Arguments
    ---------
    rules : MixingRules
    used : list of str
        The scene classes that rows draw from.
    """
    indoor = sum(scene_classes()[name].indoor for name in used)
    return replace(rules, responses=-(-REVERB_BANK // max(1, indoor)))


def find_source_list(hparams, data_folder):
    """Returns the path of the source list to mix from.

    Raises
    ------
    FileNotFoundError
        Saying what to do, if there is none.
    """
    path = Path(hparams["source_list"] or Path(data_folder, "sources.csv"))
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: dynamic_mixing needs the list of the recordings to mix. Corpora "
            "made with `python -m corpus` have one; for others give source_list, a CSV "
            "with the columns path, role, subset, class, speaker, source"
        )
    return path
