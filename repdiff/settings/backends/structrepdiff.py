"""Options of StructRepDiff: network, noise process and weights of the diffusion of vectors, and its samplers."""

from typing import Any, Literal

from repdiff.settings.backends import BackendOptions
from repdiff.settings.base import Options, setting

SamplerName = Literal["ddpm", "ddim", "dpm"]


class NoiseSettings(Options):
    """Noise process, training target and weights of the loss."""

    timesteps: int = setting(1000, "Steps of the noise process", group="noise process", ge=2)
    schedule: Literal["cosine", "linear"] = setting(
        "cosine", "How the noise grows with the steps", group="noise process"
    )
    objective: Literal["pred_noise", "pred_x0", "pred_v"] = setting(
        "pred_v", "What the network predicts: the noise, the clean vector, or v", group="noise process"
    )
    self_condition: bool = setting(
        False, "Show the network its earlier estimate of the clean vector", group="model"
    )
    weighting: Literal["noise", "min_snr", "uniform"] = setting(
        "noise",
        "Weighting of the times in the loss: that of the noise's error (ε-loss), Min-SNR-γ (arXiv 2303.09556), "
        "or uniform in units of what is predicted",
        group="optimiser",
    )
    min_snr_gamma: float = setting(5.0, "γ of the weighting min_snr", group="optimiser", gt=0)
    time_sampling: Literal["stratified", "uniform"] = setting(
        "stratified",
        "Times of a batch: spread evenly from a random start, or independent",
        group="optimiser",
    )
    block_weights: dict[str, float] = setting(
        {},
        "Weight in the loss of each feature of a block, such as composition=4; 1 elsewhere",
        group="optimiser",
    )


class StructRepDiffTraining(NoiseSettings):
    """Options of training."""

    denoiser: str = setting("mlp", "Network: mlp, or unet1d as in the paper", group="model")
    denoiser_options: dict[str, Any] = setting(
        {},
        "Settings of the network where they differ from its defaults, such as width=512 or dim=64",
        group="model",
    )
    compositions: Literal["first", "joint"] = setting(
        "first",
        "First: sample the formula, then condition on it; joint: diffuse it with the rest",
        group="model",
    )


class StructRepDiffSampling(Options):
    """Options of sampling."""

    sampler: SamplerName = setting(
        "ddpm",
        "ddpm: ancestral, all steps; ddim and dpm (DPM-Solver++): fewer steps, 100 and 25 by default",
        group="noise process",
    )
    eta: float = setting(
        0.0,
        "With ddim: share of the ancestral noise, 0 (none) to 1 (as ddpm)",
        group="noise process",
        ge=0,
        le=1,
    )
    composition_temperature: float = setting(
        1.0,
        "Temperature of formulas that are drawn first: below 1 likelier ones, less diverse",
        group="noise process",
        gt=0,
        le=2,
    )


OPTIONS = BackendOptions(
    kind="vector-diffusion", training=StructRepDiffTraining, sampling=StructRepDiffSampling
)
