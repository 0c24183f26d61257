"""Gradient descent of many crystals at once: Adam on Cartesian positions under a neighbour table with a skin."""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descriptors import lattice as cells
from descriptors.batch import CrystalBatch
from descriptors.neighbors import find_neighborhood
from reconstruction.objective import Objective

BETA_1, BETA_2, EPSILON = 0.9, 0.99, 1e-10
SKIN = 0.4  # Å
SLACK = 0.8  # Å


@dataclass(frozen=True, kw_only=True)
class Descent:
    """Settings of one descent.

    Attributes:
        n_steps: Adam iterations at most.
        learning_rate: First step length, Å; it falls along a cosine to zero.
        n_done: Steps of the cosine that lie behind, if the descent goes on with an earlier one.
        n_total: Steps of the whole cosine; None if it ends with this descent.
        n_stages: Number of stages of the descriptor to match; None for all.
        solved_below: Crystals whose loss is below this at a check leave the batch, and their rivals with them.
        check_every: Iterations between two checks.
    """

    n_steps: int
    learning_rate: float
    n_done: int = 0
    n_total: int | None = None
    n_stages: int | None = None
    solved_below: float = 0.0
    check_every: int = 10

    def rate(self, step: int) -> float:
        """Return the step length of an iteration, Å."""
        total = self.n_total or self.n_done + self.n_steps
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (self.n_done + step) / total))


@dataclass(kw_only=True)
class Moments:
    """Adam's averages of gradients and of their squares.

    Attributes:
        first: Average of the gradients.
        second: Average of their squares.
        n_steps: Gradients that are in them.
    """

    first: Tensor
    second: Tensor
    n_steps: int = 0

    @classmethod
    def like(cls, values: Tensor) -> "Moments":
        """Begin with none, for gradients by some values."""
        return cls(first=torch.zeros_like(values), second=torch.zeros_like(values))

    def direction(self, gradient: Tensor) -> Tensor:
        """Take a gradient in, and return the direction to step against."""
        self.first = BETA_1 * self.first + (1 - BETA_1) * gradient
        self.second = BETA_2 * self.second + (1 - BETA_2) * gradient**2
        self.n_steps += 1
        return (self.first / (1 - BETA_1**self.n_steps)) / (
            (self.second / (1 - BETA_2**self.n_steps)).sqrt() + EPSILON
        )

    def keep(self, rows: Tensor) -> None:
        """Forget all rows but some, given by number or by flag."""
        self.first, self.second = self.first[rows], self.second[rows]


@dataclass(frozen=True, kw_only=True)
class Descended:
    """Outcome of a descent: the best point of each crystal, its loss, and the evaluations it took."""

    batch: CrystalBatch
    losses: Float[Tensor, " n_systems"]
    n_evaluations: Float[Tensor, " n_systems"]


def descend(
    batch: CrystalBatch,
    objective: Objective,
    descent: Descent,
    *,
    rivals: Int[Tensor, " n_systems"] | None = None,
) -> Descended:
    """Move the atoms of every crystal downhill; each crystal keeps the best point it has visited.

    The neighbour table is made with a skin and renewed when two atoms may have come closer by the skin and a slack
    of 0.8 Å beyond it: what is missed meanwhile lies where the cutoff function is small. The losses returned are those
    of the descent, off by about 1e-4 of themselves; whoever reports them measures them afresh.

    Args:
        batch: Where to start.
        objective: One target for each crystal.
        descent: How long and how fast.
        rivals: Crystals with the same number seek the same target: when one is solved, the others stop.
    """
    cutoff = objective.descriptor.cutoff
    cart = batch.cart_coords.detach().clone()
    lattice, active = batch.lattice, torch.arange(batch.n_systems, device=batch.device)
    best_cart, best_loss = (
        cart.clone(),
        torch.full((batch.n_systems,), math.inf, dtype=batch.dtype, device=batch.device),
    )
    spent = torch.zeros_like(best_loss)
    current, target = batch, objective
    rows = torch.arange(batch.n_atoms, device=batch.device)
    moments = Moments.like(cart)
    neighborhood, origin = None, cart
    for step in range(descent.n_steps):
        if neighborhood is None or float((cart - origin).norm(dim=1).max()) * 2 > SKIN + SLACK:
            current = replace(
                current, frac_coords=cells.cart_to_frac(cart, current.lattice, current.system_idx)
            )
            neighborhood, origin = find_neighborhood(current, cutoff + SKIN), cart
            offsets = neighborhood.shifts @ current.lattice[current.system_idx]
        position = cart.detach().requires_grad_()
        vectors = position[neighborhood.neighbor_idx] + offsets - position[:, None]
        losses = target(neighborhood, vectors, n_stages=descent.n_stages)
        (gradient,) = torch.autograd.grad(losses.sum(), position)
        losses = losses.detach()
        spent[active] += 1
        better = losses < best_loss[active]
        best_loss[active] = torch.where(better, losses, best_loss[active])
        best_cart[rows] = torch.where(better[current.system_idx, None], cart, best_cart[rows])
        cart = cart - descent.rate(step) * moments.direction(gradient)
        if descent.solved_below and step % descent.check_every == descent.check_every - 1:
            solved = best_loss < descent.solved_below
            if rivals is not None:
                solved = torch.isin(rivals, rivals[solved])
            unsolved = ~solved[active]
            if not bool(unsolved.any()):
                break
            if float(unsolved.float().mean()) < 0.85:
                keep = unsolved[current.system_idx]
                systems = torch.nonzero(unsolved).flatten()
                current, target, active = current.select(systems), target.select(systems), active[systems]
                rows, cart, neighborhood = rows[keep], cart[keep], None
                moments.keep(keep)
    frac = cells.cart_to_frac(best_cart, lattice, batch.system_idx)
    return Descended(batch=replace(batch, frac_coords=frac), losses=best_loss, n_evaluations=spent)
