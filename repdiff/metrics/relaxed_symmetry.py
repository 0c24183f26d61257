"""Space groups of crystals before and after relaxation."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

from repdiff.crystals.crystal import Crystal
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.crystals.symmetry import SYMPREC, space_groups
from repdiff.metrics.base import CellValue, Constant, Context, MetricValue, share
from repdiff.metrics.hull_rows import HullRow


@dataclass(frozen=True, kw_only=True)
class GroupPair:
    """The space group of one structure.

    Attributes:
        before: Number before relaxation; None if it was not found.
        after: Number after relaxation; None if it was not found, or there is no relaxed crystal.
        relaxed: Whether there is a relaxed crystal.
    """

    before: int | None
    after: int | None
    relaxed: bool

    @property
    def symmetric_before(self) -> bool:
        """Tell whether it had more symmetry than translations."""
        return (self.before or 1) > 1

    @property
    def symmetric_after(self) -> bool:
        """Tell whether it has more symmetry than translations."""
        return (self.after or 1) > 1


def find_groups(generated: CrystalSet, rows: Sequence[HullRow], context: Context) -> list[GroupPair]:
    """Find the groups of the structures, those that were never made last, by moyopy within 0.1 Å.

    Args:
        generated: The structures as they were made.
        rows: What became of each.
        context: How many processes there are.
    """
    made = [place for place, row in enumerate(rows) if row.relaxation is not None and row.relaxation.crystal]
    ends = [row.relaxation.crystal for row in rows if row.relaxation is not None and row.relaxation.crystal]

    def find(crystals: Sequence[Crystal]) -> list[int | None]:
        return space_groups(crystals, symprec=SYMPREC, n_workers=context.n_workers, progress=context.progress)

    before = find(generated.crystals) + [None] * len(generated.failed)
    after = dict(zip(made, find(ends), strict=True))
    return [
        GroupPair(before=group, after=after.get(place), relaxed=place in after)
        for place, group in enumerate(before)
    ]


def kept(groups: Sequence[GroupPair], protocol: str) -> MetricValue:
    """Return the share whose space group after relaxation is the one before, of those relaxed that had one."""
    flags = [pair.after == pair.before for pair in groups if pair.relaxed and pair.before is not None]
    return share(flags, protocol, reason="no structure that was relaxed has a space group")


def group_columns(groups: Sequence[GroupPair]) -> dict[str, Sequence[CellValue]]:
    """Return the columns of the per-structure table."""
    return {
        "space_group_before": [pair.before for pair in groups],
        "space_group_relaxed": [pair.after for pair in groups],
    }


def symmetry_constants() -> dict[str, Constant]:
    """Return what a protocol must say about the groups."""
    return {"space_groups": f"moyopy {version('moyopy')}", "symprec_angstrom": SYMPREC}
