"""What is read off finished crystals to judge them, by other code than that which made them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from repdiff.crystals.crystal import Crystal
from repdiff.crystals.formula import count_elements
from repdiff.crystals.geometry import StructureCheck, check_structures
from repdiff.crystals.plain_properties import PLAIN_PROPERTIES, plain_property
from repdiff.crystals.symmetry import SYMPREC, Symmetry, find_symmetries, quiet_moyopy
from repdiff.settings.conditions import CELL

_Parameters = tuple[float, float, float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """One crystal and what was found of it.

    Attributes:
        crystal: The crystal, of any quality.
        check: Its cell, and its shortest distance.
        symmetry: Its space group within 0.1 Å; of no number where nobody asked for it.
    """

    crystal: Crystal
    check: StructureCheck
    symmetry: Symmetry

    @cached_property
    def counts(self) -> dict[int, int]:
        """Atoms of the cell by atomic number."""
        return count_elements(self.crystal)

    @property
    def is_readable(self) -> bool:
        """Whether there are atoms of known elements in a cell with a volume."""
        return self.check.shortest_distance is not None

    def number(self, name: str) -> float | None:
        """Return a plain property, or a length (Å) or an angle (degrees) of the conventional cell; None without."""
        if name in PLAIN_PROPERTIES:
            return plain_property(name, self.crystal, self.check)
        if self.conventional_cell is None:
            return None
        return self.conventional_cell[CELL.index(name.removeprefix("lattice_"))]

    @property
    def conventional_cell(self) -> _Parameters | None:
        """Lengths (Å) and angles (degrees) of the cell in the standard setting that moyopy finds within 0.1 Å."""
        return self._cells[0]

    @property
    def primitive_cell(self) -> _Parameters | None:
        """The same of a primitive cell of this."""
        return self._cells[1]

    @cached_property
    def _cells(self) -> tuple[_Parameters | None, _Parameters | None]:
        if not self.check.valid:
            return None, None
        import moyopy

        one = self.crystal
        cell = moyopy.Cell(one.lattice.tolist(), one.frac_coords.tolist(), one.atomic_numbers.tolist())
        try:
            with quiet_moyopy():
                found = moyopy.MoyoDataset(cell, symprec=SYMPREC)
        except ValueError:
            return None, None
        return _parameters(found.std_cell.basis), _parameters(found.prim_std_cell.basis)


def _parameters(lattice: Sequence[Sequence[float]]) -> _Parameters:
    """Return lengths and angles."""
    basis = np.array(lattice)
    lengths = np.linalg.norm(basis, axis=1)
    pairs = ((1, 2), (0, 2), (0, 1))
    cosines = [basis[i] @ basis[j] / lengths[i] / lengths[j] for i, j in pairs]
    a, b, c = lengths.tolist()
    alpha, beta, gamma = np.degrees(np.arccos(np.clip(cosines, -1, 1))).tolist()
    return a, b, c, alpha, beta, gamma


def read_facts(crystals: Sequence[Crystal], *, symmetry: bool, progress: bool = False) -> list[Facts]:
    """Measure crystals.

    Args:
        crystals: Crystals of any quality.
        symmetry: Whether to find space groups.
        progress: Show a bar on stderr, where there are very many.
    """
    checks = check_structures(crystals)
    nobody_asked = [Symmetry(None)] * len(crystals)
    groups = find_symmetries(crystals, progress=progress) if symmetry else nobody_asked
    return [
        Facts(crystal=crystal, check=check, symmetry=group)
        for crystal, check, group in zip(crystals, checks, groups, strict=True)
    ]
