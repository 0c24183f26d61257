"""Composition block → integer formula."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Compositions:
    """Integer formulas read from composition blocks.

    Attributes:
        counts: Atoms of each element in the cell; a row of zeros where no formula could be read.
        residuals: Σ_k |n f_k - count_k|, atoms: how far the vector was from the formula.
        reasons: Why no formula could be read, or None.
    """

    counts: Int[Tensor, "n_systems n_elements"]
    residuals: Float[Tensor, " n_systems"]
    reasons: list[str | None]

    def atomic_numbers(self, row: int, elements: tuple[int, ...]) -> Int[Tensor, " n_atoms"]:
        """Return Z of every atom of one formula, ascending, for the elements that name the columns."""
        return torch.repeat_interleave(torch.tensor(elements), self.counts[row])


def decode_compositions(
    frequencies: Float[Tensor, "n_systems n_elements"],
    n_atoms: Float[Tensor, " n_systems"],
    *,
    max_atoms: int,
) -> Compositions:
    """Round frequencies to integer counts that add up to the rounded number of atoms.

    Negative frequencies count as 0 and the rest is scaled to add up to 1. Of the fractional counts that follow, the
    integer parts are given first and the atoms left over go to the largest remainders: of all formulas with that
    number of atoms it is a nearest one, in the sum of absolute differences.

    Args:
        frequencies: Fraction of the atoms that are of each element.
        n_atoms: Number of atoms of the cell, not rounded.
        max_atoms: A larger number is refused.
    """
    sizes = n_atoms.round()
    total = frequencies.clamp(min=0).sum(1)
    reasons: list[str | None] = []
    for size, raw, amount in zip(sizes.tolist(), n_atoms.tolist(), total.tolist(), strict=True):
        reason = None
        if not 1 <= size <= max_atoms:  # also catches NaN
            reason = f"number of atoms is {raw:.3g}, expected 1 to {max_atoms}"
        elif not 0 < amount < math.inf:  # also catches NaN
            reason = f"element frequencies add up to {amount:.3g}, expected about 1"
        reasons.append(reason)
    good = torch.tensor([reason is None for reason in reasons], dtype=torch.bool, device=frequencies.device)
    sizes = torch.where(good, sizes, 0.0)
    share = torch.where(good[:, None], frequencies.clamp(min=0) / total.clamp(min=1e-30)[:, None], 0.0)
    ideal = share * sizes[:, None]
    counts = ideal.floor()
    left = (sizes - counts.sum(1)).round()
    rank = torch.argsort(torch.argsort(counts - ideal, dim=1, stable=True), dim=1)
    counts = (counts + (rank < left[:, None])).long()
    residuals = (frequencies * n_atoms[:, None] - counts).abs().sum(1)
    return Compositions(counts=counts, residuals=torch.where(good, residuals, torch.nan), reasons=reasons)
