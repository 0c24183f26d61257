"""How firmly a descriptor holds the atoms of one crystal: its response to small displacements."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from descriptors import lattice as cells
from descriptors.base import Descriptor
from descriptors.batch import CrystalBatch
from descriptors.representation import chunks_by_cost
from repdiff.crystals.crystal import Crystal, to_batch
from repdiff.execution.progress import progress_bar
from repdiff.settings import DegeneracySettings

STEP = 1e-4  # Å, of the central differences; their error, relative, is about 1e-8
FLAT = 1e-6  # singular value over the largest, below which the vector does not change at all


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """What the descriptor of a crystal says about displacements of its atoms.

    Directions are of all atoms together, orthonormal, without the three translations: 3 n_atoms - 3 of them, the
    right singular vectors of the Jacobian. A change of the vector is relative L1, as the loss of the
    reconstruction: Σ|change| / Σ|vector|. Displacements are root mean squares over the atoms, Å.

    Attributes:
        n_directions: Number of all directions.
        n_flat: Number of directions along which the vector does not change to first order: singular value below 1e-6 of
            the largest.
        n_soft: Number of directions along which the displacement asked for, in one sense or the other, changes the
            vector by less than the tolerance. It is evaluated there, not extrapolated; along a curve the atoms might go
            farther.
        condition: Largest singular value over the smallest, infinite if that is zero.
        stiffest: Change of the vector per Å along the direction of the largest singular value, to first order.
        softest: Change of the vector per Å along the direction of the smallest singular value, to first order.
        smallest_change: Smallest change of the vector by the displacement asked for, over all directions.
    """

    n_directions: int
    n_flat: int
    n_soft: int
    condition: float
    stiffest: float
    softest: float
    smallest_change: float


def probe(
    descriptor: Descriptor, batch: CrystalBatch, *, displacement: float, tolerance: float
) -> Sensitivity:
    """Find the displacements of the atoms of one crystal that its vector hardly tells.

    At sites of high symmetry the vector of *any* invariant descriptor changes to second order only, so that all
    directions look flat there, whatever the descriptor: `rattled` moves the atoms off such sites first.

    Args:
        descriptor: Gives the vector.
        batch: One crystal of at least two atoms, float64.
        displacement: Å, root mean square over the atoms.
        tolerance: Relative change of the vector that counts as none.

    Raises:
        ValueError: If there is not exactly one crystal of two atoms or more, or its numbers are not float64.
    """
    if batch.n_systems != 1 or batch.n_atoms < 2 or batch.dtype != torch.float64:
        raise ValueError(
            f"{batch.n_systems} crystals of {batch.n_atoms} atoms and {batch.dtype}, expected one crystal of at "
            "least 2 atoms and torch.float64"
        )
    with torch.no_grad():
        vector = descriptor(batch)[0]
        scale = vector.abs().sum().clamp(min=1e-12)
        relative = position_jacobian(descriptor, batch) / scale
        basis = _without_translations(batch.n_atoms)
        _, singular, rows = torch.linalg.svd(relative @ basis, full_matrices=True)
        singular = torch.cat([singular, singular.new_zeros(len(rows) - len(singular))])
        directions = rows @ basis.T * batch.n_atoms**0.5  # root mean square over the atoms: 1 Å
        slopes = (relative @ directions[[0, -1]].T).abs().sum(0)
        moves = directions.reshape(-1, batch.n_atoms, 3) * displacement
        moved = encode_moved(descriptor, batch, torch.cat([moves, -moves]))
        changes = ((moved - vector).abs().sum(1) / scale).view(2, -1).amin(0)
    return Sensitivity(
        n_directions=len(singular),
        n_flat=int((singular <= FLAT * singular[0]).sum()),
        n_soft=int((changes < tolerance).sum()),
        condition=float(singular[0] / singular[-1]) if singular[-1] > 0 else float("inf"),
        stiffest=float(slopes[0]),
        softest=float(slopes[1]),
        smallest_change=float(changes.min()),
    )


def rattled(batch: CrystalBatch, deviation: float, *, generator: torch.Generator) -> CrystalBatch:
    """Displace every atom at random, by `deviation` (Å, standard deviation) along each Cartesian axis."""
    noise = torch.randn(batch.n_atoms, 3, generator=generator, dtype=batch.dtype) * deviation
    return _moved(batch, noise)


def position_jacobian(
    descriptor: Descriptor, batch: CrystalBatch, *, step: float = STEP
) -> Float[Tensor, "n_features n_coords"]:
    """Differentiate the vector of one crystal by its Cartesian coordinates, x, y, z of each atom in turn, per Å.

    By central differences, all of them in one batch: 6 n_atoms evaluations, where derivatives by
    back-propagation take one pass per feature.
    """
    n_coords = 3 * batch.n_atoms
    ahead = torch.eye(n_coords, dtype=batch.dtype).view(n_coords, batch.n_atoms, 3) * step
    values = encode_moved(descriptor, batch, torch.cat([ahead, -ahead]))
    return ((values[:n_coords] - values[n_coords:]) / (2 * step)).T


def encode_moved(
    descriptor: Descriptor, batch: CrystalBatch, moves: Float[Tensor, "n_moves n_atoms 3"]
) -> Float[Tensor, "n_moves n_features"]:
    """Encode one crystal after each of several displacements of its atoms, Å, in chunks of bounded memory."""
    copies = _moved(batch.select(torch.zeros(len(moves), dtype=torch.long)), moves.flatten(0, 1))
    result = moves.new_empty(len(moves), descriptor.n_features)
    for chunk in chunks_by_cost(copies, descriptor):
        rows = torch.tensor(chunk)
        result[rows] = descriptor(copies.select(rows))
    return result


def _moved(batch: CrystalBatch, moves: Float[Tensor, "n_atoms 3"]) -> CrystalBatch:
    frac = batch.frac_coords + cells.cart_to_frac(moves, batch.lattice, batch.system_idx)
    return replace(batch, frac_coords=frac)


def _without_translations(n_atoms: int) -> Float[Tensor, "n_coords n_directions"]:
    """Return orthonormal columns that span all displacements which keep the mean position."""
    ones, axes = torch.ones(n_atoms, 1, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    complement = torch.linalg.qr(ones, mode="complete").Q[:, 1:]
    return torch.einsum("ad,xy->axdy", complement, axes).reshape(3 * n_atoms, -1)


def probe_crystals(
    crystals: Sequence[Crystal], descriptor: Descriptor, settings: DegeneracySettings
) -> list[tuple[Crystal, Sensitivity]]:
    """Probe random crystals of at least two atoms, each rattled first; see `soft_directions.probe`."""
    several = [crystal for crystal in crystals if crystal.n_atoms > 1]
    rows = np.random.default_rng(settings.seed).permutation(len(several))[: settings.probe]
    chosen = [several[row] for row in sorted(rows.tolist())]
    generator = torch.Generator().manual_seed(settings.seed)
    return [
        (
            crystal,
            probe(
                descriptor,
                rattled(to_batch([crystal]), settings.rattle, generator=generator),
                displacement=settings.displacement,
                tolerance=settings.probe_tolerance,
            ),
        )
        for crystal in progress_bar(chosen, desc="probing", unit="crystal", disable=not chosen)
    ]
