"""A run that was killed ends as one that was not; damage and intruders are noticed."""

import signal
from pathlib import Path

import pytest
from tiny_run import arguments, assert_same, last_checkpoint, run

from tiny_corpus import write_corpus

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
end_epoch = train.Separation._end_epoch
def killed(self, epoch):
    if epoch == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return end_epoch(self, epoch)
train.Separation._end_epoch = killed
"""
WHILE_SAVING = """
import checkpoints
seal = checkpoints._seal
def killed(folder):
    if "epoch: 2" in (folder / "CKPT.yaml").read_text():
        os.kill(os.getpid(), signal.SIGKILL)
    return seal(folder)
checkpoints._seal = killed
"""
AFTER_SAVING = """
log = train.log
def killed(loggers, entry):
    log(loggers, entry)
    if entry["stats_meta"]["epoch"] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
train.log = killed
"""


@pytest.mark.parametrize(
    "where", [MID_EPOCH, BEFORE_SAVING, WHILE_SAVING, AFTER_SAVING]
)
def test_killed_run_ends_like_an_uninterrupted_one(
    corpus, uninterrupted, tmp_path, where
):
    line = arguments(corpus, tmp_path, **SETTINGS)
    assert run(line, before=where, check=False).returncode == -signal.SIGKILL
    run(line)
    assert_same(last_checkpoint(uninterrupted), last_checkpoint(tmp_path))
    for name in ("train_log.txt", "test_results.csv"):
        assert (tmp_path / name).read_text() == (uninterrupted / name).read_text()


def test_truncated_newest_checkpoint_is_passed_over(corpus, uninterrupted, tmp_path):
    line = arguments(corpus, tmp_path, **SETTINGS)
    run(line, before=AFTER_SAVING, check=False)
    newest = max(Path(tmp_path, "save").glob("CKPT+*"), key=lambda p: p.stat().st_mtime)
    optimizer = newest / "optimizer.ckpt"
    optimizer.write_bytes(optimizer.read_bytes()[:100])
    done = run(line)
    assert f"{newest.name}: this checkpoint is damaged" in done.stdout
    assert_same(last_checkpoint(uninterrupted), last_checkpoint(tmp_path))


def test_second_process_in_the_folder_is_refused(corpus, tmp_path):
    second = f"""
        import subprocess
        from corpus.locks import hold
        with hold({str(tmp_path)!r}):
            try:
                train.main(sys.argv[1:])
            except RuntimeError as error:
                sys.exit(str(error))
    """
    done = run(arguments(corpus, tmp_path), before=second, check=False)
    assert done.returncode == 1
    assert "another process is working in this folder" in done.stdout
    assert not (tmp_path / "log.txt").exists()


def test_two_processes_score_like_one(corpus, uninterrupted, tmp_path):
    changes = SETTINGS | {"dropout": 0.0, "N_epochs": 2, "batch_size": 4}
    run(arguments(corpus, tmp_path / "one", **changes))
    launcher = ("torchrun", "--nproc_per_node=2", "--master_port=29517")
    line = arguments(corpus, tmp_path / "two", **changes | {"batch_size": 2})
    done = run(line, launcher=launcher)
    one, two = (last_checkpoint(tmp_path / name)["state"] for name in ("one", "two"))
    assert one["items"] == two["items"], done.stdout[-2000:]
    for before, after in zip(one["history"], two["history"], strict=True):
        for name, score in before["valid_stats"].items():
            assert after["valid_stats"][name] == pytest.approx(score, abs=2e-3)
    results = [
        (tmp_path / name / "test_results.csv").read_text().splitlines()
        for name in ("one", "two")
    ]
    assert [line.split(",")[:2] for line in results[0]] == [
        line.split(",")[:2] for line in results[1]
    ]
