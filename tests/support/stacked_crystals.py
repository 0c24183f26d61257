"""Crystals of one formula that are the same, a distortion, or another stacking of each other."""

import numpy as np
from pymatgen.core import Structure


def stack(species: str, *, shift: float = 0.0, bulge: float = 0.0) -> Structure:
    """A tetragonal cell with one atom on each of eight levels; `bulge` moves the second along x."""
    sites = [[0.5 * (level % 2) + shift, 0.5 * (level % 2), level / 8] for level in range(8)]
    sites[1][0] += bulge
    return Structure(np.diag([4.0, 4.0, 16.0]), [{"N": "Na", "K": "K"}[name] for name in species], sites)


STACKS = {
    "first": stack("NNKNKKKN"),
    "shifted": stack("NNKNKKKN", shift=0.3),
    "again": stack("NNKNKKKN", shift=0.1),
    "bulging": stack("NNKNKKKN", bulge=0.2),
    "alternating": stack("NKNKNKNK"),
}
