"""Properties of a crystal that need no label and no model: what its formula and its cell say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from repdiff.crystals.crystal import Crystal
from repdiff.crystals.formula import Composition, count_elements, reduced_formula
from repdiff.crystals.geometry import StructureCheck, check_structures
from repdiff.crystals.masses import GRAMS_PER_DALTON, atomic_masses


@dataclass(frozen=True, kw_only=True)
class PlainProperty:
    """One such property.

    Attributes:
        unit: Its unit, as text.
        description: What it is.
        of_formula: Its value by the atoms of a cell, where they decide it; None for an element without data.
        of_cell: Its value by the atoms of a sound cell and what was measured in it, for all others.
    """

    unit: str
    description: str
    of_formula: Callable[[Composition], float | None] | None = None
    of_cell: Callable[[Composition, StructureCheck], float] | None = None


def mass(counts: Composition) -> float:
    """Return the mass of atoms, u.

    Example:
        >>> round(mass({11: 1, 17: 1}), 2)
        58.44
    """
    return float(sum(n * atomic_masses()[number] for number, n in counts.items()))


def mass_per_atom(counts: Composition) -> float:
    """Return the mean mass of atoms, u."""
    return mass(counts) / sum(counts.values())


def formula_mass(counts: Composition) -> float:
    """Return the mass of the reduced formula, u."""
    return mass(dict(reduced_formula(counts)))


def hhi_production(counts: Composition) -> float | None:
    """Return the Herfindahl-Hirschman index of the countries that produce the elements, by mass; see `_hhi`."""
    return _hhi(reduced_formula(counts))[0]


def hhi_reserve(counts: Composition) -> float | None:
    """Return the Herfindahl-Hirschman index of the countries that have reserves of the elements; see `_hhi`."""
    return _hhi(reduced_formula(counts))[1]


@lru_cache(maxsize=65536)
def _hhi(formula: tuple[tuple[int, int], ...]) -> tuple[float | None, float | None]:
    """Return both indices, None where an element has no entry in pymatgen's table.

    Source: Gaultois et al., Chem. Mater. 25, 2911 (2013), as tabulated in pymatgen.
    """
    from ase.data import chemical_symbols
    from pymatgen.analysis.hhi import HHIModel
    from pymatgen.core import Composition as Amounts

    return HHIModel().get_hhi(Amounts({chemical_symbols[number]: count for number, count in formula}))


def _density(counts: Composition, check: StructureCheck) -> float:
    assert check.volume is not None
    return mass(counts) * GRAMS_PER_DALTON / check.volume


def _volume_per_atom(counts: Composition, check: StructureCheck) -> float:
    assert check.volume is not None
    return check.volume / sum(counts.values())


def _shortest(counts: Composition, check: StructureCheck) -> float:
    assert check.shortest_distance is not None
    return check.shortest_distance


PLAIN_PROPERTIES = {
    "density": PlainProperty(unit="g/cm³", description="Density", of_cell=_density),
    "volume_per_atom": PlainProperty(unit="Å³", description="Volume per atom", of_cell=_volume_per_atom),
    "shortest_distance": PlainProperty(
        unit="Å", description="Shortest distance between atoms, images included", of_cell=_shortest
    ),
    "mass_per_atom": PlainProperty(unit="u", description="Mean mass of an atom", of_formula=mass_per_atom),
    "formula_mass": PlainProperty(
        unit="u", description="Mass of the reduced formula", of_formula=formula_mass
    ),
    "hhi_production": PlainProperty(
        unit="",
        description="Herfindahl-Hirschman index of the countries that produce the elements, by mass, up to 10000",
        of_formula=hhi_production,
    ),
    "hhi_reserve": PlainProperty(
        unit="",
        description="Herfindahl-Hirschman index of the countries with reserves of the elements, by mass, up to 10000",
        of_formula=hhi_reserve,
    ),
}
"""All of them, by name; each is a condition too, and a column of an evaluation."""
OF_FORMULA = tuple(name for name, one in PLAIN_PROPERTIES.items() if one.of_formula is not None)
"""Those that the formula decides, so that a crystal can be refused before it is made."""


def plain_property(name: str, crystal: Crystal, check: StructureCheck) -> float | None:
    """Return one property of a crystal; None where it has none, such as a density without a cell.

    Args:
        name: One of `PLAIN_PROPERTIES`.
        crystal: Crystal of any quality.
        check: What `check_structures` found of it.
    """
    if check.shortest_distance is None:  # no atoms, no cell, or an unknown element
        return None
    one, counts = PLAIN_PROPERTIES[name], count_elements(crystal)
    if one.of_formula is not None:
        return one.of_formula(counts)
    assert one.of_cell is not None
    return one.of_cell(counts, check)


def plain_properties(crystals: Sequence[Crystal]) -> dict[str, list[float | None]]:
    """Return all properties of crystals of any quality, by name.

    Example:
        >>> from repdiff.testing.example_crystals import rock_salt
        >>> found = plain_properties([rock_salt(a=5.64)])
        >>> round(found["density"][0], 2), round(found["shortest_distance"][0], 2)
        (2.16, 2.82)
    """
    found: dict[str, list[float | None]] = {name: [] for name in PLAIN_PROPERTIES}
    # one crystal after the other: the indices of a formula are looked up once, however many formulas there are
    for crystal, check in zip(crystals, check_structures(crystals), strict=True):
        for name, values in found.items():
            values.append(plain_property(name, crystal, check))
    return found
