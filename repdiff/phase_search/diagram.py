"""Phase diagrams of a system: the known crystals by reference energies, and the candidates beside them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from repdiff.energies.hull import Hull
from repdiff.energies.hull_table import without_electronegativity

if TYPE_CHECKING:
    from pymatgen.analysis.phase_diagram import PhaseDiagram

N_PARTS = 1e-3  # share of atoms below which a phase is no part of a decomposition


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a crystal stands.

    Attributes:
        formation_energy: eV per atom from the elements of the table.
        competitors: What it competes with: the known phases of the hull at its composition, by shares of atoms, such as
            "0.50 Li2O + 0.50 Fe2O3".
    """

    formation_energy: float
    competitors: str


class KnownPhases:
    """The hull of a chemical system by reference energies.

    Args:
        hull: Energies of known crystals.
        elements: Symbols of the system.

    Raises:
        UserError: If one of the elements has no reference.
    """

    def __init__(self, hull: Hull, elements: Iterable[str]) -> None:
        from pymatgen.analysis.phase_diagram import PhaseDiagram

        self.elements = tuple(elements)
        self.entries = hull.entries(self.elements)
        with without_electronegativity():
            self.diagram: PhaseDiagram = PhaseDiagram(self.entries)

    @property
    def n_compounds(self) -> int:
        """Count the known formulas of more than one element."""
        return sum(len(entry.composition) > 1 for entry in self.entries)

    def place(self, formula: str, energy: float) -> Place:
        """Say where a crystal stands.

        Args:
            formula: Chemical formula, reduced or not.
            energy: eV per atom, as on the hull.
        """
        from pymatgen.analysis.phase_diagram import PDEntry
        from pymatgen.core import Composition

        composition = Composition(formula)
        entry = PDEntry(composition, energy * composition.num_atoms)
        with without_electronegativity():
            formation = float(self.diagram.get_form_energy_per_atom(entry))
            parts = self.diagram.get_decomposition(composition)
        shares = sorted(
            ((share, one.composition.reduced_formula) for one, share in parts.items()), reverse=True
        )
        text = " + ".join(f"{share:.2f} {name}" for share, name in shares if share > N_PARTS)
        return Place(formation_energy=formation, competitors=text)

    def with_candidates(self, energies: Mapping[str, tuple[str, float]]) -> "PhaseDiagram":
        """Build the diagram of known crystals and candidates together.

        Args:
            energies: Formula, and eV per atom as on the hull, of each candidate by its name, which its entry bears.
        """
        from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
        from pymatgen.core import Composition

        own: list[PDEntry] = []
        for name, (formula, energy) in energies.items():
            composition = Composition(formula)
            own.append(PDEntry(composition, energy * composition.num_atoms, name=name, attribute=name))
        with without_electronegativity():
            return PhaseDiagram([*self.entries, *own])
