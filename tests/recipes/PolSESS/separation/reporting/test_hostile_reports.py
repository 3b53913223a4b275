"""Wrong input for reports and learning curves is refused, and explained."""

import json
import re
import shutil
from pathlib import Path

import pytest
from made_runs import noisy, write_run
from tiny_run import SEPARATION

import report
from hostile import Wrong, case_ids, files_below, refused
from recipe import MEASURES
from recipekit.reporting import learning_curve


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A folder with two runs that were tested, and a ledger."""
    folder = tmp_path_factory.mktemp("found") / "results"
    for seed in (1, 2):
        write_run(folder / str(seed), seed, 2.0, noisy(1.0, seed))
    shutil.copytree(Path(__file__).parent / "a_study", folder / "s")
    return folder


@pytest.fixture
def results(found, tmp_path, monkeypatch):
    """A copy of it, in the working directory."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(found, tmp_path / "results")


def change(name, edit):
    """Changes the bytes of a file below results."""

    def apply(results):
        path = results / name
        path.write_bytes(edit(path.read_bytes()))

    return apply


def replace(name, old, new):
    def edit(content):
        assert old in content
        return content.replace(old, new)

    return change(name, edit)


def summary(edit):
    def change_json(content):
        found = json.loads(content)
        edit(found)
        return json.dumps(found).encode()

    return change("1/summary.json", change_json)


def to_folder(name):
    def edit(results):
        (results / name).unlink()
        (results / name).mkdir()

    return edit


OUT = ["results", "--out", "page"]
LEDGER, SPACES = "s/ledger.csv", "s/spaces.csv"
REPORTS = [
    Wrong("no folder", ["folders", "--out"], ["--out", "page"]),
    Wrong("no --out", ["--out"], ["results"]),
    Wrong("not there", ["none: no run"], ["none", "--out", "page"]),
    Wrong("nothing in it", ["hparams: no run"], ["hparams", "--out", "page"]),
    Wrong(
        "file for the page",
        ["results/1/summary.json: not a folder"],
        ["results", "--out", "results/1/summary.json"],
    ),
    Wrong("listen to what", ["--data_folder"], [*OUT, "--listen", "results/1"]),
    Wrong(
        "listen to none",
        ["none"],
        [*OUT, "--listen", "none", "--data_folder", "results"],
    ),
    Wrong("empty ledger", [LEDGER], OUT, change(LEDGER, lambda text: b"")),
    Wrong("ledger with NUL", [LEDGER, "NUL"], OUT, change(LEDGER, lambda t: t + b"\0")),
    Wrong(
        "ledger not UTF-8",
        [LEDGER, "line 2", "UTF-8"],
        OUT,
        change(LEDGER, lambda text: text.replace(b"\n", b"\n\xb3", 1)),
    ),
    Wrong(
        "ledger without columns",
        [LEDGER, "lacks the columns", "score"],
        OUT,
        replace(LEDGER, b"score", b"points"),
    ),
    Wrong(
        "ledger of text",
        [LEDGER, "worker_seconds is not a number"],
        OUT,
        change(LEDGER, lambda text: re.sub(rb",cpu,", b"x,cpu,", text)),
    ),
    Wrong(
        "ledger of other states",
        [LEDGER, "status done", "completed"],
        OUT,
        replace(LEDGER, b"completed", b"done"),
    ),
    Wrong("ledger is a folder", [LEDGER], OUT, to_folder(LEDGER)),
    Wrong("no spaces", [SPACES, "no such file"], OUT, to_folder(SPACES)),
    Wrong(
        "spaces of no prior",
        [f"{SPACES}, line 2", "not a valid prior"],
        OUT,
        replace(SPACES, b"loguniform", b"normal"),
    ),
    Wrong(
        "two ledgers of one study",
        ["s2/ledger.csv: a ledger of fast-two_cores, as ", "Give only one"],
        OUT,
        lambda results: shutil.copytree(results / "s", results / "s2"),
    ),
]


@pytest.mark.parametrize("case", REPORTS, ids=case_ids)
def test_report_refuses(case, results, tmp_path, capsys):
    (tmp_path / "hparams").symlink_to(SEPARATION / "hparams")
    if case.edit:
        case.edit(results)
    before = files_below(tmp_path)
    refused(report.main, case.arguments, capsys, case.says)
    assert files_below(tmp_path) == before


TESTED, SUMMARY, HISTORY = "1/test_results.csv", "1/summary.json", "1/history.json"
HPARAMS = "1/hyperparams.yaml"
NOT_ONE = "not a history"


def no_score(text):
    """Empties what the epochs of a history say of training."""
    return re.sub(rb'"train": {[^}]*}', b'"train": {}', text)


