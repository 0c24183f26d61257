"""Exact answers to which atom counts a space group can make.

Positions without a free coordinate can be taken once, the others any number of times. Whether the atoms of several
elements can be placed therefore depends only on the multiplicities that free positions have, and on how many fixed
positions of each multiplicity are left; groups and states that agree in these share their remembered answers. All
counts are those of the primitive cell.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import product

import numpy as np
from jaxtyping import Bool

from descriptors.symmetry.space_group import LETTERS, N_SPACE_GROUPS, check_number, space_group

MAX_ATOMS = 52


@dataclass(frozen=True)
class Supply:
    """What a space group, or a part of it, has to offer.

    Attributes:
        free: Multiplicities of the positions that can be taken any number of times, ascending, each once.
        fixed: Multiplicities of the positions that can be taken once, ascending, each once.
        left: Number of positions of each multiplicity in `fixed`.
    """

    free: tuple[int, ...]
    fixed: tuple[int, ...]
    left: tuple[int, ...]


def can_make(number: int, counts: Iterable[int], *, used: str = "", first: str = "") -> bool:
    """Tell whether atoms of some elements can be placed on the Wyckoff positions of a group, exactly.

    >>> can_make(221, [1, 1, 3]), can_make(227, [1, 1]), can_make(227, [2, 4])
    (True, False, True)

    Args:
        number: Space group.
        counts: Atoms of each element that are still to be placed, in the primitive cell.
        used: Wyckoff letters that are taken; only those of fixed positions matter.
        first: Where orbits are placed in ascending order of letters, the letter of the last one: those before it are
            left out. Empty if the order is free.

    Raises:
        ValueError: If the group does not exist, has no such position, or a count is negative.
    """
    wanted = tuple(sorted(count for count in counts if count))
    if wanted and wanted[0] < 0:
        raise ValueError(f"a count is {wanted[0]}, expected none below 0")
    return _can_place(supply(number, used, first), wanted)


def next_orbits(
    number: int, counts: Sequence[int], *, used: str = "", first: str = ""
) -> Bool[np.ndarray, "n_elements n_positions"]:
    """Tell which element may be placed next on which position, so that the rest can still be placed.

    To ask by the number of atoms alone, whatever their elements, give it as the one count.

    Args:
        number: Space group.
        counts: Atoms of each element that are still to be placed, in the primitive cell.
        used: Wyckoff letters that are taken.
        first: Where orbits are placed in ascending order of letters, "a" or the letter of the last one. Empty if
            the order is free.

    Returns:
        One row per element, one column per position, a first.

    Raises:
        ValueError: If the group does not exist, has no such position, or a count is negative.
    """
    can_make(number, counts, used=used, first=first)  # checks the arguments
    return _next_orbits(number, tuple(counts), "".join(sorted(set(used))), first).copy()


def possible_groups(counts: Iterable[int]) -> Bool[np.ndarray, " 231"]:
    """Tell for each space group, by its number, whether it can make the atoms; place 0 is False.

    Raises:
        ValueError: If a count is negative.

    Example:
        >>> allowed = possible_groups([1, 1, 3])
        >>> bool(allowed[221]), bool(allowed[227])
        (True, False)
    """
    wanted = tuple(counts)
    return np.array([False] + [can_make(number, wanted) for number in range(1, N_SPACE_GROUPS + 1)])


@cache
def possible_sizes(max_atoms: int = MAX_ATOMS) -> Bool[np.ndarray, "231 n_sizes"]:
    """Tell for each space group, by its number, which numbers of atoms from 0 on its primitive cell can hold."""
    table = np.zeros((N_SPACE_GROUPS + 1, max_atoms + 1), dtype=bool)
    for number in range(1, N_SPACE_GROUPS + 1):
        table[number, 1:] = [can_make(number, [n]) for n in range(1, max_atoms + 1)]
    table.setflags(write=False)
    return table


def supply(number: int, used: str = "", first: str = "") -> Supply:
    """Return what a space group has to offer where some positions are taken.

    Raises:
        ValueError: If the group does not exist or has no such position.
    """
    return _supply(number, "".join(sorted(set(used))), first)


@lru_cache(maxsize=65536)
def _supply(number: int, used: str, first: str) -> Supply:
    check_number(number)
    group = space_group(number)
    for letter in {*used, *first}:
        group.position(letter)
    offered = group.positions[LETTERS.index(first or "a") :]
    free = sorted({position.primitive_multiplicity for position in offered if position.n_free})
    fixed = [position for position in group.positions if not position.n_free]
    left = Counter({position.primitive_multiplicity: 0 for position in fixed})
    left.update(
        position.primitive_multiplicity
        for position in offered
        if not position.n_free and position.letter not in used
    )
    return Supply(tuple(free), tuple(sorted(left)), tuple(left[size] for size in sorted(left)))


@lru_cache(maxsize=65536)
def _next_orbits(
    number: int, counts: tuple[int, ...], used: str, first: str
) -> Bool[np.ndarray, "n_elements n_positions"]:
    positions = space_group(number).positions
    allowed = np.zeros((len(counts), len(positions)), dtype=bool)
    for position in positions[LETTERS.index(first or "a") :]:
        size, letter = position.primitive_multiplicity, position.letter
        if position.n_free == 0 and letter in used:
            continue
        after = used if position.n_free else "".join(sorted({*used, letter}))
        state = _supply(number, after, letter if first else "")
        for row, count in enumerate(counts):
            if count >= size:
                rest = tuple(sorted(n for n in (*counts[:row], count - size, *counts[row + 1 :]) if n))
                allowed[row, position.index] = _can_place(state, rest)
    return allowed


@lru_cache(maxsize=1 << 20)
def _can_place(state: Supply, counts: tuple[int, ...]) -> bool:
    """Place the elements one after another, the largest count last, trying all ways that none makes needless."""
    if not counts:
        return True
    for taken in _cheapest(state.free, state.fixed, _most(state), counts[0]):
        left = tuple(have - take for have, take in zip(state.left, taken, strict=True))
        if min(left, default=0) >= 0 and _can_place(Supply(state.free, state.fixed, left), counts[1:]):
            return True
    return False


def _most(state: Supply) -> tuple[int, ...]:
    """Round the number of positions that are left up, so that few tables are needed."""
    return tuple(max(n, 8) if n > 4 else 4 if n > 2 else n for n in state.left)


@lru_cache(maxsize=65536)
def _cheapest(
    free: tuple[int, ...], fixed: tuple[int, ...], most: tuple[int, ...], count: int
) -> list[tuple[int, ...]]:
    """Return the ways to make a count that use as few fixed positions as possible: none contains another."""
    reached = _sums(free, count)
    ways = [
        way
        for way in product(*[range(n + 1) for n in most])
        if (rest := count - sum(n * size for n, size in zip(way, fixed, strict=True))) >= 0 and reached[rest]
    ]
    return [
        way
        for way in ways
        if not any(other != way and all(a <= b for a, b in zip(other, way, strict=True)) for other in ways)
    ]


@lru_cache(maxsize=65536)
def _sums(sizes: tuple[int, ...], largest: int) -> Bool[np.ndarray, " n"]:
    """Tell which numbers up to the largest are sums of the sizes, each any number of times."""
    reached = np.zeros(largest + 1, dtype=bool)
    reached[0] = True
    for total in range(1, largest + 1):
        reached[total] = any(total >= size and reached[total - size] for size in sizes)
    return reached
