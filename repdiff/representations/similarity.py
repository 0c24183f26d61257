"""How unlike two crystals are by their vectors, and which known crystals are nearest.

The distance is the sum of two shares, each 0 for crystals that do not differ and 1 for those that have nothing in
common:

* of the descriptor, Σ|a - b| / (Σ|a| + Σ|b|): for near vectors half the loss by which a reconstruction is judged;
* of the composition, half the sum of the differences of the shares of the elements: so many atoms are of others.

Nothing in it is fitted, so that a distance means the same in every data set. Neither part depends on the choice of
cell, supercells included, on origin, orientation or the order of the atoms, as far as the descriptor does not; the cell
itself and the number of atoms, which are parts of the vectors as well, do not count.

Source: the first is the dissimilarity of Bray and Curtis, Ecol. Monogr. 1957, 27, 325.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from descriptors.representation import Representation
from descriptors.symmetry.symbols import MAX_ATOMIC_NUMBER
from repdiff.crystals.crystal import Crystal
from repdiff.execution.progress import progress_bar
from repdiff.representations.encoding import encode_crystals
from repdiff.representations.layout import named_descriptor

QUERIES_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class DescribedCrystals:
    """Crystals, and what their distances are measured by.

    Attributes:
        crystals: The crystals.
        descriptors: One row each; float32.
        shares: Share of each element among the atoms, by atomic number.
    """

    crystals: Sequence[Crystal]
    descriptors: Float[Tensor, "n_crystals n_features"]
    shares: Float[Tensor, "n_crystals n_numbers"]

    @classmethod
    def of_vectors(
        cls, crystals: Sequence[Crystal], descriptors: Float[Tensor, "n_crystals n_features"]
    ) -> "DescribedCrystals":
        """Take crystals whose descriptors are known."""
        shares = np.zeros((len(crystals), MAX_ATOMIC_NUMBER + 1), dtype=np.float32)
        for row, crystal in enumerate(crystals):
            counts = np.bincount(crystal.atomic_numbers, minlength=MAX_ATOMIC_NUMBER + 1)
            shares[row] = counts / crystal.n_atoms
        return cls(crystals=crystals, descriptors=descriptors, shares=torch.from_numpy(shares))

    @classmethod
    def of(
        cls, crystals: Sequence[Crystal], descriptor: str, *, device: torch.device, progress: bool = True
    ) -> "DescribedCrystals":
        """Compute the descriptors of crystals that passed `check_crystals`.

        Args:
            crystals: At least one.
            descriptor: Name of the descriptor, NAME or NAME:PRESET.
            device: Where to compute.
            progress: Whether to show a bar.

        Raises:
            UserError: If there is no such descriptor.
        """
        elements = tuple(sorted({int(z) for crystal in crystals for z in crystal.atomic_numbers}))
        representation = Representation(descriptor=named_descriptor(descriptor), elements=elements)
        vectors = encode_crystals(crystals, representation, device=device, progress=progress)
        return cls.of_vectors(crystals, vectors[:, representation.blocks["descriptor"]])

    def select(self, rows: Sequence[int]) -> "DescribedCrystals":
        """Return some of the crystals."""
        chosen = list(rows)
        return DescribedCrystals(
            crystals=[self.crystals[row] for row in chosen],
            descriptors=self.descriptors[chosen],
            shares=self.shares[chosen],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Neighbours:
    """The nearest of some known crystals, for each of some queries, nearest first; of equals the first.

    Attributes:
        rows: Which known crystals.
        of_descriptor: Part of the distance that is of the descriptor.
        of_composition: Part of the distance that is of the composition.
    """

    rows: Int[Tensor, "n_queries n_nearest"]
    of_descriptor: Float[Tensor, "n_queries n_nearest"]
    of_composition: Float[Tensor, "n_queries n_nearest"]

    @property
    def distances(self) -> Float[Tensor, "n_queries n_nearest"]:
        """The distances, from 0 to 2."""
        return self.of_descriptor + self.of_composition


def distances(one: DescribedCrystals, other: DescribedCrystals) -> Float[Tensor, " n"]:
    """Return the distance of each crystal from that of the same row, from 0 to 2."""
    total = one.descriptors.abs().sum(1) + other.descriptors.abs().sum(1)
    of_descriptor = (one.descriptors - other.descriptors).abs().sum(1) / total.clamp(min=1e-12)
    return of_descriptor + (one.shares - other.shares).abs().sum(1) / 2


def find_nearest(
    queries: DescribedCrystals, known: DescribedCrystals, n: int, *, progress: bool = True
) -> Neighbours:
    """Find the nearest known crystals by comparing with all of them.

    Args:
        queries: Crystals.
        known: What to search; at least one crystal.
        n: How many for each query; fewer if fewer are known.
        progress: Whether to show a bar.
    """
    n = min(n, len(known.crystals))
    sizes, known_sizes = queries.descriptors.abs().sum(1), known.descriptors.abs().sum(1)
    rows, structural, chemical = [], [], []
    starts = range(0, len(queries.crystals), QUERIES_AT_ONCE)
    with progress_bar(
        total=len(queries.crystals), desc="searching", unit="crystal", disable=not progress
    ) as bar:
        for start in starts:
            part = slice(start, start + QUERIES_AT_ONCE)
            apart = torch.cdist(queries.descriptors[part], known.descriptors, p=1)
            apart = apart / (sizes[part, None] + known_sizes).clamp(min=1e-12)
            other = torch.cdist(queries.shares[part], known.shares, p=1) / 2
            order = (apart + other).sort(dim=1, stable=True).indices[:, :n]
            rows.append(order)
            structural.append(apart.gather(1, order))
            chemical.append(other.gather(1, order))
            bar.update(len(order))
    return Neighbours(
        rows=torch.cat(rows), of_descriptor=torch.cat(structural), of_composition=torch.cat(chemical)
    )