BROKEN = [
    Wrong(
        "no epoch",
        [HISTORY, "no epoch"],
        edit=change(HISTORY, lambda text: b"[]"),
    ),
    Wrong("empty history", [HISTORY, NOT_ONE], edit=change(HISTORY, lambda text: b"")),
    Wrong(
        "history with NUL",
        [HISTORY, NOT_ONE],
        edit=change(HISTORY, lambda text: text + b"\0"),
    ),
    Wrong(
        "history that is cut",
        [HISTORY, NOT_ONE],
        edit=change(HISTORY, lambda text: text[:-60]),
    ),
    Wrong(
        "history of text",
        [HISTORY, NOT_ONE, "'x'"],
        edit=change(HISTORY, lambda text: re.sub(rb'"lr": [^,]*', b'"lr": "x"', text)),
    ),
    Wrong(
        "history not UTF-8",
        [HISTORY, NOT_ONE, "utf-8"],
        edit=change(HISTORY, lambda text: b"\xb3" + text),
    ),
    Wrong(
        "history without a score", [HISTORY, "no score"], edit=change(HISTORY, no_score)
    ),
    Wrong("no hparams", [HPARAMS], edit=change(HPARAMS, lambda text: b"")),
    Wrong("open bracket", [HPARAMS], edit=change(HPARAMS, lambda text: b"seed: [")),
    Wrong("hparams not UTF-8", [HPARAMS], edit=change(HPARAMS, lambda t: b"\xb3" + t)),
    Wrong(
        "curriculum is a word",
        [HPARAMS, "curriculum"],
        edit=change(HPARAMS, lambda text: text + b"\n"),
    ),
    Wrong("no summary", [SUMMARY, "--test_only"], edit=to_folder(SUMMARY)),
    Wrong(
        "cut summary", [SUMMARY, "--test_only"], edit=change(SUMMARY, lambda t: t[:99])
    ),
    Wrong("summary is a list", [SUMMARY], edit=change(SUMMARY, lambda text: b"[]")),
    Wrong(
        "summary of other rows",
        [TESTED, "rows of SER, but", "--test_only"],
        edit=summary(lambda found: found["scores"]["SER"].update(rows=7)),
    ),
    Wrong(
        "summary without a metric",
        [SUMMARY, "sdri"],
        edit=summary(lambda found: found["scores"]["C"].pop("sdri")),
    ),
    Wrong(
        "cut between lines",
        [TESTED, "rows of", "summary.json states"],
        edit=change(TESTED, lambda text: b"".join(text.splitlines(True)[:100])),
    ),
    Wrong(
        "cut within the last number",
        [TESTED, "cut short"],
        edit=change(TESTED, lambda text: text[:-2]),
    ),
    Wrong("empty results", [TESTED], edit=change(TESTED, lambda text: b"")),
    Wrong(
        "results of one line",
        [TESTED, "has no rows"],
        edit=change(TESTED, lambda text: text.splitlines(True)[0]),
    ),
    Wrong(
        "results with NUL", [TESTED, "NUL"], edit=change(TESTED, lambda t: t + b"\0")
    ),
    Wrong(
        "results of text",
        [TESTED, "line 2: stoi is not a number"],
        edit=change(TESTED, lambda text: text.replace(b",0.5,", b",half,", 1)),
    ),
    Wrong(
        "results without a column",
        [TESTED, "lacks the columns si_sdri"],
        edit=replace(TESTED, b"si_sdri", b"gain"),
    ),
    Wrong(
        "results of another variant",
        [TESTED, "variant 'X' is none of"],
        edit=replace(TESTED, b",SER,", b",X,"),
    ),
]


@pytest.mark.parametrize("case", BROKEN, ids=case_ids)
def test_report_names_a_broken_run_and_shows_the_others(case, results, capsys):
    shutil.rmtree(results / "s")
    if case.name == "curriculum is a word":
        text = (results / HPARAMS).read_text()
        start, end = text.index("curriculum:"), text.index("valid_per_variant")
        (results / HPARAMS).write_text(text[:start] + "curriculum: all\n" + text[end:])
    else:
        case.edit(results)
    assert report.main(OUT) is None
    said = capsys.readouterr().err
    assert said.startswith("Left out: ") and said.count("\n") >= 1
    for part in case.says:
        assert part in said
    assert (results.parent / "page" / "report.html").is_file()
    # Alone it leaves nothing to report.
    arguments = ["results/1", "--out", "other"]
    refused(report.main, arguments, capsys, ["no run can be read", *case.says])
    assert not (results.parent / "other").exists()


CURVES = [
    Wrong("no runs", ["runs"], ["--out", "c.png"]),
    Wrong("no --out", ["--out"], ["results/1"]),
    Wrong("not there", ["none/history.json", "output folder"], ["none"]),
    Wrong("no run", ["results/history.json", "output folder"], ["results"]),
    Wrong("file", ["output folder of a run"], ["results/1/history.json"]),
    Wrong("no epoch", [HISTORY, "no epoch"], edit=change(HISTORY, lambda text: b"[]")),
    Wrong("NUL", [HISTORY, NOT_ONE], edit=change(HISTORY, lambda text: text + b"\0")),
    Wrong("cut", [HISTORY, NOT_ONE], edit=change(HISTORY, lambda text: text[:-60])),
    Wrong(
        "another's", [HISTORY, NOT_ONE], edit=change(HISTORY, lambda text: b'{"a": 1}')
    ),
    Wrong("not UTF-8", [HISTORY, NOT_ONE], edit=change(HISTORY, lambda text: b"\xb3")),
    Wrong("no score", ["no score"], edit=change(HISTORY, no_score)),
    Wrong("folder", ["history.json"], edit=to_folder(HISTORY)),
    Wrong(
        "no folder to write to",
        ["none/c.png", "could not be written"],
        ["results/1", "--out", "none/c.png"],
    ),
    Wrong(
        "folder for the picture",
        ["results", "could not be written"],
        ["results/1", "--out", "results"],
    ),
]


def overlay(arguments):
    learning_curve.draw_overlay(arguments, MEASURES)


@pytest.mark.parametrize("case", CURVES, ids=case_ids)
def test_curve_refuses(case, results, tmp_path, capsys):
    if case.edit:
        case.edit(results)
    before = files_below(tmp_path)
    arguments = case.arguments or ["results/2", "results/1"]
    if "--out" not in arguments and case.name != "no --out":
        arguments = [*arguments, "--out", "c.png"]
    refused(overlay, arguments, capsys, case.says)
    assert files_below(tmp_path) == before
