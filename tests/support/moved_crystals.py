"""The same crystal described in other ways, for tests of what must not depend on the description."""

import numpy as np

from repdiff.crystals.niggli import niggli_reduced

SKEW = np.array([[1, 1, 0], [0, 1, 0], [2, 0, 1]])  # another basis of the same lattice


def in_basis(crystal, basis):
    """Describe a crystal by other cell vectors; integer rows, of determinant 1 or a multiple for a supercell."""
    size = round(abs(np.linalg.det(basis)))
    grid = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3, indexing="ij"), -1).reshape(-1, 3)
    images = grid @ np.linalg.inv(basis)
    images = grid[((images > -1e-9) & (images < 1 - 1e-9)).all(1)]
    assert len(images) == size
    frac = (crystal.frac_coords[:, None] + images).reshape(-1, 3) @ np.linalg.inv(basis)
    numbers = np.repeat(crystal.atomic_numbers, size)
    return crystal.replace(lattice=basis @ crystal.lattice, frac_coords=frac, atomic_numbers=numbers)


def rotated(crystal, rng):
    return crystal.replace(lattice=crystal.lattice @ np.linalg.qr(rng.normal(size=(3, 3)))[0])


def translated(crystal, rng):
    return crystal.replace(frac_coords=crystal.frac_coords + rng.uniform(0, 1, 3))


def in_other_images(crystal, rng):
    return crystal.replace(frac_coords=crystal.frac_coords + rng.integers(-2, 3, crystal.frac_coords.shape))


def permuted(crystal, rng):
    order = rng.permutation(crystal.n_atoms)
    return crystal.replace(
        atomic_numbers=crystal.atomic_numbers[order], frac_coords=crystal.frac_coords[order]
    )


def shaken(crystal, rng, noise=0.01):
    """Move each coordinate by a normal deviate, Å."""
    shift = rng.normal(0, noise, crystal.frac_coords.shape) @ np.linalg.inv(crystal.lattice)
    return crystal.replace(frac_coords=crystal.frac_coords + shift)


MOVES = {
    "rotation": rotated,
    "translation": translated,
    "image": in_other_images,
    "permutation": permuted,
    "supercell": lambda crystal, rng: in_basis(crystal, np.diag([2, 1, 1])),
    "basis": lambda crystal, rng: in_basis(crystal, SKEW),
    "niggli": lambda crystal, rng: niggli_reduced(in_basis(crystal, SKEW)),
}
