"""Bonds and angles of a whole batch as lists of indices, and what energies by bond vectors mean for the atoms."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descriptors.batch import CrystalBatch
from descriptors.neighbors import Neighborhood, find_neighborhood

MAX_ANGLES = 2000  # per atom; 45 neighbours within 3 Å, a heap of atoms that takes gigabytes
CROWDED = f"more than {MAX_ANGLES} angles between short bonds per atom"


@dataclass(frozen=True, kw_only=True)
class Bonds:
    """Bonds and angles of a batch. Bond k leads from atom `ends[0, k]` to `ends[1, k]`; its reverse is k + n.

    Attributes:
        ends: Atoms of each bond, every pair of atoms and images once.
        shifts: Cell of the second atom.
        angles: Centre, and the two directed bonds from it, every ordered pair of them.
    """

    ends: Int[Tensor, "2 n_bonds"]
    shifts: Float[Tensor, "n_bonds 3"]
    angles: Int[Tensor, "3 n_angles"]


def find_bonds(batch: CrystalBatch, cutoff: float, angle_cutoff: float) -> tuple[Bonds, dict[int, str]]:
    """Find bonds below one length and the angles between bonds below another, Å.

    Returns:
        Bonds and angles; and the reason by place in the batch, of crystals that have no answer.
    """
    near = find_neighborhood(batch, cutoff)
    atom, slot = torch.nonzero(near.present, as_tuple=True)
    other, shifts = near.neighbor_idx[atom, slot], near.shifts[atom, slot]
    problems = find_lonely(batch, near, cutoff)
    sign = shifts[:, 0] + 1e-3 * shifts[:, 1] + 1e-6 * shifts[:, 2]  # of the first shift that is not zero
    once = (atom < other) | ((atom == other) & (sign > 0))
    ends, shifts = torch.stack([atom[once], other[once]]), shifts[once]
    short = torch.nonzero((bond_vectors(batch, ends, shifts) ** 2).sum(1) < angle_cutoff**2)[:, 0]
    centres = ends[:, short].flatten()
    directed = torch.cat([short, short + ends.shape[1]])
    order = torch.argsort(centres, stable=True)
    centres, directed = centres[order], directed[order]
    n_at = torch.bincount(centres, minlength=batch.n_atoms)
    n_angles = torch.zeros(batch.n_systems, dtype=torch.long, device=batch.device)
    n_angles.index_add_(0, batch.system_idx, n_at * (n_at - 1))
    problems |= {
        int(place): CROWDED for place in torch.nonzero(n_angles > MAX_ANGLES * batch.n_atoms_per_system)[:, 0]
    }
    if problems:
        return Bonds(ends=ends, shifts=shifts, angles=ends.new_zeros(3, 0)), problems
    partners = n_at[centres]
    one = torch.repeat_interleave(torch.arange(len(centres), device=batch.device), partners)
    first = (n_at.cumsum(0) - n_at)[centres[one]]
    within = torch.arange(len(one), device=batch.device) - (partners.cumsum(0) - partners)[one]
    two = first + within
    one, two = one[one != two], two[one != two]
    angles = torch.stack([centres[one], directed[one], directed[two]])
    return Bonds(ends=ends, shifts=shifts, angles=angles), problems


def find_lonely(batch: CrystalBatch, near: Neighborhood, cutoff: float) -> dict[int, str]:
    """Return the reason by place in the batch, of crystals with an atom that no other one is near to.

    No force acts on it, whatever is done to it, so that it would count as relaxed.
    """
    lonely = torch.nonzero(~near.present.any(1))[:, 0]
    reason = f"an atom has no neighbour within {cutoff:g} Å"
    return {place: reason for place in batch.system_idx[lonely].unique().tolist()}


def bond_vectors(
    batch: CrystalBatch, ends: Int[Tensor, "2 n_bonds"], shifts: Float[Tensor, "n_bonds 3"]
) -> Float[Tensor, "n_bonds 3"]:
    """Return the vectors from first to second atoms, Å."""
    frac = batch.frac_coords[ends[1]] - batch.frac_coords[ends[0]] + shifts
    return torch.einsum("bi,bij->bj", frac, batch.lattice[batch.system_idx[ends[0]]])


def forces_and_stress(
    batch: CrystalBatch,
    ends: Int[Tensor, "2 n_bonds"],
    vectors: Float[Tensor, "n_bonds 3"],
    slope: Float[Tensor, "n_bonds 3"],
) -> tuple[Float[Tensor, "n_atoms 3"], Float[Tensor, "n_systems 3 3"]]:
    """Turn the derivative of the energy by bond vectors into forces, eV/Å, and stress, eV/Å³.

    Args:
        batch: Float64.
        ends: Atoms of each bond.
        vectors: Vectors from the first atom to the second, Å.
        slope: Derivative of the total energy of all crystals, eV/Å.
    """
    slope, vectors = slope.double(), vectors.detach().double()
    forces, virial = torch.zeros_like(batch.frac_coords), torch.zeros_like(batch.lattice)
    forces.index_add_(0, ends[0], slope).index_add_(0, ends[1], -slope)
    virial.index_add_(0, batch.system_idx[ends[0]], vectors[:, :, None] * slope[:, None, :])
    volume = torch.linalg.det(batch.lattice).abs()
    return forces, (virial + virial.mT) / 2 / volume[:, None, None]
