"""The last digits of a crystal that is nearly right: least squares, where gradient descent creeps along a valley."""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from descriptors import lattice as cells
from descriptors.base import Descriptor
from descriptors.batch import CrystalBatch
from descriptors.ead import EmbeddedAtomDensity
from reconstruction.least_squares import LeastSquares
from reconstruction.minimize import Descended
from reconstruction.objective import Objective

CPU_ATOMS, GPU_ATOMS = 8000, 50_000  # in one evaluation of displaced crystals


def refine(batch: CrystalBatch, objective: Objective, *, n_steps: int) -> Descended:
    """Minimise the squared error of the descriptor by Levenberg-Marquardt steps; keep what lowers the loss.

    Each step displaces every coordinate of every crystal once, so that it costs 3 n + 2 evaluations without gradient.
    At the solution of an exact vector the residual vanishes and convergence is fast; crystals that have converged, or
    no longer gain, stop. At a symmetric site the descriptor is stationary, so that a plain step goes half the way: each
    is also tried at twice its length. Computed in double precision.

    What is near zero but not there goes on with the means over atoms alone: see `LeastSquares.solve`.

    Args:
        batch: Crystals of one size, near their solution.
        objective: One target for each crystal; the overlap term plays no part.
        n_steps: Iterations at most, each time that all of the descriptor is matched.

    Source: Levenberg, Q. Appl. Math. 2, 164 (1944), for the damping.
    """
    fine = batch.to(batch.device, dtype=torch.float64)
    targets = objective.targets.double()

    def residuals(moved: Float[Tensor, "n size_3"], rows: Int[Tensor, " n"]) -> Float[Tensor, "n n_features"]:
        replicas = fine.select(rows)
        frac = cells.cart_to_frac(moved.reshape(-1, 3), replicas.lattice, replicas.system_idx)
        with torch.no_grad():
            features = objective.descriptor(replace(replicas, frac_coords=frac))
        return relative_errors(features, targets[rows])

    start = fine.cart_coords.reshape(fine.n_systems, -1)
    most = CPU_ATOMS if batch.device.type == "cpu" else GPU_ATOMS
    problem = LeastSquares.begin(
        residuals,
        start,
        torch.full((fine.n_systems,), start.shape[1], device=batch.device),
        n_at_once=3 * most // max(start.shape[1], 1),
    )
    problem.solve(smooth_columns(objective.descriptor).to(batch.device), n_steps)
    frac = cells.cart_to_frac(problem.best.reshape(-1, 3), batch.lattice.double(), batch.system_idx)
    return Descended(
        batch=replace(batch, frac_coords=frac.to(batch.dtype)),
        losses=problem.lowest.to(batch.dtype),
        n_evaluations=problem.spent.to(batch.dtype),
    )


def relative_errors(
    features: Float[Tensor, "n n_features"], wanted: Float[Tensor, "n n_features"]
) -> Float[Tensor, "n n_features"]:
    """Return what the sum of absolute values is the loss of."""
    return (features - wanted) / wanted.abs().sum(1, keepdim=True).clamp(min=1e-12)


def smooth_columns(descriptor: Descriptor) -> Bool[Tensor, " n_features"]:
    """Tell which features have no kinks: the means over atoms; all, of a descriptor that does not say."""
    if not isinstance(descriptor, EmbeddedAtomDensity):
        return torch.ones(descriptor.n_features, dtype=torch.bool)
    smooth = [
        how not in ("max", "min")
        for block in descriptor.resolutions
        for how in block.poolings
        for _ in range(block.n_per_atom)
    ]
    return torch.tensor(smooth)
