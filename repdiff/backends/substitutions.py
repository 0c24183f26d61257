"""What a set of crystals tells of elements: which take the same place."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from descriptors.symmetry.labels import prototype_label
from descriptors.symmetry.protostructure import Protostructure
from descriptors.symmetry.settings import prototype, settings
from descriptors.symmetry.space_group import LETTERS

Place = tuple[str, str]  # label of the prototype, and the letters of an element in it


def places_of(protostructure: Protostructure) -> set[tuple[int, Place]]:
    """Return the place in the prototype that each element takes, as pairs of atomic number and place.

    Where equivalent settings exchange places, as those of cation and anion in rock salt, an element takes both.
    """
    label, (number, parts) = prototype_label(protostructure), prototype(protostructure)
    found = set()
    for setting in settings(number):
        letters = {
            element: "".join(
                LETTERS[index]
                for index in sorted(
                    setting.letters[orbit.index]
                    for orbit in protostructure.orbits
                    if orbit.element == element
                )
            )
            for element in protostructure.elements
        }
        if sorted(letters.values()) == sorted(parts):
            found |= {(element, (label, part)) for element, part in letters.items()}
    return found


def count_places(protostructures: Iterable[Protostructure]) -> dict[Place, Counter[int]]:
    """Count how many crystals have each element in each place of each prototype."""
    counts: dict[Place, Counter[int]] = {}
    for protostructure in protostructures:
        for element, place in places_of(protostructure):
            counts.setdefault(place, Counter())[element] += 1
    return counts


def substitution_probabilities(
    counts: Mapping[Place, Mapping[int, int]], elements: Sequence[int]
) -> Float[np.ndarray, "n_elements n_elements"]:
    """Return how likely each element (column) stands where another (row) does.

    P(b | a) = Σ_place n(place, a) / n(a) · n(place, b) / n(place): go to a random place that a takes, and then to a
    random crystal that has this place. An element may replace itself. One that takes no place replaces itself alone.

    Args:
        counts: Crystals by place and element, see `count_places`.
        elements: Atomic numbers of rows and columns.
    """
    column = {element: place for place, element in enumerate(elements)}
    table = np.zeros((len(counts), len(elements)))
    for row, found in enumerate(counts.values()):
        for element, n in found.items():
            table[row, column[element]] = n
    of_element = np.maximum(table.sum(0), 1)
    probabilities = (table / of_element).T @ (table / np.maximum(table.sum(1, keepdims=True), 1))
    lost = table.sum(0) == 0
    probabilities[lost, lost] = 1.0
    return probabilities
