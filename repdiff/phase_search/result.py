"""The phases that were found: one row a candidate that was built, the funnel that led there, and the hull."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING

from repdiff.crystals.crystal import Crystal, Label
from repdiff.crystals.crystal_set import CrystalViews
from repdiff.crystals.views import html_of
from repdiff.energies.relaxed import Relaxation, RelaxedSet
from repdiff.phase_search.diagram import KnownPhases

if TYPE_CHECKING:
    import pandas as pd
    from pymatgen.analysis.phase_diagram import PhaseDiagram

ON_HULL = (
    0.005  # eV per atom above the hull of the known crystals; what a relaxation to 0.05 eV/Å leaves open
)
NEAR_HULL = 0.1
NEW, KNOWN = "new", "known"
LABELS = (
    "e_above_hull", "status", "known_as", "space_group", "space_group_symbol", "formation_energy", "protostructure",
    "drawn", "competitors", "hull_energy", "duplicate_of",
)  # fmt: skip
SHOWN = ("formula", "e_above_hull", "status", "space_group_symbol", "formation_energy", "protostructure")


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What became of one candidate.

    Attributes:
        id: Name of the candidate, such as "LiFeO2-003".
        formula: Reduced formula.
        n_atoms: Atoms of the relaxed cell; None if there is no crystal.
        e_above_hull: eV per atom above the hull of the known crystals, negative below it; None if there is none.
        status: "new", or "known" if a known crystal is the same; None if nothing is known to compare with.
        known_as: Name of that known crystal.
        space_group: Number of the space group of the relaxed crystal, within 0.1 Å; None if it was not found.
        space_group_symbol: Its symbol.
        formation_energy: eV per atom from the elements of the table of reference energies.
        protostructure: Label of the relaxed crystal.
        drawn: Label of the protostructure that it was asked to have.
        competitors: Known phases of the hull at its composition, by shares of atoms.
        hull_energy: eV per atom, as on the hull.
        converged: Whether the relaxation converged.
        stopped: "converged", or the limit that ended the relaxation: "max_steps" or "max_seconds".
        n_steps: Steps of the relaxation.
        duplicate_of: Name of the lower crystal that this one has become the same as; "" if there is none.
        reason: Why there is no energy above the hull; "" if there is one.
    """

    id: str
    formula: str
    n_atoms: int | None = None
    e_above_hull: float | None = None
    status: str | None = None
    known_as: str | None = None
    space_group: int | None = None
    space_group_symbol: str | None = None
    formation_energy: float | None = None
    protostructure: str | None = None
    drawn: str | None = None
    competitors: str | None = None
    hull_energy: float | None = None
    converged: bool = False
    stopped: str | None = None
    n_steps: int = 0
    duplicate_of: str = ""
    reason: str = ""

    def within(self, limit: float) -> bool:
        """Tell whether it is a crystal of its own that is at most so far above the hull, eV per atom."""
        return not self.duplicate_of and self.e_above_hull is not None and self.e_above_hull <= limit

    def labels(self) -> dict[str, Label]:
        """Return as labels of the crystal what its relaxation does not say."""
        return {name: getattr(self, name) for name in LABELS}


