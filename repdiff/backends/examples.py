"""Crystals that variations are made of, as the backends of crystals noise them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int

from descriptors.batch import CrystalBatch
from descriptors.symmetry.orbit_maps import orbit_maps
from descriptors.symmetry.protostructure import Protostructure
from repdiff.crystals.crystal import Crystal, to_batch
from repdiff.diffusion.lattice_space import right_handed
from repdiff.diffusion.noise_level import NoiseLevel
from repdiff.errors import UserError
from repdiff.symmetry import SymmetrizedCrystal, read_protostructures


@dataclass(frozen=True, kw_only=True, eq=False)
class Examples:
    """Parents of variations, one for each.

    Attributes:
        parents: The crystals.
        symmetrized: The same, exactly symmetric, where their protostructures are kept; None where they are not.
        level: How far they are noised.
        keep: What of them is kept.
    """

    parents: Sequence[Crystal]
    symmetrized: Sequence[SymmetrizedCrystal] | None
    level: NoiseLevel
    keep: str

    @classmethod
    def of(cls, parents: Sequence[Crystal], level: NoiseLevel, *, keep: str) -> "Examples":
        """Take parents, and read their protostructures where they are kept.

        Raises:
            UserError: If one is to be kept and cannot be read.
        """
        symmetrized = read_each(parents) if keep == "protostructure" else None
        return cls(parents=parents, symmetrized=symmetrized, level=level, keep=keep)

    def select(self, part: slice) -> "Examples":
        """Return some of them."""
        symmetrized = None if self.symmetrized is None else self.symmetrized[part]
        return replace(self, parents=self.parents[part], symmetrized=symmetrized)

    @cached_property
    def protostructures(self) -> list[Protostructure] | None:
        """What is kept, one for each; None where it is not."""
        return None if self.symmetrized is None else [one.protostructure for one in self.symmetrized]

    @property
    def species(self) -> list[Int[np.ndarray, " _"]]:
        """Atomic numbers of the atoms, in the order of `batch`."""
        if self.symmetrized is None:
            return [parent.atomic_numbers for parent in self.parents]
        return [one.crystal("").atomic_numbers for one in self.symmetrized]

    def batch(self) -> CrystalBatch:
        """Return the parents in right-handed cells, on the CPU; where they are symmetrised, as `orbit_maps` does."""
        if self.symmetrized is None:
            return right_handed(to_batch(self.parents))
        maps = orbit_maps([one.protostructure for one in self.symmetrized])
        free = torch.cat([torch.from_numpy(one.free) for one in self.symmetrized])
        cells = torch.stack([torch.from_numpy(one.cell) for one in self.symmetrized])
        return maps.crystals(free, cells)

    def as_given(self, numbers: Sequence[int]) -> list[Crystal]:
        """Return the parents themselves, as variations that nothing was done to."""
        pairs = zip(self.parents, numbers, strict=True)
        return [parent.replace(id=f"gen-{number:06d}", split=None, labels={}) for parent, number in pairs]


def read_each(parents: Sequence[Crystal]) -> list[SymmetrizedCrystal]:
    """Read the protostructure of each parent, once of those that occur again.

    Raises:
        UserError: If one has none within the tolerance.
    """
    different = {id(parent): parent for parent in parents}
    readings = read_protostructures(list(different.values()), canonical=True)
    found = {}
    for (key, parent), reading in zip(different.items(), readings, strict=True):
        if reading.symmetrized is None:
            raise UserError(f"{parent.id} has no protostructure to keep: {reading.reason}")
        found[key] = reading.symmetrized
    return [found[id(parent)] for parent in parents]
