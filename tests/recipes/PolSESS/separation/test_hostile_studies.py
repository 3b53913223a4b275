"""Wrong input for studies is refused, and explained."""

import pytest
import yaml
from tiny_run import SEPARATION

import study
from hostile import Wrong, case_ids, files_below, refused

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
    Wrong("broken", ["s.yaml is not valid YAML", "line 1"], edit=text("stages: [")),
    Wrong("tab", ["s.yaml is not valid YAML", "\\t"], edit=text("stages:\n\t- a")),
    Wrong(
        "not UTF-8",
        ["s.yaml is not valid YAML", "utf-8"],
        edit=lambda folder: (folder / "s.yaml").write_bytes(b"name: \xb3"),
    ),
    Wrong("NUL", ["s.yaml is not valid YAML"], edit=text("name: a\0b")),
    Wrong(
        "tag",
        ["s.yaml is not valid YAML", "python/object"],
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
        "not a valid prior",
        ["space, lr: 'normal(0, 1)' is not a valid prior", "loguniform"],
        edit=search(space={"lr": "normal(0, 1)"}),
    ),
    Wrong(
        "prior that is code",
        ["is not a valid prior"],
        edit=search(space={"lr": "uniform(open('ran', 'w'))(1, 2)"}),
    ),
    Wrong(
        "searched key",
        ["no key lrr", "did you mean lr?"],
        edit=search(space={"lrr": "uniform(0, 1)"}),
    ),
    Wrong(
        "halving of one rung",
        ["halving needs more N_epochs"],
        edit=search(halving={"first_rung": 4}),
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
        ("stages: [", ["study.yaml", "not a valid record"]),
        ("", ["study.yaml", "not a valid record"]),
        ("\0", ["study.yaml", "not a valid record"]),
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
