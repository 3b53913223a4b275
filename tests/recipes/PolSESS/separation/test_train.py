"""The Brain: non-finite steps, accumulation, precision, overfitting, loggers, test."""

import json

import pandas as pd
import pytest
import speechbrain as sb
import torch
from tiny_run import HPARAMS, arguments, last_checkpoint, load, run

import train
from mixtures.curriculum import Curriculum
from mixtures.dataset import EpochSampler, VariantDataset, read_manifest
from polsess_prepare import prepare_polsess
from recipe import RECIPE
from recipekit.training.command_line import read_command_line
from recipekit.training.train_state import TrainState
from tiny_corpus import write_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("train") / "tiny", rows=(6, 3, 3))


@pytest.fixture(scope="module")
def manifests(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("manifests")
    prepare_polsess(corpus, folder)
    return folder


@pytest.fixture
def make_brain(corpus, manifests, tmp_path):
    """A function that returns a Brain ready for steps, and its training set."""

    def make(**changes):
        hparams = load(corpus, tmp_path / "run", **changes)
        (tmp_path / "run").mkdir(exist_ok=True)
        rows = read_manifest(manifests / "train.csv", corpus)
        dataset = VariantDataset(rows, hparams["task"])
        brain = train.Separation(
            hparams["modules"],
            hparams["opt_class"],
            hparams,
            {"device": "cpu", "noprogressbar": True},
            hparams["checkpointer"],
            source={"corpus": "tiny"},
        )
        brain.train_sampler = EpochSampler(dataset, brain.curriculum, 7)
        brain.hparams.epoch_counter.current = 1
        brain.on_fit_start()
        brain.on_stage_start(sb.Stage.TRAIN, 1)
        brain.modules.train()
        return brain, dataset

    return make


def step(brain, batch):
    brain.step += 1
    brain.avg_train_loss = brain.update_average(
        brain.fit_batch(batch), brain.avg_train_loss
    )


def weights(brain):
    return torch.cat([p.detach().flatten() for p in brain.modules.parameters()])


def batch_of(dataset, *indices):
    return dataset.__getitems__([(index, "C") for index in indices])


def test_compiles_training_and_not_validation(make_brain, monkeypatch):
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    whole = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda m: whole(m, backend=backend))
    brain, dataset = make_brain(compile=True)
    batch = batch_of(dataset, 0, 1)
    brain.scores = []
    brain.evaluate_batch(batch, sb.Stage.VALID)
    assert not graphs and len(brain.scores) == 2
    step(brain, batch)
    assert graphs and brain.state.finite_steps == 1


def test_overfits_four_mixtures(make_brain):
    brain, dataset = make_brain(N_channels=32, hidden_channels=32, lr=0.01)
    batch = batch_of(dataset, 0, 1, 2, 3)
    brain.steps_per_epoch = 10**6
    for _ in range(250):
        step(brain, batch)
    brain.modules.eval()
    with torch.no_grad():
        loss = train.pit_loss(brain.compute_forward(batch, None), batch.targets)
    assert -loss > 10


@pytest.mark.parametrize("task", ["EB", "ES"])
def test_other_tasks_learn(make_brain, task):
    brain, dataset = make_brain(task=task, lr=0.01)
    batch = batch_of(dataset, 0, 1)
    brain.steps_per_epoch = 10**6
    losses = []
    for _ in range(40):
        step(brain, batch)
        losses.append(brain.avg_train_loss)
    assert batch.targets.shape == (2, 1, 2000)
    assert losses[-1] < losses[0] - 1


def test_steps_that_are_not_finite_are_skipped_and_not_averaged(
    make_brain, monkeypatch
):
    brain, dataset = make_brain()
    batch = batch_of(dataset, 0, 1)
    step(brain, batch)
    before, average = weights(brain), brain.avg_train_loss
    loss = train.pit_loss
    monkeypatch.setattr(train, "pit_loss", lambda *a: loss(*a) * float("nan"))
    step(brain, batch)
    assert torch.equal(weights(brain), before)
    assert brain.avg_train_loss == average and brain.state.finite_steps == 1
    assert brain.state.skipped == brain.state.skipped_in_a_row == 1
    monkeypatch.undo()
    step(brain, batch)
    assert brain.state.skipped_in_a_row == 0 and brain.state.skipped == 1
    assert not torch.equal(weights(brain), before)
    assert brain.state.finite_steps == 2


