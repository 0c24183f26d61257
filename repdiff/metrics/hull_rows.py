"""One row a structure: what relaxation made of it, and its energy above the hull."""

from dataclasses import dataclass
from pathlib import Path

from repdiff.energies.conventions import hull_energy
from repdiff.energies.hull import Hull
from repdiff.energies.hull_table import find_hull_table
from repdiff.energies.relaxed import Relaxation, RelaxedSet
from repdiff.errors import UserError
from repdiff.metrics.validity import NOT_MADE

STABLE = 0.1  # eV per atom above the hull
NOT_RELAXED = "not among the relaxed"


@dataclass(frozen=True, kw_only=True)
class HullRow:
    """One structure.

    Attributes:
        relaxation: What relaxation made of it; None if it was not relaxed.
        energy: eV per atom as on the hull: with corrections, where the force field lacks them; None if there is none.
        above_hull: eV per atom above the hull; None if there is no energy.
        reason: Why there is no energy above the hull; "" if there is one.
    """

    relaxation: Relaxation | None
    energy: float | None = None
    above_hull: float | None = None
    reason: str

    def stable(self, limit: float = STABLE) -> bool:
        """Tell whether it is at most so far above the hull, eV per atom."""
        return self.above_hull is not None and self.above_hull <= limit


def open_hull(relaxed: RelaxedSet, path: Path | None) -> tuple[Hull | None, str]:
    """Return the hull, or why there is none; a table that was named must fit."""
    try:
        return Hull(find_hull_table(relaxed.force_field, path)), ""
    except UserError as error:
        if path is not None:
            raise
        return None, str(error)


def look_up(
    name: str, relaxed: RelaxedSet, hull: Hull | None, why_not: str, *, failed: bool = False
) -> HullRow:
    """Find one structure; `failed` for one that was never made, and counts all the same."""
    relaxation = relaxed.relaxations.get(name)
    if relaxation is None and failed:
        relaxation = Relaxation.without_result(NOT_MADE)
    if relaxation is None:
        return HullRow(relaxation=None, reason=NOT_RELAXED)
    if relaxation.crystal is None or relaxation.energy is None:
        return HullRow(relaxation=relaxation, reason=relaxation.reason)
    if hull is None:
        return HullRow(relaxation=relaxation, reason=why_not)
    energy, reason = hull_energy(relaxation.crystal, relaxation.energy, relaxed.force_field.convention)
    if energy is None:
        return HullRow(relaxation=relaxation, reason=reason)
    above, reason = hull.above(relaxation.crystal.formula, energy)
    return HullRow(relaxation=relaxation, energy=energy, above_hull=above, reason=reason)
