"""Settings of the autoencoder, of its noise, and of sampling."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from repdiff.networks.crystal import CrystalNetworkSettings

SMALL_DECODER = CrystalNetworkSettings(width=64, n_blocks=3, n_neighbors=48, max_neighbors=80)
SMALL_ENCODER = CrystalNetworkSettings(width=64, n_blocks=2, n_neighbors=16, max_neighbors=24)


class LossWeights(BaseModel):
    """Weights of the parts of the loss (defaults: the published program of DP-CDVAE)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_atoms: float = Field(1.0, ge=0, description="cross-entropy of the number of atoms")
    lattice: float = Field(100.0, ge=0, description="mean squared error of the z-scored cell parameters")
    composition: float = Field(1.0, ge=0, description="cross-entropy of the composition")
    kl: float = Field(0.01, ge=0, description="Kullback-Leibler divergence of the latent from the prior")
    coordinates: float = Field(1.0, ge=0, description="mean squared error of the noise of the coordinates")
    types: float = Field(0.1, ge=0, description="cross-entropy of the kinds of the atoms")


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
    target: Literal["nearest", "own"] = Field(
        "nearest",
        description="where noised atoms shall go: to the nearest crystal that is the same but for a shift and the "
        "order of like atoms, or each to its own place (paper)",
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
    step: Literal["renoise", "posterior"] = Field(
        "renoise",
        description="ddpm: a step back goes to the predicted positions and adds the noise of one time less (paper), "
        "or part of the way (mean kept only)",
    )
    wrap: Literal["every", "last", "never"] = Field(
        "every",
        description="ddpm, mean scaled: when coordinates are brought into the cell; with the mean kept it is the same",
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
