"""Settings of the verbs that train."""

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from repdiff.settings.base import Settings, setting


class Budgeted(Settings):
    """How long to train."""

    max_epochs: int | None = setting(None, "Passes over the training set at most", ge=1, role="budget")
    max_steps: int | None = setting(None, "Optimiser steps at most", ge=1, role="budget")
    max_minutes: float | None = setting(
        None, "Minutes of training at most, resumed ones included", gt=0, role="budget"
    )

    @model_validator(mode="after")
    def _has_a_budget(self) -> "Budgeted":
        if self.max_epochs is None and self.max_steps is None and self.max_minutes is None:
            raise ValueError("no budget, expected at least one of --max-epochs, --max-steps, --max-minutes")
        return self


class TrainSettings(Budgeted):
    """Settings of `repdiff train`."""

    verb: ClassVar[str] = "train"
    encoded: Path | None = setting(
        None, "Encoded data set; without it the newest of the workspace", role="input"
    )
    backend: str = setting("structrepdiff", "System to train; `repdiff backends` lists them")
    backend_options: dict[str, Any] = setting(
        {}, "Settings of a backend other than structrepdiff, where they differ from its defaults"
    )
    denoiser: str = setting("mlp", "Network: mlp, or unet1d as in the paper")
    denoiser_options: dict[str, Any] = setting(
        {}, "Settings of the network where they differ from its defaults, such as width=512 or dim=64"
    )
    compositions: Literal["first", "joint"] = setting(
        "first",
        "Formulas: drawn first by a model of their own and given to the diffusion, or diffused with the rest",
    )
    timesteps: int = setting(1000, "Steps of the noise process", ge=2)
    schedule: Literal["cosine", "linear"] = setting("cosine", "How the noise grows with the steps")
    objective: Literal["pred_noise", "pred_x0", "pred_v"] = setting(
        "pred_v", "What the network predicts: the noise, the clean vector, or v"
    )
    self_condition: bool = setting(False, "Show the network its earlier estimate of the clean vector")
    weighting: Literal["noise", "min_snr", "uniform"] = setting(
        "noise", "Weight of each time in the loss: by the error of the noise, the same capped, or one"
    )
    min_snr_gamma: float = setting(5.0, "Cap of the weighting min_snr", gt=0)
    time_sampling: Literal["stratified", "uniform"] = setting(
        "stratified", "Times of a batch: spread evenly from a random start, or independent"
    )
    block_weights: dict[str, float] = setting(
        {}, "Weight in the loss of each feature of a block, such as composition=4; 1 elsewhere"
    )
    max_epochs: int | None = setting(1000, "Passes over the training set at most", ge=1, role="budget")
    batch_size: int = setting(256, "Vectors in a step, all processes together", ge=1)
    optimizer: Literal["adam", "adamw"] = setting("adamw", "Adam, or with decoupled decay (AdamW)")
    learning_rate: float = setting(1e-3, "Highest learning rate", gt=0)
    adam_betas: tuple[float, float] = setting((0.9, 0.99), "Decay of Adam's two moments")
    weight_decay: float = setting(0.0, "Weight decay, adamw only", ge=0)
    lr_schedule: Literal["constant", "cosine"] = setting(
        "cosine", "Learning rate after the warm-up; cosine falls with the share of the budget used"
    )
    warmup_steps: int = setting(200, "Steps of linear warm-up", ge=0)
    final_lr_fraction: float = setting(0.01, "Cosine only: last learning rate over the highest", ge=0, le=1)
    clip_norm: float = setting(1.0, "Largest norm of the gradient", gt=0)
    ema_decay: float = setting(0.999, "Decay a step of the averaged weights", ge=0, lt=1)
    ema_every: int = setting(10, "Steps between updates of the averaged weights", ge=1)
    precision: Literal["auto", "fp32", "bf16"] = setting(
        "auto", "Number format inside the network; auto takes bf16 where the processor computes in it"
    )
    log_every: int = setting(50, "Steps between records of the metrics", ge=1, role="speed")
    validate_every: int = setting(500, "Steps between validations", ge=1, role="speed")
    checkpoint_every: int | None = setting(None, "Steps between checkpoints", ge=1, role="speed")
    checkpoint_minutes: float = setting(5.0, "Minutes between checkpoints", gt=0, role="speed")
    tensorboard: bool = setting(False, "Write TensorBoard files as well", role="speed")
    seed: int = setting(0, "Seed of weights, data order, noise and dropout", ge=0)
    device: str = setting("auto", "Where to compute: auto, cpu, cuda or cuda:N", role="speed")
    resume: bool = setting(True, "Go on from the last checkpoint of an interrupted run", role="speed")


VECTOR_SETTINGS = (
    "denoiser",
    "denoiser_options",
    "compositions",
    "timesteps",
    "schedule",
    "objective",
    "self_condition",
    "weighting",
    "min_snr_gamma",
    "time_sampling",
    "block_weights",
)
"""Those that mean something to structrepdiff alone."""


class FinetuneSettings(Budgeted):
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
        "all", "What is trained: the whole network with its adapters, or the adapters alone"
    )
    condition_dropout: float = setting(
        0.2, "Share of the examples that are shown without their labels, for guidance", ge=0, lt=1
    )
    max_epochs: int | None = setting(200, "Passes over the training set at most", ge=1, role="budget")
    batch_size: int = setting(64, "Crystals in a step, all processes together", ge=1)
    learning_rate: float = setting(1e-3, "Highest learning rate", gt=0)
    warmup_steps: int = setting(200, "Steps of linear warm-up", ge=0)
    clip_norm: float = setting(1.0, "Largest norm of the gradient", gt=0)
    ema_decay: float = setting(0.999, "Decay a step of the averaged weights", ge=0, lt=1)
    log_every: int = setting(50, "Steps between records of the metrics", ge=1, role="speed")
    validate_every: int = setting(500, "Steps between validations", ge=1, role="speed")
    checkpoint_minutes: float = setting(5.0, "Minutes between checkpoints", gt=0, role="speed")
    seed: int = setting(0, "Seed of weights, data order and noise", ge=0)
    device: str = setting("auto", "Where to compute: auto, cpu, cuda or cuda:N", role="speed")
    resume: bool = setting(True, "Go on from the last checkpoint of an interrupted run", role="speed")
