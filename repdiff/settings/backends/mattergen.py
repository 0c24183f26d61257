"""Options of the MatterGen-style model: network, noise processes and loss, and predictor and corrector steps."""

from typing import Literal

from pydantic import model_validator

from repdiff.settings.backends import BackendOptions
from repdiff.settings.backends.crystal_network import CrystalNetworkSettings
from repdiff.settings.backends.property_conditions import PropertyConditions
from repdiff.settings.base import MAX_TIMESTEPS, Options, setting

TypeLoss = Literal["cross_entropy", "hybrid"]


class ProcessSettings(Options):
    """The noise processes, as published by default."""

    timesteps: int = setting(
        1000, "Number of steps of all noise processes", group="noise process", ge=2, le=MAX_TIMESTEPS
    )
    width_first: float = setting(
        0.005,
        "Standard deviation of the fractional coordinates at the first time, to be divided by n_atoms^(1/3)",
        group="noise process",
        gt=0,
    )
    width_last: float = setting(
        5.0,
        "Standard deviation of the fractional coordinates at the last time, to be divided by n_atoms^(1/3)",
        group="noise process",
        gt=0,
    )
    beta_first: float = setting(
        0.1, "β of the cell at time 0, with time from 0 to 1", group="noise process", gt=0
    )
    beta_last: float = setting(20.0, "β of the cell at time 1", group="noise process", gt=0)

    @model_validator(mode="after")
    def _check_order(self) -> "ProcessSettings":
        if self.width_last <= self.width_first:
            raise ValueError(
                f"`width_last` is {self.width_last}, expected more than `width_first` ({self.width_first})"
            )
        if self.beta_last < self.beta_first:
            raise ValueError(
                f"`beta_last` is {self.beta_last}, expected `beta_first` ({self.beta_first}) or more"
            )
        return self


class JointSettings(ProcessSettings):
    """Processes, network and weights of the joint diffusion."""

    network: CrystalNetworkSettings = CrystalNetworkSettings()
    position_weight: float = setting(0.1, "Weight of the coordinates in the loss", group="optimiser", ge=0)
    lattice_weight: float = setting(1.0, "Weight of the cells in the loss", group="optimiser", ge=0)
    type_weight: float = setting(1.0, "Weight of the elements in the loss", group="optimiser", ge=0)
    type_loss: TypeLoss = setting(
        "cross_entropy",
        "Loss of the elements: cross_entropy of the masked ones, or hybrid, a term of the variational bound plus "
        "0.01 times the cross-entropy of all (paper)",
        group="optimiser",
    )
    given_share: float = setting(
        0.2,
        "Share of the training crystals whose elements are all unmasked, as with a given formula",
        group="optimiser",
        ge=0,
        le=1,
    )

    @model_validator(mode="after")
    def _leave_the_conditions(self) -> "JointSettings":
        if self.network.condition_width or self.network.atom_width:
            raise ValueError(
                "network.condition_width and network.atom_width are set here, expected 0 of both"
            )
        return self


class ReverseSettings(Options):
    """How samples are drawn from a trained model."""

    corrector_steps: int = setting(
        1,
        "Number of Langevin corrector steps at each time, one network evaluation each; 0 halves the cost",
        group="noise process",
        ge=0,
    )
    position_corrector: float = setting(
        0.4, "Signal-to-noise ratio of the corrector of the coordinates", group="noise process", gt=0, le=0.7
    )
    lattice_corrector: float = setting(
        0.2, "Signal-to-noise ratio of the corrector of the cells", group="noise process", gt=0, le=0.7
    )
    corrector_temperature: float = setting(
        1.0,
        "Temperature of the corrector of the coordinates; below 1 positions are sharper than learnt and crystals "
        "less varied",
        group="noise process",
        gt=0,
        le=1,
    )
    type_temperature: float = setting(
        1.0,
        "Sampling temperature of the elements; below 1 likelier elements are favoured, with less diversity",
        group="noise process",
        gt=0,
        le=2,
    )


class MatterGenSampling(ReverseSettings):
    """Options of sampling."""

    crystals_at_once: int = setting(256, "Number of crystals sampled together", group="output", ge=1)
    strict_system: bool = setting(
        False,
        "Exclude all elements outside the requested chemical system; always done without an adapter",
        group="model",
    )


OPTIONS = BackendOptions(
    kind="mattergen", training=JointSettings, sampling=MatterGenSampling, conditions=PropertyConditions
)
