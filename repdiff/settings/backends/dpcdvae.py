"""Options of DP-CDVAE: networks, noise and loss of the autoencoder, and how latent vectors are decoded."""

from typing import Literal

from pydantic import model_validator

from repdiff.settings.backends import BackendOptions
from repdiff.settings.backends.crystal_network import CrystalNetworkSettings
from repdiff.settings.base import MAX_TIMESTEPS, Options, setting

SMALL_DECODER = CrystalNetworkSettings(width=64, n_blocks=3, n_neighbors=48, max_neighbors=80)
SMALL_ENCODER = CrystalNetworkSettings(width=64, n_blocks=2, n_neighbors=16, max_neighbors=24)


class LossWeights(Options):
    """Weights of the terms of the loss, by default those of DP-CDVAE's program (conf/ddpm_carbon_dime.yaml)."""

    n_atoms: float = setting(
        1.0, "Weight of the cross-entropy of the number of atoms", group="optimiser", ge=0
    )
    lattice: float = setting(
        100.0, "Weight of the mean squared error of the z-scored cell parameters", group="optimiser", ge=0
    )
    composition: float = setting(
        1.0, "Weight of the cross-entropy of the composition", group="optimiser", ge=0
    )
    kl: float = setting(
        0.01,
        "Weight of the Kullback-Leibler divergence of the latent distribution from the prior",
        group="optimiser",
        ge=0,
    )
    coordinates: float = setting(
        1.0, "Weight of the squared error of the coordinates; see coordinate_loss", group="optimiser", ge=0
    )
    types: float = setting(
        0.1,
        "Weight of the cross-entropy of the elements of the atoms; see type_loss",
        group="optimiser",
        ge=0,
    )


class CdvaeSettings(Options):
    """Networks, noise and loss."""

    network: CrystalNetworkSettings = SMALL_DECODER
    encoder: CrystalNetworkSettings = SMALL_ENCODER
    n_latent: int = setting(256, "Length of a latent vector", group="model", ge=1)
    head_width: int = setting(
        256,
        "Hidden width of the heads that predict cell and composition from the latent vector",
        group="model",
        ge=1,
    )
    denoiser: Literal["ddpm", "langevin"] = setting(
        "ddpm",
        "Diffusion of the coordinates (DP-CDVAE), or score matching and Langevin steps (CDVAE)",
        group="noise process",
    )
    timesteps: int = setting(
        1000, "ddpm: number of steps of the noise process", group="noise process", ge=2, le=MAX_TIMESTEPS
    )
    schedule: Literal["sigmoid", "cosine", "linear"] = setting(
        "sigmoid", "ddpm: noise schedule, the growth of β with the steps", group="noise process"
    )
    mean: Literal["kept", "scaled"] = setting(
        "kept",
        "ddpm: mean of x_t: x_0 (kept), which suits periodic coordinates, or √ᾱ x_0 (scaled, paper)",
        group="noise process",
    )
    target: Literal["nearest", "own", "noise"] = setting(
        "nearest",
        "Training target of noised atoms. nearest: the nearest crystal that is the same up to a shift and the order"
        " of like atoms; own: each atom's nearest periodic image; noise, with the mean scaled: minus the noise that"
        " was added (paper)",
        group="optimiser",
    )
    coordinate_loss: Literal["path", "noise"] = setting(
        "path",
        "path: mean square over the components of the error in Å, divided by the expected distance; noise: squared "
        "length of the error of the noise, in fractions of the cell (paper; ddpm only)",
        group="optimiser",
    )
    type_loss: Literal["plain", "over_noise"] = setting(
        "plain",
        "Loss of the elements: plain cross-entropy, or cross-entropy divided by the weight of the composition in "
        "the noised elements (over_noise, paper)",
        group="optimiser",
    )
    type_noise: Literal["true", "predicted"] = setting(
        "true",
        "Composition that noised elements are drawn from: that of the crystal (true), or that predicted from its "
        "latent vector (predicted, paper)",
        group="noise process",
    )
    levels: int = setting(50, "langevin: number of noise levels", group="noise process", ge=2)
    narrowest: float = setting(
        0.01, "langevin: standard deviation of the lowest noise level, Å", group="noise process", gt=0
    )
    widest: float = setting(
        10.0, "langevin: standard deviation of the highest noise level, Å", group="noise process", gt=0
    )
    least_type_noise: float = setting(
        0.01,
        "Weight of the composition in the elements at the lowest noise level",
        group="noise process",
        ge=0,
    )
    most_type_noise: float = setting(
        5.0,
        "Weight of the composition in the elements at the highest noise level",
        group="noise process",
        ge=0,
    )
    weights: LossWeights = LossWeights()
    min_length_std: float = setting(
        0.02,
        "Lower bound of the standard deviation of a scaled cell length in the loss, Å",
        group="optimiser",
        gt=0,
    )
    min_angle_std: float = setting(
        0.02,
        "Lower bound of the standard deviation of a cell angle in the loss, radians",
        group="optimiser",
        gt=0,
    )

    @model_validator(mode="after")
    def _check(self) -> "CdvaeSettings":
        scaled = self.denoiser == "ddpm" and self.mean == "scaled"
        if self.target == "noise" and not scaled:
            raise ValueError("target is noise, expected nearest or own unless the mean is scaled")
        if self.coordinate_loss == "noise" and self.denoiser != "ddpm":
            raise ValueError(f"`coordinate_loss` is noise with `denoiser` {self.denoiser}, expected path")
        if self.widest <= self.narrowest:
            raise ValueError(f"widest is {self.widest} Å, expected more than narrowest ({self.narrowest} Å)")
        if self.network.condition_width or self.encoder.condition_width:
            raise ValueError("a condition_width is given, expected 0: it follows from n_latent")
        if self.network.atom_width or self.encoder.atom_width:
            raise ValueError("an atom_width is given, expected 0: atoms have no further input")
        return self

    @property
    def n_times(self) -> int:
        """Levels of noise, whichever the denoiser."""
        return self.timesteps if self.denoiser == "ddpm" else self.levels


