"""Crystals as the data of backends that learn from them directly."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from descriptors.batch import CrystalBatch
from repdiff.crystals.crystal import to_batch
from repdiff.diffusion.lattice_space import right_handed
from repdiff.diffusion.nearest_image import ImageFinder
from repdiff.representations.encoded_set import EncodedSet
from repdiff.training import TrainingData


def atoms_of_part(counts: Int[Tensor, " n_rows"], mine: slice) -> slice:
    """Return the places, among the atoms of a batch, of those of a part of its crystals.

    Args:
        counts: Atoms of each crystal of the batch.
        mine: The part: one crystal or more, in a row.
    """
    ends = counts.cumsum(0)
    first, last, _ = mine.indices(len(counts))
    return slice(int(ends[first] - counts[first]), int(ends[last - 1]))


@dataclass(frozen=True, kw_only=True)
class CrystalData(TrainingData):
    """Crystals with right-handed cells, and what finds the shortest images in them.

    Attributes:
        batch: The crystals in float32.
        finder: Finder of the shortest periodic images in the same cells, in double precision.
    """

    batch: CrystalBatch
    finder: ImageFinder

    @classmethod
    def of(cls, encoded: EncodedSet, split: str) -> "CrystalData":
        """Take the crystals of one split, in their order."""
        batch = right_handed(to_batch([encoded.crystals[row] for row in encoded.rows(split)]))
        return cls(batch=batch.to(dtype=torch.float32), finder=ImageFinder.of(batch.lattice))

    def __len__(self) -> int:
        """Count the crystals."""
        return self.batch.n_systems

    def to(self, device: torch.device) -> "CrystalData":
        """Move the crystals."""
        return CrystalData(batch=self.batch.to(device), finder=self.finder.to(device))

    def select(self, rows: Int[Tensor, " n_rows"]) -> "CrystalData":
        """Return some of the crystals, in the order of `rows`."""
        return CrystalData(batch=self.batch.select(rows), finder=self.finder.select(rows))
