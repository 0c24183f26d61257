"""The path from noised atoms to the nearest of the crystals that are the same as the clean one.

Atoms of one element are alike, and a crystal moved as a whole is the same crystal. A network that is asked for the
way back of each atom to its own place, which it cannot know, answers with an average over all that might be; asked
for the nearest of the equal crystals, it has one answer.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from descriptors import lattice as cells
from descriptors.batch import CrystalBatch
from repdiff.diffusion.nearest_image import ImageFinder
from repdiff.diffusion.torus import centred


def nearest_paths(
    goal: Float[Tensor, "n_atoms 3"],
    noisy: Float[Tensor, "n_atoms 3"],
    clean: CrystalBatch,
    finder: ImageFinder,
) -> Float[Tensor, "n_atoms 3"]:
    """Return fractional paths that lead atoms to places of like atoms, one each, by the shortest ways in sum.

    Squared lengths are added up. The mean over a crystal is removed afterwards, so that the crystal stays where it is.

    Args:
        goal: Places of all atoms, fractional, in any image.
        noisy: Where they are.
        clean: Cells, and the true element of each atom.
        finder: Finder of the shortest periodic images in the same cells.
    """
    order = torch.argsort(clean.system_idx * 128 + clean.atomic_numbers, stable=True)
    groups = torch.unique_consecutive(
        (clean.system_idx * 128 + clean.atomic_numbers)[order], return_counts=True
    )[1]
    atom, place, sizes = _pairs(groups)
    system_idx = clean.system_idx[order[atom]]
    paths = finder.shortest(goal[order[place]] - noisy[order[atom]], system_idx)
    squares = cells.frac_to_cart(paths, clean.lattice, system_idx).square().sum(1)
    chosen = torch.from_numpy(_assigned(squares.detach().cpu().numpy(), sizes)).to(order)
    found = torch.empty_like(noisy).index_copy(0, order, paths[chosen])
    return centred(found, clean)


def _pairs(
    groups: Int[Tensor, " n_groups"],
) -> tuple[Int[Tensor, " n_pairs"], Int[Tensor, " n_pairs"], list[int]]:
    """Return both members of all pairs within each group of consecutive atoms, row by row, and the groups' sizes."""
    squares = groups.square()
    starts = groups.cumsum(0) - groups
    group = torch.repeat_interleave(torch.arange(len(groups), device=groups.device), squares)
    within = torch.arange(len(group), device=groups.device) - (squares.cumsum(0) - squares)[group]
    size = groups[group]
    return starts[group] + within // size, starts[group] + within % size, groups.tolist()


def _assigned(costs: Float[np.ndarray, " n_pairs"], sizes: list[int]) -> Int[np.ndarray, " n_atoms"]:
    """Return the pair that each atom takes."""
    chosen, first = [], 0
    for size in sizes:
        last = first + size * size
        columns = np.zeros(1, np.int64)
        if size > 1:
            columns = linear_sum_assignment(costs[first:last].reshape(size, size))[1]
        chosen.append(first + np.arange(size) * size + columns)
        first = last
    return np.concatenate(chosen)
