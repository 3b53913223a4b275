"""From hparams to datasets: finds or makes the corpus, prepares it, and its sources."""

import functools
from pathlib import Path

from speechbrain.utils.distributed import run_on_main
from speechbrain.utils.logger import get_logger

from corpus import keyed
from corpus.build import CorpusSettings, build_corpus
from corpus.locks import hold
from corpus.pack import Pack, packs_folder
from corpus.plan import Planner
from corpus.providers.embedded import make_sources
from corpus.render import read_segment
from corpus.source_pack import SourcePack, pack_sources
from corpus.sources import SUBSETS
from dataset import VariantDataset, read_manifest
from dynamic import (
    DynamicDataset,
    find_source_list,
    mixing_rules,
    train_sources,
    with_bank,
)
from polsess_prepare import prepare_polsess

logger = get_logger(__name__)


def find_corpus(hparams):
    """Returns the corpus folder and name; without one, makes the embedded corpus."""
    folder = hparams["data_folder"]
    if folder:
        return folder, Path(folder).resolve().name
    folder = hparams["embedded_folder"]
    logger.warning(
        f"data_folder is not given: using the embedded corpus in {folder}, synthetic "
        "speech and sounds for trying things out. Its scores are not results."
    )
    items = hparams["embedded_items"]
    held_out = max(4, items // 10)
    settings = CorpusSettings((items, held_out, held_out), hparams["sample_rate"])

    def make():
        with hold(folder, wait=True):
            build_corpus(folder, make_sources(folder), settings)

    run_on_main(make)
    return folder, "embedded (synthetic, for trying things out; no results)"


def make_datasets(hparams, data_folder):
    """Prepares a corpus and returns its datasets.

    Arguments
    ---------
    hparams : dict
    data_folder : str
        From find_corpus.

    Returns
    -------
    datasets : dict
        Of train, val and test by name.
    fingerprint : str
        Tells runs on other data apart, wherever the data are.
    """
    rules = mixing_rules(hparams)
    dynamic = hparams["dynamic_mixing"]
    fixed = SUBSETS[1:] if dynamic else SUBSETS
    run_on_main(
        prepare_polsess,
        kwargs={
            "data_folder": data_folder,
            "save_folder": hparams["save_folder"],
            "sample_rate": hparams["sample_rate"],
            "strict": hparams["strict"],
            "verify_audio": hparams["verify_audio"],
            "skip_prep": hparams["skip_prep"],
            "pack": hparams["pack"],
            "packed": fixed,
        },
    )
    datasets = {
        subset: _fixed_dataset(hparams, data_folder, subset) for subset in fixed
    }
    held_out = [row["id"] for row in datasets["val"].rows]
    if dynamic:
        datasets["train"], sources = _dynamic_dataset(hparams, data_folder, rules)
        trained_on = [len(datasets["train"]), *sources]
    else:
        trained_on = [row["id"] for row in datasets["train"].rows]
    return datasets, keyed.name(*trained_on, *held_out)


def _fixed_dataset(hparams, data_folder, subset):
    manifest = Path(hparams["save_folder"]) / f"{subset}.csv"
    items = hparams["train_items"] if subset == "train" else None
    rows = read_manifest(manifest, data_folder, items)
    pack = None
    if hparams["pack"]:
        folder = packs_folder(hparams["pack"], data_folder) / subset
        pack = Pack(folder, manifest, rows)
    return VariantDataset(rows, hparams["task"], pack)


def _dynamic_dataset(hparams, data_folder, rules):
    """Returns the training dataset and its sources."""
    source_list = find_source_list(hparams, data_folder)
    sources, rate = train_sources(source_list), hparams["sample_rate"]
    rows = read_manifest(Path(hparams["save_folder"]) / "train.csv", data_folder)
    seconds = float(rows[0]["duration"])
    rules = with_bank(rules, sources)
    planner = Planner(sources, "train", seconds, hparams["seed"], rules)
    list_folder = source_list.resolve().parent
    read = functools.partial(read_segment, folder=list_folder, sample_rate=rate)
    if hparams["pack"]:
        folder = packs_folder(hparams["pack"], data_folder) / "sources"
        run_on_main(pack_sources, args=(folder, sources, list_folder, rate))
        read = SourcePack(folder, sources, rate).read
    items = hparams["train_items"]
    items = len(rows) if items is None else items
    if items < 1:
        raise ValueError(f"train_items: {items}, expected 1 or more, or null")
    logger.info(
        f"Mixing on the fly: {items} new recordings an epoch, of "
        f"{len(planner.speaker_names)} speakers and {len(planner.scene_classes)} scene "
        f"classes of {source_list}"
    )
    return DynamicDataset(planner, read, rate, items, hparams["task"]), sources
