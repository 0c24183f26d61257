"""Three noise processes side by side: elements are masked, coordinates spread over the torus, cells turn to a limit.

The crystal of a time is a `State`, its cell in the coordinates z of `symmetric_lattice.Limit`.

Source: Zeni et al., arXiv 2312.03687 (MatterGen).
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descriptors.batch import CrystalBatch
from repdiff.diffusion.masked_types import MASK, Masking
from repdiff.diffusion.samplers import Schedule
from repdiff.diffusion.schedules import AddedNoise
from repdiff.diffusion.symmetric_lattice import Limit, as_matrices, bounded_cells, variance_preserving
from repdiff.diffusion.torus import add_noise
from repdiff.settings.backends.mattergen import ProcessSettings


class State(NamedTuple):
    """Crystals at some time.

    Attributes:
        coords: Fractional.
        z: Cells, in the coordinates of the limit.
        numbers: Atomic numbers, `MASK` for hidden atoms.
        system_idx: Crystal of each atom.
        references: Reference cells of unit volume that the symmetric matrices of z strain; None for unit cubes.
    """

    coords: Float[Tensor, "n_atoms 3"]
    z: Float[Tensor, "n_systems 3 3"]
    numbers: Int[Tensor, " n_atoms"]
    system_idx: Int[Tensor, " n_atoms"]
    references: Float[Tensor, "n_systems 3 3"] | None = None

    @property
    def counts(self) -> Int[Tensor, " n_systems"]:
        """Atoms of each crystal."""
        return torch.bincount(self.system_idx, minlength=len(self.z))


class StateNoise(NamedTuple):
    """The random numbers that noise a state.

    Attributes:
        coords: Standard normal.
        lattice: Standard normal.
        chances: Uniform in [0, 1): of hiding each atom.
    """

    coords: Float[Tensor, "n_atoms 3"]
    lattice: Float[Tensor, "n_systems 6"]
    chances: Float[Tensor, " n_atoms"]


@dataclass(frozen=True)
class JointProcess:
    """The processes of one model.

    Args:
        widths: Noise process of the coordinates, whose widths are scaled by n_atoms^(-1/3).
        schedule: Noise schedule of the cells.
        masking: Masking process of the elements.
        limit: Distribution that noised cells approach.

    Raises:
        ValueError: If they have different numbers of times.
    """

    widths: AddedNoise
    schedule: Schedule
    masking: Masking
    limit: Limit

    def __post_init__(self) -> None:
        """Check the numbers of times."""
        numbers = {self.widths.n_times, len(self.schedule.betas), self.masking.n_times}
        if len(numbers) > 1:
            raise ValueError(f"processes of {sorted(numbers)} times, expected as many")

    @classmethod
    def of(cls, settings: ProcessSettings, limit: Limit) -> "JointProcess":
        """Build the processes of the settings."""
        n_times = settings.timesteps
        return cls(
            widths=AddedNoise.geometric(n_times, first=settings.width_first, last=settings.width_last),
            schedule=variance_preserving(n_times, first=settings.beta_first, last=settings.beta_last),
            masking=Masking(n_times),
            limit=limit,
        )

    @property
    def n_times(self) -> int:
        """Number of times; time 0 is the least noisy."""
        return self.masking.n_times

    def scale(self, state: State) -> Float[Tensor, " n_atoms"]:
        """Return n_atoms^(-1/3) of the crystal of each atom: widths are then alike in Å for crystals of any size."""
        return state.counts.to(state.coords.dtype).pow(-1 / 3)[state.system_idx]

    def std(self, state: State, times: Int[Tensor, " n_systems"]) -> Float[Tensor, " n_atoms"]:
        """Return the standard deviation of each atom's fractional coordinates."""
        return self.widths.std(times).to(state.coords.dtype)[state.system_idx] * self.scale(state)

    def signal(self, times: Int[Tensor, " n_systems"]) -> Float[Tensor, " n_systems"]:
        """Return ᾱ_t of the cells."""
        return self.schedule.signals.to(times.device)[times]

    def add_noise(self, clean: State, times: Int[Tensor, " n_systems"], noise: StateNoise) -> State:
        """Draw the crystals at a time, given the clean ones."""
        of_atoms = times[clean.system_idx]
        signal = self.signal(times).to(clean.z.dtype)[:, None, None]
        return clean._replace(
            coords=add_noise(clean.coords, of_atoms, noise.coords, self.widths, scale=self.scale(clean)),
            z=signal.sqrt() * clean.z + (1 - signal).sqrt() * as_matrices(noise.lattice),
            numbers=self.masking.hide(clean.numbers, of_atoms, noise.chances),
        )

    def prior(
        self,
        coords: Float[Tensor, "n_atoms 3"],
        lattice: Float[Tensor, "n_systems 6"],
        system_idx: Int[Tensor, " n_atoms"],
    ) -> State:
        """Arrange random numbers as crystals at the last time, all atoms hidden.

        Args:
            coords: Uniform in [0, 1).
            lattice: Standard normal.
            system_idx: Crystal of each atom.
        """
        hidden = torch.full_like(system_idx, MASK)
        return State(coords=coords, z=as_matrices(lattice), numbers=hidden, system_idx=system_idx)

    def encode(self, batch: CrystalBatch) -> State:
        """Return clean crystals, whose cells must be symmetric matrices, as a state."""
        z = self.limit.encode(batch.lattice, batch.n_atoms_per_system)
        return State(coords=batch.frac_coords, z=z, numbers=batch.atomic_numbers, system_idx=batch.system_idx)

    def decode(self, state: State) -> tuple[CrystalBatch, Float[Tensor, "n_systems 3"]]:
        """Return crystals with proper cells, hydrogen where atoms are hidden, and the eigenvalues of the cells.

        The eigenvalues are those of `symmetric_lattice.bounded_cells`.
        """
        counts = state.counts
        cells, eigenvalues = bounded_cells(self.limit.decode(state.z, counts), self.limit.edge(counts))
        batch = CrystalBatch(
            frac_coords=state.coords,
            lattice=cells if state.references is None else state.references @ cells,
            atomic_numbers=state.numbers.clamp(min=1),
            system_idx=state.system_idx,
        )
        return batch, eigenvalues
