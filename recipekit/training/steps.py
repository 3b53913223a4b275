"""SpeechBrain's Brain with careful steps: keyed, and whole or left out.

A step that is not finite is left out as a whole and counted; too many in a row end the
run. It is never silently wrong.
"""

from contextlib import contextmanager

import speechbrain as sb
import torch
from speechbrain.utils.distributed import if_main_process

from recipekit.console import progress_bar
from recipekit.files import keyed


class TrainingStopped(RuntimeError):
    """Training cannot continue; the message says what to try."""


class CarefulBrain(sb.Brain):
    """A Brain whose steps are keyed, and left out as a whole if not finite.

    Gradients are accumulated over windows of ``grad_accumulation_factor`` batches; the
    last window of an epoch may be shorter. A window with a loss or a gradient that is
    not finite is not stepped, counted, and not averaged in.

    Batches have ``rows``, an entry for each example, and ``to(device)``. Keys: seed,
    N_epochs, epoch_counter (TrainState), lr_scheduler, batch_size, test_batch_size,
    grad_clip_norm. Hooks, with what they are by default:

    - ``train_stats(loss)``: what a mean loss amounts to, by name ({"loss": loss}),
    - ``describe_epoch(epoch)``: what the bar says of an epoch (""),
    - ``lr_scale(epoch)``: what the scheduler's rate is multiplied by (1).

    Arguments
    ---------
    *args, **kwargs
        Those of Brain.
    measures : Measures
        For titles and the unit of scores.
    """

    def __init__(self, *args, measures, **kwargs):
        super().__init__(*args, **kwargs)
        self.measures = measures
        self.rank = getattr(self, "rank", 0)
        self.world_size = 1
        if self.distributed_launch:
            self.world_size = torch.distributed.get_world_size()
        # Of on_fit_start: SpeechBrain's own way gives weights other names.
        self.compiles, self.compile = self.compile, False
        self.state = self.hparams.epoch_counter
        self.bar, self.steps_per_epoch = None, 0

    def train_stats(self, loss):
        """Returns what a mean training loss amounts to, by name."""
        return {"loss": loss}

    def describe_epoch(self, epoch):
        """Returns what the progress bar says of an epoch."""
        return ""

    def lr_scale(self, epoch):
        """Returns what the scheduler's rate is multiplied by in an epoch."""
        return 1.0

    @property
    def shows_bars(self):
        """Whether this process shows progress."""
        return if_main_process() and not self.noprogressbar

    def on_fit_start(self):
        """Compiles modules in place, if asked to; then SpeechBrain's own."""
        if self.compiles:
            for module in self.modules.values():
                module.compile()
        super().on_fit_start()

    def start_steps(self, epoch, steps):
        """Prepares the steps of an epoch, from ``self.step`` on."""
        self.steps_per_epoch = steps
        if self.step == 0:  # not when an epoch is resumed
            self.state.finite_steps = 0
        what = self.describe_epoch(epoch)
        self.bar = progress_bar(
            desc=f"epoch {epoch}/{self.hparams.N_epochs}" + f" ({what})" * bool(what),
            initial=self.step,
            total=steps,
            disable=not self.shows_bars,
        )

    def fit_batch(self, batch):
        """Does one step; one that is not finite is left out and counted.

        A window of accumulated gradients is stepped or left out as a whole; the last
        one of an epoch may be shorter. ``batch.rows`` has an entry for each example.
        """
        factor = self.grad_accumulation_factor
        position = (self.step - 1) % factor
        window = min(factor, self.steps_per_epoch - (self.step - 1 - position))
        should_step = self._window_ends()
        epoch = self.state.current
        if position == 0:
            self.window_is_finite, self.window_losses = True, []
            self._set_lr(epoch, (self.step - 1) / self.steps_per_epoch)
        torch.manual_seed(
            keyed.integer(self.hparams.seed, epoch, self.step, self.rank) >> 1
        )
        self.state.items += len(batch.rows) * self.world_size
        with self._memory_advice("batch_size"), self.no_sync(not should_step):
            batch = batch.to(self.device)
            with self.training_ctx:
                predictions = self.compute_forward(batch, sb.Stage.TRAIN)
                loss = self.compute_objectives(predictions, batch, sb.Stage.TRAIN)
            self.window_is_finite &= self._finite_everywhere(loss)
            if self.window_is_finite:
                self.window_losses.append(float(loss.detach()))
                self.scaler.scale(loss / window).backward()
            if should_step:
                self.optimizers_step()
        self.bar.update()
        return loss.detach().cpu()

    @contextmanager
    def _memory_advice(self, key):
        """Ends the run with advice if the device runs out of memory."""
        try:
            yield
        except torch.OutOfMemoryError as error:
            size = getattr(self.hparams, key)
            advice = f"Try --{key} {size // 2}"
            if key == "batch_size":
                factor = 2 * self.grad_accumulation_factor
                advice += f" --grad_accumulation_factor {factor} in a new output_folder"
            if size == 1:
                advice = "Try --precision bf16, shorter recordings or a smaller model"
            raise TrainingStopped(
                f"The device ran out of memory with {key} {size} and "
                f"grad_accumulation_factor {self.grad_accumulation_factor}. {advice}"
            ) from error

    def _finite_everywhere(self, loss):
        """Returns whether the loss is finite in every process."""
        finite = torch.isfinite(loss.detach()).float()
        if self.distributed_launch:
            torch.distributed.all_reduce(finite, torch.distributed.ReduceOp.MIN)
        return bool(finite)

    def optimizers_step(self):
        """Unscales, clips and steps, unless something was not finite."""
        stepped = False
        if self.window_is_finite:
            self.scaler.unscale_(self.optimizer)
            norm = torch.nn.utils.clip_grad_norm_(
                self.modules.parameters(), self.hparams.grad_clip_norm
            )
            stepped = bool(torch.isfinite(norm))
            if stepped:
                self.scaler.step(self.optimizer)
            self.scaler.update()
        self.zero_grad(set_to_none=True)
        self.optimizer_step += 1
        state = self.state
        state.skipped_in_a_row = 0 if stepped else state.skipped_in_a_row + 1
        state.skipped += not stepped
        self.window_losses *= stepped
        if state.skipped_in_a_row >= self.nonfinite_patience:
            raise TrainingStopped(
                f"{state.skipped_in_a_row} steps in a row were not finite "
                f"(nonfinite_patience). Try a lower lr (now {self.lr():.3g}), a lower "
                f"grad_clip_norm, or precision bf16 or fp32 (now {self.precision}); "
                "check the data"
            )

    def update_average(self, loss, avg_loss):
        """Averages over the losses of the steps taken, by their own number."""
        if not self.modules.training:
            return super().update_average(loss, avg_loss)
        if self._window_ends():
            for counted in self.window_losses:
                self.state.finite_steps += 1
                avg_loss += (counted - avg_loss) / self.state.finite_steps
        self.bar.set_postfix_str(
            f"{self.in_words(self.train_stats(avg_loss))}, lr {self.lr():.2e}"
            + f", {self.state.skipped} skipped" * bool(self.state.skipped),
            refresh=False,  # each drawing is a line of a log file
        )
        return avg_loss

    def _window_ends(self):
        last = self.step == self.steps_per_epoch
        return last or self.step % self.grad_accumulation_factor == 0

    def _set_lr(self, epoch, part):
        """Sets the rate for a part (0..1) of an epoch, counted from 1."""
        lr = self.hparams.lr_scheduler.rate(epoch - 1 + part) * self.lr_scale(epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    def lr(self):
        """Returns the learning rate of the last step."""
        return self.optimizer.param_groups[0]["lr"]

    def evaluate_batch(self, batch, stage):
        """Scores one batch; not compiled, as batches of many sizes come but once."""
        eager = torch.compiler.set_stance("force_eager")
        with self._memory_advice("test_batch_size"), eager:
            return super().evaluate_batch(batch.to(self.device), stage)

    def _should_save_intra_epoch_ckpt(self, last_ckpt_time, steps_since_ckpt):
        """Saves between windows of accumulated gradients only.

        SpeechBrain has no public place to say so, and a checkpoint within a window
        would lose its gradients.
        """
        due = super()._should_save_intra_epoch_ckpt(last_ckpt_time, steps_since_ckpt)
        return due and self.step % self.grad_accumulation_factor == 0

    def in_words(self, stats):
        """Returns scores as a list in words; the loss if there is nothing else."""
        titles = {name: each.title for name, each in self.measures.metrics.items()}
        shown = {k: v for k, v in stats.items() if k != "loss"} or stats
        return ", ".join(
            f"{titles.get(name, name)} {self.measures.with_unit(value)}"
            for name, value in shown.items()
        )