class CdvaeSampling(Options):
    """How crystals are made from latent vectors."""

    prior: Literal["fitted", "normal"] = setting(
        "fitted",
        "Distribution that new latent vectors are drawn from: normal with the mean and covariance of the training "
        "set (fitted), or standard normal (paper)",
        group="noise process",
    )
    step: Literal["posterior", "renoise", "unscaled"] = setting(
        "renoise",
        "ddpm: reverse step. posterior: draw from q(x_(t-1) | x_t, x_0) at the predicted x_0; renoise: add the "
        "noise of the previous time to the predicted x_0; unscaled, with the mean scaled: add the noise of the "
        "posterior to x_0 itself (the published program)",
        group="noise process",
    )
    wrap: Literal["every", "last", "never"] = setting(
        "every",
        "ddpm with the mean scaled: steps at which coordinates are wrapped into the cell, x_t with step unscaled, "
        "otherwise the predicted x_0; no effect with the mean kept",
        group="noise process",
    )
    types: Literal["argmax", "fixed"] = setting(
        "argmax",
        "Elements of the atoms: the likeliest at every step (argmax, paper), or those of the composition (fixed)",
        group="noise process",
    )
    composition_steps: int = setting(
        100,
        "With given compositions: gradient steps that move a latent vector to a near one that predicts the "
        "composition; 0 uses it as drawn",
        group="noise process",
        ge=0,
    )
    langevin_steps: int = setting(
        100, "langevin: number of steps at each noise level", group="noise process", ge=1
    )
    langevin_rate: float = setting(
        1.0,
        "langevin: step size divided by the variance of the noise level (CDVAE 1)",
        group="noise process",
        gt=0,
    )
    tries: int = setting(
        1,
        "Number of crystals made from each latent vector; the one whose own latent distribution fits the vector "
        "best is kept",
        group="noise process",
        ge=1,
    )
    crystals_at_once: int = setting(256, "Number of crystals decoded together", group="output", ge=1)


OPTIONS = BackendOptions(kind="dpcdvae", training=CdvaeSettings, sampling=CdvaeSampling)
