"""Embedded Atom Density: squared sums of Gaussian orbitals over the neighbours of each atom.

    ρ_i(l, η, R_s) = Σ_{lx+ly+lz=l} l!/(lx! ly! lz!) (Σ_j w_j φ(r_ij))²
    φ(r) = x^lx y^ly z^lz exp(-η (|r| - R_s)²) f_c(|r|)

Source: Zhang, Hu, Jiang, J. Phys. Chem. Lett. 2019, 10, 4962, eq. 2 to 4; pooled over atoms as in
StructRepDiff, arXiv 2408.07213, eq. 1.
"""

from dataclasses import asdict, dataclass
from itertools import pairwise
from math import factorial

import torch
from jaxtyping import Float
from torch import Tensor

from descriptors.base import DESCRIPTORS, Descriptor, padded_distances
from descriptors.elements import check_weights, weight_columns
from descriptors.neighbors import Neighborhood
from descriptors.pooling import check_poolings, pool_all
from descriptors.radial import cosine_cutoff, gaussians

TOUCHING = 1e-6  # Å; atoms nearer than this have no direction, rather than one that is not a number


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """Settings of one block of embedded atom densities.

    Attributes:
        cutoff: How far an atom sees, Å.
        etas: Widths of the Gaussians, Å⁻².
        centers: Their centres R_s, Å.
        orders: Angular momenta l.
        weights: Kinds of neighbour weight, one channel each; see `descriptors.elements.element_weights`.
        poolings: "max", "min", "mean", or "mean:KIND", the mean weighted by the centre's element weight.
        unit_vectors: Divide x, y, z by r, so that the angular factor has no length; irrelevant to l = 0.
        log: Take log(1 + ρ), which brings the values of all shells to one scale.
    """

    cutoff: float
    etas: tuple[float, ...]
    centers: tuple[float, ...]
    orders: tuple[int, ...]
    weights: tuple[str, ...]
    poolings: tuple[str, ...]
    unit_vectors: bool
    log: bool

    def __post_init__(self) -> None:
        """Check the values."""
        if not self.cutoff > 0:
            raise ValueError(f"cutoff is {self.cutoff} Å, expected a positive length")
        if not all((self.etas, self.centers, self.orders, self.weights, self.poolings)):
            raise ValueError(
                "one of etas, centers, orders, weights, poolings is empty, expected at least one of each"
            )
        if min(self.etas) <= 0 or min(self.orders) < 0:
            raise ValueError(
                f"etas are {self.etas} and orders {self.orders}, expected positive and not negative"
            )
        check_weights(self.weights)
        check_poolings(self.poolings)

    @property
    def n_per_atom(self) -> int:
        """Number of densities of one atom."""
        return len(self.weights) * len(self.orders) * len(self.etas) * len(self.centers)

    @property
    def n_features(self) -> int:
        """Number of pooled densities of a crystal."""
        return self.n_per_atom * len(self.poolings)


def evenly(start: float, stop: float, n: int) -> tuple[float, ...]:
    """Return `n` numbers from `start` to `stop`, both included."""
    return tuple(round(start + (stop - start) * k / max(n - 1, 1), 10) for k in range(n))


PAPER = (
    Resolution(
        cutoff=20.0,
        etas=(1.0, 20.0, 90.0),
        centers=evenly(0.0, 19.9, 200),
        orders=(0,),
        weights=("number",),
        poolings=("max", "min"),
        unit_vectors=False,
        log=False,
    ),
)
COMPACT = (
    Resolution(
        cutoff=6.0,
        etas=(0.25,),
        centers=evenly(0.5, 6.0, 8),
        orders=(0, 1, 2),
        weights=("one", "rank", "relative_number"),
        poolings=("mean", "mean:rank", "mean:relative_number", "max", "min"),
        unit_vectors=True,
        log=True,
    ),
)


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
        distances = padded_distances(neighborhood, vectors, absent=2 * self.cutoff)
        directions = vectors / distances.clamp(min=TOUCHING)[..., None]
        return torch.cat(
            [
                self._pooled(block, neighborhood, distances, directions)
                for block in self.resolutions[:n_stages]
            ],
            dim=1,
        )

    def _pooled(
        self,
        block: Resolution,
        neighborhood: Neighborhood,
        distances: Float[Tensor, "n_atoms n_slots"],
        directions: Float[Tensor, "n_atoms n_slots 3"],
    ) -> Float[Tensor, "n_systems n_features"]:
        columns = weight_columns(block.weights, neighborhood, dtype=distances.dtype)
        densities = _densities(block, distances, directions, columns[neighborhood.neighbor_idx])
        if block.log:
            densities = torch.log1p(densities)
        return pool_all(densities, neighborhood, block.poolings)


def _densities(
    block: Resolution,
    distances: Float[Tensor, "n_atoms n_slots"],
    directions: Float[Tensor, "n_atoms n_slots 3"],
    weights: Float[Tensor, "n_atoms n_slots n_weights"],
) -> Float[Tensor, "n_atoms n_per_atom"]:
    """Sum over neighbours as a product of (radial × neighbour) and (neighbour × weight, angle) matrices."""
    centers = torch.tensor(block.centers, dtype=distances.dtype, device=distances.device)
    radial = torch.cat([gaussians(distances, centers, eta=eta) for eta in block.etas], dim=2)
    angular, owner = _angular(block, distances, directions)
    envelope = cosine_cutoff(distances, cutoff=block.cutoff)[..., None] * weights
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
