"""Crystals that keep the symmetry of given protostructures while they are noised and denoised.

A sampler works in the full space of atoms and cells; a constraint takes what it draws and predicts to the part that
the protostructures allow. Crystals are in their primitive cells, atoms in the order of `OrbitMaps`.

Coordinates. Steps of all atoms that keep the symmetry are a linear space. A network that is equivariant stays in it,
up to rounding, which `project` takes away. Noise is drawn in it, not projected: independent noise on the m atoms of
an orbit, averaged over them, would have 1/m of its variance, and the crystal would be less noisy than the network is
told. Along each free direction of an orbit the mean square over its atoms is that of the noise process. So the free
coordinates of an orbit diffuse as the coordinates of an atom do, uniform at the end as these are.

Cells. A cell is L = C S Q, with C a reference cell of the space group of unit volume, as near to a cube as its
lattice allows, S symmetric, and Q a rotation, which only turns the crystal. C stands in an orientation in which the
point group acts by orthogonal matrices, so that the group's cells are those whose S commutes with them: a linear
space that holds the unit matrix, whose logarithms are in it too. The noise processes run on S in place of the cell
itself; where C is the unit cube, as for triclinic and primitive cubic crystals, they are the plain ones restricted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from descriptors import lattice as cells
from descriptors.batch import CrystalBatch
from descriptors.symmetry import unit_cell
from descriptors.symmetry.orbit_maps import OrbitMaps, orbit_maps
from descriptors.symmetry.protostructure import Protostructure
from descriptors.symmetry.space_group import space_group
from repdiff.diffusion.lattice_space import BASIS, LatticeCoordinates

CUBIC_ANGLE_RATIO = 1.5**0.5  # c/a of a primitive cube in hexagonal axes
REACH = 3  # whole cells that a coordinate in [0, 1) may be away from its Wyckoff position, each way


@dataclass(frozen=True, kw_only=True)
class SymmetryConstraint:
    """The symmetry of a batch of crystals.

    Attributes:
        maps: Maps from free coordinates to atoms, in primitive cells.
        spread: Takes three standard normal numbers of an orbit's first atom to its noise, as rows.
        references: C of each crystal, rows.
        projectors: Act on the nine entries of a matrix: its part that the group allows as S.
        coordinates_kept: Which of the nine lattice coordinates of `lattice_space` the group allows to log S.
    """

    maps: OrbitMaps
    spread: Float[Tensor, "n_orbits 3 3"]
    references: Float[Tensor, "n_systems 3 3"]
    projectors: Float[Tensor, "n_systems 9 9"]
    coordinates_kept: Bool[Tensor, "n_systems 9"]

    @classmethod
    def of(cls, protostructures: Sequence[Protostructure]) -> "SymmetryConstraint":
        """Build the constraint of a batch, in double precision on the CPU."""
        maps = orbit_maps(protostructures, primitive=True)
        shapes = [_shape(protostructure.number) for protostructure in protostructures]
        return cls(
            maps=maps,
            spread=_spread(maps, torch.matmul(maps.rotations, maps.rotations.mT)),
            references=torch.stack([shape.reference for shape in shapes]),
            projectors=torch.stack([shape.projector for shape in shapes]),
            coordinates_kept=torch.stack([shape.kept for shape in shapes]),
        )

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> "SymmetryConstraint":
        """Move to a device, and floating-point numbers to a type."""
        moved = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "maps"}
        return SymmetryConstraint(
            maps=self.maps.to(device, dtype),
            **{
                name: value.to(device, dtype if value.is_floating_point() else None)
                for name, value in moved.items()
            },
        )

    @property
    def atoms(self) -> CrystalBatch:
        """The crystals with all free coordinates zero, in their reference cells."""
        return CrystalBatch(
            frac_coords=self.maps.frac_coords(self.references.new_zeros(self.maps.n_free)),
            lattice=self.references,
            atomic_numbers=self.maps.elements[self.maps.orbit_of_atom],
            system_idx=self.maps.system_idx,
        )

    def start(self, uniform: Float[Tensor, "n_atoms 3"]) -> Float[Tensor, "n_atoms 3"]:
        """Return coordinates with uniform free coordinates, not wrapped.

        Args:
            uniform: Uniform numbers in [0, 1) of each atom, of which those of the first atom of an orbit count.
        """
        return self.maps.frac_coords(uniform[self.maps.representative][self.maps.free_mask])

    def project(self, steps: Float[Tensor, "n_atoms 3"]) -> Float[Tensor, "n_atoms 3"]:
        """Return the part of fractional steps that keeps the symmetry."""
        return self.maps.project(steps)

    def noise(self, normal: Float[Tensor, "n_atoms 3"]) -> Float[Tensor, "n_atoms 3"]:
        """Return symmetric noise of fractional coordinates, with the variance of independent noise per free direction.

        Args:
            normal: Standard normal numbers of each atom, of which those of the first atom of an orbit count.
        """
        return self._images(normal, self.spread)

    def cartesian_noise(
        self, normal: Float[Tensor, "n_atoms 3"], lattice: Float[Tensor, "n_systems 3 3"]
    ) -> Float[Tensor, "n_atoms 3"]:
        """Return symmetric noise in Å, with the variance of independent noise per free direction.

        Args:
            normal: Standard normal numbers of each atom, of which those of the first atom of an orbit count.
            lattice: Cells that the groups allow, Å.
        """
        turned = self.maps.rotations @ lattice[self.maps.system_idx]
        frac = self._images(normal, _spread(self.maps, turned @ turned.mT))
        return cells.frac_to_cart(frac, lattice, self.maps.system_idx)

    def exact(self, coords: Float[Tensor, "n_atoms 3"]) -> Float[Tensor, "n_atoms 3"]:
        """Take the rounding away from coordinates that are symmetric but for it and for whole cells.

        The first atom of each orbit decides; the image of it that lies nearest to its Wyckoff position counts.
        """
        maps = self.maps
        steps = torch.arange(-REACH, REACH + 1, device=coords.device, dtype=coords.dtype)
        shifts = torch.cartesian_prod(steps, steps, steps)
        offsets = (coords[maps.representative] - maps.origins)[:, None] - shifts
        inverses = torch.linalg.pinv(maps.directions)
        free = offsets @ inverses
        gap = (offsets - free @ maps.directions).square().sum(-1)
        best = gap.argmin(1)
        chosen = free[torch.arange(len(best), device=best.device), best]
        return maps.frac_coords(chosen[maps.free_mask])

    def matrices(self, matrices: Float[Tensor, "n_systems 3 3"]) -> Float[Tensor, "n_systems 3 3"]:
        """Return the part of matrices that the groups allow as S: an orthogonal projection on symmetric matrices."""
        return torch.einsum("sij,sj->si", self.projectors, matrices.flatten(1)).view_as(matrices)

    def _images(
        self, normal: Float[Tensor, "n_atoms 3"], spread: Float[Tensor, "n_orbits 3 3"]
    ) -> Float[Tensor, "n_atoms 3"]:
        of_orbits = torch.einsum("oi,oij->oj", normal[self.maps.representative], spread)
        return torch.einsum("ai,aij->aj", of_orbits[self.maps.orbit_of_atom], self.maps.rotations)


@dataclass(frozen=True, kw_only=True)
class SymmetricLatticeCoordinates:
    """Lattice coordinates of S in place of the cell; those that the group does not allow are not looked at.

    Attributes:
        base: Coordinates that were fitted to the cells of a training set.
        constraint: The symmetry of the crystals, in their order.
    """

    base: LatticeCoordinates
    constraint: SymmetryConstraint

    def encode(
        self, lattice: Float[Tensor, "n_systems 3 3"], n_atoms: Int[Tensor, " n_systems"]
    ) -> Float[Tensor, "n_systems 9"]:
        """Map cells to coordinates, without gradient."""
        return self.base.encode(torch.linalg.inv(self.constraint.references.to(lattice)) @ lattice, n_atoms)

    def decode(
        self, coordinates: Float[Tensor, "n_systems 9"], n_atoms: Int[Tensor, " n_systems"]
    ) -> Float[Tensor, "n_systems 3 3"]:
        """Map coordinates to cells as rows, Å, that the groups allow."""
        nothing = -(self.base.mean / self.base.std).to(coordinates)
        kept = torch.where(self.constraint.coordinates_kept, coordinates, nothing)
        return self.constraint.references.to(coordinates) @ self.base.decode(kept, n_atoms)


@dataclass(frozen=True)
class _Shape:
    reference: Float[Tensor, "3 3"]
    projector: Float[Tensor, "9 9"]
    kept: Bool[Tensor, " 9"]


@cache
def _shape(number: int) -> _Shape:
    """Return reference cell, projector and lattice coordinates of a space group."""
    group = space_group(number)
    numbers = torch.tensor([number])
    lengths = [1.0, 1.0, CUBIC_ANGLE_RATIO if group.centring == "R" else 1.0]
    free = unit_cell.from_lattice(
        cells.from_parameters(torch.tensor([[*lengths, 90.0, 90.0, 90.0]], dtype=torch.float64)), numbers
    )
    primitive = (
        torch.as_tensor(group.primitive_vectors, dtype=torch.float64) @ unit_cell.to_lattice(free, numbers)[0]
    )
    basis = torch.from_numpy(unit_cell.symmetric_strains(number)).flatten(1)
    parts = torch.einsum("sn,kn->sk", basis, BASIS.flatten(1))
    return _Shape(
        reference=primitive / torch.linalg.det(primitive).abs() ** (1 / 3),
        projector=basis.mT @ basis,
        kept=(parts.abs() > 1e-9).any(0),
    )


def _spread(maps: OrbitMaps, metrics: Float[Tensor, "n_atoms 3 3"]) -> Float[Tensor, "n_orbits 3 3"]:
    """Return what makes noise of an orbit's first atom, whose mean square over the atoms is one per free direction.

    Args:
        maps: The orbits.
        metrics: R M Rᵀ of each atom, with R its rotation and M the metric in which noise is measured.
    """
    mean = torch.zeros_like(maps.projectors).index_add(0, maps.orbit_of_atom, metrics)
    mean = mean / maps.multiplicity[:, None, None]
    gram = maps.directions @ mean @ maps.directions.mT
    unused = torch.diag_embed((~maps.free_mask).to(gram))
    lower = torch.linalg.cholesky(gram + unused)
    return torch.linalg.solve_triangular(lower, maps.directions, upper=False).clone()
