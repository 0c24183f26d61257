"""The message-passing block on scalar and vector channels."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from repdiff.networks.crystal.layers import Geometry, softened, take_rows, two_layers
from repdiff.networks.crystal.messages import pass_messages

SMALL = 1e-6  # added to squared norms, so that the norm has a gradient at zero


class Block(nn.Module):
    """Messages from neighbours, then mixing of the scalar and vector channels of each atom.

    As in the source, but the context scales and shifts the normalised scalars (starting from no effect), scalars
    pass a layer norm, and vectors are softened, before they are used.

    Args:
        width: Scalar channels, and vector channels.
        n_radial: Functions of the radial basis.
        context_width: Channels of the context of a crystal.
        first: Whether vectors are still zero, which saves a third of the work.

    Source: Schütt, Unke and Gastegger, arXiv 2102.03150, eqs. 7 to 10.
    """

    def __init__(self, width: int, n_radial: int, context_width: int, *, first: bool) -> None:
        super().__init__()
        self.width, self.first = width, first
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(context_width, 2 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        self.senders = two_layers(width, width, (2 if first else 3) * width)
        self.scalar_filter = nn.Linear(n_radial, (1 if first else 2) * width, bias=False)
        self.vector_filter = nn.Linear(n_radial, width, bias=False)
        for filters in (self.scalar_filter, self.vector_filter):
            nn.init.normal_(filters.weight)  # few functions of the basis are not zero at a distance
        self.mixed_norm = nn.LayerNorm(width)
        self.mix_vectors = nn.Linear(width, 2 * width, bias=False)
        self.mix = two_layers(2 * width, width, 3 * width)

    def forward(
        self,
        scalars: Float[Tensor, "n_atoms width"],
        vectors: Float[Tensor, "n_atoms 3 width"],
        context: Float[Tensor, "n_systems context_width"],
        geometry: Geometry,
    ) -> tuple[Float[Tensor, "n_atoms width"], Float[Tensor, "n_atoms 3 width"]]:
        """Update the scalars and vectors of all atoms."""
        modulation = take_rows(self.modulation(context), geometry.graph.system_idx)
        scale, shift = modulation.chunk(2, dim=1)
        sent = self.senders(self.norm(scalars) * (1 + scale) + shift).unflatten(1, (-1, self.width))
        if not self.first:
            sent = torch.cat([sent[:, :2], sent[:, 2:] * softened(vectors)], 1)
        filters = self.scalar_filter(geometry.pair_scalars).unflatten(1, (-1, self.width))
        directed = self.vector_filter(geometry.pair_vectors)
        messages = pass_messages(sent, filters, directed, geometry.graph)
        return self._mixed(scalars + messages[:, 0], vectors + messages[:, 1:])

    def _mixed(
        self, scalars: Float[Tensor, "n_atoms width"], vectors: Float[Tensor, "n_atoms 3 width"]
    ) -> tuple[Float[Tensor, "n_atoms width"], Float[Tensor, "n_atoms 3 width"]]:
        left, right = self.mix_vectors(softened(vectors)).chunk(2, dim=2)
        norms = (right.square().sum(1) + SMALL).sqrt()
        mixed = self.mix(torch.cat([self.mixed_norm(scalars), norms], 1))
        added, by_product, by_vector = mixed.chunk(3, dim=1)
        scalars = scalars + added + by_product * (left * right).sum(1)
        return scalars, vectors + by_vector[:, None] * left
