"""Studies as read, scaled and chosen from, without running anything."""

import math
import shlex

import pytest
import yaml
from tiny_run import SEPARATION

from recipe import RECIPE
from recipekit.studies import selection
from recipekit.studies.selection import Configuration
from recipekit.studies.spaces import Prior, read_space
from recipekit.studies.stages import rungs
from recipekit.studies.study_file import read_study
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
        assert stage.max_trials() >= 2 and stage.cost() > 0
    # As typed, the command names every key of the study and parses as YAML again.
    stage = study.stages[0]
    line = study.command(stage, {"seed": 1}, study.run_folder(stage, {"seed": 1}))
    values = {k[2:]: yaml.safe_load(v) for k, v in zip(line[2::2], line[3::2])}  # noqa: B905
    assert values | stage.settings | {"seed": 1} == values


def test_numbers_of_the_logged_studies():
    three = read_study("sweeps/three_stage.yaml", RECIPE)
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
    grid = read_study("sweeps/proxy_grid.yaml", RECIPE).stages[1]
    assert grid.max_trials() == 3 * 4 * 4


def test_fast_study_costs_less_than_a_fifth_of_the_three_stages():
    for scale in (None, "sweeps/scales/two_cores.yaml"):
        three = read_study("sweeps/three_stage.yaml", RECIPE, scale).stages
        search, validated = read_study("sweeps/fast.yaml", RECIPE, scale).stages
        # The winner's first seed is the search's own run.
        fast = search.cost() + validated.cost() * 2 / 3
        assert fast < sum(stage.cost() for stage in three) / 5


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
    }
    assert proxy.max_trials() == 35
    assert grid.runs["grid"] == {"lr_factor": [0.40, 0.85], "lr_patience": [2, 5]}
    assert grid.runs["top"]["count"] == 2  # of 1.5
    assert validated.max_trials() == 2 * 3


def test_asha_counts_its_rungs():
    stage = read_study("sweeps/fast.yaml", RECIPE).stages[0]
    assert rungs(3, 80, 3) == stage.rungs == [3, 15, 80]
    assert rungs(1, 9, 3) == [1, 3, 9] and rungs(1, 5, 3) == [1, 5]
    assert rungs(1, 4, 2) == [1, 2, 4] and rungs(2, 3, 1.5) == [2, 3]


def test_rungs_are_those_of_orion():
    asha = pytest.importorskip("orion.algo.asha.asha", reason="needs the extra [hpo]")
    for first, last, base in [
        (3, 80, 3),
        (1, 5, 3),
        (2, 81, 4),
        (1, 100, 2),
        (6, 50, 3),
    ]:
        ours = rungs(first, last, base)
        (bracket,) = asha.compute_budgets(first, last, base, len(ours), 1)
        assert [int(budget[1]) for budget in bracket] == ours


def test_asha_cost_is_that_of_resumed_rungs(tmp_path):
    study = small(
        tmp_path,
        search={"algorithm": "asha", "trials": 9, "base": 3, "space": SPACE},
        settings={"N_epochs": 9, "train_items": 10},
    )
    (stage,) = study.stages
    assert stage.max_trials() == 9 + 3 + 1
    assert stage.cost() == 10 * (9 * 1 + 3 * 2 + 1 * 6)


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
            "algorithm: 'bohb'; expected one of ('random', 'tpe', 'asha')",
        ),
        (
            {"search": {"trials": 2, "space": SPACE, "algorithm": "asha", "base": 4}},
            "asha needs N_epochs of at least first_rung x base (1 x 4), found 3",
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
    assert len(study.stages) == 2 * 13
    tuned, validated = study.stages[2:4]
    assert tuned.name == "tuned-sgd-plateau-5" and validated.needs == (tuned.name,)
    assert tuned.settings["optimizer"] == validated.varied["optimizer"] == "sgd"


def test_command_line_shows_a_plan_and_names_what_is_wrong(capsys):
    main(["sweeps/fast.yaml", "--dry_run", "--batch_size", "2"])
    shown = capsys.readouterr().out
    assert "python train.py hparams/dprnn.yaml" in shown and "--batch_size 2" in shown
    assert "#   lr: loguniform(0.0003, 0.003)" in shown and "in all at most" in shown
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
    with pytest.raises(ValueError, match="no trial"):
        selection.top([], 1, space)


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


def test_successive_halving_promotes_the_best_of_a_rung():
    losses = {1: {"a": 3.0, "b": 1.0, "c": 2.0, "d": None}, 3: {}, 9: {}}
    assert selection.promotion(losses, 3, 6) == ("b", 1, 3)
    losses[3]["b"] = None
    assert selection.promotion(losses, 3, 6) is None  # one of three is promoted
    losses[1] |= {"d": 0.5, "e": 4.0, "f": 5.0}
    assert selection.promotion(losses, 3, 6) == ("d", 1, 3)
    losses[3] |= {"b": 1.0, "d": None}
    assert selection.promotion(losses, 3, 6) is None  # too few on the second rung,
    losses[3]["d"] = 2.0
    assert selection.promotion(losses, 3, 7) is None  # and more are to be drawn;
    assert selection.promotion(losses, 3, 6) == ("b", 3, 9)  # but one reaches the top
    losses[9]["b"] = None
    assert selection.promotion(losses, 3, 6) is None


def test_points_are_configurations_times_grid_times_seeds():
    found = selection.points([{"lr": 1, "f": 0}, {"lr": 2}], {"f": [5, 6]}, [42, 1])
    assert len(found) == 8 and {p["f"] for p in found} == {5, 6}
    assert [p["seed"] for p in found] == [42] * 4 + [1] * 4
    assert selection.points([{}], {}, []) == [{}]
    assert selection.points([{"lr": 1}, {"lr": 1}], {}, [1]) == [{"lr": 1, "seed": 1}]


@pytest.mark.parametrize("algorithm", ["random", "tpe"])
def test_few_trials_stay_few(tmp_path, algorithm):
    search = {"algorithm": algorithm, "trials": 1, "space": {"lr": "uniform(0.1, 1)"}}
    assert small(tmp_path, search=search).stages[0].search["trials"] == 1
