"""Pettifor's chemical scale: elements whose numbers are near replace one another in crystals."""

from functools import cache

import numpy as np
from jaxtyping import Float

WIDTH = 1.5  # difference of Pettifor numbers, summed over the elements, at which a known crystal tells 1/e as much


@cache
def pettifor_number(element: int) -> float:
    """Return the place of an element on the scale, from 1 to 103 (Pettifor, J. Phys. C 19, 285 (1986)).

    Example:
        >>> pettifor_number(26), pettifor_number(27)
        (61.0, 64.0)
    """
    from pymatgen.core import Element

    return float(Element.from_Z(element).mendeleev_no)


def likeness(
    known: Float[np.ndarray, "n n_elements"], wanted: Float[np.ndarray, " n_elements"]
) -> Float[np.ndarray, " n"]:
    """Return how much known crystals tell of one with other elements in their places: 1 for the same ones.

    Args:
        known: Pettifor numbers of the elements of each.
        wanted: Those of the elements that replace them.
    """
    return np.exp(-np.abs(known - wanted).sum(1) / WIDTH)
