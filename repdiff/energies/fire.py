"""FIRE with a cell filter for many crystals at once, each with a time step of its own.

The coordinates are those of ASE's `FrechetCellFilter`: positions in the undeformed cell, and the logarithm of the
deformation times the number of atoms. The constants are those of ASE's `FIRE`.

Source: Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006); for the cell, Tadmor et al., Phys. Rev. B 59, 235 (1999).
"""

from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from descriptors.batch import CrystalBatch
from repdiff.energies.base import Energies

FIRST_STEP, LONGEST_STEP = 0.1, 1.0  # of time
MAX_MOVE = 0.2  # Å, of all coordinates of a crystal together
PATIENCE = 5  # steps downhill before the time step grows
GROW, SHRINK = 1.1, 0.5
MIXING, MIXING_DECAY = 0.1, 0.99


@dataclass(frozen=True, kw_only=True)
class FireState:
    """Crystals on their way down, float64.

    Attributes:
        atomic_numbers: Atomic number of each atom, crystal after crystal.
        positions: Cartesian positions in the undeformed cells, Å.
        velocity: Velocities of the positions.
        row: Index of each crystal in the caller's list.
        n_atoms: Number of atoms of each crystal.
        start_lattice: Undeformed, rows are the cell vectors, Å.
        strain: Logarithm of the deformation, times the number of atoms.
        strain_velocity: Velocity of the strain.
        time_step: Time step of each crystal.
        mixing: Share of the force's direction in the velocity.
        n_downhill: Steps since the last one uphill.
        n_steps: Steps taken.
    """

    atomic_numbers: Int[Tensor, " n_atoms"]
    positions: Float[Tensor, "n_atoms 3"]
    velocity: Float[Tensor, "n_atoms 3"]
    row: Int[Tensor, " n_systems"]
    n_atoms: Int[Tensor, " n_systems"]
    start_lattice: Float[Tensor, "n_systems 3 3"]
    strain: Float[Tensor, "n_systems 3 3"]
    strain_velocity: Float[Tensor, "n_systems 3 3"]
    time_step: Float[Tensor, " n_systems"]
    mixing: Float[Tensor, " n_systems"]
    n_downhill: Int[Tensor, " n_systems"]
    n_steps: Int[Tensor, " n_systems"]

    @property
    def system_idx(self) -> Int[Tensor, " n_atoms"]:
        """Crystal of each atom."""
        return torch.repeat_interleave(torch.arange(len(self.n_atoms)), self.n_atoms)

    @property
    def deformation(self) -> Float[Tensor, "n_systems 3 3"]:
        """From undeformed to present, for column vectors."""
        return torch.linalg.matrix_exp(self.strain / self.n_atoms[:, None, None])

    def batch(self) -> CrystalBatch:
        """Return the crystals as they are; coordinates go on where they were, never wrapped."""
        system_idx = self.system_idx
        frac = torch.einsum("ai,aij->aj", self.positions, torch.linalg.inv(self.start_lattice)[system_idx])
        return CrystalBatch(
            frac_coords=frac,
            lattice=self.start_lattice @ self.deformation.mT,
            atomic_numbers=self.atomic_numbers,
            system_idx=system_idx,
        )

    def select(self, keep: Bool[Tensor, " n_systems"]) -> "FireState":
        """Keep some crystals, in their order."""
        atoms = torch.repeat_interleave(keep, self.n_atoms)
        per_atom = {"atomic_numbers", "positions", "velocity"}
        return replace(
            self,
            **{
                part.name: getattr(self, part.name)[atoms if part.name in per_atom else keep]
                for part in fields(self)
            },
        )


def start_state(batch: CrystalBatch, rows: Int[Tensor, " n_systems"]) -> FireState:
    """Put crystals at rest at their places."""
    n_systems = batch.n_systems
    return FireState(
        atomic_numbers=batch.atomic_numbers,
        positions=batch.cart_coords,
        velocity=torch.zeros_like(batch.frac_coords),
        row=rows,
        n_atoms=batch.n_atoms_per_system,
        start_lattice=batch.lattice,
        strain=torch.zeros_like(batch.lattice),
        strain_velocity=torch.zeros_like(batch.lattice),
        time_step=batch.lattice.new_full((n_systems,), FIRST_STEP),
        mixing=batch.lattice.new_full((n_systems,), MIXING),
        n_downhill=torch.zeros(n_systems, dtype=torch.long),
        n_steps=torch.zeros(n_systems, dtype=torch.long),
    )


