"""Representation vectors → crystals, in one call."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from descriptors.base import Descriptor
from descriptors.representation import Representation
from reconstruction.given_symmetry import GivenSymmetry
from reconstruction.inversion import prepare
from reconstruction.parallel import reconstruct_groups
from reconstruction.presets import Search
from reconstruction.progress import ReconstructionBar
from reconstruction.result import ReconstructionResult, join_results, nothing_found


def reconstruct(
    vectors: Float[Tensor, "n_vectors n_columns"],
    representation: Representation | Descriptor,
    *,
    search: str | Search = "default",
    exact: bool,
    seed: int = 0,
    device: torch.device | str = "cpu",
    n_workers: int = 1,
    progress: bool = False,
    max_atoms: int = 300,
    symmetry: GivenSymmetry | None = None,
) -> ReconstructionResult:
    """Find the crystals of representation vectors.

    The result depends on the vectors, the search, the seed and the type of the device, not on the number of workers;
    with `max_seconds` in the search also on the speed of the machine. To get crystals as they are found, call `prepare`
    and `reconstruct_groups`.

    Args:
        vectors: One a row, as `Representation.encode` makes them, in physical units.
        representation: What the columns mean; see `prepare`.
        search: "default", "fast", "thorough", "paper", or settings.
        exact: Whether the vectors belong to true crystals, rather than being generated.
        seed: Seed of the random starts.
        device: Where to search.
        n_workers: Processes, on a CPU; see `reconstruct_groups`.
        progress: Show a bar on stderr.
        max_atoms: Vectors that ask for more atoms are refused.
        symmetry: Protostructures and cells that are known; see `prepare`.

    Returns:
        The crystals found, by ascending row, and the reasons of the rows that make none.

    Raises:
        ValueError: If there is no search of that name, or the vectors have not the columns of the representation.
    """
    inversion = prepare(
        vectors,
        representation,
        search=search,
        exact=exact,
        seed=seed,
        device=device,
        max_atoms=max_atoms,
        symmetry=symmetry,
    )
    parts = [nothing_found(inversion.decoded.unsearched([]))]
    with ReconstructionBar(inversion, missing=inversion.groups, disable=not progress) as bar:
        for rows, found in reconstruct_groups(inversion, n_workers=n_workers):
            parts.append(found)
            bar.add(rows)
    found = join_results(parts).in_order()
    return replace(found, refused={**found.refused, **inversion.decoded.refused})
