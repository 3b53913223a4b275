"""Corpora on disk: the rules of mixing measured on the audio, bytes, interruptions."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from corpus.build import FOLDERS, CorpusSettings, build_corpus, hold_corpus
from corpus.metadata import COLUMNS
from corpus.pack import Pack, packs_folder
from corpus.plan import Planner
from corpus.providers.folder import make_sources
from corpus.reverb import PlateParameters, plate_reverb
from corpus.sources import Rejected, write_sources
from corpus.tables import scene_classes, suited_events
from mixtures.dataset import VariantDataset, read_manifest
from polsess_prepare import prepare_polsess
from recipekit.files.locks import hold
from tiny_sources import write_folder

SETTINGS = CorpusSettings((24, 4, 4), 8000, 0.5, seed=3)
FRAMES = 4000
RECIPE = Path(__file__).parents[4] / "recipes" / "PolSESS"


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = write_folder(tmp_path_factory.mktemp("recordings"))
    return make_sources(folder, split=(60, 20, 20))[0]


@pytest.fixture(scope="module")
def corpus(sources, tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora") / "tiny"
    build_corpus(folder, sources, SETTINGS, workers=2, progress=False)
    return folder


@pytest.fixture(scope="module")
def rows(corpus):
    path = corpus / "train" / "corpus_tiny_train_final.csv"
    return pd.read_csv(path).to_dict("records")


def files(folder):
    """Returns name and bytes of all a corpus consists of."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def read(corpus, row, column, folder):
    samples, rate = soundfile.read(
        corpus / "train" / folder / row[column], dtype="int16"
    )
    assert rate == 8000 and samples.shape == (FRAMES,)
    return samples.astype(np.float64)


def layers(corpus, row):
    found = {
        "s1": read(corpus, row, "speaker1File", "clean"),
        "s2": read(corpus, row, "speaker2File", "clean"),
        "scene": read(corpus, row, "sceneFile", "scene"),
        "event": read(corpus, row, "eventFile", "event"),
    }
    if isinstance(row["reverbForEvent"], str):
        found["r1"] = read(corpus, row, "reverbForSpeaker1", "sp1_reverb")
        found["r2"] = read(corpus, row, "reverbForSpeaker2", "sp2_reverb")
        found["re"] = read(corpus, row, "reverbForEvent", "ev_reverb")
    return found


def rms(samples):
    return np.sqrt(np.mean(samples**2))


def test_folders_columns_and_names_are_the_official_ones(corpus, rows):
    header = (corpus / "train" / "corpus_tiny_train_final.csv").read_text().split("\n")
    assert tuple(header[0].split(",")) == COLUMNS
    for name in FOLDERS:
        assert list((corpus / "train" / name).glob("*.wav")), name
    for row in rows:
        stem = row["mixFile"].removesuffix(".wav")
        assert len(stem) == 16 and stem.isalnum() and stem == stem.lower()
    indoor = [row for row in rows if isinstance(row["reverbForEvent"], str)]
    for row in indoor:
        names = [row[f"reverbFor{who}"] for who in ("Speaker1", "Speaker2", "Event")]
        assert [name[:3] for name in names] == ["sp1", "sp2", "ev_"]
        assert names[0][4:] == names[1][4:] == names[2][3:]
    assert 0 < len(indoor) < len(rows)


def test_mix_is_the_sum_of_its_layers_to_the_bit(corpus, rows):
    for row in rows:
        mix = read(corpus, row, "mixFile", "mix")
        assert np.array_equal(mix, sum(layers(corpus, row).values()))
        assert np.abs(mix).max() <= 0.999 * 32768


def test_drawn_levels_are_the_realised_ones(corpus, rows):
    for row in rows:
        found = layers(corpus, row)
        ssr = 20 * np.log10(rms(found["s1"]) / rms(found["s2"]))
        assert row["SSR"] in range(-5, 6) and ssr == pytest.approx(row["SSR"], abs=0.01)
        speech = rms(found["s1"] + found["s2"])
        offset = 20 * np.log10(rms(found["scene"]) / speech)
        assert -14 <= row["sceneOffsetDB"] <= 0
        assert offset == pytest.approx(row["sceneOffsetDB"], abs=0.02)


