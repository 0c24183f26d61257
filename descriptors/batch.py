"""`CrystalBatch`, the one type that all layers exchange, and its converters."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descriptors import lattice as cells
from descriptors.symmetry.symbols import MAX_ATOMIC_NUMBER

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

MIN_VOLUME = 1e-6  # Å³; below it two cell vectors are parallel for all purposes


@dataclass(frozen=True, kw_only=True)
class CrystalBatch:
    """Periodic crystals stored atom-first; rows of `lattice` are the cell vectors, Å.

    Fractional coordinates may lie in any image. `system_idx` names the crystal of each atom, ascending from
    0; every crystal has at least one atom.

    Raises:
        ValueError: If lengths disagree, indices are not ascending without gaps, a value is not finite, a
            volume is below 1e-6 Å³, or an atomic number is outside 1 to 118.
    """

    frac_coords: Float[Tensor, "n_atoms 3"]
    lattice: Float[Tensor, "n_systems 3 3"]
    atomic_numbers: Int[Tensor, " n_atoms"]
    system_idx: Int[Tensor, " n_atoms"]

    def __post_init__(self) -> None:
        """Check the values."""
        n_atoms, n_systems = len(self.system_idx), len(self.lattice)
        if len(self.frac_coords) != n_atoms or len(self.atomic_numbers) != n_atoms:
            raise ValueError(
                f"{len(self.frac_coords)} positions, {len(self.atomic_numbers)} atomic numbers and "
                f"{n_atoms} system indices, expected the same number of each"
            )
        if self.frac_coords.dtype != self.lattice.dtype:
            raise ValueError(
                f"coordinates are {self.frac_coords.dtype} and cells {self.lattice.dtype}, expected one type"
            )
        steps = self.system_idx.diff(prepend=self.system_idx.new_tensor([-1]))
        last = int(self.system_idx[-1]) if n_atoms else -1
        if last != n_systems - 1 or bool(((steps != 0) & (steps != 1)).any()) or bool((steps[:1] != 1).any()):
            raise ValueError(
                f"system_idx must ascend from 0 to {n_systems - 1} with at least one atom in each crystal"
            )
        if not bool(torch.isfinite(self.frac_coords).all()) or not bool(torch.isfinite(self.lattice).all()):
            raise ValueError("a coordinate or a cell vector is NaN or infinite, expected finite numbers")
        if n_systems and float((volumes := cells.volume(self.lattice.detach())).min()) < MIN_VOLUME:
            worst = int(volumes.argmin())
            raise ValueError(
                f"lattice[{worst}] has volume {float(volumes[worst]):.2g} Å³, expected over {MIN_VOLUME}: "
                "are two rows parallel?"
            )
        if (
            n_atoms
            and not 1 <= int(self.atomic_numbers.min()) <= int(self.atomic_numbers.max()) <= MAX_ATOMIC_NUMBER
        ):
            raise ValueError(
                f"atomic numbers run from {int(self.atomic_numbers.min())} to "
                f"{int(self.atomic_numbers.max())}, expected 1 to {MAX_ATOMIC_NUMBER}"
            )

    @property
    def n_systems(self) -> int:
        """Number of crystals."""
        return len(self.lattice)

    @property
    def n_atoms(self) -> int:
        """Number of atoms of all crystals together."""
        return len(self.system_idx)

    @property
    def n_atoms_per_system(self) -> Int[Tensor, " n_systems"]:
        """Number of atoms of each crystal."""
        return torch.bincount(self.system_idx, minlength=self.n_systems)

    @property
    def cart_coords(self) -> Float[Tensor, "n_atoms 3"]:
        """Cartesian coordinates, Å."""
        return cells.frac_to_cart(self.frac_coords, self.lattice, self.system_idx)

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""
        return self.lattice.device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of coordinates and cells."""
        return self.lattice.dtype

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> "CrystalBatch":
        """Move the batch to a device, and its coordinates and cells to a floating-point type."""
        return CrystalBatch(
            frac_coords=self.frac_coords.to(device=device, dtype=dtype),
            lattice=self.lattice.to(device=device, dtype=dtype),
            atomic_numbers=self.atomic_numbers.to(device=device),
            system_idx=self.system_idx.to(device=device),
        )

    def wrapped(self) -> "CrystalBatch":
        """Bring every atom into the cell, fractional coordinates in [0, 1)."""
        frac = self.frac_coords - self.frac_coords.floor()
        return replace(self, frac_coords=torch.where(frac >= 1, torch.zeros_like(frac), frac))

    def select(self, systems: Int[Tensor, " n_selected"]) -> "CrystalBatch":
        """Return the named crystals, in that order; a crystal may be named more than once.

        Raises:
            IndexError: If there is no such crystal.
        """
        counts = self.n_atoms_per_system
        starts = counts.cumsum(0) - counts
        picked = counts[systems]
        system_idx = torch.repeat_interleave(torch.arange(len(systems), device=self.device), picked)
        offset = torch.arange(len(system_idx), device=self.device) - (picked.cumsum(0) - picked)[system_idx]
        atoms = starts[systems][system_idx] + offset
        return CrystalBatch(
            frac_coords=self.frac_coords[atoms],
            lattice=self.lattice[systems],
            atomic_numbers=self.atomic_numbers[atoms],
            system_idx=system_idx,
        )


