"""Options of GemsDiff: network, noise processes and loss of torus and lattice diffusion, and its way back."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import model_validator

from repdiff.settings.backends import BackendOptions
from repdiff.settings.backends.crystal_network import CrystalNetworkSettings
from repdiff.settings.base import MAX_TIMESTEPS, Options, setting
from repdiff.settings.renamed import under_new_names

Gauge = Literal["polar", "general"]
ReverseRule = Literal["paper", "code", "renoise", "posterior"]
PathLoss = Literal["l1", "l1_mean", "l2"]
LatticeTarget = Literal["clean", "posterior_mean"]
StepNoise = Literal["posterior", "beta", "beta_before"]
ParameterLoss = Literal["l1", "l2"]


class TorusSettings(Options):
    """Noise process and loss of the coordinates; the process is GemsDiff's by default (`src/utils/hparams.py`)."""

    timesteps: int = setting(
        100,
        "Number of steps of the noise process of the coordinates",
        group="noise process",
        ge=2,
        le=MAX_TIMESTEPS,
    )
    beta_first: float = setting(
        1e-6, "β of the coordinates at the first step", group="noise process", gt=0, lt=1
    )
    beta_last: float = setting(
        2e-3, "β of the coordinates at the last step", group="noise process", gt=0, lt=1
    )
    loss: PathLoss = setting(
        "l1",
        "Loss of a predicted path, in Å: sum of absolute components (l1), their mean (l1_mean, the published "
        "program), or squared length (l2, paper)",
        group="optimiser",
    )


class LatticeSettings(Options):
    """Coordinates, noise process, target and loss of the cell."""

    timesteps: int = setting(
        100, "Number of steps of the noise process of the cell", group="noise process", ge=2, le=MAX_TIMESTEPS
    )
    beta_first: float = setting(1e-5, "β of the cell at the first step", group="noise process", gt=0, lt=1)
    beta_last: float = setting(1e-1, "β of the cell at the last step", group="noise process", gt=0, lt=1)
    rotation_noise: float = setting(
        0.0,
        "Factor of the noise of the 3 rotation coordinates (paper 1, code 0)",
        group="noise process",
        ge=0,
    )
    volume_noise: float = setting(
        1.0,
        "Factor of the noise of the volume coordinate (paper 1, code 0.25)",
        group="noise process",
        ge=0,
    )
    gauge: Gauge = setting(
        "polar",
        "Gauge of the matrix logarithm of the cell: without the orientation (polar), or of the matrix itself "
        "(general, paper)",
        group="noise process",
    )
    standardize: bool = setting(
        True,
        "Standardise the cell coordinates to mean 0 and standard deviation 1 on the training set",
        group="noise process",
    )
    min_std: float = setting(
        0.05, "Lower bound of the standard deviation used for standardising", group="noise process", gt=0
    )
    per_atom_volume: bool = setting(
        True, "Diffuse the volume per atom instead of the volume", group="noise process"
    )
    target: LatticeTarget = setting(
        "clean",
        "Quantity that the network predicts: the clean cell (published code) or μ̃, the posterior mean (paper, eq. "
        "15)",
        group="noise process",
    )
    loss: ParameterLoss = setting(
        "l1",
        "Loss of the cell: mean absolute (l1, published code) or root-mean-square (l2) difference of z-scored a, b,"
        " c, α, β, γ",
        group="optimiser",
    )


class TorusLatticeSettings(Options):
    """Processes, network and weights of the joint diffusion."""

    network: CrystalNetworkSettings = CrystalNetworkSettings()
    torus: TorusSettings = TorusSettings()
    lattice: LatticeSettings = LatticeSettings()
    position_weight: float = setting(1.0, "Weight of the positions in the loss", group="optimiser", ge=0)
    lattice_weight: float = setting(1.0, "Weight of the cells in the loss", group="optimiser", ge=0)
    min_length_std: float = setting(
        0.1, "Lower bound of the standard deviation of a cell length in the loss, Å", group="optimiser", gt=0
    )
    min_angle_std: float = setting(
        0.05,
        "Lower bound of the standard deviation of a cell angle in the loss, radians",
        group="optimiser",
        gt=0,
    )

    @model_validator(mode="after")
    def _needs_no_more_inputs(self) -> "TorusLatticeSettings":
        if self.network.condition_width or self.network.atom_width:
            raise ValueError("network.condition_width or network.atom_width is given, expected 0 of both")
        return self


class ReverseSettings(Options):
    """How samples are drawn from a trained model."""

    positions: ReverseRule = setting(
        "posterior",
        "Reverse step of the coordinates: to the predicted ones, with noise of variance β̃ (paper), with β of the "
        "previous time (code) or with the noise level of the previous time (renoise), or part of the way "
        "(posterior)",
        group="noise process",
    )
    lattice_noise: StepNoise = setting(
        "posterior",
        "Variance of a reverse step of the cell: β̃ of its time (posterior), β of its time (beta), or β of the "
        "previous time (beta_before, the published code)",
        group="noise process",
    )

    @model_validator(mode="before")
    @classmethod
    def _read_its_old_name(cls, values: Any) -> Any:  # noqa: ANN401 (whatever is to be validated)
        return under_new_names("generate", values) if isinstance(values, Mapping) else values


class GemsDiffSampling(ReverseSettings):
    """Options of sampling."""

    crystals_at_once: int = setting(256, "Number of crystals sampled together", group="output", ge=1)


OPTIONS = BackendOptions(kind="gemsdiff", training=TorusLatticeSettings, sampling=GemsDiffSampling)
