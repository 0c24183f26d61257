"""Niggli reduction: one cell for every choice of cell vectors of the same crystal."""

import warnings

import numpy as np
import spglib
from jaxtyping import Float

from repdiff.crystals.crystal import Crystal

TOLERANCE = 1e-5  # Å


def niggli_reduced(crystal: Crystal) -> Crystal:
    """Return the same crystal in its Niggli cell, right-handed, atoms wrapped into it; nothing is rotated.

    Args:
        crystal: Crystal in any cell, right- or left-handed.

    Raises:
        ValueError: If the reduction does not converge or its result is not a cell of the same lattice.

    Source: Křivý and Gruber, Acta Cryst. A 1976, 32, 297, as implemented by spglib.
    """
    reduced = niggli_lattice(crystal.lattice)
    if reduced is None:
        raise ValueError(f"{crystal.id}: Niggli reduction of the cell does not converge")
    change = np.rint(reduced @ np.linalg.inv(crystal.lattice))
    if abs(round(np.linalg.det(change))) != 1:
        raise ValueError(f"{crystal.id}: Niggli reduction gave a cell of another volume")
    lattice = change @ crystal.lattice
    if np.linalg.det(lattice) < 0:
        change, lattice = -change, -lattice
    frac = crystal.frac_coords @ np.linalg.inv(change)
    frac -= np.floor(frac)
    frac[frac >= 1] = 0
    return crystal.replace(lattice=lattice, frac_coords=frac)


def niggli_lattice(lattice: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"] | None:
    """Return the Niggli cell of a lattice, rows in Å, in any handedness; None if the reduction does not converge.

    spglib announces with every call that failures will raise.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return spglib.niggli_reduce(lattice, eps=TOLERANCE)
        except Exception:  # its own exception class is younger than the oldest version we allow
            return None
