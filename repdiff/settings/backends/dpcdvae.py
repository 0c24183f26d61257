"""Options of DP-CDVAE: networks, noise and loss of the autoencoder, and how latent vectors are decoded."""

from typing import Literal

from pydantic import model_validator

from repdiff.settings.backends import BackendOptions
from repdiff.settings.backends.crystal_network import CrystalNetworkSettings
from repdiff.settings.base import Options, setting

SMALL_DECODER = CrystalNetworkSettings(width=64, n_blocks=3, n_neighbors=48, max_neighbors=80)
SMALL_ENCODER = CrystalNetworkSettings(width=64, n_blocks=2, n_neighbors=16, max_neighbors=24)


class LossWeights(Options):
    """Weights of the terms of the loss, by default those of DP-CDVAE's program (conf/ddpm_carbon_dime.yaml)."""

    n_atoms: float = setting(1.0, "Cross-entropy of the number of atoms", group="optimiser", ge=0)
    lattice: float = setting(
        100.0, "Mean squared error of the z-scored cell parameters", group="optimiser", ge=0
    )
    composition: float = setting(1.0, "Cross-entropy of the composition", group="optimiser", ge=0)
    kl: float = setting(
        0.01, "Kullback-Leibler divergence of the latent from the prior", group="optimiser", ge=0
    )
    coordinates: float = setting(
        1.0, "Squared error of the coordinates; see coordinate_loss", group="optimiser", ge=0
    )
    types: float = setting(
        0.1, "Cross-entropy of the kinds of the atoms; see type_loss", group="optimiser", ge=0
    )


class CdvaeSettings(Options):
    """Networks, noise and loss."""

    network: CrystalNetworkSettings = SMALL_DECODER
    encoder: CrystalNetworkSettings = SMALL_ENCODER
    n_latent: int = setting(256, "Length of a latent vector", group="model", ge=1)
    head_width: int = setting(
        256, "Inner channels of what reads cell and composition from it", group="model", ge=1
    )
    denoiser: Literal["ddpm", "langevin"] = setting(
        "ddpm",
        "Diffusion of the coordinates (DP-CDVAE), or score matching and Langevin steps (CDVAE)",
        group="noise process",
    )
    timesteps: int = setting(1000, "ddpm: steps of the noise process", group="noise process", ge=2)
    schedule: Literal["sigmoid", "cosine", "linear"] = setting(
        "sigmoid", "ddpm: how β grows with the steps", group="noise process"
    )
    mean: Literal["kept", "scaled"] = setting(
        "kept",
        "ddpm: x_t about x_0, as suits periodic coordinates, or about √ᾱ x_0 (paper)",
        group="noise process",
    )
    target: Literal["nearest", "own", "noise"] = setting(
        "nearest",
        "Where noised atoms shall go: to the nearest crystal that is the same but for a shift and the order of like "
        "atoms, each to the nearest image of its own place, or, with the mean scaled, back by the noise that was added "
        "(paper)",
        group="optimiser",
    )
    coordinate_loss: Literal["path", "noise"] = setting(
        "path",
        "path: mean square of the error over components, Å, over the distance to expect; noise: squared length of "
        "the error of the noise, in fractions of the cell (paper; ddpm only)",
        group="optimiser",
    )
    type_loss: Literal["plain", "over_noise"] = setting(
        "plain",
        "Cross-entropy of the kinds as it is, or divided by the weight of the composition in the noised kinds (paper)",
        group="optimiser",
    )
    type_noise: Literal["true", "predicted"] = setting(
        "true",
        "Composition that noised kinds are drawn from: the crystal's, or what its latent vector says (paper)",
        group="noise process",
    )
    levels: int = setting(50, "langevin: levels of noise", group="noise process", ge=2)
    narrowest: float = setting(0.01, "langevin: least noise, Å", group="noise process", gt=0)
    widest: float = setting(10.0, "langevin: greatest noise, Å", group="noise process", gt=0)
    least_type_noise: float = setting(
        0.01, "Weight of the composition in the least noised kinds", group="noise process", ge=0
    )
    most_type_noise: float = setting(
        5.0, "Weight of the composition in the most noised kinds", group="noise process", ge=0
    )
    weights: LossWeights = LossWeights()
    min_length_std: float = setting(
        0.02, "Least spread of a scaled cell length in the loss, Å", group="optimiser", gt=0
    )
    min_angle_std: float = setting(
        0.02, "Least spread of a cell angle in the loss, radians", group="optimiser", gt=0
    )

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


class CdvaeSampling(Options):
    """How crystals are made from latent vectors."""

    prior: Literal["fitted", "normal"] = setting(
        "fitted",
        "Latent vectors without a crystal: with mean and covariance of the training set's, or standard normal "
        "(paper)",
        group="noise process",
    )
    step: Literal["posterior", "renoise", "unscaled"] = setting(
        "renoise",
        "ddpm: a step back draws from q(x_(t-1) | x_t, x_0) at the predicted x_0 (posterior), adds the noise of one "
        "time less to it (renoise), or, with the mean scaled, adds the noise of the posterior to x_0 itself "
        "(unscaled; the published program)",
        group="noise process",
    )
    wrap: Literal["every", "last", "never"] = setting(
        "every",
        "ddpm, mean scaled: at which steps coordinates are brought into the cell, x_t with step unscaled and the "
        "predicted x_0 else; with the mean kept it is the same",
        group="noise process",
    )
    types: Literal["argmax", "fixed"] = setting(
        "argmax",
        "Kinds of atoms: the likeliest at every step (paper), or those of the composition",
        group="noise process",
    )
    composition_steps: int = setting(
        100,
        "Given compositions: steps that move a latent vector to the nearest that says the composition; 0 takes it "
        "as drawn",
        group="noise process",
        ge=0,
    )
    langevin_steps: int = setting(100, "langevin: steps at each level of noise", group="noise process", ge=1)
    langevin_rate: float = setting(
        1.0, "langevin: step over the variance of the level (CDVAE 1)", group="noise process", gt=0
    )
    tries: int = setting(
        1,
        "Crystals made of each latent vector, of which that is kept whose own latent distribution it fits best",
        group="noise process",
        ge=1,
    )
    crystals_at_once: int = setting(256, "Crystals that are decoded together", group="output", ge=1)


OPTIONS = BackendOptions(kind="dpcdvae", training=CdvaeSettings, sampling=CdvaeSampling)
