"""Embedded atom densities and their gradient on a CPU, compiled, one neighbour at a time.

The products of radial functions, monomials and weights are formed in registers and never written to memory, which is
what bounds the same sums as array operations. No exponential is taken either: on an even grid of centres R_k, and with
r = R_c + δ for the nearest point of the grid, exp(-η (r - R_{c+m})²) depends on δ and m alone: it is read off a table
of δ by cubic Hermite interpolation. Gaussians beyond their reach are left out.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from descriptors import compiled_loops
from descriptors.neighbors import Neighborhood
from descriptors.resolution import Resolution

REACH = {torch.float32: 20.0, torch.float64: 42.0}  # Gaussians below exp(-REACH) are left out
TABLE_ERROR = {torch.float32: 1e-8, torch.float64: 1e-14}  # of the interpolated functions


@dataclass(frozen=True)
class Tables:
    """One block of densities as the compiled loops need it.

    Attributes:
        envelope: The cutoff function and its slope at even distances from 0 to the cutoff, (n_points, 2).
        radial: The Gaussian and its slope for each η, point of δ and m, (n_etas, n_points, 2, 2 side + 1).
        sides: Number of centres on each side that the Gaussian of each η reaches.
    """

    envelope: NDArray[np.floating]
    radial: NDArray[np.floating]
    sides: NDArray[np.int64]


@lru_cache(maxsize=32)
def make_tables(block: Resolution, dtype: torch.dtype) -> Tables:
    """Tabulate the radial functions of a block with evenly spaced centres."""
    spacing = block.spacing
    assert spacing is not None
    error, reach = TABLE_ERROR[dtype], REACH[dtype]
    etas = np.array(block.etas)
    farthest = (block.cutoff + max(abs(block.centers[0]), abs(block.centers[-1]))) / spacing
    sides = np.ceil(np.minimum(np.sqrt(reach / etas) / spacing, farthest)).astype(np.int64) + 1
    n_points = math.ceil(spacing * (12 * etas.max() ** 2 / (384 * error)) ** 0.25)
    delta = (np.arange(n_points + 1) / n_points - 0.5) * spacing
    offset = delta[None, :, None] - np.arange(-sides.max(), sides.max() + 1) * spacing
    values = np.exp(-np.minimum(etas[:, None, None] * offset**2, 700.0))
    slopes = -2 * etas[:, None, None] * offset * values * spacing / n_points
    phase = math.pi / block.cutoff
    r = np.linspace(0, block.cutoff, math.ceil(math.pi * (0.5 / (384 * error)) ** 0.25) + 1)
    envelope = np.stack([0.5 * (np.cos(phase * r) + 1), -0.5 * phase * np.sin(phase * r) * r[1]], 1)
    real = np.float32 if dtype == torch.float32 else np.float64
    return Tables(envelope.astype(real), np.stack([values, slopes], 2).astype(real), sides)


@lru_cache(maxsize=32)
def monomials(
    orders: tuple[int, ...],
) -> tuple[NDArray[np.int64], NDArray[np.int64], list[float], NDArray[np.int64]]:
    """List all monomials up to the highest order, each as an earlier one times x, y or z.

    Returns:
        The earlier monomial and the axis of each; l!/(lx! ly! lz!); and where those of each order begin and end.
    """
    powers: list[tuple[int, ...]] = [
        (px, py, order - px - py)
        for order in range(max(orders) + 1)
        for px in range(order, -1, -1)
        for py in range(order - px, -1, -1)
    ]
    parents, axes = [0], [0]
    for power in powers[1:]:
        axis = next(axis for axis in range(3) if power[axis])
        parents.append(powers.index(tuple(p - (n == axis) for n, p in enumerate(power))))
        axes.append(axis)
    factors = [math.factorial(sum(p)) / math.prod(map(math.factorial, p)) for p in powers]
    degree = [sum(p) for p in powers]
    edges = [(degree.index(order), degree.index(order) + degree.count(order)) for order in orders]
    return np.array(parents), np.array(axes), factors, np.array(edges)


def serves(block: Resolution, vectors: Tensor) -> bool:
    """Tell whether the compiled loops can do it: on a CPU, in single or double precision, for even centres."""
    return vectors.device.type == "cpu" and vectors.dtype in REACH and block.spacing is not None


def densities(
    block: Resolution,
    neighborhood: Neighborhood,
    vectors: Float[Tensor, "n_centres n_slots 3"],
    weights: Float[Tensor, "n_atoms n_weights"],
) -> Float[Tensor, "n_centres n_per_atom"]:
    """Return the densities of a block, differentiable once by the vectors.

    Args:
        block: Which densities; `serves` must hold.
        neighborhood: Neighbours within at least the cutoff.
        vectors: Vectors from each centre to its neighbours, Å.
        weights: Weights of each atom as a neighbour; equal for atoms of one element and crystal.
    """
    return _Densities.apply(vectors, neighborhood, weights, block)


class _Densities(Function):
    """Hands arrays to the compiled loops and keeps them for the way back."""

    @staticmethod
    def forward(
        ctx: Any, vectors: Tensor, neighborhood: Neighborhood, weights: Tensor, block: Resolution
    ) -> Tensor:
        """Compute the densities."""
        tables = make_tables(block, vectors.dtype)
        parents, axes, factors, edges = monomials(block.orders)
        n_radial = len(block.etas) * len(block.centers)
        real = tables.envelope.dtype.type
        moments = vectors.new_empty(len(vectors), n_radial, weights.shape[1], len(parents))
        result = vectors.new_empty(len(vectors), block.n_per_atom)
        arguments = (
            vectors.detach().contiguous().numpy(), neighborhood.present.numpy(), neighborhood.neighbor_idx.numpy(),
            neighborhood.atomic_numbers.numpy(), weights.contiguous().numpy(), real(block.cutoff),
            real(block.centers[0]), real(block.spacing), len(block.centers), block.unit_vectors, tables.envelope,
            tables.radial, tables.sides, parents, axes, np.array(factors, dtype=real), edges, moments.numpy(),
        )  # fmt: skip
        compiled_loops.forward(*arguments, result.numpy())
        ctx.arguments = arguments
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Compute the gradient by the vectors."""
        gradient = upstream.new_zeros(ctx.arguments[0].shape)
        compiled_loops.backward(*ctx.arguments, upstream.contiguous().numpy(), gradient.numpy())
        return gradient, None, None, None
