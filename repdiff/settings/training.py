"""Settings of the commands that train."""

import math
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from repdiff.settings.backends import DEFAULT_BACKEND
from repdiff.settings.base import Options, Settings, again, seed_setting, setting
from repdiff.settings.memory import MemorySettings

BUDGET_FIELDS = ("max_epochs", "max_steps", "max_minutes")
DecayRate = Annotated[float, Field(ge=0, lt=1)]
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

    max_epochs: int | None = setting(
        None, "Largest number of epochs (passes over the training set)", ge=1, role="budget"
    )
    max_steps: int | None = setting(
        None,
        "Largest number of optimiser steps, of each model if a backend trains two",
        ge=1,
        role="budget",
        group="optimiser",
    )
    max_minutes: float | None = setting(
        None,
        "Largest training time, minutes, including earlier sessions of a resumed run",
        gt=0,
        role="budget",
    )
    clock: Literal["wall", "processor"] = setting(
        "wall",
        "What `max_minutes` counts: wall, or the processor time of the training process, all threads together, which "
        "other work on the machine hardly changes",
        role="budget",
        group="optimiser",
    )
    batch_size: int = setting(256, "Number of crystals per optimiser step, over all processes", ge=1)
    learning_rate: float = setting(1e-3, "Peak learning rate", gt=0)
    seed: int = seed_setting("Seed of the initial weights, data order, noise and dropout")
    device: str = setting("auto", "Device: auto, cpu, cuda or cuda:N", role="speed")
    optimizer: Literal["adam", "adamw"] = setting(
        "adamw", "Optimiser: Adam, or AdamW with decoupled weight decay", group="optimiser"
    )
    adam_betas: tuple[DecayRate, DecayRate] = setting(
        (0.9, 0.99), "Decay rates β₁ and β₂ of Adam's moments", group="optimiser"
    )
    weight_decay: float = setting(0.0, "Weight decay, for adamw only", ge=0, group="optimiser")
    lr_schedule: Literal["constant", "cosine"] = setting(
        "cosine",
        "Learning-rate schedule after the warm-up; cosine decays with the share of the budget used",
        group="optimiser",
    )
    warmup_steps: int = setting(200, "Number of steps of the linear warm-up", ge=0, group="optimiser")
    final_lr_fraction: float = setting(
        0.01, "For cosine: final learning rate divided by the peak", ge=0, le=1, group="optimiser"
    )
    clip_norm: float = setting(
        1.0, "Largest gradient norm; larger gradients are scaled down to it", gt=0, group="optimiser"
    )
    ema_decay: float = setting(
        0.999,
        "Decay per step of the exponential moving average of the weights",
        ge=0,
        lt=1,
        group="optimiser",
    )
    ema_every: int = setting(
        10, "Number of steps between updates of the averaged weights", ge=1, group="optimiser"
    )
    precision: Literal["auto", "fp32", "bf16"] = setting(
        "auto",
        "Floating-point format inside the network; auto uses bf16 where the processor supports it",
        group="optimiser",
    )
    log_every: int = setting(50, "Number of steps between log records", ge=1, role="speed", group="output")
    validate_every: int = setting(
        500, "Number of steps between validations", ge=1, role="speed", group="output"
    )
    checkpoint_every: int | None = setting(
        None, "Number of steps between checkpoints", ge=1, role="speed", group="output"
    )
    checkpoint_minutes: float = setting(
        5.0, "Minutes between checkpoints", gt=0, role="speed", group="output"
    )
    tensorboard: bool = setting(False, "Also write TensorBoard files", role="speed", group="output")

    @model_validator(mode="after")
    def _has_a_budget(self) -> "TrainingSettings":
        if all(getattr(self, name) is None for name in BUDGET_FIELDS):
            names = ", ".join(f"`{name}`" for name in BUDGET_FIELDS)
            raise ValueError(f"no budget, expected at least one of {names}")
        return self

    def decisive(self) -> dict[str, object]:
        """Return the settings that must not change when a run is resumed."""
        return self.model_dump(mode="json", exclude={*BUDGET_FIELDS, "clock", *HOUSEKEEPING_FIELDS})

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


class TrainSettings(MemorySettings, Settings, TrainingSettings):
    """Settings of `repdiff train` that all backends share."""

    verb: ClassVar[str] = "train"
    completed_by: ClassVar[Literal["training", "sampling"] | None] = "training"
    encoded: Path | None = setting(
        None, "Encoded data set; default: the newest in the workspace", role="input"
    )
    backend: str = setting(DEFAULT_BACKEND, "Backend to train; `repdiff backends` lists them")
    max_epochs: int | None = again(TrainingSettings, "max_epochs", 1000)
    resume: bool = setting(
        True, "Continue from the last checkpoint of an interrupted run", role="speed", group="output"
    )


class FinetuneSettings(MemorySettings, Settings, TrainingSettings):
    """Settings of `repdiff finetune`."""

    verb: ClassVar[str] = "finetune"
    property: tuple[str, ...] = setting(
        (),
        "Properties to condition on, separated by commas: names of labels (numbers or classes), chemical_system, "
        "space_group",
    )
    from_run: Path | None = setting(
        None,
        "Trained model to start from; default: the newest output of train",
        role="input",
        flag="from",
    )
    encoded: Path | None = setting(
        None, "Encoded data set with labels; default: the newest in the workspace", role="input"
    )
    labels: Path | None = setting(
        None,
        "Table (CSV or parquet) with the properties as columns, joined to the encoded crystals by their id; default: "
        "labels that the crystals have",
        role="input",
        group="more",
    )
    weights: Literal["all", "adapters"] = setting(
        "all", "Weights to train: all of the network with its adapters, or the adapters alone", group="model"
    )
    condition_dropout: float = setting(
        0.2,
        "Share of the training crystals whose labels are withheld, for classifier-free guidance",
        ge=0,
        lt=1,
        group="model",
    )
    max_epochs: int | None = again(TrainingSettings, "max_epochs", 200)
    batch_size: int = again(TrainingSettings, "batch_size", 64)
    resume: bool = setting(
        True, "Continue from the last checkpoint of an interrupted run", role="speed", group="output"
    )
