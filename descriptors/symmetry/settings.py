"""Equivalent settings: the same crystal described with another origin or other axes, and so with other letters.

A map of the affine normaliser of a space group takes every operation to another one of the group, and so each Wyckoff
position to one of the same kind. Which permutations of letters occur depends on the group alone, not on the metric of a
crystal; the two descriptions of a crystal have different cell parameters where axes are exchanged. In triclinic and
monoclinic groups maps that shear the cell count as well, for which of the infinitely many cells is chosen is arbitrary.
Maps may turn a crystal into its mirror image where the group contains no improper operation.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from jaxtyping import Float, Int

from descriptors.symmetry.affine import DENOMINATOR, Affine, parse_affine
from descriptors.symmetry.locate import locate_at
from descriptors.symmetry.protostructure import Orbit, Protostructure
from descriptors.symmetry.space_group import LAST_OF_SYSTEM, LETTERS, read_table, space_group


@dataclass(frozen=True, eq=False)
class Setting:
    """A change of the description of a crystal that keeps its space group.

    Attributes:
        letters: The place in the alphabet of the position that each position becomes.
        affine: Takes fractional coordinates in the old conventional cell to those in the new one.
    """

    letters: tuple[int, ...]
    affine: Affine

    @property
    def keeps_axes(self) -> bool:
        """Whether axes are at most exchanged and turned around, so that no cell becomes skew by it."""
        return bool((np.abs(self.affine.linear).sum(0) == 1).all())

    def apply(self, protostructure: Protostructure) -> Protostructure:
        """Describe a protostructure in this setting."""
        return Protostructure(
            protostructure.number,
            tuple(Orbit(self.letters[orbit.index], orbit.element) for orbit in protostructure.orbits),
        )


@cache
def settings(number: int) -> tuple[Setting, ...]:
    """Return the settings of a space group that differ in the letters, the identity first.

    Raises:
        ValueError: If the number is not within 1 to 230.
    """
    space_group(number)
    return tuple(
        Setting(tuple(LETTERS.index(letter) for letter in letters), parse_affine(text))
        for letters, text in read_table()["groups"][number - 1]["settings"].items()
    )


@cache
def settings_of_cell(number: int) -> tuple[Setting, ...]:
    """Return the settings of a space group that leave the shape of its cells as good as it is, the identity first.

    In triclinic and monoclinic groups those that shear the cell are left out: a reduced cell stays one.

    Raises:
        ValueError: If the number is not within 1 to 230.
    """
    if number > LAST_OF_SYSTEM["monoclinic"]:
        return settings(number)
    return tuple(setting for setting in settings(number) if setting.keeps_axes)


def equivalent_settings(
    protostructure: Protostructure, *, sheared: bool = True
) -> list[tuple[Protostructure, Setting]]:
    """Return all descriptions of a protostructure that differ, each with a setting that gives it; its own first.

    Args:
        protostructure: The protostructure that is described.
        sheared: Whether those count whose triclinic or monoclinic cell is sheared.
    """
    possible = settings(protostructure.number) if sheared else settings_of_cell(protostructure.number)
    codes = _codes(protostructure, possible)
    order = np.sort(np.unique(codes, axis=0, return_index=True)[1])
    return [(possible[k].apply(protostructure), possible[k]) for k in order]


@lru_cache(maxsize=65536)
def canonical_setting(
    protostructure: Protostructure, *, sheared: bool = True
) -> tuple[Protostructure, Setting]:
    """Return the first of the equivalent descriptions in the order of their orbits, and a setting that gives it.

    Args:
        protostructure: The protostructure that is described.
        sheared: Whether those count whose triclinic or monoclinic cell is sheared. Without them the description is one
            that suits a reduced cell, and several of a crystal may remain.
    """
    possible = settings(protostructure.number) if sheared else settings_of_cell(protostructure.number)
    setting = possible[int(np.lexsort(_codes(protostructure, possible).T[::-1])[0])]
    return setting.apply(protostructure), setting


def canonical(protostructure: Protostructure) -> Protostructure:
    """Return the description that all equivalent ones share.

    >>> canonical(Protostructure.of(221, [(11, "b"), (17, "a")])).letters_by_element()
    {11: 'a', 17: 'b'}
    """
    return canonical_setting(protostructure)[0]


@lru_cache(maxsize=65536)
def prototype(protostructure: Protostructure, *, sheared: bool = True) -> tuple[int, tuple[str, ...]]:
    """Return the protostructure without its elements: the group, and the letters that each of the elements occupies.

    Equal for all equivalent settings and all choices of elements; the parts are in ascending order.

    Args:
        protostructure: The protostructure that is described.
        sheared: Whether those settings count whose triclinic or monoclinic cell is sheared. Without them several
            descriptions of a prototype may remain.
    """
    possible = settings(protostructure.number) if sheared else settings_of_cell(protostructure.number)
    permutations = np.array([setting.letters for setting in possible])
    kinds = [
        [orbit.index for orbit in protostructure.orbits if orbit.element == element]
        for element in protostructure.elements
    ]
    parts = [np.sort(permutations[:, kind], axis=1).tolist() for kind in kinds]
    first = min(sorted(choice) for choice in zip(*parts, strict=True))
    return protostructure.number, tuple("".join(LETTERS[index] for index in part) for part in first)


def change_setting(
    protostructure: Protostructure,
    free: Float[np.ndarray, " n_free"],
    lattice: Float[np.ndarray, "3 3"],
    setting: Setting,
) -> tuple[Protostructure, Float[np.ndarray, " n_free"], Float[np.ndarray, "3 3"]]:
    """Describe a crystal in another setting.

    Args:
        protostructure: Its space group and orbits.
        free: Free coordinates of its orbits, one after another.
        lattice: Rows are the conventional cell vectors, Å.
        setting: One of its space group.

    Returns:
        Protostructure, free coordinates and conventional cell in the new setting. The cell may be left-handed.
    """
    points = representative_points(protostructure, free)
    moved = [
        (
            Orbit(setting.letters[orbit.index], orbit.element),
            locate_at(
                protostructure.group.positions[setting.letters[orbit.index]], setting.affine(point)
            ).free,
        )
        for orbit, point in zip(protostructure.orbits, points, strict=True)
    ]
    changed, coordinates = sort_orbits(protostructure.number, moved)
    return changed, coordinates, np.linalg.solve(setting.affine.linear.astype(float), lattice)


def sort_orbits(
    number: int, orbits: Iterable[tuple[Orbit, Float[np.ndarray, " _"]]]
) -> tuple[Protostructure, Float[np.ndarray, " n_free"]]:
    """Put orbits and their free coordinates in the order that a protostructure keeps.

    Orbits of the same element and letter are sorted by their free coordinates.

    Args:
        number: Space group.
        orbits: Each with its free coordinates.
    """
    ranked = sorted(orbits, key=lambda pair: (pair[0], np.round(pair[1], 6).tolist()))
    coordinates = [np.zeros(0), *(free for _, free in ranked)]
    return Protostructure(number, tuple(orbit for orbit, _ in ranked)), np.concatenate(coordinates)


def representative_points(
    protostructure: Protostructure, free: Float[np.ndarray, " n_free"]
) -> list[Float[np.ndarray, "3"]]:
    """Return the representative point of each orbit, fractional coordinates in the conventional cell."""
    offsets = protostructure.free_offsets
    return [
        position.origin / DENOMINATOR + free[start:stop] @ position.directions
        for position, start, stop in zip(protostructure.positions, offsets[:-1], offsets[1:], strict=True)
    ]


def _codes(
    protostructure: Protostructure, possible: Sequence[Setting]
) -> Int[np.ndarray, "n_settings n_orbits"]:
    """Number the orbits in each setting, sorted; rows are equal where the descriptions are."""
    permutations = np.array([setting.letters for setting in possible])
    indices = np.array([orbit.index for orbit in protostructure.orbits])
    elements = np.array([orbit.element for orbit in protostructure.orbits])
    return np.sort(permutations[:, indices] * 1000 + elements, axis=1)
