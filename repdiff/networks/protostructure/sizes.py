"""Frequencies of space group, number of atoms and number of elements, smoothed towards their independence."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from descriptors.symmetry.feasibility import possible_sizes
from descriptors.symmetry.protostructure import Protostructure

SMOOTHING = 0.01  # share of the probability that is spread over combinations that the training set lacks
UNSEEN = 0.01  # share of that for numbers of atoms and elements that no training crystal has


@dataclass(frozen=True, kw_only=True)
class SizeTable:
    """How often groups, numbers of atoms and numbers of elements occur together.

    A share of the probability is that of the product of the three frequencies, where the cell can hold so many atoms;
    a share of this share is for any numbers of atoms and elements up to the largest ones.

    Attributes:
        entries: Group, atoms of the primitive cell, elements: what occurs in the training set, each once.
        counts: How often.
    """

    entries: Int[Tensor, "n_entries 3"]
    counts: Int[Tensor, " n_entries"]

    @classmethod
    def of(cls, protostructures: Sequence[Protostructure]) -> "SizeTable":
        """Count.

        Raises:
            ValueError: If there is none.
        """
        if not protostructures:
            raise ValueError("0 protostructures, expected at least one")
        rows = [[one.number, one.n_atoms(), len(one.elements)] for one in protostructures]
        entries, counts = torch.tensor(rows).unique(dim=0, return_counts=True)
        return cls(entries=entries, counts=counts)

    @property
    def n_max(self) -> int:
        """Largest number of atoms."""
        return int(self.entries[:, 1].max())

    @property
    def k_max(self) -> int:
        """Largest number of elements."""
        return int(self.entries[:, 2].max())

    def holds(self, protostructure: Protostructure) -> bool:
        """Tell whether one has no more atoms and elements than anything in the training set."""
        return protostructure.n_atoms() <= self.n_max and len(protostructure.elements) <= self.k_max

    @cached_property
    def groups(self) -> Bool[Tensor, " 231"]:
        """Which space groups occur."""
        return torch.bincount(self.entries[:, 0], minlength=231) > 0

    @cached_property
    def table(self) -> Float[Tensor, "231 n_sizes n_numbers"]:
        """Probability by group, number of atoms and number of elements, in double precision."""
        found = self._found(self.counts.double().log())
        return (1 - SMOOTHING) * found + SMOOTHING * self._spread(found)

    def shifted(self, shift: Float[Tensor, " n_entries"]) -> Float[Tensor, "231 n_sizes n_numbers"]:
        """Return the table with what occurs in the training set made more and less likely; the spread part stays.

        Args:
            shift: What is added to the log-probability of each entry.
        """
        found = self._found(self.counts.double().log() + shift.double().cpu())
        return self.table + (1 - SMOOTHING) * (found - self._found(self.counts.double().log()))

    def _found(self, scores: Float[Tensor, " n_entries"]) -> Float[Tensor, "231 n_sizes n_numbers"]:
        """Lay out the probabilities of the entries."""
        found = torch.zeros((231, self.n_max + 1, self.k_max + 1), dtype=torch.float64)
        found[tuple(self.entries.cpu().T)] = scores.cpu().softmax(0)
        return found

    def _spread(
        self, found: Float[Tensor, "231 n_sizes n_numbers"]
    ) -> Float[Tensor, "231 n_sizes n_numbers"]:
        """Return the probabilities of all combinations, those that the training set lacks too."""
        possible = torch.from_numpy(possible_sizes(self.n_max).copy())[:, :, None]
        places = torch.arange(self.k_max + 1)
        possible = possible & (places <= torch.arange(self.n_max + 1)[:, None])
        groups, atoms, kinds = found.sum((1, 2)), found.sum((0, 2)), found.sum((0, 1))
        spread = (1 - UNSEEN) * torch.einsum("g,n,k->gnk", groups, atoms, kinds)
        spread = spread + UNSEEN * groups[:, None, None] / (self.n_max * self.k_max)
        spread[:, 0], spread[:, :, 0] = 0.0, 0.0
        spread = spread * possible
        return spread / spread.sum()

    def log_prob(
        self, group: Int[Tensor, " n"], n_atoms: Int[Tensor, " n"], n_elements: Int[Tensor, " n"]
    ) -> Float[Tensor, " n"]:
        """Return the log-probability of each; -inf for what is larger than anything in the training set."""
        inside = (n_atoms <= self.n_max) & (n_elements <= self.k_max)
        found = self.table.to(group.device)[
            group, n_atoms.clamp(max=self.n_max), n_elements.clamp(max=self.k_max)
        ]
        return torch.where(inside, found, 0.0).log()

    def places(self, protostructures: Sequence[Protostructure]) -> Int[Tensor, " n"]:
        """Return the place of each among the entries; -1 for a size that the training set lacks."""
        known = {tuple(entry): place for place, entry in enumerate(self.entries.tolist())}
        sizes = [(one.number, one.n_atoms(), len(one.elements)) for one in protostructures]
        return torch.tensor([known.get(size, -1) for size in sizes], dtype=torch.long)