@dataclass(frozen=True, kw_only=True, repr=False)
class Phases(CrystalViews):
    """The phases that were found in a chemical system.

    `crystals` are the relaxed ones, the lowest above the hull first, with the columns of the table as labels; `failed`
    has the reasons of those that could not be made or relaxed.

    Attributes:
        system: Elements, such as "Li-Fe-O".
        rows: One for each candidate that was tried, the lowest above the hull first, those without energy last.
        funnel: How many there were at each stage, by its name, in order.
        known: The known crystals of the system, and their hull.
        relaxed: The relaxations, by the name of the candidate, and what computed them.
        hull_name: Which table of reference energies it is.
        notes: What a reader must know beside the numbers.

    Example:
        >>> import repdiff as rd
        >>> from ase.build import bulk
        >>> from repdiff.energies.hull import Hull
        >>> from repdiff.energies.hull_table import find_hull_table
        >>> relaxed = rd.relax([bulk("MgO", "rocksalt", a=4.2)], max_steps=0, device="cpu", progress=False)
        >>> table = find_hull_table(relaxed.force_field)
        >>> found = rd.Phases(
        ...     system="Mg-O",
        ...     rows=[Phase(id=name, formula="MgO", e_above_hull=0.01) for name in relaxed.relaxations],
        ...     funnel={"asked": 1},
        ...     known=KnownPhases(Hull(table), ["Mg", "O"]),
        ...     relaxed=relaxed,
        ...     hull_name=table.describe(),
        ... )
        >>> found.to_frame()[["formula", "e_above_hull"]].values.tolist()
        [['MgO', 0.01]]
    """

    system: str
    rows: Sequence[Phase]
    funnel: Mapping[str, int]
    known: KnownPhases
    relaxed: RelaxedSet
    hull_name: str
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def crystals(self) -> list[Crystal]:
        """The relaxed crystals, the lowest above the hull first."""
        return self.labelled().crystals

    @property
    def failed(self) -> dict[str, str]:
        """Reason by name, of the candidates that have no relaxed crystal."""
        return self.labelled().failed

    def labelled(self) -> RelaxedSet:
        """Return the relaxations in the order of the rows, the columns of the table as labels of the crystals.

        What was not built or not tried is among those without a result.
        """
        ends = {}
        for row in self.rows:
            end = self.relaxed.relaxations.get(row.id) or Relaxation.without_result(row.reason)
            if end.crystal is not None:
                end = replace(end, crystal=end.crystal.replace(labels={**end.crystal.labels, **row.labels()}))
            ends[row.id] = end
        return replace(self.relaxed, relaxations=ends)

    @property
    def hull(self) -> "PhaseDiagram":
        """The phase diagram of the known crystals and the distinct ones found here, as pymatgen's `PhaseDiagram`.

        The entries of what was found have the name of the candidate.
        """
        return self.known.with_candidates(
            {
                row.id: (row.formula, row.hull_energy)
                for row in self.rows
                if row.hull_energy is not None and row.e_above_hull is not None and not row.duplicate_of
            }
        )

    @property
    def known_hull(self) -> "PhaseDiagram":
        """The phase diagram of the known crystals alone, which energies above the hull refer to."""
        return self.known.diagram

    def to_frame(self) -> "pd.DataFrame":
        """Put all rows into a data frame by the name of the candidate, the lowest above the hull first."""
        import pandas as pd

        columns = pd.Index([one.name for one in fields(Phase)])
        frame = pd.DataFrame([asdict(row) for row in self.rows], columns=columns)
        return frame.convert_dtypes(convert_floating=False).set_index("id")

    def best(self, limit: float = NEAR_HULL) -> list[Phase]:
        """Return the distinct phases that are at most so far above the hull, eV per atom, the lowest first."""
        return [row for row in self.rows if row.within(limit)]

    def reasons(self) -> dict[str, int]:
        """Count the candidates without energy above the hull by the reason, the most frequent first."""
        return dict(Counter(row.reason for row in self.rows if row.reason).most_common())

    def __len__(self) -> int:
        """Count the candidates that were tried."""
        return len(self.rows)

    def __repr__(self) -> str:
        """Say how many there are."""
        return self._title()

    def _title(self) -> str:
        near, on = len(self.best()), len(self.best(ON_HULL))
        return (
            f"Phases of {self.system}: {self.funnel.get('relaxed', 0)} crystals relaxed, {near} distinct ones within "
            f"{NEAR_HULL:g} eV/atom of the hull, {on} on it"
        )

    def _missing(self) -> Mapping[str, str]:
        return self.failed

    def _repr_html_(self) -> str:
        """Show the funnel and the first rows of the table in a notebook."""
        steps = " → ".join(f"{name} {n}" for name, n in self.funnel.items())
        best = self.to_frame()
        best = best[best["duplicate_of"] == ""][list(SHOWN)]
        return html_of(self._title(), best, self.failed) + f"<p>{steps}</p>"
