"""Optimisers and schedules: what they compute, and runs that are gone on with."""

import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from speechbrain.nnet.schedulers import ReduceLROnPlateau
from tiny_run import arguments, assert_same, last_checkpoint, load

import train
from recipe import RECIPE
from recipekit.studies import trial
from recipekit.training import optimizers, schedules
from recipekit.training.command_line import read_command_line
from tiny_corpus import write_corpus

CLASSES = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "adamax": torch.optim.Adamax,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
}
SETTINGS = {"ckpt_interval_steps": 2, "dropout": 0.2, "N_epochs": 2}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("run") / "tiny", rows=(10, 4, 2))


@pytest.fixture
def fit(corpus, tmp_path, monkeypatch):
    """A function that trains, in this process, in a folder of a name; returns it.

    As a trial of a search, which ends when training does.
    """
    monkeypatch.setenv(trial.RESULTS_VARIABLE, str(tmp_path / "results.json"))
    monkeypatch.setattr(train.sb, "create_experiment_directory", lambda *_, **__: None)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def run(name, *flags, **changes):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        train.main([*arguments(corpus, folder, **SETTINGS | changes), *flags])
        return folder

    yield run
    torch.set_num_threads(threads)


def scheduler(name, lr=0.25, factor=0.5, patience=1, step=2, **changes):
    warmed = {"lr": lr, "warmup": 2, "horizon": 10, "N_epochs": 10} | changes
    named = {
        "plateau": partial(schedules.Plateau, lr, factor, patience),
        "step": partial(schedules.Step, lr, factor, step),
        "cosine": partial(schedules.Cosine, **warmed),
        "onecycle": partial(schedules.OneCycle, **warmed),
        "constant": partial(schedules.Constant, lr),
        "cooled": partial(schedules.Constant, lr, cooldown=4, N_epochs=10),
    }
    return schedules.chosen(named, name)


@pytest.mark.parametrize("name", CLASSES)
def test_optimizers_are_those_of_torch_and_learn(name):
    torch.manual_seed(0)
    inputs, layer = torch.randn(64, 8), torch.nn.Linear(8, 1)
    targets = inputs @ torch.linspace(-1, 1, 8).unsqueeze(1)
    make = optimizers.optimizer_class(name, 0.05, 1e-4)
    optimizer = make(layer.parameters())
    assert type(optimizer) is CLASSES[name]
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.05, 1e-4)
    assert group.get("momentum", 0) == (0.9 if name == "sgd" else 0)
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        loss = (layer(inputs) - targets).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 5


def test_weight_decay_is_decoupled_for_adamw_only():
    after = {}
    for name in CLASSES:
        weight = torch.nn.Parameter(torch.tensor(2.0))
        weight.grad = torch.tensor(0.0)
        optimizers.optimizer_class(name, 0.01, 0.5)([weight]).step()
        after[name] = weight.item()
    # Without gradients adamw shrinks the weight; Adam's step is lr along the penalty.
    assert after["adamw"] == pytest.approx(2 * (1 - 0.01 * 0.5), rel=1e-6)
    for name in ("adam", "adagrad", "adamax"):
        assert after[name] == pytest.approx(2 - 0.01, rel=1e-6), name
    assert after["sgd"] == pytest.approx(2 - 0.01 * 0.5 * 2, rel=1e-6)


@pytest.mark.parametrize(
    "name, parts",
    [
        ("constant", {0: 1, 5.5: 1, 99: 1}),
        ("cooled", {0: 1, 6: 1, 6.25: 0.75, 7: 0.5, 8: 1 - math.sqrt(0.5), 10: 0}),
        ("plateau", {0: 1, 5.5: 1, 99: 1}),
        ("step", {0: 1, 1.99: 1, 2: 0.5, 3.9: 0.5, 4: 0.25, 9.5: 0.0625}),
        (
            "cosine",
            {0: 0, 1: 0.5, 2: 1, 4: (1 + math.sqrt(0.5)) / 2, 6: 0.5, 10: 0},
        ),
    ],
)
def test_rates_in_closed_form(name, parts):
    rates = {progress: scheduler(name).rate(progress) for progress in parts}
    assert rates == pytest.approx({p: 0.25 * part for p, part in parts.items()})


