"""Settings of the verbs that train."""

import math
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import model_validator

from repdiff.settings.backends import DEFAULT_BACKEND
from repdiff.settings.base import Options, Settings, again, setting

BUDGET_FIELDS = ("max_epochs", "max_steps", "max_minutes")
HOUSEKEEPING_FIELDS = (
    "log_every",
    "validate_every",
    "checkpoint_every",
    "checkpoint_minutes",
    "tensorboard",
    "device",
)


class TrainingSettings(Options):
    """How long and how a model is trained; whichever budget is used up first ends the run."""

    max_epochs: int | None = setting(None, "Passes over the training set at most", ge=1, role="budget")
    max_steps: int | None = setting(None, "Optimiser steps at most", ge=1, role="budget", group="optimiser")
    max_minutes: float | None = setting(
        None, "Minutes of training at most, resumed ones included", gt=0, role="budget"
    )
    batch_size: int = setting(256, "Examples in a step, all processes together", ge=1)
    learning_rate: float = setting(1e-3, "Highest learning rate", gt=0)
    seed: int = setting(0, "Seed of weights, data order, noise and dropout", ge=0)
    device: str = setting("auto", "Where to compute: auto, cpu, cuda or cuda:N", role="speed")
    optimizer: Literal["adam", "adamw"] = setting(
        "adamw", "Adam, or with decoupled decay (AdamW)", group="optimiser"
    )
    adam_betas: tuple[float, float] = setting((0.9, 0.99), "Decay of Adam's two moments", group="optimiser")
    weight_decay: float = setting(0.0, "Weight decay, adamw only", ge=0, group="optimiser")
    lr_schedule: Literal["constant", "cosine"] = setting(
        "cosine",
        "Learning rate after the warm-up; cosine falls with the share of the budget used",
        group="optimiser",
    )
    warmup_steps: int = setting(200, "Steps of linear warm-up", ge=0, group="optimiser")
    final_lr_fraction: float = setting(
        0.01, "Cosine only: last learning rate over the highest", ge=0, le=1, group="optimiser"
    )
    clip_norm: float = setting(1.0, "Largest norm of the gradient", gt=0, group="optimiser")
    ema_decay: float = setting(0.999, "Decay a step of the averaged weights", ge=0, lt=1, group="optimiser")
    ema_every: int = setting(10, "Steps between updates of the averaged weights", ge=1, group="optimiser")
    precision: Literal["auto", "fp32", "bf16"] = setting(
        "auto",
        "Number format inside the network; auto takes bf16 where the processor computes in it",
        group="optimiser",
    )
    log_every: int = setting(50, "Steps between records of the metrics", ge=1, role="speed", group="output")
    validate_every: int = setting(500, "Steps between validations", ge=1, role="speed", group="output")
    checkpoint_every: int | None = setting(
        None, "Steps between checkpoints", ge=1, role="speed", group="output"
    )
    checkpoint_minutes: float = setting(
        5.0, "Minutes between checkpoints", gt=0, role="speed", group="output"
    )
    tensorboard: bool = setting(False, "Write TensorBoard files as well", role="speed", group="output")

    @model_validator(mode="after")
    def _has_a_budget(self) -> "TrainingSettings":
        if all(getattr(self, name) is None for name in BUDGET_FIELDS):
            names = ", ".join(f"`{name}`" for name in BUDGET_FIELDS)
            raise ValueError(f"no budget, expected at least one of {names}")
        return self

    def decisive(self) -> dict[str, object]:
        """Return the settings that must not change when a run is resumed."""
        return self.model_dump(mode="json", exclude={*BUDGET_FIELDS, *HOUSEKEEPING_FIELDS})

    def total_steps(self, steps_per_epoch: int) -> int | None:
        """Count the steps that the budgets of steps and epochs allow; None if only minutes are limited."""
        limits = [self.max_steps] if self.max_steps else []
        if self.max_epochs:
            limits.append(self.max_epochs * steps_per_epoch)
        return min(limits, default=None)

    def progress(self, step: int, seconds: float, steps_per_epoch: int) -> float:
        """Return the share of the budget that is used up, at most 1."""
        total = self.total_steps(steps_per_epoch)
        shares = [] if total is None else [step / total]
        if self.max_minutes:
            shares.append(seconds / (60 * self.max_minutes))
        return min(1.0, max(shares))

    def rate(self, step: int, progress: float) -> float:
        """Return the learning rate of a step (the first is 0), with that share of the budget used before."""
        rate = self.learning_rate
        if self.lr_schedule == "cosine":
            fall = 0.5 * (1 + math.cos(math.pi * progress))
            rate *= self.final_lr_fraction + (1 - self.final_lr_fraction) * fall
        return rate * min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else rate


class TrainSettings(Settings, TrainingSettings):
    """Settings of `repdiff train` that all backends share."""

    verb: ClassVar[str] = "train"
    completed_by: ClassVar[Literal["training", "sampling"] | None] = "training"
    encoded: Path | None = setting(
        None, "Encoded data set; without it the newest of the workspace", role="input"
    )
    backend: str = setting(DEFAULT_BACKEND, "System to train; `repdiff backends` lists them")
    max_epochs: int | None = again(TrainingSettings, "max_epochs", 1000)
    resume: bool = setting(
        True, "Continue from the last checkpoint of an interrupted run", role="speed", group="output"
    )


class FinetuneSettings(Settings, TrainingSettings):
    """Settings of `repdiff finetune`."""

    verb: ClassVar[str] = "finetune"
    property: tuple[str, ...] = setting(
        (),
        "Properties to learn, separated by commas: names of numeric labels, chemical_system, space_group",
    )
    from_run: Path | None = setting(
        None,
        "Trained model to begin with; without it the newest output of train",
        role="input",
        flag="from",
    )
    encoded: Path | None = setting(
        None, "Encoded data set with labels; without it the newest of the workspace", role="input"
    )
    weights: Literal["all", "adapters"] = setting(
        "all", "What is trained: the whole network with its adapters, or the adapters alone", group="model"
    )
    condition_dropout: float = setting(
        0.2,
        "Share of the examples that are shown without their labels, for guidance",
        ge=0,
        lt=1,
        group="model",
    )
    max_epochs: int | None = again(TrainingSettings, "max_epochs", 200)
    batch_size: int = again(TrainingSettings, "batch_size", 64)
    resume: bool = setting(
        True, "Continue from the last checkpoint of an interrupted run", role="speed", group="output"
    )
