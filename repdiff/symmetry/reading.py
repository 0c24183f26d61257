"""Read the protostructure, free coordinates and cell off any crystal, by moyopy within a stated tolerance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float

from descriptors.symmetry import unit_cell
from descriptors.symmetry.locate import locate_at
from descriptors.symmetry.orbit_maps import orbit_maps
from descriptors.symmetry.protostructure import Orbit, Protostructure
from descriptors.symmetry.settings import canonical_setting, change_setting, sort_orbits
from descriptors.symmetry.space_group import space_group
from repdiff.crystals.crystal import Crystal, from_batch, from_structure
from repdiff.crystals.geometry import check_structures
from repdiff.crystals.symmetry import CHUNKS_PER_PROCESS, SYMPREC, quiet_moyopy
from repdiff.errors import UserError
from repdiff.execution.jobs import map_jobs

if TYPE_CHECKING:
    from moyopy import MoyoDataset
    from pymatgen.core import Structure

CRYSTALS_PER_CHUNK = 100  # 0.8 s
ROUNDING = 1e-3  # Å; moyopy's refined positions lie on their Wyckoff positions within this


@dataclass(frozen=True, kw_only=True, eq=False)
class SymmetrizedCrystal:
    """A crystal that has its symmetry exactly.

    Attributes:
        protostructure: Space group and orbits, in a standard setting.
        free: Free coordinates of its orbits, one after another.
        cell: Free parameters of the conventional cell in six columns, as `descriptors.symmetry.unit_cell` orders them.
        displacement: How far an atom of the given crystal is from its place in this one at most, Å; in the cell of this
            one, the mean of all atoms taken off.
        strain: How much a length in the given crystal differs from that in this one at most, relative.
        symprec: Tolerance that moyopy used in the end, Å; it tightens what it was asked for where that makes no group.
    """

    protostructure: Protostructure
    free: Float[np.ndarray, " n_free"]
    cell: Float[np.ndarray, "6"]
    displacement: float
    strain: float
    symprec: float

    def crystal(self, id: str, *, primitive: bool = True) -> Crystal:
        """Build the crystal, in its primitive or its conventional cell.

        Args:
            id: Name of the crystal.
            primitive: Build the primitive cell.
        """
        maps = orbit_maps([self.protostructure], primitive=primitive)
        batch = maps.crystals(torch.from_numpy(self.free), torch.from_numpy(self.cell)[None])
        return from_batch(batch.wrapped(), [id])[0]


@dataclass(frozen=True)
class Reading:
    """What was read off a crystal.

    Attributes:
        symmetrized: None if its protostructure could not be read.
        reason: Why not; "" if it was.
    """

    symmetrized: SymmetrizedCrystal | None
    reason: str = ""

    @property
    def protostructure(self) -> Protostructure | None:
        """The protostructure, None if it could not be read."""
        return None if self.symmetrized is None else self.symmetrized.protostructure


def read_protostructure(
    crystal: "Crystal | Structure",
    *,
    symprec: float = SYMPREC,
    angle_tolerance: float | None = None,
    canonical: bool = False,
) -> SymmetrizedCrystal:
    """Read the protostructure of one crystal; see `read_protostructures`.

    Raises:
        UserError: If it is disordered, or its protostructure cannot be read.
    """
    if not isinstance(crystal, Crystal):
        try:
            crystal = from_structure(crystal, id=crystal.formula)
        except ValueError as error:
            raise UserError(f"{crystal.formula}: {error}") from error
    reading = read_protostructures(
        [crystal], symprec=symprec, angle_tolerance=angle_tolerance, canonical=canonical
    )[0]
    if reading.symmetrized is None:
        raise UserError(f"{crystal.id}: {reading.reason}")
    return reading.symmetrized


def read_protostructures(
    crystals: Sequence[Crystal],
    *,
    symprec: float = SYMPREC,
    angle_tolerance: float | None = None,
    canonical: bool = False,
    n_workers: int = 1,
    progress: bool = False,
) -> list[Reading]:
    """Read the protostructures of crystals, and check that each gives its crystal back.

    The crystal that the protostructure, the free coordinates and the cell make is compared with the given one: atom by
    atom it must agree within `symprec`, or the reading is refused.

    Args:
        crystals: They may be of any quality; those that fail `check_structures` get its reason.
        symprec: How far an atom may be from where an operation puts it, Å.
        angle_tolerance: How far angles of the cell may be off, degrees; None derives that from `symprec`.
        canonical: Describe each crystal in the first of its equivalent settings, those aside that shear a triclinic or
            monoclinic cell: it stays the reduced one that moyopy chooses. Without it origin and axes are moyopy's too.
        n_workers: Processes, if there are more than 4 000 crystals for each.
        progress: Show a bar on stderr, if there are more than 4 000 crystals.

    Raises:
        UserError: If the tolerance is not positive.
    """
    if not symprec > 0:
        raise UserError(f"symprec is {symprec} Å, expected a positive length such as {SYMPREC}")
    readings = [Reading(None, check.reason) for check in check_structures(crystals)]
    sound = [index for index, reading in enumerate(readings) if not reading.reason]
    parts = [sound[k : k + CRYSTALS_PER_CHUNK] for k in range(0, len(sound), CRYSTALS_PER_CHUNK)]
    found = map_jobs(
        _read_chunk,
        [([crystals[index] for index in part], symprec, angle_tolerance, canonical) for part in parts],
        n_workers=min(n_workers, len(parts) // CHUNKS_PER_PROCESS),
        progress=progress and len(parts) > CHUNKS_PER_PROCESS,
        label="protostructures",
        unit=f"{CRYSTALS_PER_CHUNK} crystals",
        instead=_unread_chunk,
    )
    for part, chunk in zip(parts, found, strict=True):
        for index, reading in zip(part, chunk, strict=True):
            readings[index] = reading
    return readings


def _unread_chunk(chunk: tuple[Sequence[Crystal], float, float | None, bool], reason: str) -> list[Reading]:
    return [Reading(None, reason) for _ in chunk[0]]


def _read_chunk(task: tuple[Sequence[Crystal], float, float | None, bool]) -> list[Reading]:
    crystals, symprec, angle_tolerance, canonical = task
    with quiet_moyopy():
        return [_read(crystal, symprec, angle_tolerance, canonical) for crystal in crystals]


def _read(crystal: Crystal, symprec: float, angle_tolerance: float | None, canonical: bool) -> Reading:
    import moyopy

    cell = moyopy.Cell(
        crystal.lattice.tolist(), crystal.frac_coords.tolist(), crystal.atomic_numbers.tolist()
    )
    angle = None if angle_tolerance is None else math.radians(angle_tolerance)
    try:
        dataset = moyopy.MoyoDataset(
            cell, symprec=symprec, angle_tolerance=angle, setting=moyopy.Setting.standard()
        )
        symmetrized = _symmetrize(crystal, dataset)
    except ValueError as error:
        return Reading(None, f"moyopy at {symprec:g} Å: {error}")
    if symmetrized.displacement > symprec:
        return Reading(
            None,
            f"symmetrised to space group {symmetrized.protostructure.number} an atom moves by "
            f"{symmetrized.displacement:.3f} Å, more than the tolerance of {symprec:g} Å: lower symprec",
        )
    return Reading(_in_canonical_setting(symmetrized) if canonical else symmetrized)


def _symmetrize(crystal: Crystal, dataset: "MoyoDataset") -> SymmetrizedCrystal:
    """Take the orbits from moyopy's standard cell, and measure how far the given crystal is from what they make.

    Raises:
        ValueError: If an orbit does not lie on the Wyckoff position named for it, or atoms do not correspond.
    """
    group = space_group(dataset.number)
    lattice = np.array(dataset.std_cell.basis)
    primitive = dataset.prim_std_cell
    points = np.array(primitive.positions) @ np.array(primitive.basis) @ np.linalg.inv(lattice)
    mapping = dataset.mapping_std_prim
    orbits = []
    for atom in sorted(set(dataset.orbits)):
        letter = dataset.wyckoffs[atom]
        placement = locate_at(group.position(letter), points[mapping[atom]], lattice)
        if placement.residual > ROUNDING:
            raise ValueError(f"an atom is {placement.residual:.3f} Å from its Wyckoff position {letter}")
        orbits.append((Orbit.of(letter, int(crystal.atomic_numbers[atom])), placement.free))
    protostructure, free = sort_orbits(group.number, orbits)
    numbers = torch.tensor([group.number])
    cell = unit_cell.from_lattice(torch.from_numpy(lattice)[None], numbers, exact=True)
    exact = unit_cell.to_lattice(cell, numbers)[0].numpy()
    linear, origin = np.array(dataset.std_linear), np.array(dataset.std_origin_shift)
    given = (crystal.frac_coords - origin) @ np.linalg.inv(linear).T
    stretch = np.linalg.svd(np.linalg.inv(linear.T @ crystal.lattice) @ exact, compute_uv=False)
    return SymmetrizedCrystal(
        protostructure=protostructure,
        free=free,
        cell=cell[0].numpy(),
        displacement=_displacement(crystal, given, protostructure, free, exact),
        strain=float(np.abs(stretch - 1).max()),
        symprec=float(dataset.symprec),
    )


def _displacement(
    crystal: Crystal,
    given: Float[np.ndarray, "n_atoms 3"],
    protostructure: Protostructure,
    free: Float[np.ndarray, " n_free"],
    lattice: Float[np.ndarray, "3 3"],
) -> float:
    """Measure how far the given atoms are from those of the orbits at most, Å, the mean displacement taken off.

    Args:
        crystal: The given one, for its elements.
        given: Its atoms in the axes and the origin of the conventional cell.
        protostructure: Its orbits.
        free: Their free coordinates.
        lattice: Rows are the conventional cell vectors, Å.

    Raises:
        ValueError: If the atoms of the two do not correspond one to one.
    """
    group = protostructure.group
    maps = orbit_maps([protostructure])
    made = maps.frac_coords(torch.from_numpy(free)).numpy()
    elements = maps.elements[maps.orbit_of_atom].numpy()
    steps = (given @ group.to_primitive)[:, None] - made
    steps -= np.rint(steps)
    steps = steps @ (group.primitive_vectors @ lattice)
    squared = np.where(crystal.atomic_numbers[:, None] == elements, (steps**2).sum(-1), np.inf)
    nearest = squared.argmin(1)
    if (np.bincount(nearest, minlength=len(made)) * len(made) != len(given)).any():
        raise ValueError(
            f"{len(given)} atoms do not correspond to the {len(made)} that space group {group.number} makes"
        )
    moved = steps[np.arange(len(given)), nearest]
    return float(np.linalg.norm(moved - moved.mean(0), axis=1).max())


def _in_canonical_setting(symmetrized: SymmetrizedCrystal) -> SymmetrizedCrystal:
    numbers = torch.tensor([symmetrized.protostructure.number])
    lattice = unit_cell.to_lattice(torch.from_numpy(symmetrized.cell)[None], numbers)[0].numpy()
    protostructure, free, changed = change_setting(
        symmetrized.protostructure,
        symmetrized.free,
        lattice,
        canonical_setting(symmetrized.protostructure, sheared=False)[1],
    )
    return SymmetrizedCrystal(
        protostructure=protostructure,
        free=free,
        cell=unit_cell.from_lattice(torch.from_numpy(changed)[None], numbers, exact=True)[0].numpy(),
        displacement=symmetrized.displacement,
        strain=symmetrized.strain,
        symprec=symmetrized.symprec,
    )
