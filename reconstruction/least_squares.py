"""Levenberg-Marquardt steps for many problems at once, each of few unknowns and many residuals."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

STEP = 1e-4  # Å, of the difference quotients
LONGEST = 0.3  # Å, that an unknown moves at most in one iteration
FIRST_DAMPING, WORSE, BETTER = 1e-3, 8.0, 0.2
TINY = 1e-300  # keeps the equations solvable where nothing depends on the unknowns
CONVERGED = 1e-9  # loss that is as good as zero: 1e-7 still leaves 3e-4 Å at a symmetric site
GAIN = 0.1  # share of its squared error that a step of a crystal must take off
IDLE = 2  # steps in a row with less after which a crystal is left
STUCK, NEAR = 1e-4, 3e-3  # losses between which means alone are worth a try
MEANS_GOAL, MEANS_IDLE = 1e-5, 3  # when means have done what they can

Residuals = Callable[[Float[Tensor, "n n_unknowns"], Int[Tensor, " n"]], Float[Tensor, "n n_features"]]


@dataclass(kw_only=True)
class LeastSquares:
    """Problems on their way down, in double precision.

    Attributes:
        residuals: Gives the relative errors at some places, of the problem numbered beside each.
        n_unknowns: Unknowns of each problem, the first columns; the others have no effect.
        n_at_once: Places to evaluate at once, at most.
        best: Unknowns with the lowest loss so far, Å; the loss is the sum of absolute residuals.
        lowest: Lowest loss so far.
        spent: Number of evaluations spent on each problem.
    """

    residuals: Residuals
    n_unknowns: Int[Tensor, " n_problems"]
    n_at_once: int
    best: Float[Tensor, "n_problems n_columns"]
    lowest: Float[Tensor, " n_problems"]
    spent: Float[Tensor, " n_problems"]

    @classmethod
    def begin(
        cls,
        residuals: Residuals,
        start: Float[Tensor, "n_problems n_columns"],
        n_unknowns: Int[Tensor, " n_problems"],
        *,
        n_at_once: int,
    ) -> "LeastSquares":
        """Begin at some place of each problem."""
        rows = torch.arange(len(start), device=start.device)
        return cls(
            residuals=residuals,
            n_unknowns=n_unknowns,
            n_at_once=max(n_at_once, 1),
            best=start.clone(),
            lowest=residuals(start, rows).abs().sum(1),
            spent=torch.ones_like(start[:, 0]),
        )

    def solve(self, means: Bool[Tensor, " n_features"], n_steps: int, *, goal: float = CONVERGED) -> None:
        """Descend with all residuals, and where that gets stuck near zero with the means alone and all again.

        Where an extreme over atoms passes from one atom to another the error has a kink, and steps stall at it; means
        have none.

        Args:
            means: Residuals that have no kinks.
            n_steps: Iterations at most, each time that all residuals are used; twice as many with the means.
            goal: Loss at which a problem is done.
        """
        everything = torch.ones_like(means)
        self.descend(everything, n_steps, goal=goal, patience=IDLE)
        stuck = (self.lowest >= STUCK) & (self.lowest < NEAR)
        if bool(stuck.any()) and not bool(means.all()):
            self.descend(means, 2 * n_steps, goal=MEANS_GOAL, patience=MEANS_IDLE, among=stuck)
            self.descend(everything, n_steps, goal=goal, patience=IDLE, among=stuck)

    def slopes(
        self,
        here: Float[Tensor, "n n_columns"],
        error: Float[Tensor, "n n_features"],
        rows: Int[Tensor, " n"],
    ) -> Float[Tensor, "n n_columns n_features"]:
        """Return the derivatives of the relative errors by the unknowns, Å⁻¹."""
        columns = torch.arange(here.shape[1], device=rows.device)
        place, column = torch.nonzero(columns < self.n_unknowns[rows][:, None], as_tuple=True)
        slopes = here.new_zeros(*here.shape, error.shape[1])
        for part in torch.arange(len(place), device=rows.device).split(self.n_at_once):
            at, which = place[part], column[part]
            moved = here[at].clone()
            moved[torch.arange(len(at), device=rows.device), which] += STEP
            slopes[at, which] = (self.residuals(moved, rows[at]) - error[at]) / STEP
        return slopes

    def descend(
        self,
        columns: Bool[Tensor, " n_features"],
        n_steps: int,
        *,
        goal: float,
        patience: int,
        among: Bool[Tensor, " n_problems"] | None = None,
    ) -> None:
        """Take damped Gauss-Newton steps for the squared error of some columns, from the best places so far.

        Args:
            columns: Features to match.
            n_steps: Iterations at most.
            goal: Loss, of all features, at which a problem is done.
            patience: A problem is done after so many steps in a row that gained little.
            among: The problems to descend with; None for all.
        """
        wanted = (self.lowest > goal) & (self.n_unknowns > 0)
        rows = torch.nonzero(wanted if among is None else wanted & among).flatten()
        here = self.best[rows]
        error = self.residuals(here, rows) if len(rows) else here
        damping = torch.full_like(self.lowest[rows], FIRST_DAMPING)
        idle = torch.zeros_like(rows)
        for _ in range(n_steps):
            if not len(rows):
                break
            slopes = self.slopes(here, error, rows)[:, :, columns]
            step = _damped_step(slopes, error[:, columns], damping)
            pair = torch.stack([here + (n * step).clamp(-LONGEST, LONGEST) for n in (1, 2)], 1)
            changes = self.residuals(pair.flatten(0, 1), rows.repeat_interleave(2)).unflatten(0, (-1, 2))
            self.spent[rows] += self.n_unknowns[rows] + 2
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


def _damped_step(
    slopes: Float[Tensor, "n n_unknowns n_columns"],
    error: Float[Tensor, "n n_columns"],
    damping: Float[Tensor, " n"],
) -> Float[Tensor, "n n_unknowns"]:
    """Return the damped Gauss-Newton step, Å."""
    squared = slopes @ slopes.transpose(1, 2)
    diagonal = squared.diagonal(dim1=1, dim2=2)
    ridge = (damping[:, None] * diagonal.amax(1, keepdim=True) + TINY).expand_as(diagonal)
    return torch.linalg.solve(squared + torch.diag_embed(ridge), -(slopes @ error[:, :, None]))[..., 0]
