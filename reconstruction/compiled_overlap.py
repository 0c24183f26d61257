"""The overlap term of the objective and its gradient on a CPU, compiled: few of the pairs are near each other."""

import math
from typing import Any, no_type_check

from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from descriptors.jit import compiled
from descriptors.neighbors import Neighborhood

NEAREST = 1e-6  # Å; atoms nearer than this do not push each other in any direction


def missing_squares(
    neighborhood: Neighborhood,
    vectors: Float[Tensor, "n_centres n_slots 3"],
    floor: Float[Tensor, "n_centres n_slots"],
) -> Float[Tensor, " n_centres"]:
    """Return Σ max(0, floor - r)² over the neighbours of each centre, Å²; differentiable once by the vectors.

    Args:
        neighborhood: The neighbours.
        vectors: Vectors from each centre to its neighbours, Å, on the CPU.
        floor: Distance that each should not fall below, Å.
    """
    return _Missing.apply(vectors, neighborhood.present, floor)


class _Missing(Function):
    """Hands arrays to the compiled loops."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, present: Tensor, floor: Tensor) -> Tensor:  # noqa: ANN401 (has no public type)
        """Sum the squares."""
        ctx.arrays = (vectors.detach().contiguous().numpy(), present.numpy(), floor.contiguous().numpy())
        sums = vectors.new_zeros(len(vectors))
        _sum(*ctx.arrays, sums.numpy())
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Compute the gradient by the vectors."""
        gradient = upstream.new_zeros(ctx.arrays[0].shape)
        _push(*ctx.arrays, upstream.contiguous().numpy(), gradient.numpy())
        return gradient, None, None


@compiled
@no_type_check
def _sum(vectors, present, floor, sums):  # noqa: ANN001, ANN202
    for i in range(vectors.shape[0]):
        for slot in range(vectors.shape[1]):
            if not present[i, slot]:
                continue
            limit = floor[i, slot] * floor[i, slot]
            x, y, z = vectors[i, slot, 0], vectors[i, slot, 1], vectors[i, slot, 2]
            squared = x * x + y * y + z * z
            if squared < limit:
                missing = floor[i, slot] - math.sqrt(squared)
                sums[i] += missing * missing


@compiled
@no_type_check
def _push(vectors, present, floor, upstream, gradient):  # noqa: ANN001, ANN202
    for i in range(vectors.shape[0]):
        for slot in range(vectors.shape[1]):
            if not present[i, slot]:
                continue
            limit = floor[i, slot] * floor[i, slot]
            x, y, z = vectors[i, slot, 0], vectors[i, slot, 1], vectors[i, slot, 2]
            squared = x * x + y * y + z * z
            if squared < limit and squared > NEAREST * NEAREST:
                r = math.sqrt(squared)
                scale = -2 * upstream[i] * (floor[i, slot] - r) / r
                gradient[i, slot, 0] = scale * x
                gradient[i, slot, 1] = scale * y
                gradient[i, slot, 2] = scale * z
