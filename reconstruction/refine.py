"""The last digits of a crystal that is nearly right: least squares, where gradient descent creeps along a valley."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from descriptors import lattice as cells
from descriptors.base import Descriptor
from descriptors.batch import CrystalBatch
from descriptors.ead import EmbeddedAtomDensity
from reconstruction.minimize import Descended
from reconstruction.objective import Objective

STEP = 1e-4  # Å, of the difference quotients
LONGEST = 0.3  # Å, that an atom moves at most along an axis in one iteration
FIRST_DAMPING, WORSE, BETTER = 1e-3, 8.0, 0.2
TINY = 1e-300  # keeps the equations solvable where nothing depends on the positions
CPU_ATOMS, GPU_ATOMS = 8000, 50_000  # in one evaluation of displaced crystals
CONVERGED = 1e-9  # loss that is as good as zero: 1e-7 still leaves 3e-4 Å at a symmetric site
GAIN = 0.1  # share of its squared error that a step of a crystal must take off
IDLE = 2  # steps in a row with less after which a crystal is left
STUCK, NEAR = 1e-4, 3e-3  # losses between which means alone are worth a try
MEANS_GOAL, MEANS_IDLE = 1e-5, 3  # when means have done what they can


def refine(batch: CrystalBatch, objective: Objective, *, n_steps: int) -> Descended:
    """Minimise the squared error of the descriptor by Levenberg-Marquardt steps; keep what lowers the loss.

    Each step displaces every coordinate of every crystal once, so that it costs 3 n + 2 evaluations without gradient.
    At the solution of an exact vector the residual vanishes and convergence is fast; crystals that have converged, or
    no longer gain, stop. At a symmetric site the descriptor is stationary, so that a plain step goes half the way: each
    is also tried at twice its length. Computed in double precision.

    Where an extreme over atoms passes from one atom to another the error has a kink, and steps stall at it. So what is
    near zero but not there goes on with the means over atoms alone, which have no kinks, for twice as many steps, and
    again with everything.

    Args:
        batch: Crystals of one size, near their solution.
        objective: One target for each crystal; the overlap term plays no part.
        n_steps: Iterations at most, each time that all of the descriptor is matched.

    Source: Levenberg, Q. Appl. Math. 2, 164 (1944), for the damping.
    """
    problem = _LeastSquares.begin(batch, objective)
    everything = torch.ones(objective.targets.shape[1], dtype=torch.bool, device=batch.device)
    means = smooth_columns(objective.descriptor).to(batch.device)
    problem.descend(everything, n_steps, goal=CONVERGED, patience=IDLE)
    stuck = (problem.lowest >= STUCK) & (problem.lowest < NEAR)
    if bool(stuck.any()) and not bool(means.all()):
        problem.descend(means, 2 * n_steps, goal=MEANS_GOAL, patience=MEANS_IDLE, among=stuck)
        problem.descend(everything, n_steps, goal=CONVERGED, patience=IDLE, among=stuck)
    frac = cells.cart_to_frac(problem.best.reshape(-1, 3), problem.batch.lattice, batch.system_idx)
    return Descended(
        batch=replace(batch, frac_coords=frac.to(batch.dtype)),
        losses=problem.lowest.to(batch.dtype),
        n_evaluations=problem.spent.to(batch.dtype),
    )


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


@dataclass(kw_only=True)
class _LeastSquares:
    """Crystals on their way down, in double precision.

    Attributes:
        batch: Cells and elements.
        descriptor: Descriptor to match.
        targets: Descriptor vectors to reach.
        best: Cartesian coordinates with the lowest loss so far, Å.
        lowest: Lowest loss so far.
        spent: Number of evaluations spent on each crystal.
    """

    batch: CrystalBatch
    descriptor: Descriptor
    targets: Float[Tensor, "n_systems n_features"]
    best: Float[Tensor, "n_systems size_3"]
    lowest: Float[Tensor, " n_systems"]
    spent: Float[Tensor, " n_systems"]

    @classmethod
    def begin(cls, batch: CrystalBatch, objective: Objective) -> "_LeastSquares":
        fine = batch.to(batch.device, dtype=torch.float64)
        here = fine.cart_coords.reshape(fine.n_systems, -1)
        problem = cls(
            batch=fine,
            descriptor=objective.descriptor,
            targets=objective.targets.double(),
            best=here,
            lowest=here.new_zeros(fine.n_systems),
            spent=here.new_ones(fine.n_systems),
        )
        rows = torch.arange(fine.n_systems, device=fine.device)
        problem.lowest = problem.residuals(here[:, None], rows)[:, 0].abs().sum(1)
        return problem

    def residuals(
        self, moved: Float[Tensor, "n n_moved size_3"], rows: Int[Tensor, " n"]
    ) -> Float[Tensor, "n n_moved n_features"]:
        """Return the relative errors of some crystals in several places each."""
        n_moved = moved.shape[1]
        replicas = self.batch.select(rows.repeat_interleave(n_moved))
        frac = cells.cart_to_frac(moved.reshape(-1, 3), replicas.lattice, replicas.system_idx)
        with torch.no_grad():
            features = self.descriptor(replace(replicas, frac_coords=frac)).unflatten(0, (len(rows), n_moved))
        wanted = self.targets[rows][:, None]
        return (features - wanted) / wanted.abs().sum(2, keepdim=True).clamp(min=1e-12)

    def slopes(
        self, here: Float[Tensor, "n size_3"], error: Float[Tensor, "n n_features"], rows: Int[Tensor, " n"]
    ) -> Float[Tensor, "n size_3 n_features"]:
        """Return the derivatives of the relative errors by the coordinates, Å⁻¹."""
        n_coordinates = here.shape[1]
        moves = STEP * torch.eye(n_coordinates, dtype=here.dtype, device=here.device)
        most = CPU_ATOMS if here.device.type == "cpu" else GPU_ATOMS
        at_once = max(1, 3 * most // max(n_coordinates**2, 1))
        everything = torch.arange(len(rows), device=rows.device)
        return torch.cat(
            [
                (self.residuals(here[part, None] + moves, rows[part]) - error[part, None]) / STEP
                for part in everything.split(at_once)
            ]
        )

    def descend(
        self,
        columns: Bool[Tensor, " n_features"],
        n_steps: int,
        *,
        goal: float,
        patience: int,
        among: Bool[Tensor, " n_systems"] | None = None,
    ) -> None:
        """Take damped Gauss-Newton steps for the squared error of some columns, from the best points so far.

        Args:
            columns: Features to match.
            n_steps: Iterations at most.
            goal: Loss, of all features, at which a crystal is done.
            patience: A crystal is done after so many steps in a row that gained little.
            among: The crystals to descend with; None for all.
        """
        rows = torch.nonzero((self.lowest > goal) & (True if among is None else among)).flatten()
        here = self.best[rows]
        error = self.residuals(here[:, None], rows)[:, 0] if len(rows) else here
        damping = torch.full_like(self.lowest[rows], FIRST_DAMPING)
        idle = torch.zeros_like(rows)
        for _ in range(n_steps):
            if not len(rows):
                break
            slopes = self.slopes(here, error, rows)[:, :, columns]
            step = _solve(slopes, error[:, columns], damping)
            pair = torch.stack([here + (n * step).clamp(-LONGEST, LONGEST) for n in (1, 2)], 1)
            changes = self.residuals(pair, rows)
            self.spent[rows] += here.shape[1] + 2
            squared = (changes[:, :, columns] ** 2).sum(2)
            lower, shorter = squared.min(1)
            each = torch.arange(len(rows), device=rows.device)
            before = (error[:, columns] ** 2).sum(1)
            better = lower < before
            idle = torch.where(lower < (1 - GAIN) * before, 0, idle + 1)
            here = torch.where(better[:, None], pair[each, shorter], here)
            error = torch.where(better[:, None], changes[each, shorter], error)
            damping = damping * torch.where(better, BETTER, WORSE)
            loss = error.abs().sum(1)
            won = loss < self.lowest[rows]
            self.best[rows] = torch.where(won[:, None], here, self.best[rows])
            self.lowest[rows] = torch.where(won, loss, self.lowest[rows])
            left = (self.lowest[rows] > goal) & (idle < patience)
            rows, here, error, damping, idle = rows[left], here[left], error[left], damping[left], idle[left]


def _solve(
    slopes: Float[Tensor, "n size_3 n_columns"],
    error: Float[Tensor, "n n_columns"],
    damping: Float[Tensor, " n"],
) -> Float[Tensor, "n size_3"]:
    """Return the damped Gauss-Newton step, Å."""
    squared = slopes @ slopes.transpose(1, 2)
    diagonal = squared.diagonal(dim1=1, dim2=2)
    ridge = (damping[:, None] * diagonal.amax(1, keepdim=True) + TINY).expand_as(diagonal)
    return torch.linalg.solve(squared + torch.diag_embed(ridge), -(slopes @ error[:, :, None]))[..., 0]
