"""Gradient descent of crystals of unlike symmetry at once: Adam on free coordinates and strains."""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descriptors.moving_vectors import moving_vectors
from descriptors.neighbors import Neighborhood
from reconstruction.minimize import SKIN, SLACK, Descent, Moments
from reconstruction.objective import Objective
from reconstruction.orbit_space import STRAIN_LENGTH, STRAINS, OrbitSpace


@dataclass(frozen=True, kw_only=True)
class Pull:
    """What draws a cell towards the given one: the squares of its strains over what they may be.

    Attributes:
        weight: What one standard deviation adds to the loss; the sum over all strains.
        volume: Standard deviation of the volume, relative.
        shape: Standard deviation of each strain that keeps the volume.
    """

    weight: float
    volume: float = 0.03
    shape: float = 0.02

    def __call__(self, stretch: Float[Tensor, "n 3 3"]) -> Float[Tensor, " n"]:
        """Return the term of the loss for cells multiplied by `stretch`."""
        strain = stretch - torch.eye(3, dtype=stretch.dtype, device=stretch.device)
        trace = torch.diagonal(strain, dim1=1, dim2=2).sum(1)
        shape = (strain**2).sum((1, 2)) - trace**2 / 3
        return self.weight * ((trace / self.volume) ** 2 + shape / self.shape**2)


@dataclass(frozen=True, kw_only=True)
class Aim:
    """What crystals of given symmetry should be.

    Attributes:
        objective: The descriptors sought, and the overlap term.
        pull: What draws the cells to the given ones.
    """

    objective: Objective
    pull: Pull

    def select(self, systems: Int[Tensor, " n_selected"]) -> "Aim":
        """Return the aim of the named crystals."""
        return replace(self, objective=self.objective.select(systems))

    def losses(
        self,
        space: OrbitSpace,
        points: Float[Tensor, "n n_rows 3"],
        neighborhood: Neighborhood,
        *,
        n_stages: int | None = None,
    ) -> Float[Tensor, " n"]:
        """Return the loss at some points; differentiable."""
        frac, lattice = space.coordinates(points)
        losses = self.objective(neighborhood, moving_vectors(neighborhood, frac, lattice), n_stages=n_stages)
        return losses + self.pull(space.stretch(points)) if self.pull.weight else losses

    def measure(
        self, space: OrbitSpace, points: Float[Tensor, "n n_rows 3"], *, n_stages: int | None = None
    ) -> Float[Tensor, " n"]:
        """Return the loss at some points, from fresh neighbour tables, without gradient."""
        with torch.no_grad():
            neighborhood = space.neighborhood(points, self.objective.descriptor.cutoff)
            return self.losses(space, points, neighborhood, n_stages=n_stages)


@dataclass(frozen=True, kw_only=True)
class Reached:
    """Outcome of a descent: the best point of each crystal, its loss, and the evaluations it took."""

    points: Float[Tensor, "n n_rows 3"]
    losses: Float[Tensor, " n"]
    n_evaluations: Float[Tensor, " n"]


def descend(
    space: OrbitSpace,
    points: Float[Tensor, "n n_rows 3"],
    aim: Aim,
    descent: Descent,
    *,
    rivals: Int[Tensor, " n"],
) -> Reached:
    """Move points downhill; each keeps the best place it has visited.

    As `reconstruction.minimize.descend`, on free coordinates and strains in place of positions.

    Args:
        space: Crystals, one for each point.
        points: Where to start.
        aim: What they should be.
        descent: How long and how fast.
        rivals: Points with the same number seek the same crystal: when one is solved, the others stop.
    """
    reach = aim.objective.descriptor.cutoff + SKIN
    active = torch.arange(len(points), device=points.device)
    best, best_loss = points.clone(), points.new_full((len(points),), math.inf)
    spent = torch.zeros_like(best_loss)
    moments = Moments.like(points)
    here, neighborhood, origin = points, None, points
    for step in range(descent.n_steps):
        if neighborhood is None or _moved(space, here - origin, reach) * 2 > SKIN + SLACK:
            neighborhood, origin = space.neighborhood(here, reach), here
        tried = here.detach().requires_grad_()
        losses = aim.losses(space, tried, neighborhood, n_stages=descent.n_stages)
        (gradient,) = torch.autograd.grad(losses.sum(), tried)
        losses = losses.detach()
        spent[active] += 1
        better = losses < best_loss[active]
        best_loss[active] = torch.where(better, losses, best_loss[active])
        best[active] = torch.where(better[:, None, None], here, best[active])
        direction = moments.direction(torch.einsum("sri,srki->srk", gradient, space.steps))
        here = here - descent.rate(step) * torch.einsum("srk,srki->sri", direction, space.steps)
        if descent.solved_below and step % descent.check_every == descent.check_every - 1:
            unsolved = ~torch.isin(rivals, rivals[best_loss < descent.solved_below])[active]
            if not bool(unsolved.any()):
                break
            if float(unsolved.float().mean()) < 0.85:
                left = torch.nonzero(unsolved).flatten()
                space, aim, active = space.select(left), aim.select(left), active[left]
                here, neighborhood = here[left], None
                moments.keep(left)
    return Reached(points=best, losses=best_loss, n_evaluations=spent)


def _moved(space: OrbitSpace, step: Float[Tensor, "n n_rows 3"], reach: float) -> float:
    """Return how far an atom has moved at most, Å, counting half of what a strain moves the farthest neighbour."""
    moves = torch.einsum("sri,srij->srj", step, space.moves).norm(dim=2)
    strain = moves[:, STRAINS].norm(dim=1) / STRAIN_LENGTH
    return float((moves[:, : STRAINS.start].amax(1) + strain * reach / 2).max())
