"""Wrong input for studies, reports and curves is refused, and explained."""

import json
import re
import shutil

import pytest
import yaml
from made_runs import noisy, write_run
from tiny_run import SEPARATION

import report
import study
from hostile import Wrong, case_ids, files_below, refused
from recipekit.reporting import learning_curve

# Studies

STAGE = {
    "name": "one",
    "settings": {"N_epochs": 3},
    "search": {"trials": 2, "space": {"lr": "loguniform(1e-4, 1e-2)"}},
}
RUNS = {"name": "one", "runs": {"seeds": [1]}}


def text(content):
    """Writes s.yaml."""
    return lambda folder: (folder / "s.yaml").write_bytes(content.encode())


def content(stages=(STAGE,), **more):
    """Writes s.yaml as a study."""
    study = {"hparams": "hparams/dprnn.yaml", "stages": list(stages), **more}
    return text(yaml.safe_dump(study))


def stage(**changes):
    return content([STAGE | changes])


def search(**changes):
    return stage(search=STAGE["search"] | changes)


def runs(**changes):
    return content([RUNS | {"runs": changes}])


def as_folder(folder):
    (folder / "s.yaml").unlink()
    (folder / "s.yaml").mkdir()


def scale(content):
    def edit(folder):
        (folder / "scale.yaml").write_text(content)

    return edit


