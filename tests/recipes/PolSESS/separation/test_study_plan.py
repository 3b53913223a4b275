"""Studies as read, scaled and chosen from, without running anything."""

import math
import shlex

import pytest
import yaml
from tiny_run import SEPARATION

from recipe import RECIPE
from recipekit.studies import selection
from recipekit.studies.proposals import next_params
from recipekit.studies.selection import Configuration
from recipekit.studies.spaces import Prior, read_space
from recipekit.studies.stages import rungs
from recipekit.studies.study_file import read_study
from recipekit.training.hparams_keys import Keys
from study import main

SHIPPED = sorted(SEPARATION.glob("sweeps/*.yaml"))
STUDIES = [path for path in SHIPPED if path.stem != "orion"]
SCALES = sorted(SEPARATION.glob("sweeps/scales/*.yaml"))


@pytest.fixture(autouse=True)
def folder(monkeypatch):
    monkeypatch.chdir(SEPARATION)


# Shipped studies


@pytest.mark.parametrize("scale", [None, *SCALES], ids=lambda p: p and p.stem)
@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.stem)
def test_shipped_studies_can_be_read(path, scale):
    study = read_study(path, RECIPE, scale)
    assert study.name == path.stem + (f"-{scale.stem}" if scale else "")
    for stage in study.stages:
        assert stage.max_trials() >= 1 and stage.cost() > 0
    # As typed, the command names every key of the study and parses as YAML again.
    stage = study.stages[0]
    line = study.command(stage, {"seed": 1}, study.run_folder(stage, {"seed": 1}))
    values = {k[2:]: yaml.safe_load(v) for k, v in zip(line[2::2], line[3::2])}  # noqa: B905
    assert values | stage.settings | {"seed": 1} == values


def test_numbers_of_the_logged_studies():
    three = read_study("sweeps/three_stage.yaml", RECIPE)
    assert three.stages[0].rungs == [10, 30, 50] and three.stages[1].rungs[:2] == [
        10,
        30,
    ]
    assert three.stages[-1].runs["top"]["within"] == 0.36
    configurations = [s.search["trials"] for s in three.stages if s.search]
    assert configurations == [91, 131, 69, 41]
    assert [s.settings["train_items"] for s in three.stages] == [
        2000,
        4000,
        8000,
        8000,
        16000,
    ]
    assert three.stages[-1].max_trials() == 15
    proxy, grid, validated = read_study("sweeps/proxy_grid.yaml", RECIPE).stages
    assert proxy.rungs == [6, 18, 20] and proxy.settings["lr_factor"] == 0.98
    assert grid.max_trials() == 3 * 4 * 4 and validated.max_trials() == 3 * 3


@pytest.mark.parametrize("name, share", [("fast", 8), ("short", 12)])
def test_cheap_studies_cost_a_fraction_of_the_three_stages(name, share):
    three = read_study("sweeps/three_stage.yaml", RECIPE).stages
    search, validated = read_study(f"sweeps/{name}.yaml", RECIPE).stages
    # The winner's first seed is, or resumes, the search's own run.
    cost = search.cost() + validated.cost() * 2 / 3
    assert cost < sum(stage.cost() for stage in three) / share


