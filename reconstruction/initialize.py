"""Starting crystals, and the moves that hop from one basin to another.

All functions work on crystals of one size: positions have the shape (n_systems, n_atoms, 3).
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

N_CANDIDATES = 8  # places tried for each relocated atom; the one farthest from the others is taken


def random_positions(
    n_systems: int, n_atoms: int, *, dtype: torch.dtype, generator: torch.Generator
) -> Float[Tensor, "n_systems n_atoms 3"]:
    """Draw fractional coordinates uniformly from the cell."""
    return torch.rand(n_systems, n_atoms, 3, dtype=dtype, device=generator.device, generator=generator)


def displace(
    frac_coords: Float[Tensor, "n_systems n_atoms 3"],
    lattice: Float[Tensor, "n_systems 3 3"],
    *,
    size: float,
    generator: torch.Generator,
) -> Float[Tensor, "n_systems n_atoms 3"]:
    """Move every Cartesian coordinate by a uniform random number from [-size, size], Å.

    Source: the hop of StructRepDiff, arXiv 2408.07213, section A.3.5, with size 1 Å.
    """
    shape = frac_coords.shape
    random = torch.rand(shape, dtype=frac_coords.dtype, device=generator.device, generator=generator)
    return frac_coords + (2 * random - 1) * size @ torch.linalg.inv(lattice)


def swap(
    frac_coords: Float[Tensor, "n_systems n_atoms 3"],
    atomic_numbers: Int[Tensor, "n_systems n_atoms"],
    *,
    generator: torch.Generator,
) -> Float[Tensor, "n_systems n_atoms 3"]:
    """Exchange two random atoms of different elements; an elemental crystal stays as it is.

    Right sites with the wrong species on them are the commonest trap of a descriptor inversion.
    """
    differs = (atomic_numbers[:, :, None] != atomic_numbers[:, None, :]).flatten(1).to(frac_coords.dtype)
    possible = differs.sum(1) > 0
    chosen = torch.multinomial(torch.where(possible[:, None], differs, 1.0), 1, generator=generator)[:, 0]
    n_atoms = frac_coords.shape[1]
    one = torch.div(chosen, n_atoms, rounding_mode="floor")
    other = torch.where(possible, chosen % n_atoms, one)
    rows = torch.arange(len(frac_coords), device=frac_coords.device)
    result = frac_coords.clone()
    result[rows, one], result[rows, other] = frac_coords[rows, other], frac_coords[rows, one]
    return result


def exchanges(
    frac_coords: Float[Tensor, "n_systems n_atoms 3"],
    atomic_numbers: Int[Tensor, "n_systems n_atoms"],
    *,
    at_most: int,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "n_systems n_pairs n_atoms 3"], Bool[Tensor, "n_systems n_pairs"]]:
    """Exchange each pair of atoms of different elements, one pair at a time.

    Args:
        frac_coords: Fractional coordinates of the crystals.
        atomic_numbers: Atomic number of each atom.
        at_most: Pairs of a crystal; where it has more, some are drawn.
        generator: Source of the draws, and of the order of the pairs.

    Returns:
        The crystals, and which of them differ from where they came from; those of few pairs are filled up with others.
    """
    n_systems, n_atoms = frac_coords.shape[:2]
    one, other = torch.triu_indices(n_atoms, n_atoms, 1, device=frac_coords.device)
    unlike = atomic_numbers[:, one] != atomic_numbers[:, other]
    n_pairs = min(at_most, int(unlike.sum(1).max())) if n_systems else 0
    odds = torch.rand(unlike.shape, device=generator.device, generator=generator) + unlike
    chosen = odds.topk(n_pairs, dim=1).indices
    order = torch.arange(n_atoms, device=one.device).repeat(n_systems, n_pairs, 1)
    order.scatter_(2, one[chosen][..., None], other[chosen][..., None])
    order.scatter_(2, other[chosen][..., None], one[chosen][..., None])
    rows = torch.arange(n_systems, device=one.device)[:, None, None]
    return frac_coords[rows, order], unlike.gather(1, chosen)


def relocate(
    frac_coords: Float[Tensor, "n_systems n_atoms 3"],
    lattice: Float[Tensor, "n_systems 3 3"],
    *,
    generator: torch.Generator,
) -> Float[Tensor, "n_systems n_atoms 3"]:
    """Put one random atom of each crystal into the roomiest of eight random places.

    Distances to the other atoms are taken in the nearest image by fractional coordinates, which is exact enough to
    rank places.
    """
    n_systems, n_atoms = frac_coords.shape[:2]
    rows = torch.arange(n_systems, device=frac_coords.device)
    atom = torch.randint(n_atoms, (n_systems,), device=generator.device, generator=generator)
    places = torch.rand(
        n_systems, N_CANDIDATES, 3, dtype=frac_coords.dtype, device=generator.device, generator=generator
    )
    steps = places[:, :, None] - frac_coords[:, None]
    distances = ((steps - steps.round()) @ lattice[:, None]).norm(dim=3)
    distances[rows, :, atom] = torch.inf
    best = distances.amin(2).argmax(1)
    result = frac_coords.clone()
    result[rows, atom] = places[rows, best]
    return result
