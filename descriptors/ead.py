"""Embedded Atom Density: squared sums of Gaussian orbitals over the neighbours of each atom.

    ρ_i(l, η, R_s) = Σ_{lx+ly+lz=l} l!/(lx! ly! lz!) (Σ_j w_j φ(r_ij))²
    φ(r) = x^lx y^ly z^lz exp(-η (|r| - R_s)²) f_c(|r|)

Source: Zhang, Hu, Jiang, J. Phys. Chem. Lett. 2019, 10, 4962, eq. 2 to 4; pooled over atoms as in
StructRepDiff, arXiv 2408.07213, eq. 1.
"""

from dataclasses import asdict
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descriptors import ead_compiled
from descriptors.base import DESCRIPTORS, Descriptor, padded_distances
from descriptors.compiled_loops import TOUCHING
from descriptors.elements import weight_columns
from descriptors.neighbors import Neighborhood
from descriptors.pooling import pool_all
from descriptors.radial import cosine_cutoff, gaussians
from descriptors.resolution import COMPACT, PAPER, Resolution


@DESCRIPTORS.register("ead")
class EmbeddedAtomDensity(Descriptor):
    """Pooled embedded atom densities at one or more resolutions, from coarse to fine.

    Args:
        resolutions: Blocks of the vector, in order; each is one stage for an inverter.
    """

    presets = ("compact", "paper")

    def __init__(self, resolutions: tuple[Resolution, ...]) -> None:
        super().__init__()
        if not resolutions:
            raise ValueError("0 resolutions, expected at least one")
        self.resolutions = resolutions
        self.cutoff = max(resolution.cutoff for resolution in resolutions)
        edges = [0]
        for resolution in resolutions:
            edges.append(edges[-1] + resolution.n_features)
        self.n_features = edges[-1]
        self.stages = tuple(slice(low, high) for low, high in pairwise(edges))

    @classmethod
    def from_preset(cls, preset: str) -> "EmbeddedAtomDensity":
        """Build "compact", the default, or "paper", the published settings (l = 0, η 1, 20 and 90, 20 Å)."""
        return cls({"compact": COMPACT, "paper": PAPER}[preset])

    def settings(self) -> dict[str, object]:
        """Return the resolutions as plain values."""
        return {
            "resolutions": [
                {
                    key: list(value) if isinstance(value, tuple) else value
                    for key, value in asdict(block).items()
                }
                for block in self.resolutions
            ]
        }

    def feature_names(self) -> list[str]:
        """Name each entry by pooling, weight, l, η and R_s."""
        return [
            f"{pooling}|{weight}|l={order}|eta={eta:g}|Rs={center:g}"
            for block in self.resolutions
            for pooling in block.poolings
            for weight in block.weights
            for order in block.orders
            for eta in block.etas
            for center in block.centers
        ]

    def evaluate(
        self,
        neighborhood: Neighborhood,
        vectors: Float[Tensor, "n_centres n_slots 3"],
        *,
        n_stages: int | None = None,
    ) -> Float[Tensor, "n_systems n_features"]:
        """Encode the crystals whose centres have these neighbours; see the base class."""
        return torch.cat(
            [self._pooled(block, neighborhood, vectors) for block in self.resolutions[:n_stages]], dim=1
        )

    def _pooled(
        self, block: Resolution, neighborhood: Neighborhood, vectors: Float[Tensor, "n_centres n_slots 3"]
    ) -> Float[Tensor, "n_systems n_features"]:
        weights = weight_columns(block.weights, neighborhood, dtype=vectors.dtype)
        compute = ead_compiled.densities if ead_compiled.serves(block, vectors) else array_densities
        densities = compute(block, neighborhood, vectors, weights)
        if block.log:
            densities = torch.log1p(densities)
        return pool_all(densities, neighborhood, block.poolings)


def array_densities(
    block: Resolution,
    neighborhood: Neighborhood,
    vectors: Float[Tensor, "n_centres n_slots 3"],
    weights: Float[Tensor, "n_atoms n_weights"],
) -> Float[Tensor, "n_centres n_per_atom"]:
    """Return the densities of a block as array operations, on any device.

    The sum over neighbours is a product of a (radial × neighbour) and a (neighbour × weight, angle) matrix.

    Args:
        block: Which densities.
        neighborhood: Neighbours within at least the cutoff.
        vectors: Vectors from each centre to its neighbours, Å.
        weights: Weights of each atom as a neighbour, one column per weighting.
    """
    distances = padded_distances(neighborhood, vectors, absent=2 * block.cutoff)
    directions = vectors / distances.clamp(min=TOUCHING)[..., None]
    steps = directions if block.unit_vectors else vectors
    columns = _columns(block, distances.dtype, distances.device)
    radial = torch.cat([gaussians(distances, columns.centers, eta=eta) for eta in block.etas], dim=2)
    envelope = cosine_cutoff(distances, cutoff=block.cutoff)[..., None] * weights[neighborhood.neighbor_idx]
    right = (envelope[..., :, None] * _monomials(steps, columns)[..., None, :]).flatten(2)
    moments = (radial.transpose(1, 2) @ right).unflatten(2, (len(block.weights), -1))
    return (moments**2 @ columns.factors).permute(0, 2, 3, 1).flatten(1)


class Columns(NamedTuple):
    """What the columns of the matrices of a block stand for, as tensors on one device.

    Attributes:
        centers: R_s, Å.
        parents: Index of the monomial of the order before that each monomial is a multiple of; one tensor per order
            above 0.
        axes: Axis (0, 1, 2 for x, y, z) that this monomial is multiplied by; one tensor per order above 0.
        factors: l!/(lx! ly! lz!) of each monomial in the column of its order, 0 elsewhere.
    """

    centers: Float[Tensor, " n_centers"]
    parents: tuple[Int[Tensor, " _"], ...]
    axes: tuple[Int[Tensor, " _"], ...]
    factors: Float[Tensor, "n_monomials n_orders"]


@lru_cache(maxsize=32)
def _columns(block: Resolution, dtype: torch.dtype, device: torch.device) -> Columns:
    """Lay out the columns; remembered, since making them anew would hold up a GPU at every evaluation."""
    parents, axes, factors, edges = ead_compiled.monomials(block.orders)
    of_order = torch.zeros(len(factors), len(edges), dtype=dtype)
    for column, (low, high) in enumerate(edges.tolist()):
        of_order[low:high, column] = torch.tensor(factors[low:high], dtype=dtype)
    first = [order * (order + 1) * (order + 2) // 6 for order in range(max(block.orders) + 2)]
    levels = [slice(low, high) for low, high in pairwise(first)]
    return Columns(
        centers=torch.tensor(block.centers, dtype=dtype, device=device),
        parents=tuple(
            torch.as_tensor(parents[here] - before.start, device=device) for before, here in pairwise(levels)
        ),
        axes=tuple(torch.as_tensor(axes[here], device=device) for here in levels[1:]),
        factors=of_order.to(device),
    )


def _monomials(
    steps: Float[Tensor, "n_centres n_slots 3"], columns: Columns
) -> Float[Tensor, "n_centres n_slots n_monomials"]:
    """Return x^lx y^ly z^lz of all orders up to the highest, each order from the one before."""
    levels = [torch.ones_like(steps[..., :1])]
    for parents, axes in zip(columns.parents, columns.axes, strict=True):
        levels.append(levels[-1][..., parents] * steps[..., axes])
    return torch.cat(levels, 2)