# The logged baselines, as their authors describe them: model -> settings.
CURRICULUM = [
    {"epoch": 1, "variants": ["C", "R"]},
    {"epoch": 3, "variants": ["C", "R", "SR", "S"]},
    {
        "epoch": 5,
        "variants": ["R", "SR", "S", "SE", "ER", "E", "SER"],
        "plateau": True,
    },
]
WITH_C = [
    *CURRICULUM[:2],
    {**CURRICULUM[2], "variants": ["C", "R", "SR", "S", "SE", "ER", "E", "SER"]},
]
LOGGED = {
    "spmamba": {
        **{"lr": 1e-3, "N_epochs": 30, "batch_size": 1, "grad_clip_norm": 2.0},
        **{"curriculum": WITH_C, "num_layers": 4, "n_heads": 2, "qk_dim": 256},
    },
    "sepformer": {
        **{"lr": 1.5e-4, "N_epochs": 50, "batch_size": 2, "curriculum": WITH_C},
        "use_positional_encoding": False,
    },
    "dprnn": {
        **{"lr": 1.5e-4, "weight_decay": 0.0, "grad_clip_norm": 5.0},
        **{"lr_factor": 0.98, "lr_patience": 2, "N_epochs": 100, "batch_size": 16},
        **{"early_stop_patience": 10, "curriculum": CURRICULUM},
    },
    "convtasnet": {
        **{"lr": 1e-3, "weight_decay": 0.0, "grad_clip_norm": 5.0, "lr_factor": 0.5},
        **{"lr_patience": 2, "N_epochs": 50, "batch_size": 8, "curriculum": CURRICULUM},
    },
}


@pytest.mark.parametrize("model", LOGGED)
def test_baselines_are_the_logged_ones(model, capsys):
    main(["sweeps/baselines.yaml", "--dry_run"])
    shown = capsys.readouterr().out
    (line,) = [x for x in shown.splitlines() if f"hparams/{model}.yaml" in x]
    pairs = shlex.split(line)[3:]
    given = {
        key[2:]: yaml.safe_load(value)
        for key, value in zip(pairs[::2], pairs[1::2], strict=True)
    }
    defaults = Keys(RECIPE).plain_values(*_hparams(model))
    settings = defaults | given
    assert {key: settings[key] for key in LOGGED[model]} == LOGGED[model]
    assert given["train_items"] == 16000
    assert f"# {model}: 3 trials" in shown and "seed: 42, 123, 456" in shown


def _hparams(model):
    path = SEPARATION / "hparams" / f"{model}.yaml"
    return path, Keys(RECIPE).read_text(path)


def test_scale_multiplies_and_rounds_half_up(tmp_path):
    (tmp_path / "s.yaml").write_text(
        "train_items: 0.01\nN_epochs: 0.1\ntrials: 0.5\ntop: 0.5\ngrid: 0.5\n"
        "settings: {batch_size: 3}\nmodels: {dprnn: {num_layers: 1}, x: {lr: 1}}\n"
    )
    study = read_study("sweeps/proxy_grid.yaml", RECIPE, tmp_path / "s.yaml")
    proxy, grid, validated = study.stages
    assert proxy.settings == {
        "seed": 42,
        "train_items": 160,
        "N_epochs": 2,
        "batch_size": 3,
        "num_layers": 1,
        "lr_factor": 0.98,
        "lr_patience": 2,
    }
    assert proxy.search["trials"] == 35 and proxy.rungs == [1, 2]
    assert grid.runs["grid"] == {"lr_factor": [0.40, 0.85], "lr_patience": [2, 5]}
    assert grid.runs["top"]["count"] == 2  # of 1.5
    assert validated.max_trials() == 2 * 3


def test_halving_counts_its_rungs():
    stage = read_study("sweeps/short.yaml", RECIPE).stages[0]
    assert rungs(4, 32, 3) == stage.rungs == [4, 12, 32]
    assert read_study("sweeps/fast.yaml", RECIPE).stages[0].rungs == [20, 60, 80]
    assert rungs(1, 9, 3) == [1, 3, 9] and rungs(1, 5, 3) == [1, 3, 5]
    assert rungs(10, 50, 3) == [10, 30, 50]  # the bands of the log


def test_cost_of_halving_is_that_of_resumed_rungs(tmp_path):
    study = small(
        tmp_path,
        search={"halving": {"first_rung": 1}, "trials": 9, "space": SPACE},
        settings={"N_epochs": 9, "train_items": 10},
    )
    (stage,) = study.stages
    assert stage.max_trials() == 9 + 3 + 1
    assert stage.cost() == 10 * (9 * 1 + 3 * 2 + 1 * 6)


