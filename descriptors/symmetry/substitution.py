"""One crystal described as another of its prototype: in which setting, and with which element in place of which."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, permutations, product

import numpy as np
from jaxtyping import Float

from descriptors.symmetry.protostructure import Orbit, Protostructure
from descriptors.symmetry.settings import Setting, change_setting, settings_of_cell, sort_orbits
from descriptors.symmetry.space_group import LETTERS

MAX_ASSIGNMENTS = 24  # of elements that occupy equal positions, in each setting; what is beyond is not tried


@dataclass(frozen=True, kw_only=True)
class Substitution:
    """How a crystal becomes one of another protostructure of its prototype.

    Attributes:
        setting: Description of the crystal in which its orbits lie where those of the other do.
        elements: The element that takes the place of each.
    """

    setting: Setting
    elements: dict[int, int]


def substitutions(known: Protostructure, wanted: Protostructure) -> list[Substitution]:
    """Return the ways in which a crystal becomes one of another protostructure; none if the prototypes differ.

    Each assignment of elements comes once, in the first of the settings that give it. Settings that shear a triclinic
    or monoclinic cell are left out.

    >>> rock_salt = Protostructure.of(225, [(11, "a"), (17, "b")])
    >>> [one.elements for one in substitutions(rock_salt, Protostructure.of(225, [(8, "a"), (12, "b")]))]
    [{11: 8, 17: 12}, {11: 12, 17: 8}]

    Args:
        known: Protostructure of the crystal.
        wanted: What it shall become.
    """
    if known.number != wanted.number or len(known.elements) != len(wanted.elements):
        return []
    places = _places(wanted, tuple(range(len(LETTERS))))
    found: dict[tuple[int, ...], Substitution] = {}
    for setting, own in _described(known):
        if own.keys() != places.keys() or any(len(own[place]) != len(places[place]) for place in own):
            continue
        choices = product(*(permutations(places[place]) for place in own))
        old = [element for elements in own.values() for element in elements]
        for choice in islice(choices, MAX_ASSIGNMENTS):
            new = dict(zip(old, (element for part in choice for element in part), strict=True))
            elements = {element: new[element] for element in known.elements}
            key = tuple(elements.values())
            found.setdefault(key, Substitution(setting=setting, elements=elements))
    return list(found.values())


def substitute(
    known: Protostructure,
    free: Float[np.ndarray, " n_free"],
    lattice: Float[np.ndarray, "3 3"],
    substitution: Substitution,
) -> tuple[Protostructure, Float[np.ndarray, " n_free"], Float[np.ndarray, "3 3"]]:
    """Describe a crystal in the setting of a substitution, and replace its elements.

    Args:
        known: Protostructure of the crystal.
        free: Free coordinates of its orbits, one after another.
        lattice: Rows are the conventional cell vectors, Å.
        substitution: One of `substitutions`.

    Returns:
        Protostructure, free coordinates and conventional cell. The cell may be left-handed.
    """
    described, coordinates, cell = change_setting(known, free, lattice, substitution.setting)
    return *replace_elements(described, coordinates, substitution.elements), cell


def replace_elements(
    described: Protostructure, free: Float[np.ndarray, " n_free"], elements: Mapping[int, int]
) -> tuple[Protostructure, Float[np.ndarray, " n_free"]]:
    """Put other elements on the orbits of a crystal, and its free coordinates in their new order.

    Args:
        described: Protostructure of the crystal.
        free: Free coordinates of its orbits, one after another.
        elements: The element that takes the place of each.
    """
    parts = np.split(free, described.free_offsets[1:-1])
    replaced = [
        (Orbit(orbit.index, elements[orbit.element]), part)
        for orbit, part in zip(described.orbits, parts, strict=True)
    ]
    return sort_orbits(described.number, replaced)


@lru_cache(maxsize=16384)
def _described(known: Protostructure) -> list[tuple[Setting, dict[str, list[int]]]]:
    """Return which elements occupy each list of letters in each of the settings."""
    return [(setting, _places(known, setting.letters)) for setting in settings_of_cell(known.number)]


def _places(protostructure: Protostructure, renamed: Sequence[int]) -> dict[str, list[int]]:
    """Return the elements that occupy each list of Wyckoff letters, in the order of the lists.

    Args:
        protostructure: What occupies them.
        renamed: Place in the alphabet of the letter that each letter becomes.
    """
    found = []
    for element in protostructure.elements:
        own = sorted(renamed[orbit.index] for orbit in protostructure.orbits if orbit.element == element)
        found.append(("".join(LETTERS[place] for place in own), element))
    places: dict[str, list[int]] = {}
    for letters, element in sorted(found, key=lambda pair: pair[0]):
        places.setdefault(letters, []).append(element)
    return places
