"""Energy above the convex hull of known crystals, all by one force field."""

from collections.abc import Iterable
from itertools import combinations
from typing import TYPE_CHECKING

from repdiff.energies.hull_table import HullTable, without_electronegativity
from repdiff.errors import UserError

if TYPE_CHECKING:
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram

Elements = frozenset[str]


class Hull:
    """The convex hull of a table, built for one chemical system at a time, each once.

    Args:
        table: Energies of known crystals.
    """

    def __init__(self, table: HullTable) -> None:
        from pymatgen.core import Composition

        self.table = table
        self._by_elements: dict[Elements, list[tuple[str, float]]] = {}
        for formula, energy in table.lowest().items():
            elements = frozenset(element.symbol for element in Composition(formula).elements)
            self._by_elements.setdefault(elements, []).append((formula, energy))
        self._diagrams: dict[Elements, PhaseDiagram] = {}

    def above(self, formula: str, energy: float) -> tuple[float | None, str]:
        """Return the energy above the hull, and why there is none.

        Args:
            formula: Chemical formula, reduced or any multiple of it, such as "O3TiSr".
            energy: eV per atom, by the force field of the table.

        Returns:
            eV per atom, negative for what is more stable than all that is known; and the reason, "" if there is a
            value.
        """
        from pymatgen.core import Composition

        composition = Composition(formula)
        elements = frozenset(element.symbol for element in composition.elements)
        if missing := sorted(
            element for element in elements if frozenset({element}) not in self._by_elements
        ):
            return None, f"the hull table {self.table.name} has no crystal of {', '.join(missing)} alone"
        with without_electronegativity():
            return energy - float(self._diagram(elements).get_hull_energy_per_atom(composition)), ""

    def entries(self, elements: Iterable[str]) -> list["PDEntry"]:
        """Return the known crystals of a chemical system and its sub-systems, the lowest of each formula.

        Args:
            elements: Symbols.

        Returns:
            Entries of pymatgen, whose energies are eV per formula unit.

        Raises:
            UserError: If the table has no crystal of one of the elements alone, without which there is no hull.
        """
        from pymatgen.analysis.phase_diagram import PDEntry
        from pymatgen.core import Composition

        chosen = sorted(set(elements))
        if missing := [one for one in chosen if frozenset({one}) not in self._by_elements]:
            raise UserError(
                f"the hull table {self.table.name} has no crystal of {', '.join(missing)} alone, expected all elements "
                f"of {'-'.join(chosen)}: build one of a data set that has them, by `repdiff hull build DATASET`"
            )
        found = []
        for size in range(1, len(chosen) + 1):
            for part in combinations(chosen, size):
                for formula, energy in self._by_elements.get(frozenset(part), []):
                    composition = Composition(formula)
                    found.append(PDEntry(composition, energy * composition.num_atoms))
        return found

    def _diagram(self, elements: Elements) -> "PhaseDiagram":
        from pymatgen.analysis.phase_diagram import PhaseDiagram

        if elements not in self._diagrams:
            self._diagrams[elements] = PhaseDiagram(self.entries(elements))
        return self._diagrams[elements]