def test_a_scale_may_move_learning_rates_and_what_begins_at_an_epoch(tmp_path):
    (tmp_path / "s.yaml").write_text("N_epochs: 0.15\nlr: 4\ntrials: 0.1\n")
    search, _ = read_study("sweeps/short.yaml", RECIPE, tmp_path / "s.yaml").stages
    assert search.search["space"]["lr"].bounds == (0.0012, 0.012)
    assert [known["lr"] for known in search.search["first"]] == [0.0006, 0.005]
    assert search.search["trials"] == 3 and search.rungs == [1, 3, 5]
    logged = read_study("sweeps/baselines.yaml", RECIPE, tmp_path / "s.yaml").stages
    assert [each.settings["lr"] for each in logged] == [0.004, 0.0006, 0.0006, 0.004]
    epochs = [stage["epoch"] for stage in logged[0].settings["curriculum"]]
    assert epochs == [1, 2, 3]


# Folders of runs


def test_a_run_is_what_it_computes(tmp_path):
    study = small(tmp_path, search={"trials": 2, "space": SPACE})
    (stage,) = study.stages
    folder = study.run_folder(stage, {"lr": 0.1})
    assert study.run_folder(stage, {"lr": 0.1, "N_epochs": 7}) == folder
    assert study.run_folder(stage, {"lr": 0.1, "data_folder": "x"}) == folder
    assert study.run_folder(stage, {"lr": 0.2}) != folder
    assert study.run_folder(stage, {"lr": 0.1, "seed": 5}) != folder


# Errors

SPACE = {"lr": "loguniform(1e-4, 1e-2)"}


def small(tmp_path, hparams="hparams/dprnn.yaml", settings=None, **stage):
    path = tmp_path / "small.yaml"
    stage = {"name": "one", "settings": settings or {"N_epochs": 3}, **stage}
    path.write_text(yaml.safe_dump({"hparams": hparams, "stages": [stage]}))
    return read_study(path, RECIPE)


@pytest.mark.parametrize(
    "stage, message",
    [
        (
            {"search": {"trials": 2, "space": {"lr": "normal(0, 1)"}}},
            "is not a valid prior",
        ),
        (
            {"search": {"trials": 2, "space": {"lr": "uniform(2, 1)"}}},
            "is not a valid prior",
        ),
        (
            {"search": {"trials": 2, "space": {"lr": "loguniform(0, 1)"}}},
            "not a valid prior",
        ),
        ({"search": {"trials": 2, "space": {"leer": "uniform(1, 2)"}}}, "no key leer"),
        ({"search": {"trials": 2, "space": {}}}, "space: no keys"),
        ({"search": {"trials": 2, "space": {"seed": "uniform(1, 2)"}}}, "seed cannot"),
        ({"search": {"trials": 2.5, "space": SPACE}}, "trials: 2.5; expected a whole"),
        ({"search": {"hours": 0, "space": SPACE}}, "hours: 0; expected a number above"),
        ({"search": {"trials": 2, "space": []}}, "space: []; expected keys and values"),
        (
            {"search": {"trials": 2, "narrow": {"stages": "x", "quantiles": [10, 90]}}},
            "quantiles: [10, 90]; expected two numbers from 0 to 1",
        ),
        ({"runs": {"seeds": 42}}, "seeds: 42; expected a list of whole numbers"),
        ({"runs": {"grid": {"lr": 0.1}}}, "expected keys with lists of values"),
        (
            {"runs": {}, "settings": {"N_epochs": "3"}},
            "N_epochs: '3'; expected a whole",
        ),
        ({"runs": {}, "settings": [1]}, "settings: [1]; expected keys and values"),
        ({"search": {"space": SPACE}}, "either trials or hours"),
        (
            {"search": {"trials": 2, "space": SPACE}, "runs": {}},
            "either search or runs",
        ),
        ({"runs": {"top": {"stages": "other"}}}, "depends on other"),
        ({"runs": {"tops": 3}}, "unknown keys tops"),
        (
            {"runs": {}, "hparams": "hparams/none.yaml"},
            "does not exist, expected a hparams file",
        ),
        (
            {"search": {"trials": 2, "space": SPACE, "algorithm": "bohb"}},
            "algorithm: 'bohb'; expected one of ('halton', 'tpe')",
        ),
        (
            {"search": {"trials": 2, "space": SPACE, "halving": {"first_rung": 3}}},
            "halving needs more N_epochs than first_rung, 3, found 3",
        ),
        (
            {"search": {"trials": 2, "space": SPACE, "halving": {"rule": "both"}}},
            "rule: 'both'; expected one of ('promote', 'stop')",
        ),
        (
            {"search": {"hours": 2, "space": SPACE, "halving": {}}},
            "halving takes trials, not hours",
        ),
        (
            {"search": {"trials": 2, "space": SPACE, "first": [{"lr_factor": 0.5}]}},
            "first: {'lr_factor': 0.5} has other keys than the space, which has lr",
        ),
        (
            {
                "search": {
                    "trials": 2,
                    "space": {"optimizer": "choices(['sgd'])"},
                    "first": [{"optimizer": "adam"}],
                }
            },
            "first, optimizer: 'adam' is no choice",
        ),
        (
            {"search": {"trials": 2, "space": SPACE, "first": [{"lr": "fast"}]}},
            "lr: 'fast'; expected",
        ),
    ],
)
def test_errors_name_the_stage_and_what_was_expected(tmp_path, stage, message):
    with pytest.raises(ValueError) as error:
        small(tmp_path, **stage)
    assert message in str(error.value) and "small.yaml: stage one" in str(error.value)


