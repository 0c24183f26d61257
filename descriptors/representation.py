"""R = [descriptor | shortest distance | composition | number of atoms | lattice]: encode, name and slice the blocks.

Source: StructRepDiff, arXiv 2408.07213, section 4.1. There the shortest distance belongs to the descriptor and the
number of atoms to the composition; here each is a block of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from descriptors import lattice as cells
from descriptors.base import Descriptor, padded_distances
from descriptors.batch import CrystalBatch
from descriptors.neighbors import find_neighborhood

BLOCKS = ("descriptor", "min_distance", "composition", "n_atoms", "lattice")
LATTICE_NAMES = ("a", "b", "c", "alpha", "beta", "gamma")
SLOT_NUMBERS_PER_CHUNK = 30_000_000  # bounds the memory of one evaluation to about 1 GB


@dataclass(frozen=True, kw_only=True)
class Representation:
    """Turns crystals into vectors with named blocks.

    Attributes:
        descriptor: Fills the first block.
        elements: Atomic numbers that the composition block has a column for, ascending.
    """

    descriptor: Descriptor
    elements: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.elements or list(self.elements) != sorted(set(self.elements)):
            raise ValueError(f"elements are {self.elements}, expected ascending atomic numbers, at least one")

    @property
    def blocks(self) -> dict[str, slice]:
        """Where each block lies in the vector."""
        sizes = (self.descriptor.n_features, 1, len(self.elements), 1, 6)
        blocks, start = {}, 0
        for name, size in zip(BLOCKS, sizes, strict=True):
            blocks[name] = slice(start, start + size)
            start += size
        return blocks

    @property
    def n_features(self) -> int:
        """Length of the vector."""
        return self.blocks["lattice"].stop

    def feature_names(self) -> list[str]:
        """Return a name for each entry, "block:entry"."""
        return (
            [f"descriptor:{name}" for name in self.descriptor.feature_names()]
            + ["min_distance"]
            + [f"composition:{number}" for number in self.elements]
            + ["n_atoms"]
            + [f"lattice:{name}" for name in LATTICE_NAMES]
        )

    def encode(self, batch: CrystalBatch) -> Float[Tensor, "n_systems n_features"]:
        """Encode every crystal of the batch, in one evaluation of the descriptor.

        The shortest distance is that of any two atoms through all images, at most the cutoff of the descriptor.

        Raises:
            ValueError: If a crystal holds an element that has no column.
        """
        neighborhood = find_neighborhood(batch, self.descriptor.cutoff)
        vectors = neighborhood.vectors(batch.frac_coords, batch.lattice)
        features = self.descriptor.evaluate(neighborhood, vectors)
        nearest = padded_distances(neighborhood, vectors, absent=self.descriptor.cutoff).amin(1)
        shortest = nearest.new_full((batch.n_systems,), torch.inf)
        shortest = shortest.scatter_reduce(0, batch.system_idx, nearest, "amin")
        sizes = batch.n_atoms_per_system.to(features.dtype)
        return torch.cat(
            [
                features,
                shortest[:, None],
                self.frequencies(batch),
                sizes[:, None],
                cells.to_parameters(batch.lattice),
            ],
            dim=1,
        )

    def frequencies(self, batch: CrystalBatch) -> Float[Tensor, "n_systems n_elements"]:
        """Return the fraction of the atoms of each crystal that are of each element.

        Raises:
            ValueError: If a crystal holds an element that has no column.
        """
        column = torch.full((119,), -1, dtype=torch.long, device=batch.device)
        column[list(self.elements)] = torch.arange(len(self.elements), device=batch.device)
        index = column[batch.atomic_numbers]
        if bool((index < 0).any()):
            strange = sorted(set(batch.atomic_numbers[index < 0].tolist()))
            raise ValueError(
                f"atomic numbers {strange} have no column; the representation knows {list(self.elements)}"
            )
        counts = batch.lattice.new_zeros(batch.n_systems, len(self.elements))
        one = torch.ones((), dtype=batch.dtype, device=batch.device).expand(batch.n_atoms)
        counts = counts.index_put((batch.system_idx, index), one, accumulate=True)
        return counts / batch.n_atoms_per_system[:, None]


def chunks_by_cost(batch: CrystalBatch, descriptor: Descriptor) -> list[Sequence[int]]:
    """Group crystals into chunks of similar density whose evaluation stays within about 1 GB.

    The neighbour table is as wide as the atom with the most neighbours, so that crystals of similar density belong
    together; the order within and of the chunks is by density.
    """
    density = batch.n_atoms_per_system / cells.volume(batch.lattice)
    slots = (4.2 * descriptor.cutoff**3 * density * 1.5).clamp(min=16) * batch.n_atoms_per_system
    cost = slots * max(64.0, descriptor.n_features / 3)
    order = torch.argsort(density)
    groups: list[Sequence[int]] = []
    start, total = 0, 0.0
    ordered_cost = cost[order].tolist()
    for position, amount in enumerate(ordered_cost):
        if position > start and total + amount > SLOT_NUMBERS_PER_CHUNK:
            groups.append(order[start:position].tolist())
            start, total = position, 0.0
        total += amount
    groups.append(order[start:].tolist())
    return groups
