"""Sets of crystals: what they have in common, and the plain one that samples, reconstructions and metrics exchange."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from repdiff.crystals.crystal import Crystal
from repdiff.crystals.views import atoms_of, count, frame_of, html_of, structures_of

if TYPE_CHECKING:
    import pandas as pd
    from ase import Atoms
    from pymatgen.core import Structure

    from repdiff.crystals.convert import CrystalsLike

N_NAMED = 3  # reasons


class CrystalViews:
    """What every set of crystals can be turned into, and how it shows itself in a notebook."""

    _lost = "failed"  # what the crystals are that should be there and are not
    _encoded = False

    if TYPE_CHECKING:

        @property
        def crystals(self) -> Sequence[Crystal]:
            """The crystals, in their order; subclasses have them as a field."""
            ...

    def to_structures(self) -> list["Structure"]:
        """Convert the crystals to pymatgen structures; `properties` holds each one's id and labels."""
        return structures_of(self.crystals)

    def to_atoms(self) -> list["Atoms"]:
        """Convert the crystals to ASE atoms; `info` holds each one's id and labels."""
        return atoms_of(self.crystals)

    def to_frame(self) -> "pd.DataFrame":
        """Put the crystals into a data frame by id: formula, atoms, volume (Å³), labels, and what failed last."""
        return frame_of(self.crystals, self._missing())

    def __iter__(self) -> Iterator[Crystal]:
        """Iterate over the crystals that exist."""
        return iter(self.crystals)

    def _missing(self) -> Mapping[str, str]:
        """Return the reason by name of what should be there and is not."""
        return {}

    def _title(self) -> str:
        missing = self._missing()
        failed = f", {len(missing)} {self._lost}" if missing else ""
        return f"{type(self).__name__}: {count(len(self.crystals), 'crystal')}{failed}"

    def _repr_html_(self) -> str:
        """Show the first rows of the table, and what failed, in a notebook."""
        return html_of(self._title(), frame_of(self.crystals), self._missing(), lost=self._lost)


@dataclass(frozen=True, kw_only=True, repr=False)
class CrystalSet(CrystalViews):
    """Crystals, and those that should exist but could not be made or read.

    Attributes:
        crystals: The crystals, unchecked; a metric must cope with NaN, flat cells and unknown elements.
        failed: Reason of each failure, by name. Failures count in every fraction as the worst value, and come last in
            columns.
        remarks: What was changed or left out on reading, in words for the reader of a result.
        refused: Rows of a source of known crystals that could not be read, counted by reason; no part of the set.
        name: Name of a set of known crystals, such as "mp_20" or "mp_20:train"; part of every result.
        encoded: Whether `encode` made it, so that labels about symmetry are those that were read off its crystals.

    Example:
        >>> import repdiff as rd
        >>> from ase.build import bulk
        >>> crystals = rd.CrystalSet.of([bulk("Cu"), bulk("NaCl", "rocksalt", a=5.64)])
        >>> crystals
        CrystalSet: 2 crystals
        >>> crystals.to_frame()["formula"].tolist()
        ['Cu', 'NaCl']
        >>> crystals.to_structures()[1].reduced_formula
        'NaCl'
    """

    crystals: Sequence[Crystal]
    failed: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    refused: Mapping[str, int] = field(default_factory=dict)
    name: str = ""
    encoded: bool = False

    @classmethod
    def of(cls, crystals: "CrystalsLike") -> "CrystalSet":
        """Convert structures, atoms, or any set of crystals; see `repdiff.crystals.convert.as_crystal_set`.

        Raises:
            UserError: If there is nothing, or something that is no ordered, fully periodic crystal.
        """
        from repdiff.crystals.convert import as_crystal_set

        return as_crystal_set(crystals)

    @property
    def ids(self) -> list[str]:
        """Names of all, the failed last."""
        return [crystal.id for crystal in self.crystals] + list(self.failed)

    @property
    def n_unread(self) -> int:
        """Count what should be among the crystals and is not: refused rows and failures."""
        return sum(self.refused.values()) + len(self.failed)

    @property
    def refusal(self) -> str:
        """Say how many rows of the source were refused and why; "" if none was."""
        if not self.refused:
            return ""
        listed = "; ".join(f"{count} × {reason}" for reason, count in list(self.refused.items())[:N_NAMED])
        more = f"; {len(self.refused) - N_NAMED} other reasons" if len(self.refused) > N_NAMED else ""
        return f"{sum(self.refused.values())} rows of its source were refused ({listed}{more})"

    def __len__(self) -> int:
        """Count all, the failed too."""
        return len(self.crystals) + len(self.failed)

    def __repr__(self) -> str:
        """Say how many there are."""
        return self._title()

    def _missing(self) -> Mapping[str, str]:
        return self.failed
