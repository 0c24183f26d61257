"""Representation vectors → crystals: decode formula and cell, then search for the positions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descriptors import lattice as cells
from descriptors.base import Descriptor
from descriptors.batch import CrystalBatch
from descriptors.representation import Representation
from reconstruction.basin_hopping import Search, search
from reconstruction.cell import decode_cells
from reconstruction.composition import decode_compositions
from reconstruction.objective import Objective
from reconstruction.result import Reconstructed

AGREEING = 3  # trials that must find the same minimum before the search for an inexact vector stops
SHORTEST_SHARE = 0.95  # of the shortest distance in the vector, below which atoms repel each other
SHORTEST = 0.6  # Å; atoms nearer than this repel each other whatever the vector says
CPU_ATOMS, GPU_ATOMS = 600, 60_000  # atoms of all trials in one batch
BATCH_NUMBERS = 150_000_000  # numbers that one evaluation may hold, about 2 GB with their gradients


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

    def unsearched(self, rows: Sequence[int]) -> CrystalBatch:
        """Return the crystals of these rows with all atoms at the origin."""
        numbers = [self.atomic_numbers[row] for row in rows]
        sizes = torch.tensor([len(z) for z in numbers])
        return CrystalBatch(
            frac_coords=self.lattice.new_zeros(int(sizes.sum()), 3),
            lattice=self.lattice[list(rows)],
            atomic_numbers=torch.cat(numbers),
            system_idx=torch.repeat_interleave(torch.arange(len(sizes)), sizes),
        )


def decode(
    vectors: Float[Tensor, "n_systems n_columns"], representation: Representation, *, max_atoms: int
) -> Decoded:
    """Read formula, cell and targets off representation vectors in physical units; refuse what makes no crystal.

    Args:
        vectors: One a row, as `representation.encode` makes them, exact or generated.
        representation: Says what the columns mean.
        max_atoms: Vectors that ask for more atoms are refused.
    """
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


def plan(
    decoded: Decoded, descriptor: Descriptor, settings: Search, *, device: torch.device
) -> list[list[int]]:
    """Group the rows that were not refused into batches of one size, similar density and bounded memory."""
    rows = [row for row, reason in enumerate(decoded.reasons) if reason is None]
    sizes = {row: len(decoded.atomic_numbers[row]) for row in rows}
    volumes = cells.volume(decoded.lattice).tolist()
    rows.sort(key=lambda row: (sizes[row], volumes[row], row))
    groups: list[list[int]] = []
    limit, dense = CPU_ATOMS if device.type == "cpu" else GPU_ATOMS, 0.0
    for row in rows:
        density = sizes[row] / volumes[row]
        n_atoms = sizes[row] * settings.n_trials
        numbers = (
            n_atoms * 4.2 * descriptor.cutoff**3 * max(density, dense) * max(64, descriptor.n_features / 3)
        )
        group = groups[-1] if groups else []
        fits = (
            group
            and sizes[group[0]] == sizes[row]
            and n_atoms * (len(group) + 1) <= limit
            and numbers * (len(group) + 1) <= BATCH_NUMBERS
        )
        if fits:
            group.append(row)
            dense = max(dense, density)
        else:
            groups.append([row])
            dense = density
    return groups


def reconstruct_rows(
    decoded: Decoded,
    rows: Sequence[int],
    descriptor: Descriptor,
    settings: Search,
    *,
    exact: bool,
    seed: int,
    device: torch.device,
) -> Reconstructed:
    """Search for the crystals of some rows, all of one size; the result depends on the rows and the seed alone.

    Args:
        decoded: From `decode`.
        rows: A group from `plan`.
        descriptor: The one the targets were made with, on the device.
        settings: How long to search.
        exact: Whether the targets belong to true crystals. Otherwise no loss near zero can be expected, and the
            search for a crystal ends as soon as three trials have found the same minimum.
        seed: Of the random starts.
        device: Where to compute.
    """
    if not exact and not settings.n_agreeing:
        settings = replace(settings, n_agreeing=min(AGREEING, settings.n_trials))
    start = decoded.unsearched(rows).to(device, dtype=torch.float32)
    objective = Objective(
        descriptor=descriptor,
        targets=decoded.features[list(rows)].to(device, dtype=torch.float32),
        shortest=decoded.shortest[list(rows)].to(device, dtype=torch.float32),
        repulsion=settings.repulsion,
    )
    generator = torch.Generator(device=device).manual_seed((seed * 1_000_003 + rows[0]) % 2**63)
    return search(start, objective, settings, generator=generator)