SCALE = ["s.yaml", "--scale", "scale.yaml"]
STUDIES = [
    Wrong("no arguments", ["usage", "study"], ["--status"]),
    Wrong("no such study", ["none.yaml", "No such file"], ["none.yaml"]),
    Wrong("folder", ["s.yaml", "directory"], edit=as_folder),
    Wrong("empty", ["s.yaml is empty", "sweeps/README.md"], edit=text("")),
    Wrong("comment", ["s.yaml is empty"], edit=text("# later\n")),
    Wrong("broken", ["s.yaml is no YAML", "line 1"], edit=text("stages: [")),
    Wrong("tab", ["s.yaml is no YAML", "\\t"], edit=text("stages:\n\t- a")),
    Wrong(
        "not UTF-8",
        ["s.yaml is no YAML", "utf-8"],
        edit=lambda folder: (folder / "s.yaml").write_bytes(b"name: \xb3"),
    ),
    Wrong("NUL", ["s.yaml is no YAML"], edit=text("name: a\0b")),
    Wrong(
        "tag",
        ["s.yaml is no YAML", "python/object"],
        edit=text("name: !!python/object/apply:os.system [touch ran]"),
    ),
    Wrong("list", ["the study: expected keys and values"], edit=text("- a")),
    Wrong("word", ["the study: expected keys and values"], edit=text("fast")),
    Wrong(
        "unknown key",
        ["the study: unknown keys stage;", "stages"],
        edit=content(stage=[1]),
    ),
    Wrong("no stages", ["stages: []; expected a list"], edit=content([])),
    Wrong("name is a path", ["name: '../x'; expected"], edit=content(name="../x")),
    Wrong("name is a number", ["name: 5; expected"], edit=content(name=5)),
    Wrong("database is a number", ["database: 5"], edit=content(database=5)),
    Wrong("hparams are a number", ["hparams: 5"], edit=content(hparams=5)),
    Wrong(
        "hparams are not there",
        ["hparams/none.yaml: does not exist"],
        edit=content(hparams="hparams/none.yaml"),
    ),
    Wrong("no hparams", ["names no hparams"], edit=content(hparams=None)),
    Wrong(
        "settings are a list",
        ["settings: [1]; expected keys"],
        edit=content(settings=[1]),
    ),
    Wrong("setting is a number", ["settings: {1: 2}"], edit=content(settings={1: 2})),
    Wrong(
        "unknown setting",
        ["stage one", "no key batchsize", "did you mean batch_size?"],
        edit=content(settings={"batchsize": 2}),
    ),
    Wrong(
        "unknown setting of a stage",
        ["stage one", "no key optimiser", "did you mean optimizer?"],
        edit=stage(settings={"optimiser": "adam"}),
    ),
    Wrong(
        "folder of its own",
        ["output_folder cannot be set", "`name:`"],
        edit=content(settings={"output_folder": "elsewhere"}),
    ),
    Wrong(
        "folder of its own, typed",
        ["output_folder cannot be set", "`name:`"],
        ["s.yaml", "--output_folder", "elsewhere"],
        content(),
    ),
    Wrong(
        "no training",
        ["test_only cannot be set"],
        ["s.yaml", "--test_only", "True"],
        content(),
    ),
    Wrong(
        "no epoch",
        ["stage one, N_epochs: 0; expected a whole number, at least 1"],
        edit=stage(settings={"N_epochs": 0}),
    ),
    Wrong(
        "no epoch, typed",
        ["stage one, N_epochs: 0; expected"],
        ["s.yaml", "--N_epochs", "0"],
        content(),
    ),
    Wrong(
        "half an epoch",
        ["N_epochs: 1.5; expected a whole"],
        edit=stage(settings={"N_epochs": 1.5}),
    ),
    Wrong(
        "no rows", ["train_items: 0; expected"], edit=stage(settings={"train_items": 0})
    ),
    Wrong(
        "unknown key, typed",
        ["no key batchsize", "did you mean batch_size?"],
        ["s.yaml", "--batchsize", "2"],
        content(),
    ),
    Wrong("key alone", ["--lr", "VALUE"], ["s.yaml", "--lr"], content()),
    Wrong("empty value", ["--lr is empty"], ["s.yaml", "--lr", ""], content()),
    Wrong(
        "key twice",
        ["--lr is given twice"],
        ["s.yaml", "--lr", "0.1", "--lr", "0.2"],
        content(),
    ),
    Wrong("one dash", ["-lr", "--KEY VALUE"], ["s.yaml", "-lr", "0.1"], content()),
    Wrong("stray word", ["fast", "--KEY VALUE"], ["s.yaml", "fast"], content()),
    Wrong("no workers", ["--workers"], ["s.yaml", "--workers", "0"], content()),
    Wrong("workers are text", ["--workers"], ["s.yaml", "--workers", "x"], content()),
    Wrong(
        "seconds are text",
        ["--seconds_per_example"],
        ["s.yaml", "--dry_run", "--seconds_per_example", "x"],
        content(),
    ),
    Wrong("two of a name", ["name of its own"], edit=content([STAGE, STAGE])),
    Wrong("name of a stage", ["expected a name of letters"], edit=stage(name="a/b")),
    Wrong(
        "search and runs", ["either search or runs"], edit=stage(runs={"seeds": [1]})
    ),
    Wrong("neither", ["either search or runs"], edit=stage(search=None)),
    Wrong(
        "algorithm",
        ["algorithm: 'bohb'; expected one of"],
        edit=search(algorithm="bohb"),
    ),
    Wrong("no trials", ["trials: 0; expected a whole"], edit=search(trials=0)),
    Wrong("trials or hours", ["either trials or hours"], edit=search(hours=1)),
    Wrong("no space", ["space: no keys"], edit=search(space={})),
    Wrong(
        "no prior",
        ["space, lr: 'normal(0, 1)' is no prior", "loguniform"],
        edit=search(space={"lr": "normal(0, 1)"}),
    ),
    Wrong(
        "prior that is code",
        ["is no prior"],
        edit=search(space={"lr": "uniform(open('ran', 'w'))(1, 2)"}),
    ),
    Wrong(
        "searched key",
        ["no key lrr", "did you mean lr?"],
        edit=search(space={"lrr": "uniform(0, 1)"}),
    ),
    Wrong(
        "asha of one rung",
        ["asha needs N_epochs"],
        edit=search(algorithm="asha", base=4),
    ),
    Wrong(
        "quantiles are text",
        ["quantiles: ['a', 'b']"],
        edit=search(narrow={"stages": "x", "quantiles": ["a", "b"]}),
    ),
    Wrong("narrow what", ["depends on x"], edit=search(narrow={"stages": "x"})),
    Wrong("top of what", ["depends on x"], edit=runs(top={"stages": "x"})),
    Wrong("seeds are one", ["seeds: 42; expected a list"], edit=runs(seeds=42)),
    Wrong("seeds are text", ["seeds: ['a']"], edit=runs(seeds=["a"])),
    Wrong("grid is a list", ["grid: [1]"], edit=runs(grid=[1])),
    Wrong("grid is no list", ["lists of values"], edit=runs(grid={"lr": 1})),
    Wrong("grid key", ["did you mean lr_factor"], edit=runs(grid={"lrfactor": [1]})),
    Wrong("test is text", ["test: 'yes please'"], edit=runs(test="yes please")),
    Wrong("for each what", ["for_each"], edit=content(for_each=["sgd"])),
    Wrong("no scale", ["scale.yaml", "No such file"], SCALE, content()),
    Wrong("empty scale", ["scale.yaml is empty"], SCALE, scale("")),
    Wrong(
        "scale of nothing",
        ["the scale, N_epochs: 0; expected a number above 0"],
        SCALE,
        scale("N_epochs: 0"),
    ),
    Wrong("unknown factor", ["unknown keys epochs"], SCALE, scale("epochs: 2")),
    Wrong(
        "scaled setting",
        ["no key batchsize", "did you mean batch_size?"],
        SCALE,
        scale("settings: {batchsize: 2}"),
    ),
]


