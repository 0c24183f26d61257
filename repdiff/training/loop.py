"""The training loop."""

import logging
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from reconstruction.out_of_memory import in_halves, is_out_of_memory, let_go
from repdiff.errors import UserError
from repdiff.execution.progress import progress_bar
from repdiff.hardware import choose_device, resolve_precision
from repdiff.settings.training import TrainingSettings
from repdiff.training.interrupt import StopRequest
from repdiff.training.log import MetricsLog
from repdiff.training.seeds import derived_generator, derived_seed, epoch_order
from repdiff.training.shares import WholeBatchDropout
from repdiff.training.state import Progress, RunFiles
from repdiff.training.trainable import Trainable, TrainingData

AGREE_EVERY = 10  # steps between exchanges of clock and signals when there are several processes
VALIDATION_ROWS = 4096  # in one pass
PURPOSE_STEP, PURPOSE_VALIDATION, PURPOSE_DROPOUT = 2, 3, 4  # 1 is the data order
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingResult:
    """What a run came to."""

    step: int
    epoch: int
    seconds: float
    stopped_by: Literal["budget", "signal"]
    model: Path
    best: Path | None
    train_loss: float | None
    validation_loss: float | None


def train(
    model: Trainable,
    train_data: TrainingData,
    validation_data: TrainingData,
    settings: TrainingSettings,
    folder: Path,
    *,
    metadata: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    resume: bool = False,
    progress: bool = True,
) -> TrainingResult:
    """Train a model, in this process or in all those that `accelerate launch` started.

    The run writes, in `folder`: `metrics.jsonl`; `model.safetensors`, the averaged weights of the newest
    checkpoint; `best.safetensors`, those of the lowest validation loss; and `checkpoints/`, the two newest with
    all that resuming needs. Of a model that is fitted already only the weights are written. Batches, noise and
    dropout are functions of seed and step, so on a CPU a resumed run repeats the losses of an uninterrupted one
    bit for bit, unless a budget in minutes steers a cosine rate.

    Args:
        model: Model with its initial weights, replaced by the trained ones.
        train_data: What to learn from.
        validation_data: What to measure on; may be empty.
        settings: How to train.
        folder: Folder of the run; made if absent.
        metadata: Plain JSON to store in every checkpoint (normaliser, layout of the vector, ...).
        tensors: Tensors to store in every checkpoint, under names that do not begin with "network.".
        resume: Go on from the newest checkpoint of `folder`; from the start if there is none.
        progress: Whether to show a bar on stderr.

    Raises:
        UserError: If there is no such device, too little data, the folder holds another run, a checkpoint does not
            fit or cannot be read, the disk refuses, or the loss stops being finite.
    """
    files = RunFiles(folder, metadata, tensors)
    if model.fitted:
        files.save_fitted(model)
        return TrainingResult(0, 0, 0.0, "budget", files.model, None, None, None)
    trainer = _Trainer(model, train_data, validation_data, settings, files, progress)
    trainer.start(resume=resume)
    log = None
    if trainer.is_main:
        log = MetricsLog(folder, step=trainer.state.step, tensorboard=settings.tensorboard)
    devices = [trainer.device] if trainer.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices), StopRequest() as stop:
            return trainer.run(log, stop)
    finally:
        if log is not None:
            log.close()


