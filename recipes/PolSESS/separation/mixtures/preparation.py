"""From hparams to datasets: finds the corpus or makes one, prepares it, opens it."""

from dataclasses import fields
from pathlib import Path

from speechbrain.utils.distributed import infer_device, run_on_main
from speechbrain.utils.logger import get_logger

from corpus.build import CorpusSettings, build_corpus
from corpus.pack import Pack, packs_folder
from corpus.plan import MixingRules
from corpus.providers.embedded import make_sources
from corpus.sources import SUBSETS
from mixtures.curriculum import Curriculum
from mixtures.dataset import VariantDataset, read_manifest
from mixtures.dynamic import DynamicDataset
from mixtures.variants import find_task
from polsess_prepare import prepare_polsess
from recipekit.files import keyed
from recipekit.files.locks import hold

logger = get_logger(__name__)


def check_hparams(hparams, device):
    """Checks what depends on several keys or on this machine, before any work begins.

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
    clean = any("C" in stage["variants"] for stage in curriculum.stages)
    if clean and find_task(task).enhancement:
        logger.warning(
            f"curriculum: with task {task} a mixture of variant C is its own target, "
            "from which nothing can be learnt"
        )
    check_mixing(hparams)
    if hparams["precision"] == "fp16" and "cuda" not in (device or infer_device()):
        raise ValueError("precision: fp16 needs a GPU; expected fp32 or bf16 on a CPU")
    if hparams["data_folder"] and not Path(hparams["data_folder"]).is_dir():
        raise ValueError(
            f"data_folder: {hparams['data_folder']} is not a folder; expected a "
            "corpus, with train, val and test"
        )
    for key in ("output_folder", "save_folder"):
        folder = Path(hparams[key])
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if not there.is_dir():
            raise ValueError(f"{key}: {there} is a file, expected a folder or no file")


def check_mixing(hparams):
    """Checks the keys of mixing on the fly.

    Arguments
    ---------
    hparams : dict
        The plain values.

    Raises
    ------
    ValueError
        Naming the key that is not valid, or that needs dynamic_mixing.
    """
    keys = [field.name for field in fields(MixingRules)]
    rules, default = MixingRules(**{key: hparams[key] for key in keys}), MixingRules()
    if hparams["dynamic_mixing"]:
        return
    for key in keys:
        if getattr(rules, key) != getattr(default, key):
            raise ValueError(
                f"{key} {hparams[key]}: needs dynamic_mixing: True; a corpus on disk "
                "is as it was made"
            )
    if hparams["source_list"]:
        raise ValueError(
            f"source_list {hparams['source_list']}: needs dynamic_mixing: True"
        )


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
    rows_digest : str
        Tells runs that train or validate on other data apart, wherever the data are.
    """
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
            "pack": hparams["pack"],
            "subsets": fixed,
        },
    )
    datasets = {subset: _open_subset(hparams, data_folder, subset) for subset in fixed}
    if dynamic:
        held_out = [*datasets["val"].rows, *datasets["test"].rows]
        datasets["train"] = DynamicDataset.from_hparams(hparams, data_folder, held_out)
    digested = [datasets[subset].fingerprint() for subset in ("train", "val")]
    return datasets, keyed.digest(digested)


def _open_subset(hparams, data_folder, subset):
    """Returns the VariantDataset of a subset that was prepared."""
    manifest = Path(hparams["save_folder"]) / f"{subset}.csv"
    items = hparams["train_items"] if subset == "train" else None
    rows = read_manifest(manifest, data_folder, items)
    pack = None
    if hparams["pack"]:
        folder = packs_folder(hparams["pack"], data_folder) / subset
        pack = Pack(folder, manifest, rows)
    return VariantDataset(rows, hparams["task"], pack)
