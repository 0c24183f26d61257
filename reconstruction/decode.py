"""What a representation vector says without a search: formula, cell, and the descriptor to be matched."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descriptors.batch import CrystalBatch
from descriptors.representation import Representation
from reconstruction.cell import decode_cells
from reconstruction.composition import decode_compositions

SHORTEST_SHARE = 0.95  # of the shortest distance in the vector, below which atoms repel each other
SHORTEST = 0.6  # Å; atoms nearer than this repel each other whatever the vector says


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """What is read off representation vectors without a search, row by row.

    Attributes:
        atomic_numbers: Z of every atom, ascending; empty where the vector was refused.
        lattice: Cells, rows are the cell vectors, Å.
        features: The descriptor sought.
        shortest: Distance below which atoms repel each other, Å.
        residuals: Σ|n f - count| of the formula, atoms.
        repaired: What was changed in the cell, or None.
        reasons: Why a vector was refused, or None.
    """

    atomic_numbers: list[Int[Tensor, " _"]]
    lattice: Float[Tensor, "n_systems 3 3"]
    features: Float[Tensor, "n_systems n_features"]
    shortest: Float[Tensor, " n_systems"]
    residuals: Float[Tensor, " n_systems"]
    repaired: list[str | None]
    reasons: list[str | None]

    @property
    def refused(self) -> dict[int, str]:
        """The rows that make no crystal, with the reason of each."""
        return {row: reason for row, reason in enumerate(self.reasons) if reason is not None}

    def unsearched(self, rows: Sequence[int]) -> CrystalBatch:
        """Return the crystals of these rows with all atoms at the origin; no rows give an empty batch."""
        numbers = [self.atomic_numbers[row] for row in rows]
        sizes = torch.tensor([len(z) for z in numbers], dtype=torch.long)
        return CrystalBatch(
            frac_coords=self.lattice.new_zeros(int(sizes.sum()), 3),
            lattice=self.lattice[list(rows)],
            atomic_numbers=torch.cat([torch.zeros(0, dtype=torch.long), *numbers]),
            system_idx=torch.repeat_interleave(torch.arange(len(sizes)), sizes),
        )


def decode(
    vectors: Float[Tensor, "n_systems n_columns"], representation: Representation, *, max_atoms: int
) -> Decoded:
    """Read formula, cell and targets off representation vectors in physical units; refuse what makes no crystal.

    Args:
        vectors: One a row, as `representation.encode` makes them, exact or generated; on the CPU.
        representation: Says what the columns mean.
        max_atoms: Vectors that ask for more atoms are refused.

    Raises:
        ValueError: If the vectors have not as many columns as the representation.
    """
    if vectors.shape[1] != representation.n_features:
        raise ValueError(
            f"vectors have {vectors.shape[1]} columns, expected the {representation.n_features} of the representation"
        )
    blocks = representation.blocks
    n_atoms = vectors[:, blocks["n_atoms"]][:, 0]
    compositions = decode_compositions(vectors[:, blocks["composition"]], n_atoms, max_atoms=max_atoms)
    cell = decode_cells(vectors[:, blocks["lattice"]], n_atoms.round().clamp(min=1))
    finite = torch.isfinite(vectors).all(1).tolist()
    reasons = [
        formula or box or (None if fine else "the descriptor is not finite")
        for formula, box, fine in zip(compositions.reasons, cell.reasons, finite, strict=True)
    ]
    shortest = (SHORTEST_SHARE * vectors[:, blocks["min_distance"]][:, 0]).clamp(min=SHORTEST)
    return Decoded(
        atomic_numbers=[
            compositions.atomic_numbers(row, representation.elements) for row in range(len(vectors))
        ],
        lattice=cell.lattice,
        features=vectors[:, blocks["descriptor"]],
        shortest=shortest,
        residuals=compositions.residuals,
        repaired=cell.repaired,
        reasons=reasons,
    )
