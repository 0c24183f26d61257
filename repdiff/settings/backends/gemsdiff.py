"""Options of GemsDiff: network, noise processes and loss of torus and lattice diffusion, and its way back."""

from typing import Literal

from pydantic import model_validator

from repdiff.settings.backends import BackendOptions
from repdiff.settings.backends.crystal_network import CrystalNetworkSettings
from repdiff.settings.base import Options, setting

Gauge = Literal["polar", "general"]
ReverseRule = Literal["paper", "code", "renoise", "posterior"]
PathLoss = Literal["l1", "l1_mean", "l2"]
LatticeTarget = Literal["clean", "posterior_mean"]
StepNoise = Literal["posterior", "beta", "beta_before"]
ParameterLoss = Literal["l1", "l2"]


class TorusSettings(Options):
    """Noise process and loss of the coordinates; the process is GemsDiff's by default (`src/utils/hparams.py`)."""

    timesteps: int = setting(
        100, "Steps of the noise process of the coordinates", group="noise process", ge=2
    )
    beta_first: float = setting(1e-6, "β of the first step, coordinates", group="noise process", gt=0, lt=1)
    beta_last: float = setting(2e-3, "β of the last step, coordinates", group="noise process", gt=0, lt=1)
    loss: PathLoss = setting(
        "l1",
        "Error of a predicted path, Å: sum of absolute components, their mean (l1_mean, the published program), or "
        "squared length (l2, paper)",
        group="optimiser",
    )


class LatticeSettings(Options):
    """Coordinates, noise process, target and loss of the cell."""

    timesteps: int = setting(100, "Steps of the noise process of the cell", group="noise process", ge=2)
    beta_first: float = setting(1e-5, "β of the first step, cell", group="noise process", gt=0, lt=1)
    beta_last: float = setting(1e-1, "β of the last step, cell", group="noise process", gt=0, lt=1)
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
        "Logarithm of the cell freed of its orientation, or of the matrix as it is (paper)",
        group="noise process",
    )
    standardize: bool = setting(
        True,
        "Shift and scale the coordinates to mean 0 and spread 1 on the training set",
        group="noise process",
    )
    min_std: float = setting(
        0.05, "Least scale of a coordinate when standardizing", group="noise process", gt=0
    )
    per_atom_volume: bool = setting(
        True, "Diffuse the volume per atom instead of the volume", group="noise process"
    )
    target: LatticeTarget = setting(
        "clean",
        "What the network answers with: the clean cell (code) or μ̃ (paper, eq. 15)",
        group="noise process",
    )
    loss: ParameterLoss = setting(
        "l1",
        "Mean absolute (code) or root-mean-square difference of z-scored a, b, c, α, β, γ",
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
        0.1, "Least spread of a cell length in the loss, Å", group="optimiser", gt=0
    )
    min_angle_std: float = setting(
        0.05, "Least spread of a cell angle in the loss, radians", group="optimiser", gt=0
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
        "A step back of the positions: to the predicted ones with noise β̃ (paper), with noise β of one time less "
        "(code), with the noise of one time less (renoise), or part of the way (posterior)",
        group="noise process",
    )
    lattice: StepNoise = setting(
        "posterior",
        "Variance of a step back of the cell: β̃ of its time, β of its time (beta), or β of one time less "
        "(beta_before, the published code)",
        group="noise process",
    )


class GemsDiffSampling(ReverseSettings):
    """Options of sampling."""

    crystals_at_once: int = setting(256, "Crystals that are sampled together", group="output", ge=1)


OPTIONS = BackendOptions(kind="gemsdiff", training=TorusLatticeSettings, sampling=GemsDiffSampling)