def test_gradients_that_are_not_finite_are_skipped(make_brain):
    brain, dataset = make_brain()
    before = weights(brain)
    first = next(iter(brain.modules.parameters()))
    first.register_hook(lambda grad: grad * float("inf"))
    step(brain, batch_of(dataset, 0, 1))
    assert torch.equal(weights(brain), before) and brain.state.skipped == 1
    assert brain.state.finite_steps == 0 and brain.avg_train_loss == 0


def test_a_dead_run_stops_and_says_what_to_try(corpus, tmp_path):
    poison = (
        "loss = train.pit_loss\ntrain.pit_loss = lambda *a: loss(*a) * float('nan')"
    )
    line = arguments(corpus, tmp_path, nonfinite_patience=2)
    done = run(line, before=poison, check=False)
    assert done.returncode == 1
    assert "2 steps in a row were not finite" in done.stdout
    assert "Try a lower lr (now 0.00125)" in done.stdout


def test_an_epoch_without_finite_steps_has_no_average(corpus, tmp_path):
    poison = (
        "loss = train.pit_loss\ntrain.pit_loss = lambda *a: loss(*a) * float('nan')"
    )
    run(arguments(corpus, tmp_path, nonfinite_patience=99, N_epochs=1), before=poison)
    log = (tmp_path / "train_log.txt").read_text(encoding="utf-8")
    assert "skipped: 3" in log and "train loss: nan" in log