def test_scene_decides_on_events_and_reverb(corpus, rows):
    plate = ["preDelay1", "preDelay2", "preDelayForEvent", "highCut", "decay"]
    for row in rows:
        scene = scene_classes()[row["sceneClass"]]
        assert row["eventClass"] in suited_events(scene.name)
        assert scene.indoor == isinstance(row["reverbForSpeaker1"], str)
        assert scene.indoor != np.isnan([row[name] for name in plate]).any()
        if scene.indoor:
            low, high = scene.ranges["pre_delay"]
            assert low <= row["preDelay1"] <= high
            nearer = row["preDelay1"] - row["preDelay2"]
            assert 0 < nearer <= 0.3 * (row["preDelay1"] - low) + 1e-12
            assert low <= row["preDelayForEvent"] <= high
            assert row["preDelayForEvent"] != row["preDelay1"]
            drawn = {
                ours: (row[theirs] - scene.ranges[ours][0]) / np.ptp(scene.ranges[ours])
                for ours, theirs in (("high_cut", "highCut"), ("decay", "decay"))
                + (("diffusion", "diffusion"), ("freq_damp", "freqDamp"))
            }
            assert len({round(share, 9) for share in drawn.values()}) == 4, drawn
            decay_low, decay_high = scene.ranges["decay"]
            assert decay_low <= row["decay"] <= decay_high


def test_reverbs_are_those_of_the_stated_parameters(corpus, rows):
    shared = {"high_cut": "highCut", "freq_damp": "freqDamp"}
    shared |= {"diffusion": "diffusion", "decay": "decay"}
    dry = {"1": ("s1", "r1"), "2": ("s2", "r2"), "ForEvent": ("event", "re")}
    for row in (row for row in rows if isinstance(row["reverbForEvent"], str)):
        found = layers(corpus, row)
        for who, (source, reverb) in dry.items():
            plate = PlateParameters(
                pre_delay=row[f"preDelay{who}"],
                **{ours: row[theirs] for ours, theirs in shared.items()},
            )
            expected = plate_reverb(found[source], plate, 8000)
            # In steps of 16 bits; the dry signal had been rounded to them.
            assert np.abs(found[reverb] - expected).max() < 2
            assert rms(found[reverb]) > 20


def test_segments_say_where_the_speech_came_from(corpus, rows, sources):
    by_path = {source.name: source for source in sources}
    speech = pd.read_csv(corpus / "train" / "corpus_tiny_train_provenance.csv")
    joined = 0
    for row, said in zip(rows, speech.to_dict("records"), strict=True):
        assert said["speaker1"] != said["speaker2"]
        paths = row["speech1OryginalPath"].split("|")
        joined += len(paths) > 1
        assert {by_path[path].speaker for path in paths} == {said["speaker1"]}
        assert said["transcript1"].count("zdanie") == len(paths)
        clips = [soundfile.read(by_path[path].path)[0] for path in paths]
        start, end = row["speech1Start"], row["speech1End"]
        original = np.concatenate(clips)[start - 1 : end]
        # Decimation by two keeps the tone; the level tells the right segment apart.
        found = read(corpus, row, "speaker1File", "clean") / 32768
        assert len(original) == 2 * FRAMES
        correlation = np.corrcoef(original[::2], found)[0, 1]
        assert correlation > 0.7, paths
    assert joined


def test_subsets_share_nothing(corpus, tmp_path):
    prepare_polsess(corpus, tmp_path / "manifests", strict=True, verify_audio=True)


def test_same_bytes_from_any_number_of_processes(corpus, sources, tmp_path):
    build_corpus(tmp_path / "tiny", sources, SETTINGS, workers=1, progress=False)
    assert files(tmp_path / "tiny") == files(corpus)
    other = CorpusSettings((24, 4, 4), 8000, 0.5, seed=4)
    build_corpus(tmp_path / "other", sources, other, workers=2, progress=False)
    assert len(files(tmp_path / "other")) > 100
    assert not set(files(tmp_path / "other")) & {
        name for name in files(corpus) if name.endswith(".wav")
    }


