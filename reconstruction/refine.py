"""The last digits of a crystal that is nearly right: least squares, where gradient descent creeps along a valley."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from descriptors import lattice as cells
from descriptors.batch import CrystalBatch
from reconstruction.minimize import Descended
from reconstruction.objective import Objective

STEP = 1e-4  # Å, of the difference quotients
LONGEST = 0.3  # Å, that an atom moves at most along an axis in one iteration
FIRST_DAMPING, WORSE, BETTER = 1e-3, 8.0, 0.2
TINY = 1e-300  # keeps the equations solvable where nothing depends on the positions
CPU_ATOMS, GPU_ATOMS = 8000, 50_000  # in one evaluation of displaced crystals


def refine(batch: CrystalBatch, objective: Objective, *, n_steps: int) -> Descended:
    """Minimise the squared error of the descriptor by Levenberg-Marquardt steps; keep what lowers the loss.

    Each step displaces every coordinate of every crystal once, so that it costs 3 n + 2 evaluations without gradient.
    At the solution of an exact vector the residual vanishes and convergence is fast. At a symmetric site the descriptor
    is stationary, so that a plain step goes half the way: each is also tried at twice its length. Computed in double
    precision.

    Args:
        batch: Crystals of one size, near their solution.
        objective: One target for each crystal; the overlap term plays no part.
        n_steps: Iterations.

    Source: Levenberg, Q. Appl. Math. 2, 164 (1944), for the damping.
    """
    size = batch.n_atoms // max(batch.n_systems, 1)
    fine = batch.to(batch.device, dtype=torch.float64)
    targets = objective.targets.double()
    scale = targets.abs().sum(1).clamp(min=1e-12)

    def residuals(
        systems: Float[Tensor, "n_systems n_moved size_3"], rows: Tensor
    ) -> Float[Tensor, "n_systems n_moved n_features"]:
        n_moved = systems.shape[1]
        replicas = fine.select(rows.repeat_interleave(n_moved))
        frac = cells.cart_to_frac(systems.reshape(-1, 3), replicas.lattice, replicas.system_idx)
        with torch.no_grad():
            features = objective.descriptor(replace(replicas, frac_coords=frac))
        wanted = rows.repeat_interleave(n_moved)
        return ((features - targets[wanted]) / scale[wanted, None]).reshape(len(rows), n_moved, -1)

    here = fine.cart_coords.reshape(fine.n_systems, 3 * size)
    everything = torch.arange(fine.n_systems, device=fine.device)
    error = residuals(here[:, None], everything)[:, 0]
    best, lowest = here.clone(), error.abs().sum(1)
    damping = torch.full_like(lowest, FIRST_DAMPING)
    moves = STEP * torch.eye(3 * size, dtype=here.dtype, device=here.device)
    most = CPU_ATOMS if batch.device.type == "cpu" else GPU_ATOMS
    at_once = max(1, most // (3 * size * size))
    for _ in range(n_steps):
        slopes = torch.cat(
            [
                (residuals(here[rows, None] + moves, rows) - error[rows, None]) / STEP
                for rows in everything.split(at_once)
            ]
        )
        squared = slopes @ slopes.transpose(1, 2)
        diagonal = squared.diagonal(dim1=1, dim2=2)
        ridge = (damping[:, None] * diagonal.amax(1, keepdim=True) + TINY).expand_as(diagonal)
        step = torch.linalg.solve(squared + torch.diag_embed(ridge), -(slopes @ error[:, :, None]))[..., 0]
        pair = torch.stack([here + (n * step).clamp(-LONGEST, LONGEST) for n in (1, 2)], 1)
        changes = residuals(pair, everything)
        shorter = (changes**2).sum(2).argmin(1)
        tried, change = pair[everything, shorter], changes[everything, shorter]
        better = (change**2).sum(1) < (error**2).sum(1)
        here, error = torch.where(better[:, None], tried, here), torch.where(better[:, None], change, error)
        damping = damping * torch.where(better, BETTER, WORSE)
        loss = error.abs().sum(1)
        lower = loss < lowest
        best, lowest = torch.where(lower[:, None], here, best), torch.where(lower, loss, lowest)
    frac = cells.cart_to_frac(best.reshape(-1, 3), fine.lattice, fine.system_idx)
    spent = batch.lattice.new_full((batch.n_systems,), float(n_steps * (3 * size + 2) + 1))
    return Descended(
        batch=replace(batch, frac_coords=frac.to(batch.dtype)),
        losses=lowest.to(batch.dtype),
        n_evaluations=spent,
    )
