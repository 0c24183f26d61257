"""Short bases of lattices, in batch: what bounds the search for neighbours in skewed and flat cells."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

MAX_ROUNDS = 64  # each round that changes a basis shortens it by a fixed share, so that few are ever needed
SHORTER = 1 - 1e-10  # a change must shorten a squared length by more than rounding


def reduced_cells(
    lattice: Float[Tensor, "n_systems 3 3"],
) -> tuple[Float[Tensor, "n_systems 3 3"], Float[Tensor, "n_systems 3 3"]]:
    """Find the shortest basis of each lattice, its vectors in ascending order of length.

    A sphere then touches no more images than a constant times the lattice points in it, however skewed the
    cell it was given in. Nothing is rotated; the basis need not be right-handed. No gradient passes.

    Returns:
        The basis, float64, and the whole numbers `change` with basis = change @ lattice.

    Source: Semaev, "A 3-dimensional lattice reduction algorithm", CaLC 2001, LNCS 2146, 181.
    """
    basis = lattice.detach().double()
    change = torch.eye(3, dtype=basis.dtype, device=basis.device).expand_as(basis)
    signs = torch.tensor([-1.0, 0.0, 1.0], dtype=basis.dtype, device=basis.device)
    near = torch.cartesian_prod(signs, signs)  # what rounding can miss around the closest point of a plane
    for _ in range(MAX_ROUNDS):
        order = basis.square().sum(2).argsort(1)[:, :, None].expand_as(basis)
        basis, change = basis.gather(1, order), change.gather(1, order)
        step, any_step = _shortening(basis, near)
        if not bool(any_step.any()):
            break
        basis, change = step @ basis, step @ change
    return basis, change


def _shortening(
    basis: Float[Tensor, "n_systems 3 3"], near: Float[Tensor, "9 2"]
) -> tuple[Float[Tensor, "n_systems 3 3"], Bool[Tensor, " n_systems"]]:
    """Return what to multiply each sorted basis by, and whether that changes it: second vector, then third."""
    gram = basis @ basis.mT
    along = torch.round(gram[:, 1, 0] / gram[:, 0, 0])
    second = gram[:, 1, 1] - 2 * along * gram[:, 1, 0] + along**2 * gram[:, 0, 0]
    do_second = second < gram[:, 1, 1] * SHORTER
    plane = gram[:, :2, :2]
    det = (plane[:, 0, 0] * plane[:, 1, 1] - plane[:, 0, 1] ** 2).clamp(min=1e-300)
    first_at = (plane[:, 1, 1] * gram[:, 2, 0] - plane[:, 0, 1] * gram[:, 2, 1]) / det
    second_at = (plane[:, 0, 0] * gram[:, 2, 1] - plane[:, 0, 1] * gram[:, 2, 0]) / det
    steps = torch.round(torch.stack([first_at, second_at], 1))[:, None] + near
    thirds = basis[:, 2, None] - steps @ basis[:, :2]
    lengths, best = thirds.square().sum(2).min(1)
    do_third = ~do_second & (lengths < gram[:, 2, 2] * SHORTER)
    step = torch.eye(3, dtype=basis.dtype, device=basis.device).repeat(len(basis), 1, 1)
    step[:, 1, 0] = torch.where(do_second, -along, 0.0)
    chosen = steps.gather(1, best[:, None, None].expand(-1, 1, 2))[:, 0]
    step[:, 2, :2] = torch.where(do_third[:, None], -chosen, 0.0)
    return step, do_second | do_third
