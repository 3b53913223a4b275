"""A run that was killed ends as one that was not; damage and intruders are noticed."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from tiny_run import arguments, assert_same, environment, last_checkpoint, run

from recipekit.training import checkpoints
from tiny_corpus import write_corpus

HOLD = """
import sys, time
from recipekit.files.locks import hold
with hold(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""
SETTINGS = {"ckpt_interval_steps": 2, "dropout": 0.2, "early_stop_patience": 9}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("run") / "tiny", rows=(10, 4, 2))


@pytest.fixture(scope="module")
def uninterrupted(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    run(arguments(corpus, folder, **SETTINGS))
    return folder


MID_EPOCH = """
fit_batch = train.Separation.fit_batch
def killed(self, batch):
    if self.hparams.epoch_counter.current == 2 and self.step == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return fit_batch(self, batch)
train.Separation.fit_batch = killed
"""
BEFORE_SAVING = """
end_epoch = train.Separation.end_epoch
def killed(self, epoch):
    if epoch == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return end_epoch(self, epoch)
train.Separation.end_epoch = killed
"""
WHILE_SAVING = """
from recipekit.training import checkpoints
seal = checkpoints._seal
def killed(folder):
    if "epoch: 2" in (folder / "CKPT.yaml").read_text():
        os.kill(os.getpid(), signal.SIGKILL)
    return seal(folder)
checkpoints._seal = killed
"""
AFTER_SAVING = """
from recipekit.training import brain
log = brain.log
def killed(loggers, entry):
    log(loggers, entry)
    if entry["epoch"] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
brain.log = killed
"""


@pytest.mark.parametrize(
    "where, workers",
    [(MID_EPOCH, 2), (BEFORE_SAVING, 0), (WHILE_SAVING, 0), (AFTER_SAVING, 0)],
)
def test_killed_run_ends_like_an_uninterrupted_one(
    corpus, uninterrupted, tmp_path, where, workers
):
    line = arguments(corpus, tmp_path, **SETTINGS | {"num_workers": workers})
    assert run(line, before=where, check=False).returncode == -signal.SIGKILL
    run(line)
    assert_same(last_checkpoint(uninterrupted), last_checkpoint(tmp_path))
    for name in ("train_log.txt", "test_results.csv"):
        assert (tmp_path / name).read_text() == (uninterrupted / name).read_text()


def test_killed_run_with_accumulation_and_a_last_short_window(corpus, tmp_path):
    changes = SETTINGS | {"ckpt_interval_steps": 1, "N_epochs": 2}
    changes |= {"grad_accumulation_factor": 2}
    run(arguments(corpus, tmp_path / "whole", **changes))
    line = arguments(corpus, tmp_path / "killed", **changes)
    assert run(line, before=MID_EPOCH, check=False).returncode == -signal.SIGKILL
    run(line)
    whole, killed = (last_checkpoint(tmp_path / name) for name in ("whole", "killed"))
    assert_same(whole, killed)


PATIENT = {"early_stop_patience": 2, "N_epochs": 9, "lr_patience": 0}
SCORED = """
monitored = train.Separation.monitored
def scored(self, valid_stats):
    return [-5.0, -4.0, -6.0, -4.5, -1.0, 0.0][self.hparams.epoch_counter.current - 1]
train.Separation.monitored = scored
"""
AFTER_EPOCH = """
from recipekit.training import brain
log = brain.log
def killed(loggers, entry):
    log(loggers, entry)
    if entry["epoch"] == {epoch}:
        os.kill(os.getpid(), signal.SIGKILL)
brain.log = killed
"""


@pytest.fixture(scope="module")
def stopped(corpus, tmp_path_factory):
    """A run whose best epoch is 2 and which ends, never killed, after epoch 4."""
    folder = tmp_path_factory.mktemp("stopped")
    run(arguments(corpus, folder, **PATIENT), before=SCORED)
    assert len(last_checkpoint(folder)["state"]["history"]) == 4
    return folder


@pytest.mark.parametrize("epochs", [[2], [1, 2, 3], [4]])
def test_killed_run_stops_early_where_the_uninterrupted_one_does(
    corpus, stopped, tmp_path, epochs
):
    """Patience, best score and best epoch survive, and the end is the end."""
    line = arguments(corpus, tmp_path, **PATIENT)
    for epoch in epochs:
        before = SCORED + AFTER_EPOCH.format(epoch=epoch)
        assert run(line, before=before, check=False).returncode == -signal.SIGKILL
    log = run(line, before=SCORED).stdout
    assert_same(last_checkpoint(stopped), last_checkpoint(tmp_path))
    for name in ("train_log.txt", "test_results.csv"):
        assert (tmp_path / name).read_text() == (stopped / name).read_text()
    assert ("best score -4.00 dB in epoch 2" in log) == (epochs != [4])


def test_a_run_that_stopped_early_stays_stopped(corpus, stopped, tmp_path):
    folder = shutil.copytree(stopped, tmp_path / "copy")
    done = run(arguments(corpus, folder, **PATIENT), before=SCORED)
    assert "already ended, after epoch 4" in done.stdout
    assert_same(last_checkpoint(stopped), last_checkpoint(folder))
    # More patience resumes it; fewer epochs than it has are no run of its own.
    record = (folder / "hyperparams.yaml").read_text()
    fewer = arguments(corpus, folder, **PATIENT | {"N_epochs": 3})
    done = run(fewer, before=SCORED, check=False)
    assert done.returncode == 1 and "N_epochs: 3, but the run" in done.stdout
    assert (folder / "hyperparams.yaml").read_text() == record
    more = PATIENT | {"N_epochs": 5, "early_stop_patience": 3}
    run(arguments(corpus, folder, **more), before=SCORED)
    history = last_checkpoint(folder)["state"]["history"]
    assert [entry["score"] for entry in history] == [-5, -4, -6, -4.5, -1]


def test_another_model_or_hparams_file_is_refused_by_name(corpus, stopped, tmp_path):
    folder = shutil.copytree(stopped, tmp_path / "copy")
    for changes, said in (
        ({"N_channels": 4}, "was begun with N_channels 8 (now 4)"),
        ({"task": "EB"}, "was begun with task SB (now EB)"),
    ):
        done = run(arguments(corpus, folder, **PATIENT | changes), check=False)
        assert done.returncode == 1 and said in done.stdout
        assert "Traceback" not in done.stdout
    line = arguments(corpus, folder, seed=7, num_layers=1, dropout=0.0)
    line[0] = line[0].replace("dprnn", "sepformer")
    line = [word for word in line if word not in ("--hidden_channels",)]
    unwanted = line.index("8", line.index("--N_channels") + 2)
    done = run(line[:unwanted] + line[unwanted + 1 :], check=False)
    assert done.returncode == 1 and "hidden_channels 8 (now absent)" in done.stdout


def test_a_corpus_changed_in_place_is_refused(tmp_path):
    corpus = write_corpus(tmp_path / "tiny", rows=(4, 2, 2))
    line = arguments(corpus, tmp_path / "run", N_epochs=1)
    run(line)
    path = sorted((corpus / "train" / "scene").glob("*.wav"))[0]
    audio = bytearray(path.read_bytes())
    audio[-1] ^= 1
    path.write_bytes(audio)  # the same name, size and folder
    line[line.index("--N_epochs") + 1] = "2"
    done = run(line, check=False)
    assert done.returncode == 1 and "other recordings" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_kill_while_checkpoints_are_deleted_leaves_no_damaged_one(corpus, tmp_path):
    """Whatever file the deletion had reached: the next start does not see the rest."""
    before = """
    import shutil
    rmtree = shutil.rmtree
    def killed(folder, *args, **kwargs):
        if "CKPT" not in str(folder):
            return rmtree(folder, *args, **kwargs)
        next(iter(sorted(folder.iterdir()))).unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    shutil.rmtree = killed
    """
    line = arguments(corpus, tmp_path, N_epochs=5)
    assert run(line, before=before, check=False).returncode == -signal.SIGKILL
    assert list((tmp_path / "save").glob(".deleted-*"))
    done = run(line)
    assert "damaged" not in done.stdout
    assert not list((tmp_path / "save").glob(".deleted-*"))


def test_resuming_with_other_settings_is_refused(corpus, uninterrupted, tmp_path):
    folder = shutil.copytree(uninterrupted, tmp_path / "copy")
    changes = SETTINGS | {"lr": 0.1, "N_epochs": 5}
    done = run(arguments(corpus, folder, **changes), check=False)
    assert done.returncode == 1
    assert "was begun with lr 0.00125 (now 0.1)" in done.stdout


def test_when_all_checkpoints_are_damaged_the_run_does_not_begin_anew(
    corpus, uninterrupted, tmp_path
):
    folder = shutil.copytree(uninterrupted, tmp_path / "copy")
    for path in (folder / "save").glob("CKPT+*/masknet.ckpt"):
        path.write_bytes(b"")
    done = run(arguments(corpus, folder, **SETTINGS), check=False)
    assert done.returncode == 1 and "checkpoints are damaged" in done.stdout


def test_truncated_newest_checkpoint_is_passed_over(corpus, uninterrupted, tmp_path):
    line = arguments(corpus, tmp_path, **SETTINGS)
    run(line, before=AFTER_SAVING, check=False)
    newest = max(Path(tmp_path, "save").glob("CKPT+*"), key=lambda p: p.stat().st_mtime)
    optimizer = newest / "optimizer.ckpt"
    optimizer.write_bytes(optimizer.read_bytes()[:100])
    done = run(line)
    assert f"{newest.name}: this checkpoint is damaged" in done.stdout
    assert_same(last_checkpoint(uninterrupted), last_checkpoint(tmp_path))


@pytest.mark.parametrize("seal", ["[1]", "{}", "3", '{"masknet.ckpt": 1}'])
def test_a_seal_that_is_none_is_damage(tmp_path, seal):
    folder = tmp_path / "CKPT+1"
    folder.mkdir()
    (folder / "masknet.ckpt").write_bytes(b"weights")
    checkpoints._seal(folder)
    assert checkpoints._matches_seal(folder)
    (folder / checkpoints.CHECKSUMS).write_text(seal)
    assert not checkpoints._matches_seal(folder)


def test_second_process_in_the_folder_is_refused(corpus, tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        env=environment(),
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        done = run(arguments(corpus, tmp_path), check=False)
    finally:
        holder.kill()
        holder.wait()
    assert done.returncode == 1
    assert "another process is working in this folder" in done.stdout
    assert not (tmp_path / "log.txt").exists()


def test_two_processes_score_like_one(corpus, tmp_path):
    changes = SETTINGS | {"dropout": 0.0, "N_epochs": 2, "batch_size": 4}
    run(arguments(corpus, tmp_path / "one", **changes))
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone")
    launcher += ("--nproc_per_node=2",)
    line = arguments(corpus, tmp_path / "two", **changes | {"batch_size": 2})
    done = run(line, launcher=launcher)
    one, two = (last_checkpoint(tmp_path / name)["state"] for name in ("one", "two"))
    assert one["items"] == two["items"], done.stdout[-2000:]
    for before, after in zip(one["history"], two["history"], strict=True):
        for name, score in before["valid"].items():
            assert after["valid"][name] == pytest.approx(score, abs=2e-3)
    tested = [
        pd.read_csv(tmp_path / name / "test_results.csv") for name in ("one", "two")
    ]
    assert (tested[0].id + tested[0].variant).equals(tested[1].id + tested[1].variant)
    assert tested[1].si_sdr.to_numpy() == pytest.approx(tested[0].si_sdr, abs=5e-3)
