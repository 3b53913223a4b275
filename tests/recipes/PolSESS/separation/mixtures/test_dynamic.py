"""Recordings mixed on the fly are those of a corpus on disk, and new in each epoch."""

import functools
import shutil
import signal
from dataclasses import fields, replace

import numpy as np
import pytest
import soundfile
from ruamel.yaml import YAML
from tiny_run import HPARAMS, arguments, assert_same, last_checkpoint, load, run
from torch.utils.data import DataLoader

from corpus.build import CorpusSettings, build_corpus
from corpus.plan import MixingRules, Planner
from corpus.providers import folder as folder_provider
from corpus.render import Renderer, read_segment, rms
from corpus.reverb import plate_reverb
from corpus.source_pack import SourcePack, pack_sources
from corpus.sources import read_sources, write_sources
from mixtures import preparation
from mixtures.curriculum import Curriculum
from mixtures.dataset import EpochSampler, VariantDataset, collate, read_manifest
from mixtures.dynamic import REVERB_BANK, DynamicDataset
from mixtures.variants import TASKS
from polsess_prepare import prepare_polsess
from tiny_corpus import write_corpus
from tiny_sources import RATE, write_folder

ROWS, SEED, SECONDS = 12, 3, 0.5
RULES = [field.name for field in fields(MixingRules)]


