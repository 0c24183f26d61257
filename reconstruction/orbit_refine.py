"""The last digits of crystals of given symmetry, by least squares on their free coordinates."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from reconstruction.least_squares import LeastSquares
from reconstruction.orbit_descent import Aim, Reached
from reconstruction.orbit_space import OrbitSpace
from reconstruction.refine import CPU_ATOMS, GPU_ATOMS, relative_errors, smooth_columns

CONVERGED = 1e-6  # loss that is as good as zero, in single precision


def refine_points(
    space: OrbitSpace, points: Float[Tensor, "n n_rows 3"], aim: Aim, *, n_steps: int
) -> Reached:
    """Minimise the squared error of the descriptor from each point; keep what lowers the loss.

    As `reconstruction.refine.refine`; a step costs as many evaluations as there are free entries, and two. Neither the
    overlap term nor the pull of the cell plays a part.

    Args:
        space: Crystals, one for each point.
        points: Where to start, near the solution.
        aim: The descriptors sought.
        n_steps: Iterations at most, each time that all of the descriptor is matched.
    """
    fine, objective = space.to(torch.float64), aim.objective
    targets, device = objective.targets.double(), points.device
    free = fine.is_free.flatten(1)
    order = torch.argsort((~free).to(torch.int8), dim=1, stable=True)
    n_unknowns = free.sum(1)
    order = order[:, : max(int(n_unknowns.max()), 1)]
    lengths = torch.where(free, fine.lengths.flatten(1), torch.ones_like(fine.lengths.flatten(1)))
    base = points.double().flatten(1)

    def placed(moved: Float[Tensor, "n n_unknowns"], rows: Int[Tensor, " n"]) -> Float[Tensor, "n n_rows 3"]:
        values = torch.where(
            free[rows].gather(1, order[rows]),
            moved / lengths[rows].gather(1, order[rows]),
            base[rows].gather(1, order[rows]),
        )
        return base[rows].scatter(1, order[rows], values).unflatten(1, (-1, 3))

    def residuals(
        moved: Float[Tensor, "n n_unknowns"], rows: Int[Tensor, " n"]
    ) -> Float[Tensor, "n n_features"]:
        replicas, at = fine.select(rows), placed(moved, rows)
        with torch.no_grad():
            neighborhood = replicas.neighborhood(at, objective.descriptor.cutoff)
            vectors = neighborhood.vectors(*replicas.coordinates(at))
            return relative_errors(objective.descriptor.evaluate(neighborhood, vectors), targets[rows])

    n_centres = len(fine.maps.elements) / max(fine.n_systems, 1)
    most = CPU_ATOMS if device.type == "cpu" else GPU_ATOMS
    start = (base * lengths).gather(1, order)
    problem = LeastSquares.begin(residuals, start, n_unknowns, n_at_once=int(most / n_centres))
    problem.solve(smooth_columns(objective.descriptor).to(device), n_steps, goal=CONVERGED)
    rows = torch.arange(len(points), device=device)
    return Reached(
        points=placed(problem.best, rows).to(points.dtype),
        losses=problem.lowest.to(points.dtype),
        n_evaluations=problem.spent.to(points.dtype),
    )
