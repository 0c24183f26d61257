"""Small crystals that the tests of the metrics share."""

import numpy as np

from repdiff.crystals.crystal import Crystal


def crystal(id, numbers, lattice, frac):
    return Crystal(
        id=id,
        atomic_numbers=np.array(numbers, dtype=np.int64),
        lattice=np.array(lattice, dtype=float).reshape(3, 3),
        frac_coords=np.array(frac, dtype=float).reshape(-1, 3),
    )


def cubic_perovskite(id="SrTiO3", a_site=38, b_site=22, x_site=8, a=3.905):
    frac = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return crystal(id, [a_site, b_site, x_site, x_site, x_site], np.eye(3) * a, frac)


def invalid_crystals():
    cube = np.eye(3) * 4
    return [
        crystal("nan", [11, 17], cube, [[0, 0, np.nan], [0.5, 0.5, 0.5]]),
        crystal("infinite cell", [11, 17], np.full((3, 3), np.inf), [[0, 0, 0], [0.5, 0.5, 0.5]]),
        crystal("flat", [11, 17], [[4, 0, 0], [0, 4, 0], [4, 4, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]]),
        crystal("overlap", [11, 17], cube, [[0, 0, 0], [0.99, 0.05, 0]]),
        crystal("element 0", [0, 17], cube, [[0, 0, 0], [0.5, 0.5, 0.5]]),
        crystal("element 119", [119, 17], cube, [[0, 0, 0], [0.5, 0.5, 0.5]]),
        crystal("empty", [], cube, []),
    ]
