"""`Arrays`, one crystal without a name, and the elements that its sites hold; no torch here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from descriptors.symmetry.symbols import MAX_ATOMIC_NUMBER

HYDROGEN_ISOTOPES = ("D", "T")
ISOTOPE_NOTE = "deuterium or tritium read as hydrogen"


@dataclass(frozen=True, kw_only=True)
class Arrays:
    """One crystal without a name: atomic numbers, cell vectors as rows (Å), fractional coordinates.

    Attributes:
        atomic_numbers: One per atom.
        lattice: Rows are the cell vectors, Å.
        frac_coords: Fractional coordinates.
        notes: What was changed or left out on reading, in words that can be counted.
    """

    atomic_numbers: Int[np.ndarray, " n_atoms"]
    lattice: Float[np.ndarray, "3 3"]
    frac_coords: Float[np.ndarray, "n_atoms 3"]
    notes: tuple[str, ...] = ()


def number_of(symbol: str) -> int:
    """Return the atomic number of an element; isotopes of hydrogen count as hydrogen.

    Raises:
        ValueError: If there is no such element.
    """
    number = _numbers_by_symbol().get("H" if symbol in HYDROGEN_ISOTOPES else symbol, 0)
    if not 1 <= number <= MAX_ATOMIC_NUMBER:
        raise ValueError(f"unknown element: {symbol}")
    return number


def numbers_of_sites(sites: Sequence[Mapping[str, Any]]) -> Int[np.ndarray, " n_atoms"]:
    """Return the atomic numbers of sites as pymatgen's `as_dict` describes them.

    Raises:
        ValueError: If a site is partially occupied, shared by several species, or holds no chemical element.
    """
    numbers = []
    for site in sites:
        species = site["species"]
        if len(species) != 1 or float(species[0].get("occu", 1)) != 1:
            shares = ", ".join(f"{kind['element']} {float(kind.get('occu', 1)):g}" for kind in species)
            raise ValueError(f"partial occupancy: a site holds {shares or 'nothing'}")
        numbers.append(number_of(species[0]["element"]))
    return np.array(numbers, dtype=np.int64)


def isotope_notes(sites: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the note on deuterium and tritium if a site holds one of them."""
    found = any(kind["element"] in HYDROGEN_ISOTOPES for site in sites for kind in site["species"])
    return (ISOTOPE_NOTE,) if found else ()


@cache
def _numbers_by_symbol() -> dict[str, int]:
    from ase.data import atomic_numbers

    return dict(atomic_numbers)