@pytest.mark.parametrize(
    "content, message",
    [
        ("- a", "expected keys and values"),
        ("stages: {a: 1}", "stages: {'a': 1}; expected a list of stages"),
        ("stages: [text]", "expected a list of stages"),
        ("stages: [{runs: {}}]", "name: ''; expected a name of letters"),
        ("{name: ../x, stages: [{name: a}]}", "name: '../x'; expected a name"),
        ("{for_each: [sgd], stages: [{name: a}]}", "expected a list of settings"),
        ("stages: [", "is not valid YAML"),
    ],
)
def test_errors_name_what_is_wrong_with_a_study(tmp_path, content, message):
    (tmp_path / "s.yaml").write_text(content)
    with pytest.raises(ValueError) as error:
        read_study(tmp_path / "s.yaml", RECIPE)
    assert message in str(error.value) and "s.yaml" in str(error.value)


def test_numbers_as_people_write_them_are_numbers(tmp_path):
    study = small(
        tmp_path, runs={"grid": {"loss_floor": ["-1e-4", "-2.5E-3", "-1e+2"]}}
    )
    assert study.stages[0].runs["grid"]["loss_floor"] == [-1e-4, -2.5e-3, -100]


def test_stages_are_repeated_for_each_setting():
    study = read_study("sweeps/optimizers.yaml", RECIPE)
    assert len(study.stages) == 3 * 13
    tuned, refined, validated = study.stages[3:6]
    assert tuned.name == "tuned-sgd-plateau-5" and refined.needs == (tuned.name,)
    assert validated.needs == (tuned.name, refined.name)
    assert tuned.settings["optimizer"] == validated.varied["optimizer"] == "sgd"
    assert "space" not in tuned.settings and validated.varied == refined.varied
    first = study.stages[0]
    # Spaces of their own, and the same points of the unit cube.
    assert first.search["space"]["lr"].bounds == (1e-4, 1e-2)
    assert tuned.search["space"]["lr"].bounds == (1e-3, 1e-1)
    spaces = [stage.search["space"] for stage in (first, tuned)]
    drawn = [
        next_params(stage, space, [], [], (study.name, stage.origin))
        for stage, space in zip((first, tuned), spaces, strict=True)
    ]
    parts = [
        [space[key].part(params[key]) for key in space]
        for space, params in zip(spaces, drawn, strict=True)
    ]
    assert parts[0] == pytest.approx(parts[1], abs=1e-3)


