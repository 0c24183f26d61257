"""Options of StructRepDiff: network, noise process and weights of the diffusion of vectors, and its samplers."""

from typing import Any, Literal

from repdiff.settings.backends import BackendOptions
from repdiff.settings.base import Options, setting

SamplerName = Literal["ddpm", "ddim", "dpm"]


class NoiseSettings(Options):
    """Noise process, training target and weights of the loss."""

    timesteps: int = setting(1000, "Number of steps of the noise process", group="noise process", ge=2)
    schedule: Literal["cosine", "linear"] = setting(
        "cosine", "Noise schedule: growth of the noise with the steps", group="noise process"
    )
    objective: Literal["pred_noise", "pred_x0", "pred_v"] = setting(
        "pred_v",
        "Quantity that the network predicts: the noise, the clean vector, or v",
        group="noise process",
    )
    self_condition: bool = setting(
        False, "Self-conditioning: give the network its previous estimate of the clean vector", group="model"
    )
    weighting: Literal["noise", "min_snr", "uniform"] = setting(
        "noise",
        "Weighting of the times in the loss: as in the ε-loss (noise), Min-SNR-γ (min_snr, arXiv 2303.09556), or 1 "
        "for the error of what is predicted (uniform)",
        group="optimiser",
    )
    min_snr_gamma: float = setting(5.0, "γ of Min-SNR-γ weighting", group="optimiser", gt=0)
    time_sampling: Literal["stratified", "uniform"] = setting(
        "stratified",
        "Sampling of the times in a batch: evenly spaced from a random start (stratified), or independent (uniform)",
        group="optimiser",
    )
    block_weights: dict[str, float] = setting(
        {},
        "Loss weight of each feature of a block, such as composition=4; 1 for the other blocks",
        group="optimiser",
    )


class StructRepDiffTraining(NoiseSettings):
    """Options of training."""

    denoiser: str = setting("mlp", "Network: mlp, or unet1d as in the paper", group="model")
    denoiser_options: dict[str, Any] = setting(
        {},
        "Settings of the network that differ from its defaults, such as width=512 or dim=64",
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
        "Sampler. ddpm: ancestral, all steps; ddim and dpm (DPM-Solver++): fewer steps, by default 100 and 25",
        group="noise process",
    )
    eta: float = setting(
        0.0,
        "With ddim: fraction of the ancestral noise, from 0 (none) to 1 (as ddpm)",
        group="noise process",
        ge=0,
        le=1,
    )
    composition_temperature: float = setting(
        1.0,
        "Sampling temperature of formulas that are drawn first; below 1 likelier formulas are favoured, with less "
        "diversity",
        group="noise process",
        gt=0,
        le=2,
    )


OPTIONS = BackendOptions(
    kind="vector-diffusion", training=StructRepDiffTraining, sampling=StructRepDiffSampling
)
