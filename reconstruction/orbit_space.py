"""Crystals of unlike symmetry as points: the free coordinates of their orbits, and how their cells are strained."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from descriptors.batch import CrystalBatch
from descriptors.neighbors import Centres, Neighborhood, find_neighborhood
from descriptors.symmetry import unit_cell
from descriptors.symmetry.orbit_maps import OrbitMaps, orbit_maps
from descriptors.symmetry.protostructure import Protostructure

STRAIN_LENGTH = 20.0  # Å; a step of this length strains a cell by one
STRAINS, MARK = slice(-3, -1), -1  # rows of a point behind those of its orbits
N_EXTRA_ROWS = 3


@dataclass(frozen=True, kw_only=True)
class OrbitSpace:
    """Crystals whose protostructures are given, as functions of points.

    A point has one row for each orbit, its free coordinates and zeros; rows up to the number of orbits that the largest
    crystal has; two rows of six strains: the cell is the given one times 1 + E + E²/2, E being the sum of the symmetric
    strains that keep the symmetry; and a row whose first entry has no effect but travels with the point: it is 1 for a
    point that comes from a template, and else 0.

    Attributes:
        maps: Orbit maps, of primitive cells.
        lattice: Given primitive cells, rows in Å.
        strains: Basis of the strains that are sought; zeros fill it up, and stand where the cell is held.
        moves: Cartesian vector by which the representative atom moves for each unit of each entry of a point, Å; of
            strains the multiples of an axis, and zeros where an entry has no effect.
        steps: Entries that move it by 1 Å along orthogonal directions, one a row: what a descent steps along, since
            cell vectors may be skew.
    """

    maps: OrbitMaps
    lattice: Float[Tensor, "n_systems 3 3"]
    strains: Float[Tensor, "n_systems 6 3 3"]
    moves: Float[Tensor, "n_systems n_rows 3 3"]
    steps: Float[Tensor, "n_systems n_rows 3 3"]

    @classmethod
    def make(
        cls,
        protostructures: Sequence[Protostructure],
        cells: Float[Tensor, "n_systems 6"],
        *,
        hold_cell: bool,
        hold_volume: bool = False,
        hold_shape: bool = False,
        device: torch.device,
        dtype: torch.dtype,
    ) -> "OrbitSpace":
        """Build the space of some crystals.

        Args:
            protostructures: One for each crystal.
            cells: Free parameters of their conventional cells.
            hold_cell: Keep the cells as they are.
            hold_volume: Keep their volumes, to the third order in a strain.
            hold_shape: Keep their shapes.
            device: Where to compute.
            dtype: Floating-point type of points and crystals.
        """
        maps = orbit_maps(protostructures)
        lattice = maps.lattice(cells.double())
        strains = lattice.new_zeros(len(protostructures), 6, 3, 3)
        if not (hold_cell or (hold_volume and hold_shape)):
            for row, protostructure in enumerate(protostructures):
                basis = _strains(protostructure.number, hold_volume=hold_volume, hold_shape=hold_shape)
                strains[row, : len(basis)] = basis
        n_orbits = max(len(protostructure.orbits) for protostructure in protostructures)
        moves = lattice.new_zeros(len(protostructures), n_orbits + N_EXTRA_ROWS, 3, 3)
        along = torch.einsum("ofi,oij->ofj", maps.directions, lattice[maps.system_of_orbit])
        moves[maps.system_of_orbit, _rank(maps)] = along
        sizes = strains.flatten(2).norm(dim=2) * STRAIN_LENGTH
        moves[:, STRAINS] = torch.diag_embed(sizes.unflatten(1, (2, 3)))
        free = moves.norm(dim=3) > 0
        gram = moves @ moves.mT + torch.diag_embed((~free).double())
        steps = torch.linalg.inv(torch.linalg.cholesky(gram)) * free[..., None]
        return cls(
            maps=maps.to(device, dtype),
            lattice=lattice.to(device, dtype),
            strains=strains.to(device, dtype),
            moves=moves.to(device, dtype),
            steps=steps.to(device, dtype),
        )

    @property
    def n_systems(self) -> int:
        """Number of crystals."""
        return len(self.lattice)

    @property
    def centres(self) -> Centres:
        """One atom of each orbit, which stands for all of it."""
        return Centres(atoms=self.maps.representative, multiplicity=self.maps.multiplicity)

    @cached_property
    def lengths(self) -> Float[Tensor, "n_systems n_rows 3"]:
        """Å by which an atom moves for each unit of each entry of a point; 0 where an entry has no effect."""
        return self.moves.norm(dim=3)

    @cached_property
    def is_free(self) -> Bool[Tensor, "n_systems n_rows 3"]:
        """Tell which entries of a point have an effect."""
        return self.lengths > 0

    def to(self, dtype: torch.dtype) -> "OrbitSpace":
        """Change the floating-point type."""
        return OrbitSpace(
            maps=self.maps.to(dtype=dtype),
            lattice=self.lattice.to(dtype),
            strains=self.strains.to(dtype),
            moves=self.moves.to(dtype),
            steps=self.steps.to(dtype),
        )

    def select(self, systems: Int[Tensor, " n_selected"]) -> "OrbitSpace":
        """Return the space of the named crystals, in that order; a crystal may be named more than once."""
        return OrbitSpace(
            maps=self.maps.select(systems),
            lattice=self.lattice[systems],
            strains=self.strains[systems],
            moves=self.moves[systems],
            steps=self.steps[systems],
        )

    def coordinates(
        self, points: Float[Tensor, "n_systems n_rows 3"]
    ) -> tuple[Float[Tensor, "n_atoms 3"], Float[Tensor, "n_systems 3 3"]]:
        """Return fractional coordinates of all atoms, and cells; differentiable."""
        maps = self.maps
        free = points[maps.system_of_orbit, _rank(maps)]
        representatives = maps.origins + torch.einsum("of,ofi->oi", free, maps.directions)
        frac = torch.einsum("ai,aij->aj", representatives[maps.orbit_of_atom], maps.rotations)
        return frac + maps.translations, self.lattice @ self.stretch(points)

    def stretch(self, points: Float[Tensor, "n_systems n_rows 3"]) -> Float[Tensor, "n_systems 3 3"]:
        """Return what the given cells are multiplied by; differentiable."""
        strain = torch.einsum("sk,skij->sij", points[:, STRAINS].flatten(1), self.strains)
        return torch.eye(3, dtype=points.dtype, device=points.device) + strain + strain @ strain / 2

    def crystals(self, points: Float[Tensor, "n_systems n_rows 3"]) -> CrystalBatch:
        """Return the primitive crystals at some points."""
        frac, lattice = self.coordinates(points)
        return CrystalBatch(
            frac_coords=frac,
            lattice=lattice,
            atomic_numbers=self.maps.elements[self.maps.orbit_of_atom],
            system_idx=self.maps.system_idx,
        )

    def neighborhood(self, points: Float[Tensor, "n_systems n_rows 3"], cutoff: float) -> Neighborhood:
        """Return the neighbours of one atom of each orbit within a cutoff, Å."""
        return find_neighborhood(self.crystals(points.detach()), cutoff, centres=self.centres)

    def drawn(
        self, points: Float[Tensor, "n_systems n_rows 3"], *, generator: torch.Generator
    ) -> Float[Tensor, "n_systems n_rows 3"]:
        """Draw all free coordinates anew, evenly; strains stay as they are."""
        random = torch.rand(points.shape, dtype=points.dtype, device=points.device, generator=generator)
        random = torch.where(self.is_free, random, torch.zeros_like(random))
        random[:, STRAINS] = points[:, STRAINS]
        return random

    def free_values(
        self, points: Float[Tensor, "n_systems n_rows 3"]
    ) -> tuple[list[list[float]], Float[Tensor, "n_systems 6"]]:
        """Return the free coordinates of each crystal, in [0, 1), and the free parameters of the conventional cells."""
        maps = self.maps
        free = points[maps.system_of_orbit, _rank(maps)]
        free = (free - free.floor())[maps.free_mask]
        counts = torch.bincount(maps.free_of_system, minlength=self.n_systems).tolist()
        conventional = torch.linalg.inv(maps.cell_vectors) @ self.lattice @ self.stretch(points)
        cell = unit_cell.from_lattice(conventional.double(), maps.numbers)
        return [part.tolist() for part in free.split(counts)], cell

    def points_of(
        self, free: Sequence[Float[Tensor, " _"]], cells: Float[Tensor, "n_systems 6"]
    ) -> Float[Tensor, "n_systems n_rows 3"]:
        """Return the points of known crystals; of cells that are held, the given ones stay.

        Args:
            free: Free coordinates of each.
            cells: Free parameters of the conventional cells.
        """
        maps = self.maps
        points = torch.zeros_like(self.lengths)
        padded = points.new_zeros(len(maps.elements), 3)
        padded[maps.free_mask] = torch.cat(list(free)).to(points)
        points[maps.system_of_orbit, _rank(maps)] = padded
        wanted = maps.to(dtype=torch.float64).lattice(cells.to(maps.cell_vectors.device).double())
        change = torch.linalg.inv(self.lattice.double()) @ wanted
        squared, axes = torch.linalg.eigh(
            change @ change.mT
        )  # of the stretch; the rest of the change is a rotation
        strains = (2 * squared.sqrt() - 1).clamp(min=0).sqrt() - 1
        strain = (axes * strains[:, None] @ axes.mT).to(points)
        points[:, STRAINS] = torch.einsum("sij,skij->sk", strain, self.strains).unflatten(1, (-1, 3))
        return points


@cache
def _strains(
    number: int, *, hold_volume: bool = False, hold_shape: bool = False
) -> Float[Tensor, "n_strains 3 3"]:
    """Return an orthonormal basis of the strains that a space group allows, without those that are held."""
    basis = torch.from_numpy(unit_cell.symmetric_strains(number))
    if hold_shape:
        return torch.eye(3, dtype=basis.dtype)[None] / 3**0.5
    if not hold_volume:
        return basis
    trace = torch.diagonal(basis, dim1=1, dim2=2).sum(1)
    traceless = basis - trace[:, None, None] * torch.eye(3, dtype=basis.dtype) / 3
    _, sizes, directions = torch.linalg.svd(traceless.flatten(1), full_matrices=False)
    return directions[sizes > 1e-9].unflatten(1, (3, 3))


def _rank(maps: OrbitMaps) -> Int[Tensor, " n_orbits"]:
    """Return the place of each orbit among those of its crystal."""
    n_orbits = torch.bincount(maps.system_of_orbit, minlength=maps.n_systems)
    first = n_orbits.cumsum(0) - n_orbits
    return torch.arange(len(maps.elements), device=first.device) - first[maps.system_of_orbit]
