"""Mixing on the fly: training rows drawn and rendered when they are loaded.

The rows are those of an endless corpus of the same sources, drawn by the run's seed. An
epoch of n rows takes the next n of it, so no two epochs have a row in common, and a row
is a function of the seed, its number and the source list alone.
"""

import functools
from pathlib import Path

from speechbrain.utils.distributed import run_on_main
from speechbrain.utils.logger import get_logger

from corpus.pack import packs_folder
from corpus.plan import Planner
from corpus.render import Renderer, read_segment
from corpus.source_pack import SourcePack, pack_sources
from corpus.sources import read_sources
from corpus.tables import scene_classes
from mixtures.dataset import MixtureDataset
from polsess_prepare import count_rows
from recipekit.files import keyed

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
    drawn_from : list
        What tells the recordings apart from those of other sources: values with a
        ``repr`` of their own.
    """

    def __init__(self, planner, read, sample_rate, items, task, drawn_from=()):
        super().__init__(task)
        self.planner, self.read, self.sample_rate = planner, read, sample_rate
        self.items, self.drawn_from = items, drawn_from
        self.unreadable = {""}  # sources that were warned of; "": none was to blame

    @classmethod
    def from_hparams(cls, hparams, data_folder, held_out):
        """Makes the training dataset of a run from the corpus' training sources.

        Arguments
        ---------
        hparams : dict
        data_folder : str or Path
            The corpus, which holds the source list unless ``source_list`` does.
        held_out : list of dict
            The rows of validation and test, whose length the recordings get.

        Raises
        ------
        FileNotFoundError
            If there is no source list.
        ValueError
            If it does not suffice, or train_items is not valid.
        """
        source_list, rate = (
            find_source_list(hparams, data_folder),
            hparams["sample_rate"],
        )
        sources = [s for s in read_sources(source_list) if s.subset == "train"]
        _warn_of_leaks(sources, held_out, source_list)
        planner = Planner(
            sources,
            "train",
            float(held_out[0]["duration"]),
            hparams["seed"],
            hparams["mixing_rules"],
            REVERB_BANK,
        )
        listed = [(s.name, s.frames, s.class_, s.speaker) for s in sources]
        digest = keyed.digest(listed)
        packed = bool(hparams["pack"])
        if packed:
            packs = packs_folder(hparams["pack"], data_folder)
            folder = packs / f"sources-{digest[:8]}"
            run_on_main(pack_sources, args=(folder, sources, rate))
            read = SourcePack(folder, sources, rate).read
        else:
            read = functools.partial(
                read_segment, folder=source_list.parent, sample_rate=rate
            )
        items = _count_items(hparams["train_items"], data_folder)
        logger.info(
            f"Mixing on the fly: {items} new recordings an epoch, of "
            f"{len(planner.speaker_names)} speakers and {len(planner.scene_classes)} "
            f"scene classes of {source_list}"
        )
        # Packed samples are not quite those of the files.
        drawn_from = [items, packed, digest]
        return cls(planner, read, rate, items, hparams["task"], drawn_from)

    @functools.cached_property
    def renderer(self):
        """What renders; the reverbs that it keeps are this process' own."""
        settings = self.planner.reverb_settings or 1
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

    def fingerprint(self):
        """Returns what tells its recordings apart from those of other sources."""
        return self.drawn_from

    def open(self, index):
        """Renders a row; returns it, and what returns its layers by name."""
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


def find_source_list(hparams, data_folder):
    """Returns the path of the source list to mix from.

    Raises
    ------
    FileNotFoundError
        If there is none, saying what to do.
    """
    path = Path(hparams["source_list"] or Path(data_folder, "sources.csv"))
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: dynamic_mixing needs the list of the recordings to mix. Corpora "
            "made with `python -m corpus` have one; for others give source_list, a CSV "
            "with the columns path, role, subset, class, speaker, source"
        )
    return path


def _count_items(train_items, data_folder):
    """Returns the rows of an epoch; None: as many as the corpus has for training."""
    if train_items is None:
        try:
            train_items = count_rows(data_folder, "train")
        except FileNotFoundError as error:
            raise ValueError(
                f"train_items: null, for as many as {data_folder} has, but it has no "
                "training rows. Say how many are to be mixed for an epoch"
            ) from error
    if train_items < 1:
        raise ValueError(f"train_items: {train_items}, expected 1 or more, or null")
    return train_items


def _warn_of_leaks(sources, held_out, source_list):
    """Warns of speakers to train on who are in validation or test."""
    trained = {source.speaker for source in sources} - {""}
    tested = {row[name] for row in held_out for name in ("speaker1", "speaker2")}
    if shared := sorted(trained & tested):
        logger.warning(
            f"{len(shared)} speakers of {source_list} are in validation or test, too, "
            f"e.g. {shared[0]}: scores will mean less than they seem to"
        )
