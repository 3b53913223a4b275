"""SpeechBrain's Brain with careful steps: skipped or stopped, never silently wrong."""

from contextlib import contextmanager

import speechbrain as sb
import torch

from recipekit.files import keyed


class TrainingStopped(RuntimeError):
    """Training cannot go on; the message says what to try."""


class CarefulBrain(sb.Brain):
    """A Brain whose steps are keyed, and left out as a whole if not finite.

    Gradients are accumulated over windows of ``grad_accumulation_factor`` batches; the
    last window of an epoch may be shorter. A window with a loss or a gradient that is
    not finite is not stepped, counted, and not averaged in. Subclasses set ``state``
    (TrainState) when they are made, and ``steps_per_epoch``, ``lr_scale`` (what the
    scheduler's rate is multiplied by) and ``bar`` (tqdm) when a training stage starts.
    Keys: seed, batch_size, test_batch_size, grad_clip_norm, lr_scheduler.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.rank = getattr(self, "rank", 0)
        self.world_size = 1
        if self.distributed_launch:
            self.world_size = torch.distributed.get_world_size()

    def _compile(self):
        """Compiles modules in place: weights keep their names, and a module whose
        ``compile`` is its own compiles only what takes the time.
        """
        if self.compile:
            for module in self.modules.values():
                module.compile()

    def fit_batch(self, batch):
        """Does one step; one that is not finite is left out and counted.

        A window of accumulated gradients is stepped or left out as a whole; the last
        one of an epoch may be shorter.
        """
        factor = self.grad_accumulation_factor
        position = (self.step - 1) % factor
        window = min(factor, self.steps_per_epoch - (self.step - 1 - position))
        should_step = self._window_ends()
        epoch = self.hparams.epoch_counter.current
        if position == 0:
            self.window_is_finite, self.window_losses = True, []
            self._set_lr(epoch - 1 + (self.step - 1) / self.steps_per_epoch)
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
                f"(nonfinite_patience). Try a lower lr (now {self._lr():.3g}), a lower "
                f"grad_clip_norm, or precision bf16 or fp32 (now {self.precision}); "
                "check the corpus with verify_audio: True"
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
            f"SI-SDR {-avg_loss:.2f} dB, lr {self._lr():.2e}"
            + f", {self.state.skipped} skipped" * bool(self.state.skipped),
            refresh=False,  # each drawing is a line of a log file
        )
        return avg_loss

    def _window_ends(self):
        last = self.step == self.steps_per_epoch
        return last or self.step % self.grad_accumulation_factor == 0

    def _set_lr(self, progress):
        lr = self.hparams.lr_scheduler.rate(progress) * self.lr_scale
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    def _lr(self):
        return self.optimizer.param_groups[0]["lr"]

    def evaluate_batch(self, batch, stage):
        """Scores one batch; not compiled, as batches of many sizes come but once."""
        eager = torch.compiler.set_stance("force_eager")
        with self._memory_advice("test_batch_size"), eager:
            return super().evaluate_batch(batch.to(self.device), stage)

    def _should_save_intra_epoch_ckpt(self, last_ckpt_time, steps_since_ckpt):
        """Saves between windows of accumulated gradients only."""
        due = super()._should_save_intra_epoch_ckpt(last_ckpt_time, steps_since_ckpt)
        return due and self.step % self.grad_accumulation_factor == 0
