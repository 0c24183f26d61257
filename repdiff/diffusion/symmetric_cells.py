"""Cells that a space group allows, next to cells that it does not."""

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from repdiff.diffusion.symmetry_constraint import SymmetryConstraint

SAME_STRAIN = 1e-4  # squared logarithmic strains that differ by less are equal


def nearest_allowed(
    lattice: Float[Tensor, "n_systems 3 3"], constraint: SymmetryConstraint
) -> Float[Tensor, "n_systems 3 3"]:
    """Return primitive cells that the groups allow, strained as little as can be, of the same volumes.

    A cell is first described by the vectors that suit the group best, among those that are sums and differences of its
    own three: a reduced cell may have its axes in another order, or other vectors, than the group's primitive cell.

    Args:
        lattice: Cells as rows, Å, in any orientation.
        constraint: The groups.
    """
    found = []
    for cell, reference, projector in zip(
        lattice.double(), constraint.references.double(), constraint.projectors.double(), strict=True
    ):
        inverse = torch.linalg.inv(reference)
        rows = inverse @ (_changes().to(cell) @ cell)
        values, vectors = torch.linalg.eigh(rows @ rows.mT)
        logs = (vectors * (values.clamp(min=1e-12).log() / 2)[:, None]) @ vectors.mT
        allowed = (logs.flatten(1) @ projector.mT).view_as(logs)
        strain = (logs - allowed).square().sum((1, 2))
        best = int(
            (strain <= strain.min() + SAME_STRAIN).nonzero()[0]
        )  # of equal ones the first, whatever rounding says
        found.append(reference @ torch.linalg.matrix_exp(allowed[best]))
    return torch.stack(found).to(lattice)


@cache
def _changes() -> Float[Tensor, "n_changes 3 3"]:
    """Return the integer matrices of determinant 1 with entries -1, 0 and 1, the identity first."""
    digits = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    matrices = torch.cartesian_prod(*[digits] * 9).view(-1, 3, 3)
    matrices = matrices[torch.linalg.det(matrices).round() == 1]
    return torch.cat([torch.eye(3, dtype=torch.float64)[None], matrices])