def join_states(parts: list[FireState]) -> FireState:
    """Put several lots one after another; at least one."""
    return FireState(
        **{part.name: torch.cat([getattr(lot, part.name) for lot in parts]) for part in fields(FireState)}
    )


def pull_back(
    walkers: FireState, found: Energies
) -> tuple[Float[Tensor, "n_atoms 3"], Float[Tensor, "n_systems 3 3"]]:
    """Turn forces and stress into forces on the walkers' coordinates, eV/Å."""
    n_atoms = walkers.n_atoms[:, None, None]
    with torch.enable_grad():
        logarithm = (walkers.strain / n_atoms).requires_grad_()
        deformation = torch.linalg.matrix_exp(logarithm)
        inverse = torch.linalg.inv(deformation.detach())
        volume = torch.linalg.det(walkers.start_lattice).abs() * torch.linalg.det(deformation.detach())
        virial = volume[:, None, None] * found.stress
        (slope,) = torch.autograd.grad(deformation, logarithm, virial.mT @ inverse.mT)
    forces = torch.einsum("ai,aij->aj", found.forces, deformation.detach()[walkers.system_idx])
    return forces, -slope / n_atoms


def largest_force(
    walkers: FireState, forces: Float[Tensor, "n_atoms 3"], cell_forces: Float[Tensor, "n_systems 3 3"]
) -> Float[Tensor, " n_systems"]:
    """Return the largest force on an atom or a row of the cell, eV/Å; NaN where one is."""
    largest = torch.linalg.norm(cell_forces, dim=2).amax(1)
    return largest.scatter_reduce(0, walkers.system_idx, torch.linalg.norm(forces, dim=1), "amax")


def step(
    walkers: FireState, forces: Float[Tensor, "n_atoms 3"], cell_forces: Float[Tensor, "n_systems 3 3"]
) -> FireState:
    """Take one step of FIRE; all that a crystal does depends on itself alone."""
    system_idx = walkers.system_idx

    def dot(
        one: tuple[Float[Tensor, "n_atoms 3"], Float[Tensor, "n_systems 3 3"]],
        other: tuple[Float[Tensor, "n_atoms 3"], Float[Tensor, "n_systems 3 3"]],
    ) -> Float[Tensor, " n_systems"]:
        return (one[1] * other[1]).sum((1, 2)).index_add(0, system_idx, (one[0] * other[0]).sum(1))

    def each(factor: Float[Tensor, " n_systems"]) -> tuple[Tensor, Tensor]:
        return factor[system_idx, None], factor[:, None, None]

    force, velocity = (forces, cell_forces), (walkers.velocity, walkers.strain_velocity)
    downhill = dot(force, velocity) > 0
    started = walkers.n_steps > 0
    turn = torch.sqrt(dot(velocity, velocity) / dot(force, force).clamp(min=1e-300))
    old, new = each(torch.where(downhill, 1 - walkers.mixing, 0.0)), each(walkers.mixing * turn * downhill)
    surer = downhill & (walkers.n_downhill > PATIENCE)
    uphill = started & ~downhill
    time_step = torch.where(
        surer, (walkers.time_step * GROW).clamp(max=LONGEST_STEP), walkers.time_step
    ) * torch.where(uphill, SHRINK, 1.0)
    mixing = torch.where(surer, walkers.mixing * MIXING_DECAY, walkers.mixing)
    time = each(time_step)
    moved = [old[k] * velocity[k] + new[k] * force[k] + time[k] * force[k] for k in (0, 1)]
    move = (time[0] * moved[0], time[1] * moved[1])
    length = torch.sqrt(dot(move, move))
    short = each((MAX_MOVE / length.clamp(min=1e-300)).clamp(max=1.0))
    return replace(
        walkers,
        positions=walkers.positions + short[0] * move[0],
        velocity=moved[0],
        strain=walkers.strain + short[1] * move[1],
        strain_velocity=moved[1],
        time_step=time_step,
        mixing=torch.where(uphill, MIXING, mixing),
        n_downhill=torch.where(downhill, walkers.n_downhill + 1, 0),
        n_steps=walkers.n_steps + 1,
    )
