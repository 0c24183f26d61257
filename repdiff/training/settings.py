"""Settings of a training run, and what follows from them alone: rates, data order, random numbers."""

import math
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

BUDGET_FIELDS = ("max_epochs", "max_steps", "max_minutes")
HOUSEKEEPING_FIELDS = (
    "log_every",
    "validate_every",
    "checkpoint_every",
    "checkpoint_minutes",
    "tensorboard",
    "device",
)


class TrainingSettings(BaseModel):
    """How long and how a model is trained; whichever budget is used up first ends the run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_epochs: int | None = Field(None, ge=1, description="passes through the training data")
    max_steps: int | None = Field(None, ge=1, description="optimiser steps")
    max_minutes: float | None = Field(None, gt=0, description="minutes of training, resumed ones included")
    batch_size: int = Field(256, ge=1, description="vectors in a step, all processes together")
    optimizer: Literal["adam", "adamw"] = Field("adamw", description="Adam, or with decoupled decay (AdamW)")
    learning_rate: float = Field(1e-3, gt=0, description="highest learning rate")
    adam_betas: tuple[float, float] = Field((0.9, 0.99), description="decay of Adam's two moments")
    weight_decay: float = Field(0.0, ge=0, description="weight decay, adamw only")
    lr_schedule: Literal["constant", "cosine"] = Field(
        "cosine",
        description="learning rate after the warm-up; cosine falls with the share of the budget used",
    )
    warmup_steps: int = Field(200, ge=0, description="steps of linear warm-up")
    final_lr_fraction: float = Field(
        0.01, ge=0, le=1, description="cosine only: last learning rate over the highest"
    )
    clip_norm: float = Field(1.0, gt=0, description="largest norm of the gradient")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="decay a step of the averaged weights")
    ema_every: int = Field(10, ge=1, description="steps between updates of the averaged weights")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="number format inside the network; auto takes bf16 where the processor computes in it",
    )
    log_every: int = Field(50, ge=1, description="steps between records of the metrics")
    validate_every: int = Field(500, ge=1, description="steps between validations")
    checkpoint_every: int | None = Field(None, ge=1, description="steps between checkpoints")
    checkpoint_minutes: float = Field(5.0, gt=0, description="minutes between checkpoints")
    tensorboard: bool = Field(False, description="also write TensorBoard files")
    seed: int = Field(0, ge=0, description="seed of data order, noise and dropout")
    device: str = Field("auto", description="where to compute: auto, cpu, cuda or cuda:N")

    @model_validator(mode="after")
    def _has_a_budget(self) -> "TrainingSettings":
        if all(getattr(self, name) is None for name in BUDGET_FIELDS):
            raise ValueError(f"no budget, expected at least one of {', '.join(BUDGET_FIELDS)}")
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


def derived_seed(*parts: int) -> int:
    """Mix numbers into one seed of 32 bits, all that torch's CPU generator uses."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def derived_generator(*parts: int, device: torch.device) -> torch.Generator:
    """Return a generator whose numbers depend on `parts` alone, so that none need be stored to resume."""
    return torch.Generator(device=device).manual_seed(derived_seed(*parts))


def epoch_order(n_rows: int, *, seed: int, epoch: int) -> Int[Tensor, " n_rows"]:
    """Return the order of the training data in an epoch, a function of seed and epoch alone."""
    return torch.randperm(n_rows, generator=derived_generator(seed, 1, epoch, device=torch.device("cpu")))


def resolve_precision(precision: str, device: torch.device) -> str:
    """Replace `auto` by bf16 on hardware that multiplies in it, else by fp32.

    On an AMD EPYC core with AVX-512 BF16 a step of a 5 M-parameter MLP took 17 ms in bf16 and 57 ms in fp32.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp32"
    if device.type != "cpu":
        return "fp32"
    capabilities = torch.cpu.get_capabilities()
    return "bf16" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "fp32"
