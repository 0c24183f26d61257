"""Options of StructRepDiff: network, noise process and weights of the diffusion of vectors, and its samplers."""

from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from repdiff.settings.backends import BackendOptions
from repdiff.settings.backends.property_conditions import PropertyConditions
from repdiff.settings.base import MAX_TIMESTEPS, Options, setting

SamplerName = Literal["ddpm", "ddim", "dpm"]


class NoiseSettings(Options):
    """Noise process, training target and weights of the loss."""

    timesteps: int = setting(
        1000, "Number of steps of the noise process", group="noise process", ge=2, le=MAX_TIMESTEPS
    )
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
        "Loss weight of each feature of a block, such as min_distance=4; 1 for the other blocks, 10 for the cell where "
        "protostructures are drawn first",
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
    compositions: Literal["protostructure", "first", "joint"] = setting(
        "protostructure",
        "Protostructure: sample space group and occupied Wyckoff positions, which hold the formula, then condition on "
        "them; first: sample the formula alone; joint: diffuse it with the rest, as in the paper",
        group="model",
    )
    first_share: float = setting(
        0.4,
        "Share of the training minutes for the model of what is sampled first",
        group="optimiser",
        gt=0,
        lt=1,
    )
    protostructure_options: dict[str, Any] = setting(
        {},
        "Settings of the model of protostructures that differ from its defaults, such as width=512",
        group="model",
    )
    condition_on: tuple[str, ...] = setting(
        (),
        "Labels of the crystals that samples can be asked for later (`repdiff generate --condition NAME=VALUE`), "
        "separated by commas; crystals without a label are used too",
        group="model",
    )
    condition_dropout: float = setting(
        0.2,
        "With `condition_on`: share of the training crystals whose labels are withheld, for classifier-free guidance",
        ge=0,
        lt=1,
        group="model",
    )
    encoder_width: int = setting(
        192, "Channels of the encoder that shows the network the protostructure", group="model", ge=8
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
    resamplings: int = setting(
        10,
        "With held parts: how many times each stretch of the denoising is gone, so that what is drawn suits what is "
        "held",
        group="noise process",
        ge=1,
        le=1000,
    )
    temperature: float = setting(
        1.0,
        "Sampling temperature of the protostructures or formulas that are drawn first; below 1 likelier ones are "
        "favoured, with less diversity",
        group="noise process",
        gt=0,
        le=2,
    )
    element_temperature: float | None = setting(
        None,
        "Sampling temperature of the elements alone, without that of space groups, sizes and positions; default: the "
        "same for all",
        group="noise process",
        gt=0,
        le=2,
    )
    prototype_share: float | None = setting(
        None,
        "Share of the samples that begin with a prototype of the training set, drawn as often as it occurs there; the "
        "others are drawn orbit by orbit, which can give new prototypes; default: 0.75",
        group="model",
        ge=0,
        le=1,
    )
    new_only: bool = setting(
        False,
        "Draw protostructures again that a training crystal has: the same elements on the same positions",
        group="model",
    )
    new_to: Path | None = setting(
        None,
        "Encoded set whose crystals of all splits count as known: protostructures that one of them has are drawn "
        "again, as with --new-only those of the training crystals are",
        role="input",
        group="model",
    )
    keep_best: float | None = setting(
        None,
        "Share of the drawn protostructures that is kept: so many more are drawn, ranked by the prediction of a model "
        "from `repdiff rank`, and only the best get vectors; default: no ranking",
        group="model",
        gt=0,
        le=1,
    )
    ranker: Path | None = setting(
        None,
        "With --keep-best: ranking model; default: the newest output of `repdiff rank` in the workspace",
        role="input",
        group="model",
    )
    templates: bool = setting(
        True,
        "Templates: draw each vector towards that of the training crystal of its prototype whose elements are most "
        "alike, and start the search from its coordinates",
        group="model",
    )

    @model_validator(mode="after")
    def _ranker_is_used(self) -> "StructRepDiffSampling":
        if self.ranker is not None and self.keep_best is None:
            raise ValueError(f"`ranker` is {self.ranker}, expected it with `keep_best` only, such as 0.3")
        return self

    @model_validator(mode="after")
    def _eta_is_used(self) -> "StructRepDiffSampling":
        if self.eta and self.sampler != "ddim":
            raise ValueError(
                f"`eta` is {self.eta:g}, expected it with `sampler` ddim only, not {self.sampler}"
            )
        return self


OPTIONS = BackendOptions(
    kind="vector-diffusion",
    training=StructRepDiffTraining,
    sampling=StructRepDiffSampling,
    conditions=PropertyConditions,
)
