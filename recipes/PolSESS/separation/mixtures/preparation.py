"""From hparams to datasets: finds or makes the corpus, prepares it, and its sources."""

import functools
from pathlib import Path

from speechbrain.utils.distributed import infer_device, run_on_main
from speechbrain.utils.logger import get_logger

from corpus.build import CorpusSettings, build_corpus
from corpus.layout import STORED
from corpus.pack import Pack, packs_folder
from corpus.plan import Planner
from corpus.providers.embedded import make_sources
from corpus.render import read_segment
from corpus.source_pack import SourcePack, pack_sources
from corpus.sources import SUBSETS, read_sources
from mixtures.curriculum import Curriculum
from mixtures.dataset import VariantDataset, read_manifest
from mixtures.dynamic import (
    DynamicDataset,
    find_source_list,
    mixing_rules,
    with_bank,
)
from mixtures.variants import find_task
from polsess_prepare import count_rows, prepare_polsess
from recipekit.files import keyed
from recipekit.files.locks import hold

logger = get_logger(__name__)
SAMPLED = 32  # rows of a subset whose audio is part of its fingerprint


def check_hparams(hparams, device):
    """Checks what no key can be told by itself, before any work begins.

    Arguments
    ---------
    hparams : dict
        The plain values.
    device : str or None
        The one asked for; None: a GPU if there is one.

    Raises
    ------
    ValueError
        Naming the key and what was expected.
    """
    curriculum = Curriculum(hparams["curriculum"])
    task = hparams["task"]
    if find_task(task).enhancement and any(
        "C" in s["variants"] for s in curriculum.stages
    ):
        logger.warning(
            f"curriculum: with task {task} a mixture of variant C is its own target, "
            "from which nothing can be learnt"
        )
    mixing_rules(hparams)
    if hparams["precision"] == "fp16" and "cuda" not in (device or infer_device()):
        raise ValueError("precision: fp16 needs a GPU; expected fp32 or bf16 on a CPU")
    if hparams["data_folder"] and not Path(hparams["data_folder"]).is_dir():
        raise ValueError(
            f"data_folder: {hparams['data_folder']} is no folder; expected a corpus, "
            "with train, val and test"
        )
    for key in ("output_folder", "save_folder"):
        folder = Path(hparams[key])
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if not there.is_dir():
            raise ValueError(f"{key}: {there} is a file, expected a folder or no file")


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
            "subsets": fixed,
        },
    )
    datasets = {
        subset: _fixed_dataset(hparams, data_folder, subset) for subset in fixed
    }
    held_out = fingerprint(datasets["val"].rows)
    if dynamic:
        datasets["train"], trained_on = _dynamic_dataset(
            hparams, data_folder, rules, [*datasets["val"].rows, *datasets["test"].rows]
        )
    else:
        trained_on = fingerprint(datasets["train"].rows)
    return datasets, keyed.digest([trained_on, held_out])


def fingerprint(rows):
    """Returns what tells rows apart from those of another or a changed corpus.

    All their names, and the audio of SAMPLED of them: enough to notice a corpus that
    was made again, in its place or in another, at the cost of reading a few files.

    Arguments
    ---------
    rows : list of dict
        From read_manifest.
    """
    names = [row["id"] for row in rows]
    chosen = set(keyed.shuffled(names, "fingerprint")[:SAMPLED])
    audio = [
        keyed.digest(Path(row[layer.name]).read_bytes())
        for row in rows
        if row["id"] in chosen
        for layer in STORED
        if row[layer.name]
    ]
    return [names, audio]


def _fixed_dataset(hparams, data_folder, subset):
    manifest = Path(hparams["save_folder"]) / f"{subset}.csv"
    items = hparams["train_items"] if subset == "train" else None
    rows = read_manifest(manifest, data_folder, items)
    pack = None
    if hparams["pack"]:
        folder = packs_folder(hparams["pack"], data_folder) / subset
        pack = Pack(folder, manifest, rows)
    return VariantDataset(rows, hparams["task"], pack)


def _dynamic_dataset(hparams, data_folder, rules, held_out):
    """Returns the training dataset and what tells it apart from others."""
    source_list, rate = find_source_list(hparams, data_folder), hparams["sample_rate"]
    sources = [s for s in read_sources(source_list) if s.subset == "train"]
    _warn_of_leaks(sources, held_out, source_list)
    seconds, seed = float(held_out[0]["duration"]), hparams["seed"]
    planner = Planner(sources, "train", seconds, seed, rules)
    planner.rules = with_bank(rules, planner.scene_classes)
    # Packed samples are not quite those of the files.
    packed = bool(hparams["pack"])
    drawn_from = keyed.digest(
        [(s.name, s.frames, s.class_, s.speaker) for s in sources]
    )
    read = functools.partial(read_segment, folder="", sample_rate=rate)
    if packed:
        folder = (
            packs_folder(hparams["pack"], data_folder) / f"sources-{drawn_from[:8]}"
        )
        run_on_main(pack_sources, args=(folder, sources, "", rate))
        read = SourcePack(folder, sources, rate).read
    items = hparams["train_items"]
    if items is None:
        try:
            items = count_rows(data_folder, "train")
        except FileNotFoundError as error:
            raise ValueError(
                f"train_items: null, for as many as {data_folder} has, but it has no "
                "training rows. Say how many are to be mixed for an epoch"
            ) from error
    if items < 1:
        raise ValueError(f"train_items: {items}, expected 1 or more, or null")
    logger.info(
        f"Mixing on the fly: {items} new recordings an epoch, of "
        f"{len(planner.speaker_names)} speakers and {len(planner.scene_classes)} scene "
        f"classes of {source_list}"
    )
    dataset = DynamicDataset(planner, read, rate, items, hparams["task"])
    return dataset, [items, packed, drawn_from]


def _warn_of_leaks(sources, held_out, source_list):
    """Warns of speakers to train on who are in validation or test."""
    trained = {source.speaker for source in sources} - {""}
    tested = {row[name] for row in held_out for name in ("speaker1", "speaker2")}
    if shared := sorted(trained & tested):
        logger.warning(
            f"{len(shared)} speakers of {source_list} are in validation or test, too, "
            f"e.g. {shared[0]}: scores will mean less than they seem to"
        )
