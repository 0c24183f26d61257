"""Starting crystals, and the moves that hop from one basin to another.

All functions work on crystals of one size: positions have the shape (n_systems, n_atoms, 3).
"""

import torch
from jaxtyping import Float, Int
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