def test_command_line_shows_a_plan_and_names_what_is_wrong(capsys):
    main(["sweeps/fast.yaml", "--dry_run", "--batch_size", "2"])
    shown = capsys.readouterr().out
    assert "python train.py hparams/dprnn.yaml" in shown and "--batch_size 2" in shown
    assert "#   lr: loguniform(0.0003, 0.003)" in shown and "in all about" in shown
    for arguments, message in [
        (["sweeps/none.yaml"], "none.yaml"),
        (["sweeps/fast.yaml", "--batch_sizes", "2"], "has no key batch_sizes"),
        (["sweeps/fast.yaml", "--batch_size"], "as in --batch_size VALUE"),
    ]:
        with pytest.raises((ValueError, OSError)) as error:
            main([*arguments, "--dry_run"])
        assert message in str(error.value)


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.stem)
def test_lines_of_a_plan_can_be_typed(path, capsys):
    main([str(path), "--dry_run"])
    lines = [x for x in capsys.readouterr().out.splitlines() if x and x[0] != "#"]
    study = read_study(path, RECIPE)
    assert len(lines) == len(study.stages)
    for line, stage in zip(lines, study.stages, strict=True):
        python, script, hparams, *pairs = shlex.split(line)
        assert (python, script) == ("python", "train.py") and hparams == stage.hparams
        given = {
            key: yaml.safe_load(value)
            for key, value in zip(pairs[::2], pairs[1::2], strict=True)
        }
        params = {key[2:]: value for key, value in given.items()}
        for key, prior in (stage.search or {"space": {}})["space"].items():
            assert prior.contains(params[key])
        folder = params.pop("output_folder")
        varied = {k: v for k, v in params.items() if k not in stage.settings}
        assert str(study.run_folder(stage, varied)) == folder  # the study's own


# Priors and selection


def test_priors_are_read_and_written_as_orion_does():
    for text in ("uniform(0.5, 20)", "loguniform(0.0003, 0.003)"):
        assert str(Prior.parse("k", text)) == text
    assert str(Prior.parse("k", "uniform(1, 5, discrete=True)")) == (
        "uniform(1, 5, discrete=True)"
    )
    assert Prior.parse("k", "choices(['a', 'b'])").choices == ("a", "b")


def test_log_priors_measure_in_the_logarithm():
    prior = Prior.parse("lr", "loguniform(1e-4, 1e-2)")
    assert prior.unit(1e-3) == pytest.approx(0.5)
    assert prior.distance(1e-4, 1e-3) == pytest.approx(0.5)
    assert prior.unit(0.0) == 0 and prior.unit(5) == 1  # known ones may lie outside
    assert Prior(choices=("a", "b")).distance("a", "b") == 1


def test_narrowing_takes_quantiles_of_the_best_within_the_old_bounds():
    space = read_space(
        {
            "lr": "loguniform(1e-4, 1e-1)",
            "clip": "uniform(0, 10)",
            "patience": "uniform(1, 5, discrete=True)",
            "name": "choices(['a', 'b'])",
        }
    )
    values = [(1e-3, 2.0, 2), (1e-2, 4.0, 4), (1e-1, 6.0, 5), (1e-4, 9.0, 1)]
    found = [
        Configuration({"lr": lr, "clip": c, "patience": p, "name": "a"}, 3, -float(i))
        for i, (lr, c, p) in enumerate(values)
    ]
    narrowed = selection.narrow(space, found, best=0.75, quantiles=(0.25, 0.75))
    # The best three: log10 of lr -3, -2, -1; clips 2, 4, 6; patience 2, 4, 5.
    assert math.log10(narrowed["lr"].low) == pytest.approx(-2.5, abs=1e-4)
    assert math.log10(narrowed["lr"].high) == pytest.approx(-1.5, abs=1e-4)
    assert (narrowed["clip"].low, narrowed["clip"].high) == (3, 5)
    assert (narrowed["patience"].low, narrowed["patience"].high) == (3, 5)
    assert narrowed["name"] == space["name"]

    same = [Configuration({**found[0].params}, 3, 0.0)] * 2
    lone = selection.narrow(space, same, best=1, quantiles=(0, 1))
    for key in ("lr", "clip", "patience"):
        assert space[key].low <= lone[key].low < lone[key].high <= space[key].high
        assert lone[key].contains(found[0].params[key])


