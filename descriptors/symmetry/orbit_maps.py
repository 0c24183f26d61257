"""Crystals as functions of their free coordinates and cell parameters, batched over unlike protostructures.

An atom is the image of the representative atom of its orbit, x = (origin + p @ directions) @ rotation + translation;
everything is a flat tensor over atoms or orbits, so that crystals of any symmetry are one computation on any device.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from descriptors.batch import CrystalBatch
from descriptors.symmetry import unit_cell
from descriptors.symmetry.affine import DENOMINATOR
from descriptors.symmetry.protostructure import Protostructure
from descriptors.symmetry.space_group import space_group


@dataclass(frozen=True, kw_only=True)
class OrbitMaps:
    """Maps from free coordinates to crystals, for a batch of protostructures.

    Coordinates are fractional in the cell that is made, the primitive or the conventional one; free coordinates p are
    those of the conventional cell in either case. Atoms of one orbit follow each other, the representative one first;
    orbits are in the order of their protostructures.

    Attributes:
        numbers: Space group of each crystal.
        primitive: Whether the cells are primitive.
        cell_vectors: Rows of each cell as sums of those of the conventional one.
        system_of_orbit: Crystal of each orbit.
        elements: Atomic number of each orbit.
        letters: Place of the Wyckoff letter of each orbit in the alphabet.
        multiplicity: Number of atoms of each orbit in the cell.
        origins: Representative point where the free coordinates are zero.
        directions: How it moves with each free coordinate; rows beyond the free ones are zero.
        projectors: Act on steps of the representative atom, as rows.
        n_free_of_orbit: Number of free coordinates of each orbit.
        representative: Which atom is the representative one of each orbit.
        orbit_of_atom: Orbit of each atom.
        rotations: Linear part of the operation that makes each atom.
        translations: Its translation.
    """

    numbers: Int[Tensor, " n_systems"]
    primitive: bool
    cell_vectors: Float[Tensor, "n_systems 3 3"]
    system_of_orbit: Int[Tensor, " n_orbits"]
    elements: Int[Tensor, " n_orbits"]
    letters: Int[Tensor, " n_orbits"]
    multiplicity: Int[Tensor, " n_orbits"]
    origins: Float[Tensor, "n_orbits 3"]
    directions: Float[Tensor, "n_orbits 3 3"]
    projectors: Float[Tensor, "n_orbits 3 3"]
    n_free_of_orbit: Int[Tensor, " n_orbits"]
    representative: Int[Tensor, " n_orbits"]
    orbit_of_atom: Int[Tensor, " n_atoms"]
    rotations: Float[Tensor, "n_atoms 3 3"]
    translations: Float[Tensor, "n_atoms 3"]

    @property
    def n_systems(self) -> int:
        """Number of crystals."""
        return len(self.numbers)

    @property
    def n_free(self) -> int:
        """Number of free coordinates of all crystals together."""
        return int(self.n_free_of_orbit.sum())

    @property
    def free_of_system(self) -> Int[Tensor, " n_free"]:
        """Crystal of each free coordinate."""
        return torch.repeat_interleave(self.system_of_orbit, self.n_free_of_orbit)

    @property
    def free_mask(self) -> Bool[Tensor, "n_orbits 3"]:
        """Tell which of three places each orbit uses for its free coordinates, the first ones."""
        return torch.arange(3, device=self.numbers.device) < self.n_free_of_orbit[:, None]

    @property
    def system_idx(self) -> Int[Tensor, " n_atoms"]:
        """Crystal of each atom."""
        return self.system_of_orbit[self.orbit_of_atom]

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "OrbitMaps":
        """Move to a device, and coordinates to a floating-point type."""
        moved = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                value = value.to(device=device, dtype=dtype if value.is_floating_point() else None)
            moved[field.name] = value
        return OrbitMaps(**moved)

    def select(self, systems: Int[Tensor, " n_selected"]) -> "OrbitMaps":
        """Return the maps of the named crystals, in that order; a crystal may be named more than once."""
        orbits, system_of_orbit = _members(self.system_of_orbit, systems, self.n_systems)
        atoms, orbit_of_atom = _members(self.orbit_of_atom, orbits, len(self.elements))
        multiplicity = self.multiplicity[orbits]
        return OrbitMaps(
            numbers=self.numbers[systems],
            primitive=self.primitive,
            cell_vectors=self.cell_vectors[systems],
            system_of_orbit=system_of_orbit,
            elements=self.elements[orbits],
            letters=self.letters[orbits],
            multiplicity=multiplicity,
            origins=self.origins[orbits],
            directions=self.directions[orbits],
            projectors=self.projectors[orbits],
            n_free_of_orbit=self.n_free_of_orbit[orbits],
            representative=multiplicity.cumsum(0) - multiplicity,
            orbit_of_atom=orbit_of_atom,
            rotations=self.rotations[atoms],
            translations=self.translations[atoms],
        )

    def representatives(self, free: Float[Tensor, "*copies n_free"]) -> Float[Tensor, "*copies n_orbits 3"]:
        """Return the representative point of each orbit in the cell that is made; differentiable.

        Args:
            free: Free coordinates of all crystals, one after another; leading axes are copies of the batch.
        """
        padded = free.new_zeros(*free.shape[:-1], len(self.elements), 3)
        padded[..., self.free_mask] = free
        return self.origins + torch.einsum("...of,ofi->...oi", padded, self.directions)

    def frac_coords(self, free: Float[Tensor, "*copies n_free"]) -> Float[Tensor, "*copies n_atoms 3"]:
        """Return fractional coordinates of all atoms, not wrapped; differentiable."""
        points = self.representatives(free)[..., self.orbit_of_atom, :]
        return torch.einsum("...ai,aij->...aj", points, self.rotations) + self.translations

    def lattice(self, cell: Float[Tensor, "n_systems 6"]) -> Float[Tensor, "n_systems 3 3"]:
        """Return cells, rows in Å, from the free parameters of the conventional ones; differentiable.

        Raises:
            ValueError: If lengths are not positive, or no cell has these angles.
        """
        return self.cell_vectors @ unit_cell.to_lattice(cell, self.numbers)

    def crystals(self, free: Float[Tensor, " n_free"], cell: Float[Tensor, "n_systems 6"]) -> CrystalBatch:
        """Make the crystals; differentiable by both arguments.

        Args:
            free: Free coordinates of all crystals, one after another.
            cell: Free cell parameters, as `unit_cell` orders them.

        Raises:
            ValueError: If there are not as many free coordinates as needed, or a cell is none.
        """
        if free.shape != (self.n_free,):
            raise ValueError(f"{len(free)} free coordinates, these protostructures have {self.n_free}")
        return CrystalBatch(
            frac_coords=self.frac_coords(free),
            lattice=self.lattice(cell),
            atomic_numbers=self.elements[self.orbit_of_atom],
            system_idx=self.system_idx,
        )

    def project(self, steps: Float[Tensor, "n_atoms 3"]) -> Float[Tensor, "n_atoms 3"]:
        """Return the part of steps of all atoms, in fractional coordinates, that keeps the symmetry.

        Each step is turned back to the representative atom, averaged over the orbit, projected, and turned again: an
        exact projection, orthogonal in the metric of any cell that the groups allow.
        """
        turned = torch.einsum("ai,aij->aj", steps, torch.linalg.inv(self.rotations))
        mean = torch.zeros_like(self.origins).index_add(0, self.orbit_of_atom, turned)
        mean = torch.einsum("oi,oij->oj", mean / self.multiplicity[:, None], self.projectors)
        return torch.einsum("ai,aij->aj", mean[self.orbit_of_atom], self.rotations)


def _members(
    owner: Int[Tensor, " n_members"], chosen: Int[Tensor, " n_chosen"], n_owners: int
) -> tuple[Int[Tensor, " n_found"], Int[Tensor, " n_found"]]:
    """Return the members of the chosen owners, one owner after another, and the place of the owner of each."""
    counts = torch.bincount(owner, minlength=n_owners)
    first, picked = (counts.cumsum(0) - counts)[chosen], counts[chosen]
    place = torch.repeat_interleave(torch.arange(len(chosen), device=owner.device), picked)
    offset = torch.arange(len(place), device=owner.device) - (picked.cumsum(0) - picked)[place]
    return first[place] + offset, place


@dataclass(frozen=True, eq=False, kw_only=True)
class _OrbitRecord:
    """What `OrbitMaps` needs to know of one Wyckoff position in one kind of cell."""

    origin: Float[np.ndarray, "3"]
    directions: Float[np.ndarray, "3 3"]
    projector: Float[np.ndarray, "3 3"]
    rotations: Float[np.ndarray, "multiplicity 3 3"]
    translations: Float[np.ndarray, "multiplicity 3"]
    n_free: int


def orbit_maps(
    protostructures: Sequence[Protostructure], *, primitive: bool = True, dtype: torch.dtype = torch.float64
) -> OrbitMaps:
    """Build the maps of a batch of protostructures.

    Args:
        protostructures: At least one.
        primitive: Make primitive cells; otherwise conventional ones.
        dtype: Floating-point type of coordinates.

    Raises:
        ValueError: If there is none.
    """
    if not protostructures:
        raise ValueError("0 protostructures to build maps of, expected at least one")
    pairs = [(system, p.number, orbit) for system, p in enumerate(protostructures) for orbit in p.orbits]
    records = [_record(number, orbit.index, primitive) for _, number, orbit in pairs]
    multiplicity = torch.tensor([len(record.rotations) for record in records])

    def floats(arrays: list[np.ndarray]) -> Tensor:
        return torch.as_tensor(np.stack(arrays), dtype=dtype)

    vectors = [space_group(p.number).primitive_vectors if primitive else np.eye(3) for p in protostructures]
    return OrbitMaps(
        numbers=torch.tensor([p.number for p in protostructures]),
        primitive=primitive,
        cell_vectors=floats(vectors),
        system_of_orbit=torch.tensor([system for system, _, _ in pairs]),
        elements=torch.tensor([orbit.element for _, _, orbit in pairs]),
        letters=torch.tensor([orbit.index for _, _, orbit in pairs]),
        multiplicity=multiplicity,
        origins=floats([record.origin for record in records]),
        directions=floats([record.directions for record in records]),
        projectors=floats([record.projector for record in records]),
        n_free_of_orbit=torch.tensor([record.n_free for record in records]),
        representative=multiplicity.cumsum(0) - multiplicity,
        orbit_of_atom=torch.repeat_interleave(torch.arange(len(records)), multiplicity),
        rotations=torch.as_tensor(np.concatenate([record.rotations for record in records]), dtype=dtype),
        translations=torch.as_tensor(
            np.concatenate([record.translations for record in records]), dtype=dtype
        ),
    )


@cache
def _record(number: int, index: int, primitive: bool) -> _OrbitRecord:
    position = space_group(number).positions[index]
    group = position.group
    change = group.to_primitive if primitive else np.eye(3)
    images = position.primitive_images if primitive else position.conventional_images
    directions = np.zeros((3, 3))
    directions[: position.n_free] = position.directions @ change
    return _OrbitRecord(
        origin=position.origin @ change / DENOMINATOR,
        directions=directions,
        projector=np.linalg.inv(change) @ position.projector @ change,
        rotations=images.rotations.astype(float),
        translations=images.translations,
        n_free=position.n_free,
    )
