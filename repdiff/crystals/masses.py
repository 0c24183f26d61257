"""Atomic masses, and the unit that makes a density of mass and volume."""

from functools import cache

import numpy as np
from jaxtyping import Float

from descriptors.symmetry.symbols import MAX_ATOMIC_NUMBER

GRAMS_PER_DALTON = 1.66053906660  # in g/cm³ for a mass in u and a volume in Å³ (CODATA 2018)


@cache
def atomic_masses() -> Float[np.ndarray, " n_elements"]:
    """Return atomic masses by atomic number, u, as pymatgen has them; NaN for number 0.

    Example:
        >>> atomic_masses()[[1, 8]].round(3).tolist()
        [1.008, 15.999]
    """
    from pymatgen.core import Element

    return np.array(
        [np.nan] + [float(Element.from_Z(z).atomic_mass) for z in range(1, MAX_ATOMIC_NUMBER + 1)]
    )