def test_top_by_quality_and_diversity():
    space = read_space({"x": "uniform(0, 1)"})
    scored = {0.50: 0.0, 0.52: -0.1, 0.60: -0.2, 0.95: -0.3, 0.01: -0.9, 0.99: -5}
    found = [Configuration({"x": x}, 9, score) for x, score in scored.items()]

    def chosen(count, within):
        return [c.params["x"] for c in selection.top(found, count, space, within)]

    assert chosen(3, None) == [0.50, 0.52, 0.60]
    # 0.95 is farthest from 0.50; then 0.60 has 0.10 to the next, 0.52 only 0.02.
    assert chosen(3, 0.5) == [0.50, 0.95, 0.60]
    assert chosen(3, 1.0) == [0.50, 0.01, 0.95]
    assert chosen(3, 0.15) == [0.50, 0.52, 0.60]  # too few are near: the next best


def test_configurations_of_higher_fidelity_come_first():
    class Trial:
        def __init__(self, lr, epochs, score, seed=1):
            self.params = {"lr": lr, "N_epochs": epochs, "seed": seed}
            self.epochs, self.score = epochs, score

    trials = [
        Trial(1, 1, -1.0),
        Trial(2, 1, -3.0),
        Trial(2, 9, -2.0),
        Trial(3, 9, -1.5, seed=1),
        Trial(3, 9, -1.7, seed=2),
        Trial(4, 9, None),
    ]
    found = selection.configurations(trials)
    assert [(c.params["lr"], c.epochs) for c in found] == [(3, 9), (2, 9), (1, 1)]
    assert found[0].score == pytest.approx(-1.6)  # the mean over seeds


def test_points_are_configurations_times_grid_times_seeds():
    found = selection.points([{"lr": 1, "f": 0}, {"lr": 2}], {"f": [5, 6]}, [42, 1])
    assert len(found) == 8 and {p["f"] for p in found} == {5, 6}
    assert [p["seed"] for p in found] == [42] * 4 + [1] * 4
    assert selection.points([{}], {}, []) == [{}]
    assert selection.points([{"lr": 1}, {"lr": 1}], {}, [1]) == [{"lr": 1, "seed": 1}]


@pytest.mark.parametrize("algorithm", ["halton", "tpe"])
def test_few_trials_stay_few(tmp_path, algorithm):
    search = {"algorithm": algorithm, "trials": 1, "space": {"lr": "uniform(0.1, 1)"}}
    assert small(tmp_path, search=search).stages[0].search["trials"] == 1


@pytest.mark.parametrize(
    "override, message",
    [
        ({"lr": 0.1}, "stage search: --lr would change nothing"),
        ({"seed": 1}, "stage validated: --seed would change nothing"),
    ],
)
def test_keys_that_a_study_tries_itself_cannot_be_overridden(override, message):
    with pytest.raises(ValueError, match=message):
        read_study("sweeps/fast.yaml", RECIPE, overrides=override)


def test_the_best_of_each_is_of_each_searched_configuration(tmp_path):
    text = (SEPARATION / "sweeps" / "proxy_grid.yaml").read_text(encoding="utf-8")
    path = tmp_path / "s.yaml"
    path.write_text(text.replace("each: [lr, weight_decay", "each: [lr, lr_factor"))
    with pytest.raises(ValueError, match="each: .*: grad_clip_norm, lr, weight_decay"):
        read_study(path, RECIPE)
