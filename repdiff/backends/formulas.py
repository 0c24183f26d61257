"""The formulas of a training set, for backends that take a formula and are given none."""

from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from descriptors.batch import CrystalBatch
from repdiff.networks.random_streams import FORMULA, stream


class TrainingFormulas:
    """The formulas of the training set: drawn from where none is asked for.

    Args:
        rows: Atoms of each element in each training crystal; the column is the atomic number.
    """

    def __init__(self, rows: Int[Tensor, "n_crystals n_elements"]) -> None:
        self.rows = rows

    @classmethod
    def of(cls, batch: CrystalBatch) -> "TrainingFormulas":
        """Count the atoms of every crystal."""
        n_elements = int(batch.atomic_numbers.max()) + 1
        counts = torch.zeros(batch.n_systems, n_elements, dtype=torch.long)
        counts.index_put_(
            (batch.system_idx, batch.atomic_numbers),
            torch.ones(batch.n_atoms, dtype=torch.long),
            accumulate=True,
        )
        return cls(counts.to(torch.int16))

    def draw(self, seed: int, number: int) -> Int[np.ndarray, " n_atoms"]:
        """Return the atoms of a random training crystal, the same for the same seed and number."""
        row = int(stream(seed, number, FORMULA).integers(len(self.rows)))
        counts = self.rows[row].numpy()
        return np.repeat(np.arange(len(counts)), counts)

    @cached_property
    def n_most(self) -> int:
        """Atoms of the largest training crystal."""
        return int(self.rows.sum(1).max())

    @cached_property
    def seen(self) -> set[int]:
        """Atomic numbers that the training set has."""
        return set(self.rows.any(0).nonzero()[:, 0].tolist())