@pytest.mark.parametrize("after", [0, 5, 23])
def test_killed_and_started_again_gives_the_same_bytes(
    corpus, sources, tmp_path, after
):
    target = tmp_path / "tiny"
    script = f"""
        import os, signal, sys
        sys.path.insert(0, {str(RECIPE)!r})
        from corpus import build
        from corpus.sources import read_sources
        write, count = build.write_audio, 0

        def kill_while_writing(path, samples, rate):
            global count
            count += path.parent.name == "mix"
            if count > {after}:
                path.with_suffix(".part").write_bytes(b"half a file")
                os.kill(os.getppid(), signal.SIGKILL)
                os.kill(os.getpid(), signal.SIGKILL)
            write(path, samples, rate)

        build.write_audio = kill_while_writing
        sources = read_sources({str(corpus / "sources.csv")!r})
        settings = build.CorpusSettings((24, 4, 4), 8000, 0.5, seed=3)
        build.build_corpus({str(target)!r}, sources, settings, 1, False)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)])
    assert done.returncode == -signal.SIGKILL
    assert not list(target.rglob("corpus_*_final.csv"))
    with open(target / "train" / "rows.journal", "ab") as journal:
        journal.write(b'[23, {"subset": "' + b"torn" * 2000)
    build_corpus(target, sources, SETTINGS, workers=2, progress=False)
    assert files(target) == files(corpus)


@pytest.mark.parametrize(
    "step, call",
    [
        ("write_csvs", 1),
        ("csv_writer", 1),
        ("remove_journals", 2),
        ("write_card", 1),
    ],
)
def test_killed_while_finishing_gives_the_same_bytes(
    corpus, sources, tmp_path, step, call
):
    target = tmp_path / "tiny"
    script = f"""
        import os, signal, sys
        sys.path.insert(0, {str(RECIPE)!r})
        from corpus import build
        from corpus.sources import read_sources
        finish, count = build.{step}, 0

        def kill(*arguments):
            global count
            count += 1
            if count == {call}:
                os.kill(os.getpid(), signal.SIGKILL)
            return finish(*arguments)

        build.{step} = kill
        sources = read_sources({str(corpus / "sources.csv")!r})
        settings = build.CorpusSettings((24, 4, 4), 8000, 0.5, seed=3)
        build.build_corpus({str(target)!r}, sources, settings, 1, False)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)])
    assert done.returncode == -signal.SIGKILL
    made = build_corpus(target, sources, SETTINGS, workers=2, progress=False)
    assert made["rows"] == 0 and made["finished"]
    assert files(target) == files(corpus)


def test_workers_of_a_killed_command_do_not_hold_its_folder(tmp_path):
    folder = write_folder(tmp_path / "recordings")
    command = [sys.executable, "-m", "corpus", "folder", str(tmp_path / "made")]
    command += ["--source", str(folder), "--rows", "5000", "2", "2", "--workers", "2"]
    command += ["--seconds", "0.5", "--split", "60", "20", "20"]
    first = subprocess.Popen(command, cwd=RECIPE, stderr=subprocess.DEVNULL)
    journal = tmp_path / "made" / "train" / "rows.journal"
    while not (journal.exists() and journal.stat().st_size):
        assert first.poll() is None
        time.sleep(0.05)
    first.kill()
    first.wait()
    with hold(tmp_path / "made"):  # refused if somebody else still held it
        pass


def test_another_corpus_in_the_folder_is_refused(corpus, sources):
    before = files(corpus)
    with pytest.raises(ValueError, match=r"another corpus: seed 3 \(now 9\)"):
        build_corpus(corpus, sources, CorpusSettings((24, 4, 4), 8000, 0.5, seed=9))
    assert files(corpus) == before


def test_a_folder_in_which_nothing_was_made_is_free_for_another_corpus(
    corpus, sources, tmp_path
):
    other = CorpusSettings((24, 4, 4), 8000, 0.5, seed=9)
    gone = [replace(source, path="gone.wav") for source in sources]
    with pytest.raises(ValueError, match="gone.wav: no such file"):
        build_corpus(tmp_path / "tiny", gone, other, 1, False)
    build_corpus(tmp_path / "tiny", sources, SETTINGS, 1, False)
    assert files(tmp_path / "tiny") == files(corpus)


