"""Small heads on the features of a crystal network: coordinates, lattice, types, one vector a crystal.

How the outputs move with a batch whose cells become `lattice @ rotation` (rotation or reflection) or
`change @ lattice` (whole numbers, determinant ±1, with coordinates `frac @ inverse(change)`):

| output | rotation | change of cell |
|---|---|---|
| coordinates, Cartesian | `field @ rotation` | the same |
| coordinates, fractional | the same | `field @ inverse(change)` |
| lattice field | `rotation.T @ field @ rotation` | the same |
| deformed cell | `cell @ rotation` | `change @ cell` |
| types, crystal vector | the same | the same |

A permutation of atoms permutes what belongs to atoms. Heads start at zero output unless told otherwise.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from descriptors import lattice as cells
from repdiff.networks.crystal.graph import CrystalGraph
from repdiff.networks.crystal.layers import sum_rows, take_rows, two_layers
from repdiff.networks.crystal.network import CrystalFeatures, CrystalNetworkSettings


class PairWeights(nn.Module):
    """Invariants of centre and neighbour that weigh the radial basis of a pair."""

    def __init__(self, settings: CrystalNetworkSettings, *, zero_init: bool) -> None:
        super().__init__()
        self.centre = nn.Linear(settings.width, settings.width)
        self.neighbor = nn.Linear(settings.width, settings.width, bias=False)
        self.out = nn.Linear(settings.width, settings.n_radial)
        if zero_init:
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)

    def forward(self, features: CrystalFeatures) -> Float[Tensor, "n_pairs n_radial"]:
        """Compute the weights."""
        centre, neighbor = features.graph.pair_idx
        inner = take_rows(self.centre(features.scalars), centre)
        return self.out(nn.functional.silu(inner + take_rows(self.neighbor(features.scalars), neighbor)))


class CoordinateHead(nn.Module):
    """A vector for every atom, Å: sums of edge vectors weighted by invariants, and of the network's vectors.

    The network's output, of order 1, is multiplied by the mean spacing of atoms, (volume / atoms)^{1/3}. The mean
    over a crystal is not removed.
    """

    def __init__(self, settings: CrystalNetworkSettings, *, zero_init: bool = True) -> None:
        super().__init__()
        self.weights = PairWeights(settings, zero_init=zero_init)
        self.gate = two_layers(settings.width, settings.width, settings.width, zero=zero_init)

    def forward(self, features: CrystalFeatures) -> Float[Tensor, "n_atoms 3"]:
        """Compute the Cartesian field."""
        graph = features.graph
        steps = (features.geometry.pair_vectors @ self.weights(features)[:, :, None])[:, :, 0]
        by_edges = sum_rows(steps, graph.pair_idx[0], graph.n_atoms)
        by_vectors = (features.vectors @ self.gate(features.scalars)[:, :, None])[:, :, 0]
        scale = graph.spacing[graph.system_idx, None]
        return scale * (by_edges + by_vectors * features.vectors.shape[2] ** -0.5)


def to_fractional(field: Float[Tensor, "n_atoms 3"], graph: CrystalGraph) -> Float[Tensor, "n_atoms 3"]:
    """Turn a Cartesian field, Å, into changes of fractional coordinates."""
    return cells.cart_to_frac(field, graph.lattice, graph.system_idx)


class LatticeHead(nn.Module):
    """A 3×3 field for every crystal, without unit: a strain, if symmetric, else with a rotation.

    It is the mean over atoms of an invariant times the identity, of outer products of edge vectors weighted by
    invariants, and of outer products of two of the network's vectors.

    Args:
        settings: Settings of the network.
        symmetric: Whether the field is symmetric, like a stress.
        zero_init: Whether the field starts at zero.
    """

    def __init__(
        self, settings: CrystalNetworkSettings, *, symmetric: bool = False, zero_init: bool = True
    ) -> None:
        super().__init__()
        self.symmetric = symmetric
        self.weights = PairWeights(settings, zero_init=zero_init)
        self.gate = two_layers(settings.width, settings.width, settings.width + 1, zero=zero_init)
        self.partner = nn.Linear(settings.width, settings.width, bias=False)

    def forward(self, features: CrystalFeatures) -> Float[Tensor, "n_systems 3 3"]:
        """Compute the field."""
        graph, geometry = features.graph, features.geometry
        per_edge = (take_rows(self.weights(features), graph.edge_pair) * geometry.radial).sum(1, keepdim=True)
        outer = graph.directions[:, :, None] * (per_edge * graph.directions)[:, None]
        of_atoms = sum_rows(outer.flatten(1), graph.pair_idx[0][graph.edge_pair], graph.n_atoms)
        gate = self.gate(features.scalars)
        width = gate.shape[1] - 1
        gated = features.vectors * gate[:, None, :width]
        products = gated @ self.partner(features.vectors).mT * width**-0.5
        identity = torch.eye(3, dtype=gate.dtype, device=gate.device) * gate[:, width:, None]
        field = graph.mean_over_atoms(of_atoms.unflatten(1, (3, 3)) + products + identity)
        return (field + field.mT) / 2 if self.symmetric else field


def deform(
    lattice: Float[Tensor, "n_systems 3 3"], field: Float[Tensor, "n_systems 3 3"]
) -> Float[Tensor, "n_systems 3 3"]:
    """Apply a lattice field to cells, Å: rows become row @ (1 + field), so that a zero field changes nothing.

    Source: Klipfel et al., arXiv 2401.05402, eq. 7, for cell vectors as rows.
    """
    return lattice + lattice @ field


class TypeHead(nn.Module):
    """Logits of every atom's kind.

    Args:
        settings: Settings of the network.
        n_types: Number of kinds.
        zero_init: Whether logits start at zero.
    """

    def __init__(self, settings: CrystalNetworkSettings, n_types: int, *, zero_init: bool = True) -> None:
        super().__init__()
        self.layers = two_layers(settings.width, settings.width, n_types, zero=zero_init)

    def forward(self, features: CrystalFeatures) -> Float[Tensor, "n_atoms n_types"]:
        """Compute the logits."""
        return self.layers(features.scalars)


class CrystalHead(nn.Module):
    """One vector a crystal, from mean and maximum over its atoms; the same for a supercell unless `with_size`.

    Args:
        settings: Settings of the network.
        n_outputs: Length of the vector.
        with_size: Whether the logarithm of the number of atoms is used too.
        zero_init: Whether the vector starts at zero.
    """

    def __init__(
        self,
        settings: CrystalNetworkSettings,
        n_outputs: int,
        *,
        with_size: bool = False,
        zero_init: bool = False,
    ) -> None:
        super().__init__()
        self.with_size = with_size
        self.inner = nn.Sequential(nn.Linear(settings.width, settings.width), nn.SiLU())
        self.out = two_layers(2 * settings.width + with_size, settings.width, n_outputs, zero=zero_init)

    def forward(self, features: CrystalFeatures) -> Float[Tensor, "n_systems n_outputs"]:
        """Compute the vectors."""
        graph = features.graph
        inner = self.inner(features.scalars)
        rows = graph.system_idx[:, None].expand_as(inner)
        highest = inner.new_zeros(graph.n_systems, inner.shape[1])
        highest = highest.scatter_reduce(0, rows, inner, "amax", include_self=False)
        parts = [graph.mean_over_atoms(inner), highest]
        if self.with_size:
            counts = torch.bincount(graph.system_idx, minlength=graph.n_systems)
            parts.append(counts.to(inner.dtype).log()[:, None])
        return self.out(torch.cat(parts, 1))
