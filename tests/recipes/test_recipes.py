"""Each hparams file has a row in a CSV of SpeechBrain's own form; each row runs."""

import ast
import csv
import difflib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from hyperpyyaml import load_hyperpyyaml
from speechbrain.utils.run_opts import RunOptions

from extra_models.masking import separate

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


def row_name(row):
    task = re.search(r"--task=(\w+)", row["test_debug_flags"])[1]
    return f"{Path(row['Hparam_file']).stem}-{task}"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Where the rows of one module find the corpus that the first of them made."""
    return tmp_path_factory.mktemp("shared")


@pytest.mark.parametrize("row", recipe_rows(), ids=row_name)
def test_recipe_row(row, tmp_path, shared):
    flags = row["test_debug_flags"].replace("tests/tmp", str(shared))
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


HPARAMS = sorted({(row["Hparam_file"], row["Script_file"]) for row in recipe_rows()})


@pytest.mark.parametrize(("hparams", "script"), HPARAMS)
def test_every_key_is_read(hparams, script):
    text = (REPOSITORY / hparams).read_text(encoding="utf-8")
    scripts = [
        path
        for folder in ((REPOSITORY / script).parent, REPOSITORY / "recipekit")
        for path in folder.rglob("*.py")
    ]
    assert unread_keys(text, scripts) == []
    assert unread_keys(f"{text}\nnobody_reads: 1\n", scripts) == ["nobody_reads"]


def shared_lines(hparams):
    """Returns an hparams file's lines outside its model, values of keys left out."""
    text = (REPOSITORY / hparams).read_text(encoding="utf-8")
    before, model_and_rest = text.split("# Model", 1)
    before = before[before.index("# Seed and paths") :]
    rest = model_and_rest[model_and_rest.index("# Optimiser") :]
    recoverables = r"(?m)^        (encoder|masknet|decoder|separator): .*\n"
    rest = re.sub(recoverables, "", rest)
    valued = re.sub(r"(?m)^(\w+: )\S+ *(#.*)?$", r"\1\2", before)
    valued = re.sub(r"epoch: \d+", "epoch:", valued)
    return re.sub(r"results/[\w-]+/", "results/", valued) + rest


def test_hparams_files_differ_in_values_and_models_only():
    lines = {shared_lines(hparams) for hparams, _ in HPARAMS}
    assert len(lines) == 1, "\n".join(
        difflib.unified_diff(*(text.splitlines() for text in sorted(lines)[:2]))
    )
    assert "grad_clip_norm:" in lines.pop()


@pytest.mark.parametrize(("hparams", "script"), HPARAMS)
def test_searched_values_are_top_level_keys(hparams, script):
    searched = "lr weight_decay grad_clip_norm lr_factor lr_patience batch_size "
    searched += "train_items N_epochs"
    text = (REPOSITORY / hparams).read_text(encoding="utf-8")
    plain = yaml.safe_load(re.sub(r"![\w:.]+", "", text.replace("!ref <", "<")))
    for key in searched.split():
        assert key in plain and not isinstance(plain[key], (dict, list)), key


# Of the public implementations; what the second source needs in the last layers.
SIZES = {
    "convtasnet": (8_708_672, 256 * 256),
    "dprnn": (2_609_793, 64 * 64 + 64),
    "sepformer": (25_679_361, 256 * 256 + 256),
    "spmamba": (1_156_368, 16 * 2 * 9 + 2),
    "spmamba-paper": (6_094_498, 16 * 2 * 9 + 2),
}
# As the head of its hparams file says.
OF_PAPER = {"num_layers": 6, "emb_ks": 8, "n_heads": 4, "qk_dim": 512}


@pytest.mark.parametrize("name", SIZES)
def test_full_models_have_their_published_sizes_and_separate(name, tmp_path):
    model, _, paper = name.partition("-")
    file = REPOSITORY / "recipes/PolSESS/separation/hparams" / f"{model}.yaml"
    stated = " ".join(f"--{key} {value}" for key, value in OF_PAPER.items())
    assert (stated in file.read_text(encoding="utf-8")) == (model == "spmamba")
    size, of_second_source = SIZES[name]
    for task, expected in {"SB": size, "ES": size - of_second_source}.items():
        overrides = {"task": task, "output_folder": str(tmp_path)}
        overrides |= OF_PAPER if paper else {}
        with open(file, encoding="utf-8") as text:
            modules = load_hyperpyyaml(text, overrides)["modules"]
        parameters = [p for module in modules.values() for p in module.parameters()]
        assert sum(p.numel() for p in parameters) == expected
        with torch.inference_mode():
            estimates = separate(modules, torch.randn(1, 2000))
        assert estimates.shape == (1, 1 + (task == "SB"), 2000)
        assert estimates.isfinite().all() and estimates.any()
