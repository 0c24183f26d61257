"""Numbers that the plots show of crystals and of sets, by the functions that the metrics use."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from descriptors.symmetry.symbols import MAX_ATOMIC_NUMBER
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.symmetry import space_groups
from repdiff.metrics.distributions import QUANTITIES


def quantity_of(crystals: Sequence[Crystal], name: str) -> Float[np.ndarray, " n"]:
    """Return a quantity of each crystal, in the unit of its axis; NaN where it has none.

    Args:
        crystals: Crystals, valid or not.
        name: Key into `repdiff.metrics.distributions.QUANTITIES`.
    """
    function, _ = QUANTITIES[name]
    with np.errstate(all="ignore"):
        return np.asarray(function(crystals), dtype=np.float64).reshape(-1)


def element_shares(crystals: Sequence[Crystal]) -> dict[int, float]:
    """Return the share of the structures that hold each element, by atomic number; no unknown elements."""
    counts: Counter[int] = Counter()
    for crystal in crystals:
        counts.update(z for z in set(crystal.atomic_numbers.tolist()) if 1 <= z <= MAX_ATOMIC_NUMBER)
    return {z: count / len(crystals) for z, count in sorted(counts.items())}


def space_group_numbers(crystals: Sequence[Crystal], *, symprec: float) -> Float[np.ndarray, " n"]:
    """Return space-group numbers; NaN where none is found.

    Args:
        crystals: Crystals, valid or not.
        symprec: How far an atom may be from where an operation puts it, Å.
    """
    found = space_groups(crystals, symprec=symprec)
    return np.array([np.nan if number is None else number for number in found], dtype=np.float64)