def test_out_of_memory_names_batch_size_and_accumulation(make_brain, monkeypatch):
    brain, dataset = make_brain(batch_size=4)

    def exhausted(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(train, "separate", exhausted)
    expected = "--batch_size 2 --grad_accumulation_factor 2"
    with pytest.raises(train.TrainingStopped, match=expected):
        step(brain, batch_of(dataset, 0))


def test_accumulation_equals_the_larger_batch(make_brain):
    large, dataset = make_brain(batch_size=4)
    start = {k: v.clone() for k, v in large.modules.state_dict().items()}
    large.steps_per_epoch = 1
    step(large, batch_of(dataset, 0, 1, 2, 3))
    small, _ = make_brain(grad_accumulation_factor=2)
    small.modules.load_state_dict(start)
    small.steps_per_epoch = 2
    step(small, batch_of(dataset, 0, 1))
    assert torch.equal(
        small.modules.encoder.conv1d.weight, start["encoder.conv1d.weight"]
    )
    step(small, batch_of(dataset, 2, 3))
    assert torch.allclose(weights(small), weights(large), atol=2e-6)


def test_last_short_window_is_stepped(make_brain):
    brain, dataset = make_brain(grad_accumulation_factor=4)
    brain.steps_per_epoch = 5
    for _ in range(4):
        step(brain, batch_of(dataset, 0))
    before = weights(brain)
    step(brain, batch_of(dataset, 1))
    assert brain.optimizer_step == 2 and not torch.equal(weights(brain), before)


def test_bf16_trains_and_scores_in_fp32(make_brain, monkeypatch):
    brain, dataset = make_brain(precision="bf16")
    seen, losses, pit_loss = [], [], train.pit_loss

    def watched(*signals):
        loss = pit_loss(*signals)
        losses.append(loss.dtype)
        return loss

    monkeypatch.setattr(train, "pit_loss", watched)
    brain.modules.masknet.register_forward_hook(lambda *a: seen.append(a[2].dtype))
    step(brain, batch_of(dataset, 0, 1))
    step(brain, batch_of(dataset, 2, 3))
    assert seen == [torch.bfloat16, torch.bfloat16]
    assert losses == [torch.float32, torch.float32]
    assert brain.state.skipped == 0


def test_dropout_acts_and_is_keyed_by_the_step(make_brain):
    losses = []
    for dropout in (0.0, 0.5, 0.5):
        torch.manual_seed(len(losses))  # must not matter
        brain, dataset = make_brain(dropout=dropout)
        step(brain, batch_of(dataset, 0, 1))
        losses.append(brain.avg_train_loss)
    assert losses[0] != losses[1] == losses[2]


def test_sampler_is_a_function_of_seed_epoch_and_row(manifests, corpus):
    rows = read_manifest(manifests / "train.csv", corpus)
    curriculum = Curriculum([{"epoch": 1, "variants": ["SER", "R", "C", "SE"]}])

    def pairs(epoch, rows=rows, seed=7, **processes):
        dataset = VariantDataset(rows, "SB")
        sampler = EpochSampler(dataset, curriculum, seed, **processes)
        sampler.set_epoch(epoch)
        return [(rows[index]["id"], variant) for index, variant in sampler]

    assert pairs(2) == pairs(2) == pairs(2, rows[::-1])
    assert pairs(2) != pairs(3) and pairs(2) != pairs(2, seed=8)
    shares = [pairs(2, rank=rank, world_size=2) for rank in (0, 1)]
    assert [p for both in zip(*shares, strict=True) for p in both] == pairs(2)
    odd = [pairs(2, rows[:5], rank=rank, world_size=2) for rank in (0, 1)]
    assert len(odd[0]) == len(odd[1]) == 2
    indoor = Curriculum([{"epoch": 1, "variants": ["SER"]}])
    sampler = EpochSampler(VariantDataset(rows, "SB"), indoor, 7)
    assert {rows[index]["indoor"] for index, _ in sampler} == {True}
    with pytest.raises(ValueError, match="no training row has one of"):
        EpochSampler(
            VariantDataset([row for row in rows if not row["indoor"]], "SB"), indoor, 7
        )


def test_train_items_is_the_first_rows_and_checked(manifests, corpus):
    path = manifests / "train.csv"
    assert read_manifest(path, corpus, 2) == read_manifest(path, corpus)[:2]
    with pytest.raises(ValueError, match="train_items: 7, but .*6 rows"):
        read_manifest(path, corpus, 7)


def test_whole_run_tests_every_variant_and_logs_everywhere(corpus, tmp_path):
    pytest.importorskip("tensorboard")
    events = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    line = arguments(
        corpus, tmp_path, tensorboard=True, valid_per_variant=True, test_batch_size=1
    )
    run([*line, "--nonfinite_patience", "11"])
    record = (tmp_path / "hyperparams.yaml").read_text(encoding="utf-8")
    assert "\nnonfinite_patience: 11" in record
    results = pd.read_csv(tmp_path / "test_results.csv")
    assert set(results.variant) == {"SER", "SE", "SR", "S", "ER", "E", "R", "C"}
    assert len(results) == 2 * 5 + 1 * 4
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary["provenance"]["seed"] == 7
    state = last_checkpoint(tmp_path)["state"]
    improvements = [entry["valid"]["si_sdri"] for entry in state["history"]]
    assert summary["provenance"]["validation_score"] == max(improvements)
    assert summary["provenance"]["corpus"] == "tiny"
    assert [entry["lr"] for entry in state["history"]][0] == 0.00125
    log = (tmp_path / "train_log.txt").read_text(encoding="utf-8").splitlines()
    assert len(log) == 3 and log[0].startswith("epoch: 1, examples: ")
    assert (tmp_path / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    accumulator = events.EventAccumulator(str(tmp_path / "tensorboard"))
    accumulator.Reload()
    shown = [event.value for event in accumulator.Scalars("si_sdri/valid")]
    assert shown == pytest.approx(improvements, rel=1e-5)
    # Testing again, in larger batches, gives the same scores.
    (tmp_path / "test_results.csv").unlink()
    again = arguments(corpus, tmp_path, valid_per_variant=True, test_batch_size=8)
    run([*again, "--test_only", "True"])
    repeated = pd.read_csv(tmp_path / "test_results.csv")
    assert list(repeated.id) == list(results.id)
    for name in ("si_sdr", "si_sdri", "sdri"):  # written with four decimals
        assert repeated[name].to_numpy() == pytest.approx(results[name], abs=2e-4)


def test_weights_and_biases_offline(corpus, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run(arguments(corpus, tmp_path, wandb=True, N_epochs=2))
    assert list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))


def test_without_a_checkpoint_there_is_nothing_to_test(corpus, tmp_path):
    done = run([*arguments(corpus, tmp_path), "--test_only"], check=False)
    assert done.returncode == 1 and "no checkpoint to test" in done.stdout


def test_missing_file_stops_before_training(tmp_path):
    corpus = write_corpus(tmp_path / "tiny")
    next((corpus / "train" / "scene").glob("*.wav")).unlink()
    done = run(arguments(corpus, tmp_path / "run"), check=False)
    assert done.returncode == 1 and "scene" in done.stdout
    assert not list((tmp_path / "run" / "save").glob("CKPT*"))


def test_plateau_scheduler_acts_from_its_stage_on(make_brain):
    brain, _ = make_brain(lr_factor=0.5, lr_patience=0, N_epochs=9)
    brain.train_loss, rates = 0.0, []
    for epoch in range(1, 5):
        brain.hparams.epoch_counter.current = epoch
        row = {"id": "a", "variant": "SER", "finite": True, "si_sdri": 0.0}
        brain.scores = [{**row, "si_sdr": -float(epoch)}]
        brain.end_epoch(epoch)
        rates.append(brain.hparams.lr_scheduler.rate(epoch))
    assert rates == [0.00125, 0.00125, 0.000625, 0.0003125]


def test_a_key_without_a_value_is_refused():
    with pytest.raises(ValueError, match="--valid_per_variant: a value is missing"):
        read_command_line(
            [str(HPARAMS), "--valid_per_variant", "--seed", "3"], "", RECIPE
        )


def test_errors_of_the_recipe_end_with_their_message_alone(corpus, tmp_path):
    for changes in ({"hiden_channels": 3}, {"task": "XX"}, {"sample_rate": 16000}):
        done = run(arguments(corpus, tmp_path / "run", **changes), check=False)
        assert done.returncode == 1
        assert "error: " in done.stdout and "Traceback" not in done.stdout, changes


def test_testing_another_task_or_corpus_is_refused(corpus, tmp_path):
    folder = tmp_path / "run"
    run(arguments(corpus, folder, N_epochs=1, task="EB"))
    record = (folder / "hyperparams.yaml").read_text(encoding="utf-8")
    results = (folder / "test_results.csv").read_text(encoding="utf-8")
    other = write_corpus(tmp_path / "other", seed=1)
    for line in (
        arguments(corpus, folder, N_epochs=1, task="ES"),
        arguments(other, folder, N_epochs=1, task="EB"),
    ):
        done = run([*line, "--test_only"], check=False)
        assert done.returncode == 1 and "was begun with" in done.stdout
    assert (folder / "hyperparams.yaml").read_text(encoding="utf-8") == record
    assert (folder / "test_results.csv").read_text(encoding="utf-8") == results
    scores = pd.read_csv(folder / "test_results.csv").set_index("variant")
    assert scores.si_sdri["C"].isna().all()  # its mixture is the target
    assert scores.si_sdri["SER"].notna().all()


def test_switches_take_values():
    line = [str(HPARAMS), "--test_only", "True", "--noprogressbar"]
    line += ["--compile_using_fullgraph=False", "--wandb", "True", "--seed", "3"]
    line += ["--find_unused_parameters", "true"]
    read = read_command_line(line, "", RECIPE)
    assert read.overrides == {"test_only": True, "wandb": True, "seed": 3}
    assert read.run_opts.noprogressbar and read.run_opts.find_unused_parameters
    assert not read.run_opts.compile_using_fullgraph


def test_state_survives_saving(tmp_path):
    state = TrainState(limit=9, patience=2)
    next(state)
    state.end_epoch({"epoch": 1, "lr": 0.1 + 0.2}, 0.1 + 0.7, 1.5)
    state.skipped = 3
    state.save(tmp_path / "state")
    other = TrainState(limit=9, patience=2)
    other.load(tmp_path / "state")
    assert vars(other) == vars(state)
    assert next(other) == next(state) == 2


def test_state_of_another_version_is_refused(tmp_path):
    (tmp_path / "state").write_text('{"history": [], "settings": null}')
    with pytest.raises(ValueError, match="state: the checkpoint is of another version"):
        TrainState(9, 2).load(tmp_path / "state")


@pytest.mark.parametrize(
    ("scores", "patience", "epochs", "best"),
    [
        ([1.0, 0.9, 0.8, 2.0], 1, 2, 1),
        ([1.0, 0.9, 0.8, 2.0], 2, 3, 1),
        ([1.0, 0.9, 0.8, 2.0], 3, 4, 4),
        ([-3.0, -3.0, -3.0], 2, 3, 1),  # as good is not better
        ([-3.0, -2.0, -1.0], 1, 3, 3),
    ],
)
def test_early_stop_is_that_of_the_scores(tmp_path, scores, patience, epochs, best):
    """Whether or not the state is saved and loaded after each epoch."""
    for restarted in (False, True):
        state = TrainState(len(scores), patience)
        while (epoch := next(state, None)) is not None:
            state.end_epoch({}, scores[epoch - 1], 0.0)
            if restarted:
                state.save(tmp_path / "state")
                state = TrainState(len(scores), patience)
                state.load(tmp_path / "state")
        assert (len(state.history), state.best_epoch) == (epochs, best)


def test_validation_per_variant_is_the_mean_of_the_variants_means(make_brain):
    """C with one row counts as SER with three; rows without a score are left out."""
    brain, _ = make_brain(valid_per_variant=True)
    brain.scores = [
        {"variant": variant, "si_sdr": score, "si_sdri": 2 * score}
        for variant, score in [
            *(("SER", 1.0), ("SER", 2.0), ("SER", 6.0), ("C", 9.0)),
            *(("C", float("nan")), ("E", float("nan"))),
        ]
    ]
    assert brain.valid_stats() == {"si_sdr": 6.0, "si_sdri": 12.0}
    assert brain.monitored(brain.valid_stats()) == 12.0
    brain.hparams.valid_per_variant = False
    assert brain.valid_stats() == {"si_sdr": 4.5, "si_sdri": 9.0}


def test_a_silent_target_is_left_out_of_validation_and_no_sign_of_spoilt_weights(
    make_brain,
):
    brain, dataset = make_brain()
    batch = batch_of(dataset, 0, 1)
    batch.targets[0, 1] = 0
    brain.on_stage_start(sb.Stage.VALID, 1)
    brain.evaluate_batch(batch, sb.Stage.VALID)
    assert [row["finite"] for row in brain.scores] == [True, True]
    valid = [row["si_sdr"] for row in brain.scores]
    assert [score == score for score in valid] == [False, True]
    brain.train_loss = 0.0
    brain.on_stage_end(sb.Stage.VALID, None, 1)
    assert brain.state.scores == [pytest.approx(valid[1])]


def test_spoilt_weights_stop_the_run(make_brain):
    brain, dataset = make_brain()
    next(brain.modules.parameters()).data.fill_(float("nan"))
    brain.on_stage_start(sb.Stage.VALID, 1)
    brain.evaluate_batch(batch_of(dataset, 0, 1), sb.Stage.VALID)
    with pytest.raises(train.TrainingStopped, match="weights are spoilt"):
        brain.on_stage_end(sb.Stage.VALID, None, 1)


def test_spoilt_weights_have_no_test_scores(make_brain):
    """Left out as undefined, rows of a failing model would flatter the others."""
    brain, dataset = make_brain(score_workers=0)
    next(brain.modules.parameters()).data.fill_(float("nan"))
    brain.on_stage_start(sb.Stage.TEST)
    with pytest.raises(train.TrainingStopped, match="test rows .* are not finite"):
        brain.evaluate_batch(batch_of(dataset, 0, 1), sb.Stage.TEST)


@pytest.mark.parametrize("task", ["EB", "ES"])
def test_enhancement_is_not_taught_by_mixtures_that_are_their_target(
    task, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # loading makes the output folder
    for hparams in sorted(HPARAMS.parent.glob("*.yaml")):
        line = read_command_line([str(hparams), "--task", task], "", RECIPE)
        stages = line.load()["curriculum"]
        assert "C" not in {name for stage in stages for name in stage["variants"]}
        first = read_command_line([str(hparams)], "", RECIPE).load()["curriculum"][0]
        assert first["variants"] == ["C", "R"]  # of SB, as logged
