"""Random displacements before a relaxation, so that a crystal on a saddle can leave it."""

import hashlib
from dataclasses import dataclass

import numpy as np

from repdiff.crystals.crystal import Crystal
from repdiff.networks.random_streams import NOISE, stream


@dataclass(frozen=True, kw_only=True)
class Rattle:
    """Normal displacements of every Cartesian coordinate; the cell stays.

    Attributes:
        width: Standard deviation, Å; 0 moves nothing.
        seed: Seed; with the name of a crystal it decides how its atoms move, whatever else is relaxed with it.
    """

    width: float = 0.0
    seed: int = 0

    def apply(self, crystal: Crystal) -> Crystal:
        """Return the crystal with displaced atoms, in the same images."""
        if not self.width:
            return crystal
        number = int.from_bytes(hashlib.sha256(crystal.id.encode()).digest()[:7], "big")
        steps = stream(self.seed, number, NOISE).normal(0, self.width, (crystal.n_atoms, 3))
        return crystal.replace(frac_coords=crystal.frac_coords + steps @ np.linalg.inv(crystal.lattice))