def join(batches: Sequence[CrystalBatch]) -> CrystalBatch:
    """Put several batches one after another into one.

    Raises:
        ValueError: If there is none.
    """
    if not batches:
        raise ValueError("0 batches to join, expected at least one")
    offsets = torch.tensor([0] + [batch.n_systems for batch in batches[:-1]]).cumsum(0).tolist()
    return CrystalBatch(
        frac_coords=torch.cat([batch.frac_coords for batch in batches]),
        lattice=torch.cat([batch.lattice for batch in batches]),
        atomic_numbers=torch.cat([batch.atomic_numbers for batch in batches]),
        system_idx=torch.cat(
            [batch.system_idx + offset for batch, offset in zip(batches, offsets, strict=True)]
        ),
    )


def from_structures(structures: Sequence["Structure"], dtype: torch.dtype = torch.float64) -> CrystalBatch:
    """Convert pymatgen structures.

    Raises:
        ValueError: If a site is partially occupied or has more than one species; the structure is named.
    """
    for number, structure in enumerate(structures):
        if not structure.is_ordered:
            raise ValueError(
                f"structure {number} ({structure.formula}) is disordered, expected one element on each site"
            )
    return _from_arrays(
        [structure.lattice.matrix for structure in structures],
        [structure.frac_coords for structure in structures],
        [[site.specie.Z for site in structure] for structure in structures],
        dtype,
    )


def to_structures(batch: CrystalBatch) -> list["Structure"]:
    """Convert to pymatgen structures; coordinates stay in the image they are in."""
    from pymatgen.core import Structure

    arrays = batch.to(device="cpu", dtype=torch.float64)
    sizes = arrays.n_atoms_per_system.tolist()
    return [
        Structure(matrix, numbers.tolist(), frac)
        for matrix, numbers, frac in zip(
            arrays.lattice.detach().numpy(),
            arrays.atomic_numbers.split(sizes),
            (part.detach().numpy() for part in arrays.frac_coords.split(sizes)),
            strict=True,
        )
    ]


def from_atoms(atoms: Sequence["Atoms"], dtype: torch.dtype = torch.float64) -> CrystalBatch:
    """Convert ASE atoms; all must be periodic in three directions.

    Raises:
        ValueError: If one is not; it is named.

    Example:
        >>> from ase.build import bulk
        >>> from_atoms([bulk("Cu"), bulk("NaCl", "rocksalt", a=5.64)]).atomic_numbers
        tensor([29, 11, 17])
    """
    for number, system in enumerate(atoms):
        if not system.pbc.all():
            raise ValueError(
                f"atoms {number} ({system.get_chemical_formula()}) have pbc {system.pbc}, expected all True"
            )
    return _from_arrays(
        [system.cell.array for system in atoms],
        [system.cell.scaled_positions(system.positions) for system in atoms],
        [system.numbers for system in atoms],
        dtype,
    )


def to_atoms(batch: CrystalBatch) -> list["Atoms"]:
    """Convert to ASE atoms, periodic in three directions."""
    from ase import Atoms

    return [
        Atoms(
            numbers=[site.specie.Z for site in structure],
            scaled_positions=structure.frac_coords,
            cell=structure.lattice.matrix,
            pbc=True,
        )
        for structure in to_structures(batch)
    ]


def _from_arrays(
    lattices: Sequence[Any], frac_coords: Sequence[Any], numbers: Sequence[Any], dtype: torch.dtype
) -> CrystalBatch:
    def joined(arrays: Sequence[Any], shape: tuple[int, ...], of: torch.dtype) -> Tensor:
        parts = [torch.tensor(array, dtype=of).reshape(shape) for array in arrays]
        return torch.cat(parts) if parts else torch.zeros([max(n, 0) for n in shape], dtype=of)

    sizes = torch.tensor([len(z) for z in numbers], dtype=torch.long)
    return CrystalBatch(
        frac_coords=joined(frac_coords, (-1, 3), dtype),
        lattice=joined(lattices, (-1, 3, 3), dtype),
        atomic_numbers=joined(numbers, (-1,), torch.long),
        system_idx=torch.repeat_interleave(torch.arange(len(sizes)), sizes),
    )
