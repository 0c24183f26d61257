"""Embedded Atom Density: squared sums of Gaussian orbitals over the neighbours of each atom.

    ρ_i(l, η, R_s) = Σ_{lx+ly+lz=l} l!/(lx! ly! lz!) (Σ_j w_j φ(r_ij))²
    φ(r) = x^lx y^ly z^lz exp(-η (|r| - R_s)²) f_c(|r|)

Source: Zhang, Hu, Jiang, J. Phys. Chem. Lett. 2019, 10, 4962, eq. 2 to 4; pooled over atoms as in
StructRepDiff, arXiv 2408.07213, eq. 1.
"""

from dataclasses import asdict
from itertools import pairwise
from math import factorial

import torch
from jaxtyping import Float
from torch import Tensor

from descriptors import fused
from descriptors.base import DESCRIPTORS, Descriptor, padded_distances
from descriptors.elements import weight_columns
from descriptors.kernels import TOUCHING
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
        vectors: Float[Tensor, "n_atoms n_slots 3"],
        *,
        n_stages: int | None = None,
    ) -> Float[Tensor, "n_systems n_features"]:
        """Encode the crystals whose atoms have these neighbours; see the base class."""
        return torch.cat(
            [self._pooled(block, neighborhood, vectors) for block in self.resolutions[:n_stages]], dim=1
        )

    def _pooled(
        self, block: Resolution, neighborhood: Neighborhood, vectors: Float[Tensor, "n_atoms n_slots 3"]
    ) -> Float[Tensor, "n_systems n_features"]:
        weights = weight_columns(block.weights, neighborhood, dtype=vectors.dtype)
        compute = fused.densities if fused.serves(block, vectors) else array_densities
        densities = compute(block, neighborhood, vectors, weights)
        if block.log:
            densities = torch.log1p(densities)
        return pool_all(densities, neighborhood, block.poolings)


def array_densities(
    block: Resolution,
    neighborhood: Neighborhood,
    vectors: Float[Tensor, "n_atoms n_slots 3"],
    weights: Float[Tensor, "n_atoms n_weights"],
) -> Float[Tensor, "n_atoms n_per_atom"]:
    """Return the densities of a block as array operations, on any device.

    The sum over neighbours is a product of a (radial × neighbour) and a (neighbour × weight, angle) matrix.

    Args:
        block: Which densities.
        neighborhood: Neighbours within at least the cutoff.
        vectors: From each atom to its neighbours, Å.
        weights: Of each atom as a neighbour.
    """
    distances = padded_distances(neighborhood, vectors, absent=2 * block.cutoff)
    directions = vectors / distances.clamp(min=TOUCHING)[..., None]
    centers = torch.tensor(block.centers, dtype=distances.dtype, device=distances.device)
    radial = torch.cat([gaussians(distances, centers, eta=eta) for eta in block.etas], dim=2)
    angular, owner = _angular(block, distances, directions)
    envelope = cosine_cutoff(distances, cutoff=block.cutoff)[..., None] * weights[neighborhood.neighbor_idx]
    right = (envelope[..., :, None] * angular[..., None, :]).flatten(2)
    squared = (radial.transpose(1, 2) @ right) ** 2
    squared = squared.unflatten(2, (len(block.weights), -1))
    per_order = [squared[..., low:high].sum(3) for low, high in pairwise(owner)]
    return torch.stack(per_order, 3).permute(0, 2, 3, 1).flatten(1)


def _angular(
    block: Resolution,
    distances: Float[Tensor, "n_atoms n_slots"],
    directions: Float[Tensor, "n_atoms n_slots 3"],
) -> tuple[Float[Tensor, "n_atoms n_slots n_angular"], list[int]]:
    """Return √(l!/(lx! ly! lz!)) x^lx y^ly z^lz of all orders, and where each order begins and ends."""
    steps = directions if block.unit_vectors else directions * distances[..., None]
    columns, edges = [], [0]
    for order in block.orders:
        for power_x in range(order, -1, -1):
            for power_y in range(order - power_x, -1, -1):
                powers = (power_x, power_y, order - power_x - power_y)
                multiplicity = factorial(order)
                monomial = torch.ones_like(distances)
                for axis, power in enumerate(powers):
                    multiplicity //= factorial(power)
                    monomial = monomial * steps[..., axis] ** power if power else monomial
                columns.append(monomial * multiplicity**0.5)
        edges.append(len(columns))
    return torch.stack(columns, 2), edges
