"""How much room the atoms of each element need."""

import numpy as np
from jaxtyping import Float

MIN_VOLUME = 2.0  # Å³; below this least squares balances one element against another


def atomic_volumes(
    counts: Float[np.ndarray, "n n_elements"],
    volumes: Float[np.ndarray, " n"],
    *,
    least: float = MIN_VOLUME,
) -> Float[np.ndarray, " n_elements"]:
    """Fit volumes of atoms, Å³, whose sums are nearest to the volumes of crystals in relative error.

    >>> atomic_volumes(np.array([[1.0, 1.0], [1.0, 2.0]]), np.array([30.0, 50.0])).round(3).tolist()
    [10.0, 20.0]

    Args:
        counts: Atoms of each element in each crystal; an element that no crystal has gets the mean of the others.
        volumes: Volumes of the crystals, Å³.
        least: Lower bound of each volume, Å³.
    """
    from scipy.optimize import lsq_linear

    shares = counts / volumes[:, None]
    fitted = lsq_linear(shares, np.ones(len(shares)), bounds=(least, np.inf)).x
    seen = counts.any(0)
    return np.where(seen, fitted, fitted[seen].mean())