def listed(path):
    return [source for source in read_sources(path) if source.subset == "train"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A corpus of sources that are in its folder, at their own rate."""
    corpus = tmp_path_factory.mktemp("dynamic") / "tiny"
    found, _ = folder_provider.make_sources(
        write_folder(corpus / "recordings"), split=(50, 25, 25)
    )
    sources = [
        replace(source, path=source.path.removeprefix(f"{corpus.as_posix()}/"))
        for source in found
    ]
    settings = CorpusSettings((ROWS, 4, 2), RATE, SECONDS, SEED)
    build_corpus(corpus, sources, settings, workers=1, progress=False)
    return corpus


@pytest.fixture(scope="module")
def rows(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("manifests")
    prepare_polsess(corpus, folder, RATE)
    return read_manifest(folder / "train.csv", corpus)


@pytest.fixture(scope="module")
def pack(corpus):
    sources = listed(corpus / "sources.csv")
    pack_sources(corpus / "pack", sources, RATE, workers=1)
    return SourcePack(corpus / "pack", sources, RATE)


def make(corpus, task="SB", pack=None, seed=SEED, bank=None, **rules):
    sources = listed(corpus / "sources.csv")
    planner = Planner(sources, "train", SECONDS, seed, MixingRules(**rules), bank)
    read = functools.partial(read_segment, folder=corpus, sample_rate=RATE)
    return DynamicDataset(planner, pack.read if pack else read, RATE, ROWS, task)


def with_reverb_bank(corpus, **settings):
    return make(corpus, bank=REVERB_BANK, **settings)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("task", TASKS)
def test_rows_are_those_of_the_corpus_of_that_seed_to_the_bit(
    corpus, rows, pack, task, packed
):
    fixed = VariantDataset(rows, task)
    dynamic = make(corpus, task, pack if packed else None)
    joined = 0
    for index, variant in fixed.pairs(per_variant=True):
        mixture, targets, row = fixed[index, variant]
        made_mixture, made_targets, made = dynamic[index, variant]
        assert np.array_equal(made_mixture, mixture)
        assert np.array_equal(made_targets, targets)
        for name in ("indoor", "scene_class", "variant"):
            assert made[name] == row[name]
        plan = dynamic.planner.plan(index)
        joined += any(len(segment.clips) > 1 for segment in plan.speech)
    assert joined  # which is where paths matter
    assert {row["indoor"] for row in rows} == {True, False}


def test_where_the_corpus_is_changes_nothing(corpus, tmp_path):
    moved = shutil.copytree(corpus, tmp_path / "elsewhere" / "tiny")
    first, second = make(corpus), make(moved)
    for index in range(ROWS):
        for here, there in zip(first[index, "C"], second[index, "C"], strict=True):
            assert np.array_equal(here, there)


@pytest.mark.parametrize("context, workers", [("fork", 2), ("spawn", 1)])
def test_items_are_the_same_in_any_process_and_order(corpus, pack, context, workers):
    dataset = with_reverb_bank(corpus, pack=pack)
    keys = [(index, "C") for index in range(ROWS)]
    straight = {key: dataset[key] for key in keys}
    loader = DataLoader(
        dataset,
        batch_size=5,
        sampler=keys[::-1],
        collate_fn=collate,
        num_workers=workers,
        multiprocessing_context=context,
    )
    seen = 0
    for batch in loader:
        for mixture, targets, row in zip(
            batch.mixtures, batch.targets, batch.rows, strict=True
        ):
            wanted = straight[int(row["id"]), "C"]
            assert np.array_equal(mixture, wanted[0])
            assert np.array_equal(targets, wanted[1])
            seen += 1
    assert seen == ROWS


def test_epochs_have_rows_of_their_own_that_fit_the_curriculum(corpus):
    dataset = make(corpus)
    stages = [{"epoch": 1, "variants": ["C"]}, {"epoch": 2, "variants": ["SER", "R"]}]
    sampler = EpochSampler(dataset, Curriculum(stages), SEED)
    first = list(sampler)
    assert sorted(index for index, _ in first) == list(range(ROWS))
    sampler.set_epoch(2)
    second = list(sampler)
    assert {index for index, _ in second} < set(range(ROWS, 2 * ROWS))  # indoor ones
    assert {variant for _, variant in second} <= {"SER", "R"}
    for index, variant in second:
        assert dataset[index, variant][2]["indoor"]
    again = EpochSampler(make(corpus), Curriculum(stages), SEED)
    again.set_epoch(2)
    assert list(again) == second
    mixtures = {dataset[i, "C"][0].tobytes() for i in range(2 * ROWS)}
    assert len(mixtures) == 2 * ROWS
    other = make(corpus, seed=SEED + 1)
    assert not np.array_equal(other[0, "C"][0], dataset[0, "C"][0])


def settings_of(plate):
    return plate.high_cut, plate.diffusion, plate.decay, plate.freq_damp


def test_bank_has_200_settings_and_each_class_its_own(corpus):
    planner = with_reverb_bank(corpus).planner
    found = {}
    for row in range(3000):
        plan = planner.plan(row)
        for plate in plan.plates:
            found.setdefault(plan.scene_class, set()).add(settings_of(plate))
    assert found.keys() == {"tram", "office"}  # park is outdoors
    assert not found["tram"] & found["office"]
    assert 200 <= len(found["tram"]) + len(found["office"]) <= 256


def test_bank_reverb_is_the_plates_own(corpus):
    dataset = with_reverb_bank(corpus)
    fresh = Renderer(dataset.read, RATE)
    met = {}
    for row in range(150):
        made = dataset.renderer.render_row(dataset.planner, row)
        for name, samples in fresh.render_row(dataset.planner, row).layers.items():
            assert np.array_equal(made.layers[name], samples)
        if not made.plan.plates:
            continue
        setting = settings_of(made.plan.plates[0])
        met[setting] = met.get(setting, 0) + 1
        wet = plate_reverb(made.layers["s1"], made.plan.plates[0], RATE)
        assert abs(wet - made.layers["sp1_reverb"]).max() < 3  # steps of 16 bits
    assert max(met.values()) > 1  # some were applied again
    kept = dataset.renderer.transfer.cache_info()
    assert kept.misses == len(met) and kept.hits


def layers_of(dataset, row):
    made = dataset.renderer.render_row(dataset.planner, row)
    return made, {name: layer.astype(float) for name, layer in made.layers.items()}


def db(ratio):
    return 20 * np.log10(ratio)


def test_realised_levels_are_those_asked_for(corpus):
    dataset = make(corpus, ssr_range=(8, 10), scene_offset_range=(-3.0, -2.0))
    ratios = set()
    for row in range(ROWS):
        made, layers = layers_of(dataset, row)
        ssr = db(rms(layers["s1"]) / rms(layers["s2"]))
        assert ssr == pytest.approx(made.plan.ssr, abs=0.01)
        ratios.add(round(ssr))
        speech = rms(layers["s1"] + layers["s2"])
        offset = db(rms(layers["scene"]) / speech)
        assert -3.01 < offset < -1.99
    assert ratios == {8, 9, 10}


def test_gain_amplifies_speakers_and_scene_but_not_the_event(corpus):
    plain, louder = make(corpus), make(corpus, gain_range=(6.0, 6.0))
    for row in range(ROWS):
        (first, before), (second, after) = (layers_of(d, row) for d in (plain, louder))
        assert not first.redraws and not second.redraws
        for name in ("s1", "s2", "scene"):
            gain = db(rms(after[name]) / rms(before[name]))
            assert gain == pytest.approx(6.0, abs=0.01)
        assert np.array_equal(after["event"], before["event"])


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("speed", [80, 125])
def test_speed_raises_a_tone_by_its_ratio(tmp_path, speed, packed):
    recordings = write_folder(tmp_path / "recordings")
    time = np.arange(RATE) / RATE
    for path in (recordings / "speech").glob("*.wav"):
        samples = 0.1 * np.sin(2 * np.pi * 500 * time)
        soundfile.write(path, samples, RATE)
    write_sources(tmp_path / "sources.csv", folder_provider.make_sources(recordings)[0])
    pack = None
    if packed:
        sources = listed(tmp_path / "sources.csv")
        pack_sources(tmp_path / "pack", sources, RATE, workers=1)
        pack = SourcePack(tmp_path / "pack", sources, RATE)
    dataset = make(tmp_path, pack=pack, speeds=(speed,))
    time = np.arange(round(SECONDS * RATE)) / RATE
    for row in range(3):
        _, layers = layers_of(dataset, row)
        for name in ("s1", "s2"):
            carrier = np.exp(-2j * np.pi * 500 * speed / 100 * time)
            amplitude = 2 * abs(np.mean(layers[name] * carrier))
            assert amplitude == pytest.approx(np.sqrt(2) * rms(layers[name]), rel=0.01)


def test_killed_run_ends_like_an_uninterrupted_one(corpus, tmp_path):
    changes = {"sample_rate": RATE, "ckpt_interval_steps": 2, "dynamic_mixing": True}
    changes |= {"pack": str(tmp_path / "packs"), "speeds": [95, 100, 105]}
    changes |= {"ssr_range": [-3, 3], "train_items": 10, "N_epochs": 2}
    run(arguments(corpus, tmp_path / "whole", **changes, num_workers=0))
    line = arguments(corpus, tmp_path / "killed", **changes, num_workers=2)
    killer = """
    fit_batch = train.Separation.fit_batch
    def killed(self, batch):
        if self.hparams.epoch_counter.current == 2 and self.step == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return fit_batch(self, batch)
    train.Separation.fit_batch = killed
    """
    assert run(line, before=killer, check=False).returncode == -signal.SIGKILL
    run(line)
    whole, killed = (last_checkpoint(tmp_path / name) for name in ("whole", "killed"))
    assert_same(whole, killed)
    assert whole["state"]["settings"]["speeds"] == [95, 100, 105]
    record = (tmp_path / "whole" / "hyperparams.yaml").read_text(encoding="utf-8")
    assert "\nspeeds: [95, 100, 105]" in record
    (packed,) = (tmp_path / "packs").iterdir()
    assert {path.name.split("-")[0] for path in packed.iterdir()} == {
        "sources",
        "val",
        "test",
    }


def fingerprint(corpus, folder, **changes):
    changes = {"sample_rate": RATE, "dynamic_mixing": True} | changes
    hparams = load(corpus, folder, **changes)
    datasets, name = preparation.make_datasets(hparams, str(corpus))
    assert isinstance(datasets["train"], DynamicDataset)
    assert isinstance(datasets["val"], VariantDataset)
    return name, len(datasets["train"])


def test_runs_on_other_training_sources_are_told_apart(corpus, tmp_path):
    name, items = fingerprint(corpus, tmp_path / "a")
    assert items == ROWS
    moved = shutil.copytree(corpus, tmp_path / "moved" / "tiny")
    assert fingerprint(moved, tmp_path / "b")[0] == name
    longer, items = fingerprint(corpus, tmp_path / "c", train_items=2 * ROWS)
    assert items == 2 * ROWS and longer != name
    sources = read_sources(moved / "sources.csv")
    fewer = {
        subset: [s for s in sources if s.subset != subset or "0-1" not in s.path]
        for subset in ("train", "test")
    }
    names = {}
    for subset, left in fewer.items():
        assert len(left) < len(sources)
        write_sources(moved / "sources.csv", left)
        names[subset] = fingerprint(moved, tmp_path / f"d_{subset}")[0]
    assert names["test"] == name != names["train"]


def test_packed_and_not_are_two_runs_and_two_lists_have_two_packs(corpus, tmp_path):
    packs = {"pack": str(tmp_path / "packs")}
    plain = fingerprint(corpus, tmp_path / "plain")
    assert plain != fingerprint(corpus, tmp_path / "packed", **packs)
    _, *fewer = listed(corpus / "sources.csv")
    write_sources(tmp_path / "fewer.csv", fewer)
    packs["source_list"] = str(tmp_path / "fewer.csv")
    fingerprint(corpus, tmp_path / "fewer", **packs)
    assert len(list((tmp_path / "packs").glob("*/sources-*"))) == 2


def test_training_rows_need_not_be_on_disk(corpus, tmp_path, caplog):
    bare = shutil.copytree(corpus, tmp_path / "tiny")
    shutil.rmtree(bare / "train")
    with pytest.raises(ValueError, match="train_items: null.*no training rows"):
        fingerprint(bare, tmp_path / "none")
    name, items = fingerprint(bare, tmp_path / "some", train_items=ROWS)
    assert (name, items) == fingerprint(corpus, tmp_path / "whole")
    assert "in validation or test, too" not in caplog.text


def test_a_list_with_speakers_of_the_test_is_warned_of(corpus, tmp_path, caplog):
    sources = read_sources(corpus / "sources.csv")
    sources = [replace(source, subset="train") for source in sources]
    write_sources(tmp_path / "all.csv", sources)
    fingerprint(corpus, tmp_path / "run", source_list=str(tmp_path / "all.csv"))
    assert "speakers of" in caplog.text and "in validation or test, too" in caplog.text


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"speeds": [90, 100]}, r"speeds \[90, 100\]: needs dynamic_mixing"),
        ({"ssr_range": [0, 5]}, "ssr_range .*: needs dynamic_mixing"),
        ({"scene_offset_range": [0.0, 1.0]}, "scene_offset_range .*: needs dynamic_"),
        ({"gain_range": [0.0, 1.0]}, "gain_range .*: needs dynamic_mixing"),
        ({"source_list": "list.csv"}, "source_list list.csv: needs dynamic_mixing"),
        ({"speeds": 95, "dynamic_mixing": True}, "speeds 95: expected a list"),
        ({"speeds": [20], "dynamic_mixing": True}, "whole percentages from 50 to 200"),
        ({"gain_range": [3], "dynamic_mixing": True}, "gain_range .*lowest, highest"),
    ],
)
def test_wrong_keys_are_named(corpus, tmp_path, changes, message):
    hparams = load(corpus, tmp_path) | changes
    with pytest.raises(ValueError, match=message):
        preparation.check_mixing(hparams)


@pytest.mark.parametrize("path", HPARAMS.parent.glob("*.yaml"), ids=lambda p: p.stem)
def test_every_hparams_file_mixes_by_the_rules_of_polsess(path):
    text = path.read_text(encoding="utf-8")
    values = YAML().load(text)
    assert MixingRules(**{name: values[name] for name in RULES}) == MixingRules()
    passed_on = values["mixing_rules"]
    assert {name: passed_on[name].value for name in passed_on} == {
        name: f"<{name}>" for name in RULES
    }


def test_a_corpus_without_source_list_and_no_rows_are_refused(tmp_path, corpus):
    bare = write_corpus(tmp_path / "bare")
    with pytest.raises(FileNotFoundError, match="sources.csv: dynamic_mixing needs"):
        fingerprint(bare, tmp_path / "run", sample_rate=8000)
    with pytest.raises(ValueError, match="train_items: 0, expected 1 or more"):
        fingerprint(corpus, tmp_path / "none", train_items=0)
