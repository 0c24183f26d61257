"""`CrystalNetwork`: the equivariant backbone, from noised crystals to features that small heads read."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from descriptors.batch import CrystalBatch
from descriptors.radial import gaussians
from repdiff.networks.base import sinusoids
from repdiff.networks.crystal.adapters import AdapterInput, Adapters
from repdiff.networks.crystal.blocks import Block
from repdiff.networks.crystal.graph import CrystalGraph, build_graph
from repdiff.networks.crystal.layers import Geometry, RadialBasis, take_rows, two_layers
from repdiff.settings.backends.crystal_network import CrystalNetworkSettings

N_SIZES = 12  # functions of the logarithm of the spacing, of the centres below
SMALLEST_SPACING, LARGEST_SPACING = -2.0, 2.0  # logarithm of ångströms: 0.14 to 7.4 Å


@dataclass(frozen=True, kw_only=True)
class CrystalFeatures:
    """What the backbone knows: invariants and vectors of atoms, and the geometry they live on.

    Vectors turn with the crystal; nothing depends on the choice of cell, image or origin.
    """

    scalars: Float[Tensor, "n_atoms width"]
    vectors: Float[Tensor, "n_atoms 3 width"]
    geometry: Geometry

    @property
    def graph(self) -> CrystalGraph:
        """The graph of the crystals."""
        return self.geometry.graph


class CrystalNetwork(nn.Module):
    """Equivariant message-passing network on periodic crystals with scalar and vector channels.

    Equivariant to rotation, reflection and permutation, invariant to translation and to the choice of images and
    of cell (SL₃(ℤ)): see `graph` for the last. Initial weights come from the global generator; build it inside
    `torch.random.fork_rng`, as `make_denoiser` does.

    The network sees the time, the mean spacing of atoms and the conditioning vector as one context vector, which
    enters every atom at the start, and every block by a scale and shift of its scalars that start at no effect.

    Args:
        settings: Size and reach.
    """

    sizes: Tensor

    def __init__(self, settings: CrystalNetworkSettings) -> None:
        super().__init__()
        self.settings = settings
        width = settings.width
        n_context = settings.time_width + N_SIZES + settings.condition_width
        self.register_buffer(
            "sizes", torch.linspace(SMALLEST_SPACING, LARGEST_SPACING, N_SIZES), persistent=False
        )
        self.basis = RadialBasis(settings.n_radial, settings.shortest, settings.longest, settings.n_neighbors)
        self.species = nn.Embedding(settings.n_species, width)
        self.atom_in = nn.Linear(settings.atom_width, width) if settings.atom_width else None
        self.embed_context = nn.Sequential(two_layers(n_context, width, width), nn.SiLU())
        self.context_in = nn.Linear(width, width)
        self.blocks = nn.ModuleList(
            [Block(width, settings.n_radial, width, first=number == 0) for number in range(settings.n_blocks)]
        )
        self.adapters = Adapters(width, settings.n_blocks)
        self.norm = nn.LayerNorm(width)

    @property
    def n_parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)

    def graph(self, batch: CrystalBatch) -> CrystalGraph:
        """Find the neighbours of a batch with the reach of this network; atomic numbers are not used."""
        return build_graph(batch, self.settings.n_neighbors, self.settings.max_neighbors)

    def forward(
        self,
        graph: CrystalGraph,
        species: Int[Tensor, " n_atoms"] | Float[Tensor, "n_atoms n_species"],
        times: Float[Tensor, " n_systems"] | Int[Tensor, " n_systems"],
        *,
        atoms: Float[Tensor, "n_atoms atom_width"] | None = None,
        condition: Float[Tensor, "n_systems condition_width"] | None = None,
        adapters: Mapping[str, AdapterInput] | None = None,
    ) -> CrystalFeatures:
        """Compute the features of a batch.

        Args:
            graph: What `self.graph` returned, or one of other settings, or of other cells with the same atoms.
            species: Kind of each atom, or a weight of each kind (one-hot or noised).
            times: Diffusion times in steps, up to about 10 000; multiply a time in [0, 1] by 1000. Zeros for an
                encoder.
            atoms: Further inputs of atoms, if the settings have an `atom_width`.
            condition: Conditioning vectors, if the settings have a `condition_width`.
            adapters: What is known of properties with an adapter; absent ones are as not given.

        Raises:
            ValueError: If `atoms` or `condition` is absent or there against the settings.
        """
        for name, value, layer in (
            ("atoms", atoms, self.settings.atom_width),
            ("condition", condition, self.settings.condition_width),
        ):
            if (value is None) != (layer == 0):
                raise ValueError(
                    f"{name} is {'absent' if value is None else 'given'} and the width in the settings is "
                    f"{layer}, expected {name} exactly if the width is not 0"
                )
        geometry = self.basis(graph)
        context = self._context(graph, times, condition)
        scalars = self._entry(species) + take_rows(self.context_in(context), graph.system_idx)
        if self.atom_in is not None and atoms is not None:
            scalars = scalars + self.atom_in(atoms)
        vectors = scalars.new_zeros(len(scalars), 3, self.settings.width)
        for number, block in enumerate(self.blocks):
            if adapters:
                scalars = self.adapters(scalars, number, adapters, graph.system_idx)
            scalars, vectors = block(scalars, vectors, context, geometry)
        return CrystalFeatures(scalars=self.norm(scalars), vectors=vectors, geometry=geometry)

    def _entry(
        self, species: Int[Tensor, " n_atoms"] | Float[Tensor, "n_atoms n_species"]
    ) -> Float[Tensor, "n_atoms width"]:
        return species @ self.species.weight if species.is_floating_point() else self.species(species)

    def _context(
        self,
        graph: CrystalGraph,
        times: Float[Tensor, " n_systems"] | Int[Tensor, " n_systems"],
        condition: Float[Tensor, "n_systems condition_width"] | None,
    ) -> Float[Tensor, "n_systems width"]:
        dtype = graph.spacing.dtype
        eta = 0.5 * ((N_SIZES - 1) / (LARGEST_SPACING - SMALLEST_SPACING)) ** 2
        log_spacing = graph.spacing.log().clamp(SMALLEST_SPACING, LARGEST_SPACING)
        parts = [
            sinusoids(times, self.settings.time_width).to(dtype),
            gaussians(log_spacing, self.sizes.to(dtype), eta=eta),
        ]
        return self.embed_context(torch.cat([*parts, condition] if condition is not None else parts, 1))
