"""Each hparams file has a row in a CSV of SpeechBrain's own form; each row runs."""

import ast
import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hyperpyyaml import load_hyperpyyaml
from speechbrain.utils.run_opts import RunOptions

REPOSITORY = Path(__file__).resolve().parents[2]
# SpeechBrain's columns and the form of its checks (tests/recipes there).
COLUMNS = (
    "Task Dataset Script_file Hparam_file Data_prep_file Readme_file Result_url "
    "HF_repo test_debug_flags test_debug_checks"
).split()
COMPARISONS = {
    ">=": lambda value, bound: value >= bound,
    "<=": lambda value, bound: value <= bound,
    ">": lambda value, bound: value > bound,
    "<": lambda value, bound: value < bound,
}


def recipe_rows():
    rows = []
    for table in sorted((REPOSITORY / "tests" / "recipes").glob("*.csv")):
        with open(table, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            assert reader.fieldnames == COLUMNS
            rows += list(reader)
    return rows


def performance(row, folder):
    """Returns the checked value and whether it is within its bound."""
    check = re.search(r"performance_check=\[(.*?)\]", row["test_debug_checks"])[1]
    log, variable, bound, epoch = (part.strip() for part in check.split(","))
    sign, number = re.fullmatch(r"([<>]=?)\s*(-?[\d.]+)", bound).groups()
    lines = (folder / log).read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith(f"{epoch},")]
    value = float(re.search(rf"{variable}: (-?[\d.e+-]+)", line)[1])
    return value, COMPARISONS[sign](value, float(number))


@pytest.mark.parametrize(
    "row", recipe_rows(), ids=lambda row: Path(row["Hparam_file"]).stem
)
def test_recipe_row(row, tmp_path):
    flags = row["test_debug_flags"].replace("tests/tmp", str(tmp_path))
    command = [sys.executable, row["Script_file"], row["Hparam_file"], "--device=cpu"]
    done = subprocess.run(
        [*command, f"--output_folder={tmp_path / 'run'}", *flags.split()],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    files = re.search(r"file_exists=\[(.*?)\]", row["test_debug_checks"])[1]
    missing = [
        name for name in files.split(",") if not (tmp_path / "run" / name).exists()
    ]
    assert not missing
    value, good = performance(row, tmp_path / "run")
    assert good, value


def test_every_hparams_file_has_a_row_and_every_file_named_is_there():
    rows = recipe_rows()
    named = {row["Hparam_file"] for row in rows}
    found = REPOSITORY.glob("recipes/*/*/hparams/*.yaml")
    assert named == {path.relative_to(REPOSITORY).as_posix() for path in found}
    for row in rows:
        for column in COLUMNS[2:6]:
            assert (REPOSITORY / row[column]).is_file(), row[column]
        assert "performance_check" in row["test_debug_checks"]


def unread_keys(text, scripts):
    """Returns the top-level keys of an hparams file that nothing reads."""
    keys = [line.split(":")[0] for line in text.splitlines() if re.match(r"\w+:", line)]
    read = set(RunOptions.__dataclass_fields__) | set(re.findall(r"<(\w+)>", text))
    for script in scripts:
        for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                if ast.unparse(node.value).split(".")[-1] == "hparams":
                    read.add(node.attr)
            elif isinstance(node, ast.Subscript) and isinstance(
                node.slice, ast.Constant
            ):
                if ast.unparse(node.value) == "hparams":
                    read.add(node.slice.value)
    return [key for key in keys if key not in read and not key.startswith("__")]


@pytest.mark.parametrize(
    "row", recipe_rows(), ids=lambda row: Path(row["Hparam_file"]).stem
)
def test_every_key_is_read(row):
    text = (REPOSITORY / row["Hparam_file"]).read_text(encoding="utf-8")
    scripts = list((REPOSITORY / row["Script_file"]).parent.glob("*.py"))
    assert unread_keys(text, scripts) == []
    assert unread_keys(f"{text}\nnobody_reads: 1\n", scripts) == ["nobody_reads"]


@pytest.mark.parametrize(
    "row", recipe_rows(), ids=lambda row: Path(row["Hparam_file"]).stem
)
def test_searched_values_are_top_level_keys(row):
    searched = "lr weight_decay grad_clip_norm lr_factor lr_patience batch_size "
    searched += "train_items N_epochs dropout"
    text = (REPOSITORY / row["Hparam_file"]).read_text(encoding="utf-8")
    plain = yaml.safe_load(re.sub(r"![\w:.]+", "", text.replace("!ref <", "<")))
    for key in searched.split():
        assert key in plain and not isinstance(plain[key], (dict, list)), key


def test_the_full_model_has_its_published_size(tmp_path):
    separation = REPOSITORY / "recipes" / "PolSESS" / "separation"
    sizes = {"SB": 2_609_793, "ES": 2_609_793 - 64 * 64 - 64}
    for task, size in sizes.items():
        with open(separation / "hparams" / "dprnn.yaml", encoding="utf-8") as file:
            hparams = load_hyperpyyaml(
                file, {"task": task, "output_folder": str(tmp_path)}
            )
        modules = hparams["modules"].values()
        assert sum(p.numel() for m in modules for p in m.parameters()) == size