@pytest.mark.parametrize("action", ["", "--status", "--dry_run"])
@pytest.mark.parametrize("case", STUDIES, ids=case_ids)
def test_study_refuses(case, action, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hparams").symlink_to(SEPARATION / "hparams")
    content()(tmp_path)
    if case.edit:
        case.edit(tmp_path)
    before = files_below(tmp_path)
    arguments = [*(case.arguments or ["s.yaml"]), *([action] if action else [])]
    refused(study.main, arguments, capsys, case.says)
    assert files_below(tmp_path) == before


@pytest.mark.parametrize(
    "record, says",
    [
        ("stages: [", ["study.yaml", "no record"]),
        ("", ["study.yaml", "no record"]),
        ("\0", ["study.yaml", "no record"]),
        ("name: other\nrecordings: []", ["study.yaml differs", "name", "`name:`"]),
        (None, ["study.yaml"]),
    ],
)
def test_study_refuses_another_record(record, says, tmp_path, monkeypatch, capsys):
    pytest.importorskip("orion.core", reason="the extra [hpo] is not installed")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hparams").symlink_to(SEPARATION / "hparams")
    content()(tmp_path)
    path = tmp_path / "results" / "s" / "study.yaml"
    path.parent.mkdir(parents=True)
    path.mkdir() if record is None else path.write_text(record)
    refused(study.main, ["s.yaml"], capsys, says)
    assert path.is_dir() if record is None else path.read_text() == record


def test_study_says_what_an_algorithm_does_not_know(tmp_path, monkeypatch, capsys):
    pytest.importorskip("orion.core", reason="the extra [hpo] is not installed")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hparams").symlink_to(SEPARATION / "hparams")
    search(algorithm="tpe", options={"gama": 0.2})(tmp_path)
    refused(study.main, ["s.yaml"], capsys, ["one", "gama"])


# Reports and curves


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A folder with two runs that were tested, and a ledger."""
    folder = tmp_path_factory.mktemp("found") / "results"
    for seed in (1, 2):
        write_run(folder / str(seed), seed, 2.0, noisy(1.0, seed))
    shutil.copytree(
        SEPARATION / "results" / "strategies" / "fast-two_cores", folder / "s"
    )
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
LEDGER = "s/ledger.csv"
REPORTS = [
    Wrong("no folder", ["folders", "--out"], ["--out", "page"]),
    Wrong("no --out", ["--out"], ["results"]),
    Wrong("not there", ["none: no run"], ["none", "--out", "page"]),
    Wrong("nothing in it", ["hparams: no run"], ["hparams", "--out", "page"]),
    Wrong(
        "file for the page",
        ["results/1/summary.json: is no folder"],
        ["results", "--out", "results/1/summary.json"],
    ),
    Wrong("listen to what", ["--data_folder"], [*OUT, "--listen", "results/1"]),
    Wrong(
        "listen to none",
        ["none"],
        [*OUT, "--listen", "none", "--data_folder", "results"],
    ),
    Wrong("no speakers", ["none.csv"], [*OUT, "--speakers", "none.csv"]),
    Wrong(
        "speakers without gender",
        ["ledger.csv: lacks the columns speaker, gender"],
        [*OUT, "--speakers", "results/" + LEDGER],
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
]


@pytest.mark.parametrize("case", REPORTS, ids=case_ids)
def test_report_refuses(case, results, tmp_path, capsys):
    (tmp_path / "hparams").symlink_to(SEPARATION / "hparams")
    if case.edit:
        case.edit(results)
    before = files_below(tmp_path)
    refused(report.main, case.arguments, capsys, case.says)
    assert files_below(tmp_path) == before


TESTED, SUMMARY, LOG = "1/test_results.csv", "1/summary.json", "1/train_log.txt"
HPARAMS = "1/hyperparams.yaml"
BROKEN = [
    Wrong("empty log", [LOG, "no epoch"], edit=change(LOG, lambda text: b"")),
    Wrong("log with NUL", [LOG, "NUL"], edit=change(LOG, lambda text: text + b"\0")),
    Wrong(
        "log that is cut",
        [LOG, "line 3", "no epoch's"],
        edit=change(LOG, lambda text: text[:-60]),
    ),
    Wrong(
        "log of text",
        [LOG, "line 1", "no epoch's"],
        edit=replace(LOG, b"lr: ", b"lr: x"),
    ),
    Wrong(
        "log not UTF-8",
        [LOG, "line 1", "UTF-8"],
        edit=change(LOG, lambda text: b"\xb3" + text),
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
        [TESTED, "line 2: stoi is no number"],
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
    Wrong("not there", ["none/train_log.txt", "output folder"], ["none"]),
    Wrong("no run", ["results/train_log.txt", "output folder"], ["results"]),
    Wrong("file", ["output folder of a run"], ["results/1/train_log.txt"]),
    Wrong("empty log", [LOG, "no epoch"], edit=change(LOG, lambda text: b"")),
    Wrong("NUL", [LOG, "line 4", "NUL"], edit=change(LOG, lambda text: text + b"\0")),
    Wrong("cut log", [LOG, "line 3"], edit=change(LOG, lambda text: text[:-60])),
    Wrong("another's", [LOG, "line 1"], edit=change(LOG, lambda text: b"a: b\n")),
    Wrong("not UTF-8", [LOG, "line 1"], edit=change(LOG, lambda text: b"\xb3")),
    Wrong("folder", ["train_log.txt"], edit=to_folder(LOG)),
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


@pytest.mark.parametrize("case", CURVES, ids=case_ids)
def test_curve_refuses(case, results, tmp_path, capsys):
    if case.edit:
        case.edit(results)
    before = files_below(tmp_path)
    arguments = case.arguments or ["results/2", "results/1"]
    if "--out" not in arguments and case.name != "no --out":
        arguments = [*arguments, "--out", "c.png"]
    refused(learning_curve.main, arguments, capsys, case.says)
    assert files_below(tmp_path) == before
