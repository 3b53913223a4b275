"""What train.py does with wrong input: one line that helps, and nothing half-done."""

import shutil
import subprocess
import sys
from importlib.metadata import version

import pytest
from tiny_run import (
    HPARAMS,
    arguments,
    assert_same,
    environment,
    last_checkpoint,
    run,
)

import train
from hostile import Case, files_below, refused
from recipe import RECIPE
from recipekit.console import plain_errors
from recipekit.training.command_line import read_command_line
from recipekit.training.environment import write_environment
from tiny_corpus import layer_path, write_corpus

DPRNN = str(HPARAMS)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("hostile") / "tiny", rows=(4, 2, 2))


def value(key, text, *says):
    """Returns the case of a key with a wrong value."""
    return Case(f"{key}={text}", [DPRNN, f"--{key}={text}"], [key, *says])


WRONG = [
    # Values out of their range or of another kind
    *(value("num_layers", text, "at least 1") for text in ("0", "-1", "1.5", "two")),
    *(value("grad_clip_norm", text, "number above 0") for text in ("0", "-1", "nan")),
    *(
        value("lr", t, "number above 0")
        for t in ("0", "-1", "abc", "nan", ".inf", "[]")
    ),
    *(value("lr_factor", text, "at most 1") for text in ("2", "0", "x")),
    *(value("early_stop_patience", text, "at least 1") for text in ("0", "-3", "1.0")),
    *(value("strict", text, "True or False") for text in ("maybe", "2", "null")),
    *(value("N_epochs", text, "whole number, at least 1") for text in ("0", "1.5", "")),
    *(value("batch_size", text, "at least 1") for text in ("0", "-2", "True", "many")),
    *(value("seed", text, "whole number, at least 0") for text in ("abc", "-1", "1.5")),
    *(value("dropout", text, "below 1") for text in ("2", "1", "-0.1", "half")),
    value("weight_decay", "-1e-4", "at least 0"),
    value("loss_floor", "30", "below 0"),
    value("loss_floor", "null", "below 0"),
    value("task", "XX", "one of SB, EB, ES"),
    value("precision", "fp8", "one of fp32, bf16, fp16"),
    value("precision", "fp16", "needs a GPU"),
    value("optimizer", "adm", "expected one of", "adamw"),
    value("scheduler", "cosin", "expected one of", "cosine"),
    value("sample_rate", "0", "at least 1000"),
    value("train_items", "0", "at least 1", "or null"),
    value("num_workers", "-1", "at least 0"),
    value("ckpt_interval_steps", "-1", "at least 0"),
    value("score_workers", "-1", "at least 0"),
    value("nonfinite_patience", "0", "at least 1"),
    value("device", "foo", "cpu, cuda or cuda:N"),
    value("device", "cuda:99", "torch finds"),
    value("noprogressbar", "perhaps", "True or False"),
    value("ssr_range", "[5, -5]", "lower one first"),
    value("ssr_range", "5", "lower one first"),
    value("gain_range", "[0]", "lower one first"),
    value("speeds", "[]", "list of percentages"),
    value("speeds", "[95, 105]", "needs dynamic_mixing"),
    Case(
        "speeds too slow",
        [DPRNN, "--speeds", "[10]", "--dynamic_mixing", "True"],
        ["speeds", "from 50 to 200"],
    ),
    value("source_list", "x.csv", "needs dynamic_mixing"),
    value("curriculum", "[{", "cannot be read", "list of stages"),
    value("curriculum", "[]", "list of stages"),
    value("curriculum", "C", "list of stages"),
    Case(
        "curriculum-late",
        [DPRNN, "--curriculum", "[{epoch: 2, variants: [C]}]"],
        ["curriculum", "must start at epoch 1"],
    ),
    Case(
        "curriculum-variant",
        [DPRNN, "--curriculum", "[{epoch: 1, variants: [X]}]"],
        ["curriculum, epoch 1", "SER, SE"],
    ),
    Case(
        "horizon",
        [DPRNN, "--scheduler", "cosine", "--lr_horizon", "3"],
        ["lr_horizon: 3, but N_epochs: 80"],
    ),
    Case(
        "warm-up",
        [DPRNN, "--scheduler", "cosine", "--lr_warmup", "80"],
        ["lr_warmup: 80", "less than lr_horizon"],
    ),
    value("kernel_size", "1", "at least 2"),
    value("chunk_size", "1", "at least 2"),
    value("data_folder", "nowhere", "not a folder; expected a corpus"),
    # Options of SpeechBrain that would overwrite results, or do nothing here
    *(
        Case(name, [DPRNN, f"--{name}=True"], [f"has no key {name}"])
        for name in ("debug", "jit", "auto_mix_prec", "data_parallel_backend")
    ),
    # Folders
    value("output_folder", "", "expected a path"),
    value("output_folder", " ", "expected a path"),
    Case("data_folder=''", [DPRNN, "--data_folder", ""], ["data_folder: ''", "a path"]),
    # The line itself
    Case("unknown key", [DPRNN, "--learning_rat", "1"], ["has no key learning_rat"]),
    Case("near key", [DPRNN, "--batchsize", "4"], ["did you mean batch_size?"]),
    Case("near key of SpeechBrain", [DPRNN, "--devise", "cpu"], ["mean device?"]),
    Case("twice", [DPRNN, "--lr", "1", "--lr=2"], ["--lr is given twice", "1 and 2"]),
    Case("one dash", [DPRNN, "-lr", "0.1"], ["-lr: expected --KEY", "two dashes"]),
    Case("no value", [DPRNN, "--lr"], ["--lr: a value is missing"]),
    Case("no value before a key", [DPRNN, "--lr", "--seed", "1"], ["--lr: a value is"]),
    Case("stray word", [DPRNN, "--seed", "1", "here"], ["here: a stray word"]),
    Case("space", [DPRNN, "--output_folder", "my", "run"], ["run: a stray word"]),
    Case("no text", [DPRNN, "--output_folder", "a\udcffb"], ["a\\udcffb", "UTF-8"]),
    Case("control", [DPRNN, "--output_folder", "a\nb"], ["a\\nb", "a path"]),
    Case("bell", [DPRNN, "--output_folder", "a\ab"], ["a\\x07b", "printable"]),
    Case("NUL", [DPRNN, "--data_folder", "a\0b"], ["a\\x00b", "printable"]),
    Case("nothing", [], ["expected a hparams file first"]),
    Case("key only", ["--seed", "1"], ["expected a hparams file first"]),
    Case("an object", [DPRNN, "--MaskNet", "3"], ["MaskNet: builds an object"]),
    Case("modules", [DPRNN, "--modules", "{}"], ["modules: builds an object"]),
    Case("no file", ["hparams/dprn.yaml"], ["does not exist", "hparams/dprnn.yaml?"]),
    Case("a folder", [str(HPARAMS.parent)], ["is a folder, expected a hparams file"]),
]


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.name)
def test_wrong_line_is_refused_before_any_work(case, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # where the default output_folder would be made
    refused(train.main, case.arguments, capsys, case.says)
    assert not list(tmp_path.rglob("*"))


BROKEN = {
    "empty": ("", ["expected keys and values"]),
    "a list": ("- 1\n- 2\n", ["expected keys and values"]),
    "a word": ("lr", ["expected keys and values"]),
    "no YAML": ("lr: [1, 2\nseed: 3\n", ["not readable as YAML", "line"]),
    "a tab": ("seed: 1\n\tlr: 3\n", ["not readable as YAML"]),
    "a key twice": ("seed: 1\nseed: 2\n", ["not readable as YAML", "duplicate"]),
    "a reference": (("!ref <Encoder>", "!ref <Encodr>"), ["Encodr", "not valid"]),
    "a circle": (("lr: 0.00125", "lr: !ref <lr>"), ["!ref"]),
    "a class": (("dual_path.Encoder", "dual_path.Encodr"), ["Encodr"]),
    "an argument": (("    norm: ln", "    nrom: ln"), ["Dual_Path_Model", "nrom"]),
    "a value": (("batch_size: 16", "batch_size: 0"), ["batch_size: 0", "at least 1"]),
    "a kind": (("dropout: 0.0", "dropout: none"), ["dropout: 'none'", "below 1"]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_hparams_file_is_refused(name, tmp_path, monkeypatch, capsys):
    text, says = BROKEN[name]
    if isinstance(text, tuple):
        whole = HPARAMS.read_text(encoding="utf-8")
        before, after = text
        assert before in whole
        text = whole.replace(before, after)
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    refused(train.main, [path], capsys, says)
    assert [found.name for found in tmp_path.iterdir()] == ["mine.yaml"]


def test_hparams_file_that_is_no_text_is_refused(tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"seed: \xff\xfe1")
    refused(train.main, [path], capsys, [path, "UTF-8"])


@pytest.mark.parametrize("name", ["run #2", "a: b", "true", "1e3", "[x]", "łódź ü"])
def test_texts_are_taken_as_they_stand(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = str(tmp_path / name)
    hparams = read_command_line([DPRNN, "--output_folder", folder], "", RECIPE).load()
    assert hparams["output_folder"] == folder
    assert hparams["save_folder"] == f"{folder}/save"
    line = read_command_line([DPRNN, "--output_folder", name], "", RECIPE)
    assert line.load()["output_folder"] == name


def test_output_folder_below_a_file_is_refused(tmp_path, capsys, corpus):
    (tmp_path / "file").write_text("mine")
    for folder in ("file", "file/run"):
        line = arguments(corpus, tmp_path / folder)
        refused(train.main, line, capsys, ["output_folder", "file is a file"])
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "key", ["score_workers", "curriculum", "lr", "schedules", "modules", "train_logger"]
)
def test_a_file_without_a_key_is_refused_before_any_work(key, tmp_path):
    text = HPARAMS.read_text(encoding="utf-8")
    lines, skipped = [], False
    for line in text.splitlines():
        if line[:1].strip():  # what is indented belongs to the key above
            skipped = line.startswith(f"{key}:")
        if not skipped:
            lines.append(line)
    path = tmp_path / "mine.yaml"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ValueError, match=f"lacks the key {key}, .* hparams/"):
        read_command_line([str(path), "--output_folder", str(tmp_path)], "", RECIPE)


def test_a_recipe_run_from_elsewhere_says_where_to(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="does not exist.*run this from .*separation"):
        read_command_line(["hparams/dprnn.yaml"], "", RECIPE)


def test_a_refused_command_leaves_the_record_of_the_run(corpus, tmp_path):
    run(arguments(corpus, tmp_path, N_epochs=1))
    record = (tmp_path / "env.log").read_text(encoding="utf-8")
    assert (tmp_path / "train.py").is_file()  # the script that ran
    done = run(arguments(corpus, tmp_path, N_epochs=1, lr=0.5), check=False)
    assert done.returncode == 1 and "begun with lr" in done.stdout
    assert (tmp_path / "env.log").read_text(encoding="utf-8") == record


def test_missing_corpus_is_named(tmp_path, capsys):
    line = arguments(tmp_path / "nowhere", tmp_path / "run")
    done = run(line, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stdout
    assert str(tmp_path / "nowhere") in done.stdout


@pytest.mark.parametrize("hparams", sorted(HPARAMS.parent.glob("*.yaml")))
def test_help_lists_every_key_with_its_default(hparams, capsys):
    with pytest.raises(SystemExit) as ended, plain_errors():
        train.main([str(hparams), "--help"])
    printed = capsys.readouterr().out
    assert ended.value.code == 0
    for line in hparams.read_text(encoding="utf-8").splitlines():
        name, colon, default = line.partition(":")
        if colon and name.isidentifier() and default.strip() and "!new" not in default:
            if name.startswith("__") or "!apply:" in default:
                continue
            assert f"--{name} " in printed, line
    assert "batch_size" in printed and "a whole number, at least 1" in printed
    assert "--device" in printed


@pytest.mark.parametrize("encoding", ["iso-8859-2", "ascii"])
def test_a_narrow_terminal_does_not_end_the_run(corpus, tmp_path, encoding):
    corpus = shutil.copytree(corpus, tmp_path / "mówcy ─")
    line = arguments(corpus, tmp_path / "run", N_epochs=1)
    done = subprocess.run(
        [sys.executable, "train.py", *line],
        cwd=HPARAMS.parents[1],
        env=environment() | {"PYTHONIOENCODING": encoding},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "run" / "export" / "model.safetensors").is_file()
    assert b"mean of variants" in done.stdout


FULL_DISK = """
import resource
end_epoch = train.Separation.end_epoch
def full(self, epoch):
    if epoch == 2:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
    return end_epoch(self, epoch)
train.Separation.end_epoch = full
"""


def test_full_disk_is_one_message_and_the_run_resumes(corpus, tmp_path):
    line = arguments(corpus, tmp_path / "killed")
    done = run(line, before=FULL_DISK, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout and "Logging error" not in done.stdout
    assert "the checkpoint could not be written" in done.stdout
    assert str(tmp_path / "killed" / "save") in done.stdout
    assert len(done.stdout.splitlines()) < 40
    run(line)
    run(arguments(corpus, tmp_path / "whole"))
    first, second = (last_checkpoint(tmp_path / n) for n in ("killed", "whole"))
    assert_same(first, second)


def test_the_log_is_short_and_the_bar_seldom_drawn(corpus, tmp_path):
    line = arguments(corpus, tmp_path, N_epochs=2, batch_size=1)
    done = run(line)
    assert (tmp_path / "log.txt").stat().st_size < 5000
    assert "font" not in (tmp_path / "log.txt").read_text(encoding="utf-8")
    for noise in ("torchvision", "Run option", "quirk"):
        assert noise not in done.stdout
    drawn = [line for line in done.stdout.splitlines() if line.startswith("epoch 1")]
    assert 1 <= len(drawn) <= 3  # begun and ended, however many steps


def test_wandb_without_an_account_is_one_message(corpus, tmp_path):
    pytest.importorskip("wandb")
    before = """
    import wandb
    def init(**kwargs):
        raise wandb.errors.UsageError("No API key configured")
    wandb.init = init
    """
    done = run(arguments(corpus, tmp_path, wandb=True), before=before, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stdout
    assert "No API key configured" in done.stdout
    assert "WANDB_MODE=offline" in done.stdout


def test_ctrl_c_is_one_line(corpus, tmp_path):
    before = """
    def interrupted(self, batch):
        os.kill(os.getpid(), signal.SIGINT)
    train.Separation.fit_batch = interrupted
    """
    done = run(arguments(corpus, tmp_path), before=before, check=False)
    assert done.returncode == 130 and "Traceback" not in done.stdout
    assert "Interrupted. The same command resumes" in done.stdout


def test_env_log_tells_this_interpreter(tmp_path):
    write_environment(tmp_path / "env.log")
    text = (tmp_path / "env.log").read_text(encoding="utf-8")
    assert sys.version in text
    assert f"torch=={version('torch')}" in text.splitlines()


def test_no_result_of_a_run_is_touched_by_a_refused_command(corpus, tmp_path, capsys):
    run(arguments(corpus, tmp_path, N_epochs=1))
    before = files_below(tmp_path)
    for changes in ({"lr": 0}, {"N_epochs": 0}, {"task": "XX"}, {"seed": "a"}):
        refused(train.main, arguments(corpus, tmp_path, **changes), capsys)
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_training_file_is_named(tmp_path, workers):
    corpus = write_corpus(tmp_path / "tiny", rows=(4, 2, 2))
    path = layer_path(corpus, "train", 2, "scene")
    path.write_bytes(path.read_bytes()[:60])
    changes = {"curriculum": [{"epoch": 1, "variants": ["SR", "S", "R", "C"]}]}
    changes |= {"num_workers": workers}
    done = run(arguments(corpus, tmp_path / "run", **changes), check=False)
    assert done.returncode == 1 and path.name in done.stdout
    assert "Traceback" not in done.stdout, done.stdout
