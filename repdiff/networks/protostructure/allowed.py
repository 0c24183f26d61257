"""Which Wyckoff positions may be taken next, so that a protostructure can still be completed.

Orbits are drawn element by element in ascending electronegativity, and in ascending letter within an element. A draw is
told beforehand how many atoms and elements there will be in the end.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Int

from descriptors.symmetry.feasibility import next_orbits
from descriptors.symmetry.space_group import LETTERS, space_group

N_LETTERS = len(LETTERS)


@lru_cache(maxsize=1 << 20)
def allowed_positions(
    number: int, n_left: int, used: str, last: str, n_elements_left: int
) -> tuple[int, int]:
    """Return the positions that the present element may take, and those that the next one may, as bits.

    Bit i stands for letter i. What is not allowed cannot be completed. Where several elements are still to come, a few
    of the allowed positions cannot either: whether each of them finds room is not looked into.

    Args:
        number: Space group.
        n_left: Atoms of the primitive cell that are still to be placed, at least 1.
        used: Letters of the fixed positions that are taken.
        last: Letter of the last orbit, which the present element has; "" before the first.
        n_elements_left: Elements that are still to come after the present one.
    """
    same = np.zeros(N_LETTERS, dtype=bool)
    new = np.zeros(N_LETTERS, dtype=bool)
    sizes = _sizes(number)
    n = len(sizes)
    free_order = next_orbits(number, [n_left], used=used)[0] if n_elements_left else np.zeros(n, dtype=bool)
    if n_elements_left == 1:
        new[:n] = next_orbits(number, [n_left], used=used, first="a")[0]
    elif n_elements_left:
        new[:n] = free_order & (n_left - sizes >= n_elements_left - 1)
    if last and n_elements_left:
        same[:n] = free_order & (n_left - sizes >= n_elements_left)
        same[: LETTERS.index(last)] = False
    elif last:
        same[:n] = next_orbits(number, [n_left], used=used, first=last)[0]
    return _to_bits(same), _to_bits(new)


@lru_cache(maxsize=1 << 18)
def allowed_by_formula(number: int, counts: tuple[int, ...], used: str, last: str, *, is_new: bool) -> int:
    """Return the positions that an element of an exact formula may take, as bits.

    Args:
        number: Space group.
        counts: Atoms of the primitive cell that are still to be placed: of this element, then of the others.
        used: Letters of the fixed positions that are taken.
        last: Letter of the last orbit.
        is_new: Whether the element has no orbit yet.
    """
    rest = [count for count in counts if count]
    found = np.zeros(N_LETTERS, dtype=bool)
    n = len(_sizes(number))
    found[:n] = next_orbits(number, rest, used=used)[0]
    found[:n] &= next_orbits(number, rest[:1], used=used, first="a" if is_new else last)[0]
    return _to_bits(found)


def unpack(bits: Int[np.ndarray, " n"]) -> Bool[np.ndarray, "n n_letters"]:
    """Turn bits into one flag a letter.

    >>> unpack(np.array([5]))[0, :4].tolist()
    [True, False, True, False]
    """
    return (bits[:, None] >> np.arange(N_LETTERS)) & 1 == 1


def is_fixed(number: int, letter: str) -> bool:
    """Tell whether a position has no free coordinate, so that it can be taken once."""
    return space_group(number).positions[LETTERS.index(letter)].n_free == 0


@lru_cache(maxsize=256)
def _sizes(number: int) -> Int[np.ndarray, " n_positions"]:
    return np.array([position.primitive_multiplicity for position in space_group(number).positions])


def _to_bits(flags: Bool[np.ndarray, " n_letters"]) -> int:
    return int(flags @ (1 << np.arange(N_LETTERS)))
