"""Settings of the autoencoder, of its noise, and of sampling."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from repdiff.networks.crystal import CrystalNetworkSettings

SMALL_DECODER = CrystalNetworkSettings(width=64, n_blocks=3, n_neighbors=48, max_neighbors=80)
SMALL_ENCODER = CrystalNetworkSettings(width=64, n_blocks=2, n_neighbors=16, max_neighbors=24)


class LossWeights(BaseModel):
    """Weights of the terms of the loss, by default those of DP-CDVAE's program (conf/ddpm_carbon_dime.yaml)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_atoms: float = Field(1.0, ge=0, description="cross-entropy of the number of atoms")
    lattice: float = Field(100.0, ge=0, description="mean squared error of the z-scored cell parameters")
    composition: float = Field(1.0, ge=0, description="cross-entropy of the composition")
    kl: float = Field(0.01, ge=0, description="Kullback-Leibler divergence of the latent from the prior")
    coordinates: float = Field(1.0, ge=0, description="squared error of the coordinates; see coordinate_loss")
    types: float = Field(0.1, ge=0, description="cross-entropy of the kinds of the atoms; see type_loss")


class CdvaeSettings(BaseModel):
    """Networks, noise and loss."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: CrystalNetworkSettings = Field(SMALL_DECODER, description="network of the decoder")
    encoder: CrystalNetworkSettings = Field(SMALL_ENCODER, description="network of the encoder")
    n_latent: int = Field(256, ge=1, description="length of a latent vector")
    head_width: int = Field(
        256, ge=1, description="inner channels of what reads cell and composition from it"
    )
    denoiser: Literal["ddpm", "langevin"] = Field(
        "ddpm",
        description="diffusion of the coordinates (DP-CDVAE), or score matching and Langevin steps (CDVAE)",
    )
    timesteps: int = Field(1000, ge=2, description="ddpm: steps of the noise process")
    schedule: Literal["sigmoid", "cosine", "linear"] = Field(
        "sigmoid", description="ddpm: how β grows with the steps"
    )
    mean: Literal["kept", "scaled"] = Field(
        "kept",
        description="ddpm: x_t about x_0, as suits periodic coordinates, or about √ᾱ x_0 (paper)",
    )
    target: Literal["nearest", "own", "noise"] = Field(
        "nearest",
        description="where noised atoms shall go: to the nearest crystal that is the same but for a shift and the "
        "order of like atoms, each to the nearest image of its own place, or, with the mean scaled, back by the noise "
        "that was added (paper)",
    )
    coordinate_loss: Literal["path", "noise"] = Field(
        "path",
        description="path: mean square of the error over components, Å, over the distance to expect; noise: squared "
        "length of the error of the noise, in fractions of the cell (paper; ddpm only)",
    )
    type_loss: Literal["plain", "over_noise"] = Field(
        "plain",
        description="cross-entropy of the kinds as it is, or divided by the weight of the composition in the noised "
        "kinds (paper)",
    )
    type_noise: Literal["true", "predicted"] = Field(
        "true",
        description="composition that noised kinds are drawn from: the crystal's, or what its latent vector says "
        "(paper)",
    )
    levels: int = Field(50, ge=2, description="langevin: levels of noise")
    narrowest: float = Field(0.01, gt=0, description="langevin: least noise, Å")
    widest: float = Field(10.0, gt=0, description="langevin: greatest noise, Å")
    least_type_noise: float = Field(
        0.01, ge=0, description="weight of the composition in the least noised kinds"
    )
    most_type_noise: float = Field(
        5.0, ge=0, description="weight of the composition in the most noised kinds"
    )
    weights: LossWeights = LossWeights()
    min_length_std: float = Field(
        0.02, gt=0, description="least spread of a scaled cell length in the loss, Å"
    )
    min_angle_std: float = Field(0.02, gt=0, description="least spread of a cell angle in the loss, radians")

    @model_validator(mode="after")
    def _check(self) -> "CdvaeSettings":
        scaled = self.denoiser == "ddpm" and self.mean == "scaled"
        if self.target == "noise" and not scaled:
            raise ValueError("target is noise, expected nearest or own unless the mean is scaled")
        if self.coordinate_loss == "noise" and self.denoiser != "ddpm":
            raise ValueError(f"coordinate_loss is noise with denoiser={self.denoiser}, expected path")
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


class CdvaeSampling(BaseModel):
    """How crystals are made from latent vectors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prior: Literal["fitted", "normal"] = Field(
        "fitted",
        description="latent vectors without a crystal: with mean and covariance of the training set's, or standard "
        "normal (paper)",
    )
    step: Literal["posterior", "renoise", "unscaled"] = Field(
        "renoise",
        description="ddpm: a step back draws from q(x_(t-1) | x_t, x_0) at the predicted x_0 (posterior), adds the "
        "noise of one time less to it (renoise), or, with the mean scaled, adds the noise of the posterior to x_0 "
        "itself (unscaled; the published program)",
    )
    wrap: Literal["every", "last", "never"] = Field(
        "every",
        description="ddpm, mean scaled: at which steps coordinates are brought into the cell, x_t with step unscaled "
        "and the predicted x_0 else; with the mean kept it is the same",
    )
    types: Literal["argmax", "fixed"] = Field(
        "argmax",
        description="kinds of atoms: the likeliest at every step (paper), or those of the composition",
    )
    composition_steps: int = Field(
        100,
        ge=0,
        description="given compositions: steps that move a latent vector to the nearest that says the composition; "
        "0 takes it as drawn",
    )
    langevin_steps: int = Field(100, ge=1, description="langevin: steps at each level of noise")
    langevin_rate: float = Field(
        1.0, gt=0, description="langevin: step over the variance of the level (CDVAE 1)"
    )
    tries: int = Field(
        1,
        ge=1,
        description="crystals made of each latent vector, of which that is kept whose own latent distribution it fits "
        "best",
    )
    crystals_at_once: int = Field(256, ge=1, description="crystals that are decoded together")