class _Trainer:
    def __init__(
        self,
        model: Trainable,
        train_data: TrainingData,
        validation_data: TrainingData,
        settings: TrainingSettings,
        files: RunFiles,
        progress: bool,
    ) -> None:
        self.settings, self.files = settings, files
        device = choose_device(settings.device)
        if device.type == "cuda" and device.index is not None:
            torch.cuda.set_device(device)  # the one that accelerate takes
        self.accelerator = Accelerator(cpu=device.type == "cpu")
        self.device = self.accelerator.device
        self.is_main = self.accelerator.is_main_process
        self.show_bar = progress and self.is_main
        self.train_data = train_data.to(self.device)
        self.validation_data = validation_data.to(self.device)
        self.batch_size = self._usable_batch_size()
        self.steps_per_epoch = len(train_data) // self.batch_size
        self.precision = resolve_precision(settings.precision, self.device)
        self.plain = model.to(self.device)
        adam = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
        self.optimizer = adam(
            model.parameters(),
            lr=settings.learning_rate,
            betas=settings.adam_betas,
            weight_decay=settings.weight_decay if settings.optimizer == "adamw" else 0.0,
            fused=self.device.type in ("cpu", "cuda"),
        )
        self.averaged = AveragedModel(model, multi_avg_fn=self._average)
        self.model = self.accelerator.prepare(model)
        self.state = Progress.at_start(model.n_errors, self.device)
        self._order = (-1, torch.empty(0, dtype=torch.long))
        self.n_parts = 1  # that a batch is taken in

    @property
    def ema(self) -> Trainable:
        """The model with averaged weights."""
        assert isinstance(self.averaged.module, Trainable)
        return self.averaged.module

    def start(self, *, resume: bool) -> None:
        """Make the folder, or restore its newest checkpoint."""
        restored = self.files.restore(self.plain, self.ema, self.optimizer, self.settings, resume=resume)
        if restored is not None:
            self.state = restored.to(self.device)
            self.averaged.n_averaged.fill_(restored.step // self.settings.ema_every)
        self.accelerator.wait_for_everyone()

    def run(self, log: MetricsLog | None, stop: StopRequest) -> TrainingResult:
        """Train until a budget is used up or a signal arrives."""
        self.model.train()
        self.averaged.eval()
        state, settings = self.state, self.settings
        saved_step, saved_seconds = state.step, state.seconds
        clock = _Clock(self.accelerator, state.seconds, settings.clock)
        total = settings.total_steps(self.steps_per_epoch)
        with progress_bar(
            total=total, initial=state.step, desc="training", unit="step", disable=not self.show_bar
        ) as bar:
            while True:
                state.seconds, stopping = clock.agree(state.step, stop.requested)
                used = settings.progress(state.step, state.seconds, self.steps_per_epoch)
                if stopping or used >= 1:
                    break
                self._step(settings.rate(state.step, used))
                if state.step % settings.log_every == 0 or state.step % settings.validate_every == 0:
                    self._report(log, bar)
                bar.update()
                by_steps = settings.checkpoint_every and state.step % settings.checkpoint_every == 0
                if by_steps or state.seconds - saved_seconds > 60 * settings.checkpoint_minutes:
                    self._save()
                    saved_step, saved_seconds = state.step, state.seconds
        if state.step != saved_step or state.step == 0:
            self._save()
        elif self.is_main:
            self.files.mend(self.ema, state)
        self.accelerator.wait_for_everyone()
        return TrainingResult(
            step=state.step,
            epoch=state.step // self.steps_per_epoch,
            seconds=state.seconds,
            stopped_by="budget" if used >= 1 else "signal",
            model=self.files.model,
            best=self.files.best if state.best_loss is not None else None,
            train_loss=state.train_loss,
            validation_loss=state.validation_loss,
        )

    def _step(self, rate: float) -> None:
        """Take one optimiser step and add its losses to the running sums."""
        state, rank = self.state, self.accelerator.process_index
        share = self.batch_size // self.accelerator.num_processes
        mine = slice(rank * share, (rank + 1) * share)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss, errors = self._learn(self._rows(state.step), mine)
        state.gradient_norm = torch.nn.utils.clip_grad_norm_(self.plain.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        state.rate = rate
        state.add(loss, errors)
        if state.step % self.settings.ema_every == 0:
            self.averaged.update_parameters(self.plain)

    def _learn(self, rows: Tensor, mine: slice) -> tuple[Tensor, Tensor]:
        """Compute gradients, in more parts from now on if memory is not enough; returns loss and errors."""
        while True:
            try:
                return self._gradients(rows, mine)
            except (RuntimeError, MemoryError) as error:
                size = mine.stop - mine.start
                if self.accelerator.num_processes > 1 or self.n_parts >= size or not is_out_of_memory(error):
                    raise
                self.n_parts = min(2 * self.n_parts, size)
            self.optimizer.zero_grad(set_to_none=True)
            let_go()
            log.warning(
                "memory is not enough for a batch: taking it in %d parts, with the same losses", self.n_parts
            )

    def _gradients(self, rows: Tensor, mine: slice) -> tuple[Tensor, Tensor]:
        """Add the gradients of parts of a batch up to those of the batch, whose loss is the mean over its rows."""
        seed, step, size = self.settings.seed, self.state.step, mine.stop - mine.start
        sums = torch.zeros(1 + self.plain.n_errors, device=self.device)
        for number in range(self.n_parts):
            first, last = (mine.start + (number + end) * size // self.n_parts for end in (0, 1))
            part, weight = slice(first, last), (last - first) / size
            generator = derived_generator(seed, PURPOSE_STEP, step, device=self.device)
            inputs = self.plain.inputs(self.train_data, rows, part, generator)
            torch.manual_seed(derived_seed(seed, PURPOSE_DROPOUT, step, 0))
            with self._autocast(), self._dropout_of(rows, part):
                loss, errors = self.model(inputs)
            self.accelerator.backward(weight * loss)
            sums += weight * torch.cat([loss.detach()[None], errors])
        return sums[0], sums[1:]

    def _dropout_of(self, rows: Tensor, part: slice) -> AbstractContextManager[Any]:
        """Let a part of a batch get the dropout that it gets within the whole."""
        if part.stop - part.start == len(rows):
            return nullcontext()
        return WholeBatchDropout(self.plain.units(self.train_data, rows), part)

    def _rows(self, step: int) -> Tensor:
        """Return the rows of the training data in a step's batch; an incomplete last batch is left out."""
        epoch, number = divmod(step, self.steps_per_epoch)
        if self._order[0] != epoch:
            order = epoch_order(len(self.train_data), seed=self.settings.seed, epoch=epoch)
            self._order = (epoch, order.to(self.device))
        return self._order[1][number * self.batch_size : (number + 1) * self.batch_size]

    def _average(self, averages: Any, weights: Any, n_averaged: Any) -> None:  # noqa: ANN401
        """Update the averaged weights; the decay grows, so that the first ones are soon forgotten."""
        n = int(n_averaged)
        decay = min(self.settings.ema_decay**self.settings.ema_every, (1 + n) / (10 + n))
        get_ema_multi_avg_fn(decay)(averages, weights, n_averaged)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16")

    def _report(self, log: MetricsLog | None, bar: tqdm) -> None:
        """Write the mean losses since the last report, and validate if it is time."""
        state = self.state
        loss, errors = state.take_means(self.accelerator)
        if not torch.isfinite(loss):
            raise UserError(
                f"the training loss is {float(loss)} at step {state.step}: "
                f"lower `learning_rate` ({self.settings.learning_rate:g}) and resume from the last checkpoint"
            )
        state.train_loss = float(loss)
        record: dict[str, Any] = {
            "step": state.step,
            "epoch": state.step / self.steps_per_epoch,
            "train_loss": state.train_loss,
            "train_blocks": _floats(self.plain.part_means(errors)),
            "lr": state.rate,
            "gradient_norm": float(state.gradient_norm),
            "seconds": round(state.seconds, 3),
        }
        if state.step % self.settings.validate_every == 0 and self.is_main and len(self.validation_data):
            state.validation_loss, record["validation_blocks"] = self._validate()
            record["validation_loss"] = state.validation_loss
            if state.best_loss is None or state.validation_loss < state.best_loss:
                state.best_loss = state.validation_loss
                self.files.save_best(self.ema, state)
        if log is not None:
            log.write(record)
        if self.settings.max_minutes:  # the number of steps is a guess, for the time that is left
            used = self.settings.progress(state.step, state.seconds, self.steps_per_epoch)
            bar.total = max(state.step, round(state.step / used))
        shown = {"loss": state.train_loss, "validation": state.validation_loss}
        bar.set_postfix({name: f"{value:.4g}" for name, value in shown.items() if value is not None})

    @torch.no_grad()
    def _validate(self) -> tuple[float, dict[str, float]]:
        """Return loss and blocks of the averaged weights, with the same noise and times at every call."""
        n_rows = len(self.validation_data)
        everything = torch.arange(n_rows, device=self.device)
        sums = torch.zeros(1 + self.plain.n_errors, device=self.device, dtype=torch.float64)

        def measure(rows: slice) -> Tensor:
            generator = derived_generator(self.settings.seed, PURPOSE_VALIDATION, device=self.device)
            with self._autocast():
                loss, errors = self.ema(self.ema.inputs(self.validation_data, everything, rows, generator))
            return torch.cat([loss[None], errors])

        for rows, means in in_halves(n_rows, VALIDATION_ROWS, measure):
            sums += means.double() * (rows.stop - rows.start)
        means = sums / n_rows
        return float(means[0]), _floats(self.plain.part_means(means[1:]))

    def _save(self) -> None:
        self.state.share_sums(self.accelerator)
        if self.is_main:
            self.files.save(self.plain, self.ema, self.optimizer, self.settings, self.state)

    def _usable_batch_size(self) -> int:
        """Return the batch size: all of the data if there is less, and a multiple of the processes."""
        n_rows, n_processes = len(self.train_data), self.accelerator.num_processes
        size = min(self.settings.batch_size, n_rows)
        size -= size % n_processes
        if size == 0:
            raise UserError(
                f"{n_rows} training examples in batches of {self.settings.batch_size}, expected at least one "
                f"for each of the {n_processes} processes: encode more crystals, or start fewer processes"
            )
        return size


class _Clock:
    """Seconds of training and the wish to stop, the same in all processes at the same step."""

    def __init__(self, accelerator: Accelerator, seconds: float, clock: Literal["wall", "processor"]) -> None:
        self._now = time.monotonic if clock == "wall" else time.process_time
        self._zero = self._now() - seconds
        self._accelerator = accelerator
        self._seconds = seconds

    def agree(self, step: int, stop: bool) -> tuple[float, bool]:
        if self._accelerator.num_processes == 1:
            return self._now() - self._zero, stop
        if step % AGREE_EVERY:
            return self._seconds, False
        here = torch.tensor([self._now() - self._zero, float(stop)], device=self._accelerator.device)
        wishes = self._accelerator.gather(here[1:])
        self._seconds = float(broadcast(here)[0])
        return self._seconds, bool(wishes.any())


def _floats(tensors: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in tensors.items()}