def test_ctrl_c_stops_quietly_and_the_command_goes_on(tmp_path):
    folder = write_folder(tmp_path / "recordings")
    command = [sys.executable, "-m", "corpus", "folder", str(tmp_path / "made")]
    command += ["--source", str(folder), "--rows", "3000", "2", "2", "--workers", "2"]
    command += ["--seconds", "0.5", "--split", "60", "20", "20"]
    first = subprocess.Popen(
        command,
        cwd=RECIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Shells have their background jobs, these tests maybe, ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    journal = tmp_path / "made" / "train" / "rows.journal"
    while not (journal.exists() and journal.stat().st_size):
        assert first.poll() is None
        time.sleep(0.05)
    first.send_signal(signal.SIGINT)
    _, said = first.communicate(timeout=60)
    assert first.returncode == 130 and "Traceback" not in said
    assert said.strip().endswith("Interrupted. The same command resumes")
    with pytest.raises(FileNotFoundError, match="the corpus is not finished"):
        prepare_polsess(tmp_path / "made", tmp_path / "manifests")


def test_full_disk_is_an_error_that_names_the_file(sources, tmp_path):
    script = f"""
        import resource, sys
        sys.path.insert(0, {str(RECIPE)!r})
        from corpus.build import CorpusSettings, build_corpus
        from corpus.sources import read_sources
        import signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        sources = read_sources(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))
        try:
            build_corpus(sys.argv[2], sources, CorpusSettings((2, 0, 0), 8000, 0.5), 1)
        except OSError as error:
            sys.exit(str(error))
    """
    tiny = [source for source in sources if source.subset == "train"]
    write_sources(tmp_path / "list.csv", tiny[:20] + tiny[-12:])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), tmp_path / "list.csv"]
        + [tmp_path / "full"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "could not be written" in done.stderr
    assert not list((tmp_path / "full").rglob("*.part"))


def test_both_rates_have_the_same_rows(tmp_path):
    folder = write_folder(tmp_path / "loud", level=0.19)
    sources, _ = make_sources(folder, split=(60, 20, 20))
    made = {}
    for rate in (8000, 16000):
        for both in (False, True):
            settings = CorpusSettings((40, 0, 0), rate, 0.25, both_rates=both)
            target = tmp_path / f"{rate} {both}" / "c"
            build_corpus(target, sources, settings, 2, False)
            rows = pd.read_csv(target / "train" / "corpus_c_train_final.csv")
            made[rate, both] = rows.drop(columns="sceneVolumeGain")
    pd.testing.assert_frame_equal(made[8000, True], made[16000, True])
    assert not made[8000, False].equals(made[16000, False])


def test_shards_on_their_own_machines_make_the_whole(corpus, sources, tmp_path):
    for shard in ((1, 3), (2, 3), (3, 3)):
        part = tmp_path / str(shard[0]) / "tiny"
        made = build_corpus(part, sources, SETTINGS, 1, False, shard=shard)
        assert not made["finished"] and not list(part.rglob("*_final.csv"))
        mixes = {path.name for path in part.rglob("mix/*.wav")}
        assert len(mixes) == made["rows"] and 9 <= made["rows"] <= 12
        shutil.copytree(part, tmp_path / "tiny", dirs_exist_ok=True)
    made = build_corpus(tmp_path / "tiny", sources, SETTINGS, 1, False)
    assert made["finished"] and made["rows"] == 0
    assert files(tmp_path / "tiny") == files(corpus)


def test_a_missing_shard_is_made_and_a_running_one_waited_for(
    corpus, sources, tmp_path
):
    folder = tmp_path / "tiny"
    build_corpus(folder, sources, SETTINGS, 1, False, shard=(2, 3))
    script = f"""
        import sys
        sys.path.insert(0, {str(RECIPE)!r})
        from recipekit.files.locks import hold
        with hold({str(folder)!r}, name=".lock-1-of-3"):
            print("held", flush=True)
            sys.stdin.read()
    """
    other = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert other.stdout.readline() == b"held\n"
    for shard in (None, (1, 3), (1, 2)):  # whole, the same, of another number
        with (
            pytest.raises(RuntimeError, match="another process is working"),
            hold_corpus(folder, shard),
        ):
            pass
    with hold_corpus(folder, (2, 3)) as prepared:
        prepared()
        with hold_corpus(folder, (3, 3)):
            pass
    other.communicate()
    with hold_corpus(folder):
        made = build_corpus(folder, sources, SETTINGS, 2, False)
    assert made["rows"] == 32 - (8 + 1 + 1)
    assert files(folder) == files(corpus)


def test_flac_holds_the_same_samples(corpus, sources, tmp_path):
    settings = replace(SETTINGS, audio_format="flac")
    build_corpus(tmp_path / "tiny", sources, settings, 2, False)
    for wav in corpus.rglob("*.wav"):
        flac = (tmp_path / "tiny" / wav.relative_to(corpus)).with_suffix(".flac")
        assert soundfile.info(flac).format == "FLAC"
        assert np.array_equal(
            soundfile.read(wav, dtype="int16")[0],
            soundfile.read(flac, dtype="int16")[0],
        )
    batches = {}
    for made, checks in ((corpus, {}), (tmp_path / "tiny", {"verify_audio": True})):
        manifests = tmp_path / made.parent.name
        prepare_polsess(made, manifests, strict=True, pack=tmp_path / "pack", **checks)
        rows = read_manifest(manifests / "train.csv", made)
        pack = Pack(
            packs_folder(tmp_path / "pack", made) / "train",
            manifests / "train.csv",
            rows,
        )
        for how in (None, pack):
            dataset = VariantDataset(rows, "SB", how)
            batch = dataset.__getitems__(dataset.pairs(per_variant=True))
            batches[made, how] = (batch.mixtures, batch.targets)
    first, *others = batches.values()
    assert len(others) == 3 and len(first[0]) > 2 * 24
    for mixtures, targets in others:
        assert torch.equal(mixtures, first[0]) and torch.equal(targets, first[1])
    manifest = pd.read_csv(manifests / "train.csv")
    assert manifest["mix"].str.endswith(".flac").all()
    assert not manifest["ID"].str.contains(".", regex=False).any()


def test_provenance_says_who_from_where_and_how_loud(corpus, rows, sources):
    by_path = {source.name: source for source in sources}
    told = pd.read_csv(corpus / "train" / "corpus_tiny_train_provenance.csv")
    for row, cells in zip(rows, told.to_dict("records"), strict=True):
        for kind in ("scene", "event"):
            source = by_path[row[f"{kind}OryginalPath"]]
            assert cells[f"{kind}Recording"] == source.recording != ""
        found = layers(corpus, row)
        speech = rms(found["s1"] + found["s2"])
        noise = rms(sum(v for k, v in found.items() if k in ("scene", "event", "re")))
        assert cells["SNR"] == pytest.approx(20 * np.log10(speech / noise), abs=0.05)


def test_genders_and_languages_reach_the_manifest(corpus, sources, tmp_path):
    """Where the sources know them; else nothing of the corpus changes."""
    genders = {f"s{number}": "fm"[number % 2] for number in range(9)}
    told = [
        replace(source, gender=genders[source.speaker], language="pl")
        if source.role == "speech"
        else source
        for source in sources
    ]
    build_corpus(tmp_path / "tiny", told, SETTINGS, workers=1, progress=False)
    changed = files(tmp_path / "tiny")
    for name, content in files(corpus).items():
        same = name.endswith((".wav", "_final.csv", "levels.png", "rejected.csv"))
        assert (changed.pop(name) == content) == same, name
    assert not changed
    prepare_polsess(tmp_path / "tiny", tmp_path / "manifests")
    rows = read_manifest(tmp_path / "manifests" / "train.csv", tmp_path / "tiny")
    assert len(rows) == SETTINGS.rows[0]
    for row in rows:
        for who in "12":
            assert row[f"gender{who}"] == genders[row[f"speaker{who}"]]
            assert row[f"language{who}"] == "pl"
        assert row["scene_recording"].rstrip("0123456789") == row["scene_class"]
    with pytest.raises(ValueError, match="sources"):
        build_corpus(tmp_path / "tiny", sources, SETTINGS, workers=1, progress=False)


def test_card_counts_what_the_corpus_holds(corpus, rows):
    card = (corpus / "README.md").read_text(encoding="utf-8")
    told = pd.read_csv(corpus / "train" / "corpus_tiny_train_provenance.csv")
    speakers = len({*told["speaker1"], *told["speaker2"]})
    indoor = np.mean([isinstance(row["reverbForEvent"], str) for row in rows])
    assert f"| train | 24 | 0.00 | {indoor:.0%} | {speakers} | 3 | 3 |" in card
    trams = sum(row["sceneClass"] == "tram" for row in rows)
    assert f"| tram | {trams} | " in card
    digest = json.loads((corpus / "corpus.json").read_text())["sources"]
    assert digest in card and "![SSR and SNR](levels.png)" in card
    assert (corpus / "levels.png").read_bytes().startswith(b"\x89PNG")


def test_truncated_sources_are_drawn_around_and_listed(sources, tmp_path):
    names = [Path(source.path).name for source in sources]
    mine = [
        replace(source, path=str(tmp_path / name), name=name)
        for source, name in zip(sources, names, strict=True)
    ]
    for source, copy in zip(sources, mine, strict=True):
        shutil.copy(source.path, copy.path)
    scenes = [s for s in mine if s.role == "scene" and s.subset == "train"]
    bad = next(s for s in scenes if s.class_ == "tram")
    samples, rate = soundfile.read(bad.path)
    flac = tmp_path / "bad.flac"
    soundfile.write(flac, samples, rate)
    flac.write_bytes(flac.read_bytes()[:6000])
    mine[mine.index(bad)] = replace(bad, path=str(flac), name="bad.flac")
    folder = tmp_path / "corpus"
    journals = []
    for _ in range(2):  # what is known of sources outlives the process
        with pytest.raises(ValueError, match=r"1 of \d+ sources are unusable, more"):
            build_corpus(folder, mine, SETTINGS, 1, False, max_rejected=0.001)
        journals.append((folder / "train" / "rows.journal").read_bytes())
    assert journals[0] == journals[1] and journals[0].count(b"\n") < 24
    text = Rejected("text.wav", "cannot be read as audio")
    build_corpus(folder, mine, SETTINGS, 2, False, [text], max_rejected=0.05)
    lost = pd.read_csv(folder / "rejected.csv").to_dict("records")
    assert [row["path"] for row in lost] == ["bad.flac", "text.wav"]
    assert lost[1]["reason"] == "cannot be read as audio"
    used = pd.read_csv(folder / "train" / "corpus_corpus_train_final.csv")
    whole = {s.name for s in mine if s.class_ == "tram"} - {"bad.flac"}
    trams = used[used.sceneClass == "tram"]
    assert len(trams) and set(trams.sceneOryginalPath) <= whole
    build_corpus(tmp_path / "2" / "corpus", mine, SETTINGS, 1, False, [text], 0.05)
    assert files(tmp_path / "2" / "corpus") == files(folder)


def test_bad_source_file_is_named(sources, tmp_path):
    bad = tmp_path / "bad.wav"
    broken = [
        replace(source, path=str(bad)) if source.role == "scene" else source
        for source in sources
    ]
    with pytest.raises(ValueError, match=r"bad.wav: no such file"):
        build_corpus(tmp_path / "missing", broken, SETTINGS, 1, progress=False)
    bad.write_bytes(b"RIFF and nothing more")
    with pytest.raises(ValueError, match="train row 0 .*200 draws were unreadable"):
        build_corpus(tmp_path / "no_audio", broken, SETTINGS, 1, False)
    soundfile.write(bad, np.zeros(9000), 9000)
    with pytest.raises(ValueError, match="train row 0 .*200 draws were unreadable"):
        build_corpus(tmp_path / "rate", broken, SETTINGS, 1, False)


def test_silent_and_clipping_draws_are_drawn_again(tmp_path):
    folder = write_folder(tmp_path / "loud", level=0.22)
    silent = folder / "speech" / "s0_0.wav"
    soundfile.write(silent, np.zeros(16000), 16000, "PCM_16")
    sources, _ = make_sources(folder, split=(60, 20, 20))
    made = build_corpus(tmp_path / "c", sources, SETTINGS, workers=2, progress=False)
    assert made["redrawn"]["silent"] > 0 and made["redrawn"]["limited"] > 0
    frame = pd.read_csv(tmp_path / "c" / "train" / "corpus_c_train_final.csv")
    assert silent.as_posix() not in set(frame.speech1OryginalPath)
    for row in frame.to_dict("records"):
        assert rms(layers(tmp_path / "c", row)["s2"]) > 30


def test_sources_that_cannot_make_a_recording_are_an_error(sources):
    alone = [s for s in sources if s.role != "speech" or s.speaker == "s1"]
    with pytest.raises(ValueError, match="two speakers with 0.5 s of speech"):
        Planner(alone, "train", 0.5, 0)


def test_command_line_makes_a_corpus_and_explains_errors(tmp_path):
    folder = write_folder(tmp_path / "recordings")
    command = [sys.executable, "-m", "corpus", "folder", tmp_path / "made"]
    command += ["--source", folder, "--rows", "3", "2", "2", "--seconds", "0.5"]
    command += ["--split", "60", "20", "20"]
    environment = os.environ | {"TQDM_DISABLE": "1"}
    run = dict(cwd=RECIPE, capture_output=True, text=True, env=environment)
    done = subprocess.run(command, **run)
    assert done.returncode == 0 and "7 recordings made" in done.stdout, done.stderr
    done = subprocess.run([*command, "--seed", "1"], **run)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "another corpus: seed 0 (now 1)" in done.stderr
