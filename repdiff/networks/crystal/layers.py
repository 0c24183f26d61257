"""Parts of crystal networks: the radial basis of a graph, sums over rows, small layers.

The filters of messages are linear in the radial basis, so that the basis is summed over the images of an atom
first, once for all blocks: a cell of 5 atoms has about 100 edges and 25 pairs, and messages run over pairs. This is
no approximation.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from descriptors.radial import gaussians
from repdiff.networks.crystal.graph import CrystalGraph

MEAN_SQUARE = 19 / 210  # mean over the sphere of the square of an edge's weight


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """A graph in the radial basis: of each edge, and summed over the images of each pair."""

    graph: CrystalGraph
    radial: Float[Tensor, "n_edges n_radial"]
    pair_scalars: Float[Tensor, "n_pairs n_radial"]
    pair_vectors: Float[Tensor, "n_pairs 3 n_radial"]


class RadialBasis(nn.Module):
    """A constant and Gaussians of the logarithm of the distance, all times the weight of the edge.

    Logarithms resolve real crystals and half-noised ones of a cubic ångström alike.

    Args:
        n_radial: Number of functions, the constant included.
        shortest: Centre of the first Gaussian, Å.
        longest: Centre of the last, Å.
        n_neighbors: Edges an atom has on average, by which the sum over all of them is brought to order 1.
    """

    centers: Tensor

    def __init__(self, n_radial: int, shortest: float, longest: float, n_neighbors: int) -> None:
        super().__init__()
        centers = torch.linspace(math.log(shortest), math.log(longest), n_radial - 1)
        self.register_buffer("centers", centers, persistent=False)
        self.eta = 0.5 * ((n_radial - 2) / math.log(longest / shortest)) ** 2
        self.scale = (n_neighbors * MEAN_SQUARE) ** -0.5

    def forward(self, graph: CrystalGraph) -> Geometry:
        """Expand the edges of a graph."""
        bumps = gaussians(graph.distances.log(), self.centers.to(graph.distances.dtype), eta=self.eta)
        radial = functional.pad(bumps, (1, 0), value=1.0) * (self.scale * graph.weights)[:, None]
        n_radial = radial.shape[1]
        steps = functional.pad(graph.directions, (1, 0), value=1.0)
        products = (steps[:, :, None] * radial[:, None]).flatten(1)
        pairs = sum_rows(products, graph.edge_pair, graph.pair_idx.shape[1]).view(-1, 4, n_radial)
        return Geometry(
            graph=graph,
            radial=radial,
            pair_scalars=pairs[:, 0].contiguous(),
            pair_vectors=pairs[:, 1:].contiguous(),
        )


def take_rows(values: Float[Tensor, "n width"], rows: Int[Tensor, " m"]) -> Float[Tensor, "m width"]:
    """Return the named rows; as an embedding, whose gradient is several times as fast as that of an index."""
    return functional.embedding(rows, values)


def sum_rows(values: Float[Tensor, "m width"], rows: Int[Tensor, " m"], n: int) -> Float[Tensor, "n width"]:
    """Add each row of the values to the row named for it of a table of `n` zeros."""
    return values.new_zeros(n, values.shape[1]).index_add(0, rows, values)


def two_layers(n_in: int, n_inner: int, n_out: int, *, zero: bool = False) -> nn.Sequential:
    """Make linear, SiLU, linear, which keep the order of magnitude; the last starts at zero if asked to."""
    first, last = nn.Linear(n_in, n_inner), nn.Linear(n_inner, n_out)
    for layer in (first, last):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    if zero:
        nn.init.zeros_(last.weight)
    return nn.Sequential(first, nn.SiLU(), last)


def softened(vectors: Float[Tensor, "n 3 width"]) -> Float[Tensor, "n 3 width"]:
    """Keep the vectors of an atom short where they are long, and as they are where they are short."""
    return vectors * (1 + vectors.square().sum(1, keepdim=True).mean(2, keepdim=True)).rsqrt()