def test_one_cycle_is_that_of_torch():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])
    # Torch counts steps, and both of its phases end one step early: 4 a epoch here.
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=0.25,
        total_steps=4 * 10 + 1,
        pct_start=(4 * 2 + 1) / (4 * 10 + 1),
        cycle_momentum=False,
    )
    schedule = scheduler("onecycle")
    for step in range(4 * 10):
        expected = optimizer.param_groups[0]["lr"]
        assert schedule.rate(step / 4) == pytest.approx(expected, rel=1e-9), step
        optimizer.step()
        reference.step()


def test_without_warmup_the_first_rate_is_the_highest():
    assert scheduler("cosine", warmup=0).rate(0) == 0.25
    assert scheduler("onecycle", warmup=0).rate(0) == 0.25


def test_plateau_is_that_of_speechbrain_also_after_loading(tmp_path):
    reference = ReduceLROnPlateau(factor=0.7, patience=2, dont_halve_until_epoch=0)
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.00125}])
    plateau = scheduler("plateau", lr=0.00125, factor=0.7, patience=2)
    losses = torch.randn(60, generator=torch.Generator().manual_seed(0)).tolist()
    rates = set()
    for epoch, loss in enumerate(losses, 1):
        _, optimizer.param_groups[0]["lr"] = reference([optimizer], epoch, loss)
        plateau.observe(epoch, loss)
        plateau.save(tmp_path / "saved")
        plateau = scheduler("plateau", lr=0.1, factor=0.7, patience=2)
        plateau.load(tmp_path / "saved", end_of_epoch=True)
        assert plateau.rate(epoch) == optimizer.param_groups[0]["lr"]
        rates.add(plateau.rate(epoch))
    assert len(rates) > 5


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"optimizer": "adamm"},
            "optimizer: 'adamm'; expected one of sgd, adam, adamw",
        ),
        ({"scheduler": "linear"}, "scheduler: 'linear'; expected one of plateau, step"),
        ({"scheduler": "step", "lr_step": 0}, "lr_step: 0"),
        ({"scheduler": "cosine", "lr_horizon": 2}, "lr_horizon: 2, but N_epochs: 3"),
        ({"scheduler": "onecycle", "lr_warmup": 3}, "lr_warmup: 3; .* is 3 epochs"),
        ({"lr_cooldown": 4, "scheduler": "constant"}, "lr_cooldown: 4; .* which is 3"),
    ],
)
def test_wrong_keys_are_refused_when_the_hparams_are_read(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        load("corpus", tmp_path, **changes)


def test_a_key_of_another_schedule_is_checked_on_the_command_line(tmp_path):
    line = arguments("corpus", tmp_path, lr_step=0)
    with pytest.raises(ValueError, match="lr_step: 0"):
        read_command_line(line, "", RECIPE)


ACTING = [{"epoch": 1, "variants": ["SER", "SE", "C", "R"], "plateau": True}]
CASES = {
    "cosine": {"optimizer": "nadam", "scheduler": "cosine", "lr_horizon": 3},
    "onecycle": {"optimizer": "radam", "scheduler": "onecycle", "lr_horizon": 4},
    "step": {"optimizer": "sgd", "scheduler": "step", "lr_step": 1},
    "constant": {"scheduler": "constant"},
    "plateau": {"optimizer": "adamw", "scheduler": "plateau"},
}


@pytest.mark.parametrize("name", CASES)
def test_interrupted_and_promoted_run_is_the_straight_one(fit, monkeypatch, name):
    changes = CASES[name] | {"lr": 0.01, "curriculum": ACTING}
    observe, fit_batch = schedules.Plateau.observe, train.Separation.fit_batch

    def disappointed(self, epoch, loss):
        observe(self, epoch, float(epoch))  # worse than the epoch before

    def interrupted(self, batch):
        if self.hparams.epoch_counter.current == 2 and self.step == 4:
            raise KeyboardInterrupt
        return fit_batch(self, batch)

    monkeypatch.setattr(schedules.Plateau, "observe", disappointed)
    longer = {"N_epochs": 3} | ({"lr_cooldown": 1} if name == "constant" else {})
    straight = last_checkpoint(fit("straight", **changes, **longer))
    with monkeypatch.context() as patched:
        patched.setattr(train.Separation, "fit_batch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit("promoted", **changes)
    fit("promoted", **changes)
    promoted = last_checkpoint(fit("promoted", **changes, **longer))
    assert_same(straight, promoted)
    rates = [entry["lr"] for entry in promoted["state"]["history"]]
    assert len(set(rates)) == (2 if name in ("plateau", "constant") else 3)


def test_rates_of_steps_follow_progress_and_curriculum(fit, monkeypatch):
    used = []
    optimizers_step = train.Separation.optimizers_step

    def watched(self):
        used.append(self.lr())
        optimizers_step(self)

    monkeypatch.setattr(train.Separation, "optimizers_step", watched)
    changes = {"lr": 0.5, "scheduler": "cosine", "lr_warmup": 0.5, "lr_horizon": 4}
    folder = fit("run", **changes, grad_accumulation_factor=2)

    def rate(progress):  # of windows that begin with steps 0, 2 and 4 of 5
        return 0.25 * (1 + math.cos(math.pi * (progress - 0.5) / 3.5))

    scaled = [0.5 * rate(progress) for progress in (1, 1.4, 1.8)]
    assert used == pytest.approx([0, 0.5 * 0.8, rate(0.8), *scaled])
    history = last_checkpoint(folder)["state"]["history"]
    assert [entry["lr"] for entry in history] == [used[2], used[5]]


def test_a_horizon_does_not_move(fit):
    changes = {"scheduler": "onecycle", "lr_warmup": 0.5}
    fit("run", **changes)  # lr_horizon: N_epochs, which is 2
    with pytest.raises(ValueError, match=r"begun with lr_horizon 2 \(now 3\)"):
        fit("run", **changes, N_epochs=3)
    with pytest.raises(ValueError, match=r"begun with lr_horizon 2 \(now 1\)"):
        fit("run", **changes, N_epochs=1)
    fit("run", **changes, N_epochs=1, lr_horizon=2)


def test_a_cooldown_ends_a_run(fit):
    changes = {"scheduler": "constant", "lr_cooldown": 1}
    folder = fit("run", **changes)  # of two epochs, the second of which cools down
    for longer in ({"N_epochs": 3}, {"N_epochs": 3, "lr_cooldown": 0}):
        with pytest.raises(ValueError, match="falls from epoch 1 to 2; now it would"):
            fit("run", **changes | longer)
    assert len(last_checkpoint(folder)["state"]["history"]) == 2
    fit("run", **changes)
    fit("run", **changes | {"N_epochs": 1, "lr_cooldown": 0})  # what was before it
    fit("late", "--scheduler", "constant")
    with pytest.raises(ValueError, match="is at epoch 1.8"):
        fit("late", scheduler="constant", N_epochs=3, lr_cooldown=2)


def test_gradients_are_clipped_unless_the_norm_is_infinite(fit, monkeypatch):
    norms = []
    optimizers_step, step = train.Separation.optimizers_step, torch.optim.SGD.step

    def norm(groups):
        parts = [p.grad.norm() for p in groups[0]["params"] if p.grad is not None]
        norms.append(torch.stack(parts).norm().item())

    def watched(self):
        norm(self.optimizer.param_groups)
        optimizers_step(self)

    def watched_step(self, *args):
        norm(self.param_groups)
        return step(self, *args)

    monkeypatch.setattr(train.Separation, "optimizers_step", watched)
    monkeypatch.setattr(torch.optim.SGD, "step", watched_step)
    changes = {"optimizer": "sgd", "N_epochs": 1}
    fit("clipped", **changes, grad_clip_norm=0.125)
    before, after = norms[::2], norms[1::2]
    assert min(before) > 0.125 and after == pytest.approx([0.125] * 5, rel=1e-4)
    norms.clear()
    folder = fit("unclipped", "--grad_clip_norm", ".inf", **changes)
    assert norms[::2] == norms[1::2] and min(norms) > 0.125
    record = (folder / "hyperparams.yaml").read_text(encoding="utf-8")
    assert "\ngrad_clip_norm: .inf" in record and "\noptimizer: sgd" in record
