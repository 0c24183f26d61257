"""The periodic graph that crystal networks work on: smooth in the atoms and the cell, the same for every cell.

Atom i sees its neighbours within a radius of its own, r_i = min(R, d_i), and the weight of a neighbour falls to
zero with its slope at r_i.

- R is the radius of a sphere that holds `n_neighbors` atoms at the crystal's mean density. It depends on volume
  and number of atoms alone, so that another choice of cell, image or origin cannot change it, it scales with
  the crystal, and half-noised cells of a cubic ångström have as many neighbours as real ones.
- d_i is the distance of the `max_neighbors`-th nearest neighbour. It bounds the work where atoms gather.

A plain list of the k nearest atoms would have to choose among equal distances, which are the rule in crystals,
and the choice would break the symmetry; here all of them have the weight zero, and either choice is the same.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descriptors.batch import CrystalBatch
from descriptors.neighbors import find_neighborhood
from descriptors.radial import smoothstep_cutoff
from descriptors.reduction import reduced_cells

SOFTNESS = 0.01  # of the mean spacing: keeps distance and direction smooth where two atoms coincide
MARGIN = 1e-5  # the search goes further than the radius by this share, against rounding


@dataclass(frozen=True, kw_only=True)
class CrystalGraph:
    """Neighbours of every atom, in two lists: edges, one an image, and pairs, which gather the images of one atom.

    Pairs are sorted by centre, edges by pair. All lengths and vectors carry gradients by positions and lattice
    if those require them.
    """

    lattice: Float[Tensor, "n_systems 3 3"]
    system_idx: Int[Tensor, " n_atoms"]
    spacing: Float[Tensor, " n_systems"]  # cube root of the volume per atom, Å
    pair_idx: Int[Tensor, "2 n_pairs"]  # centre, neighbour
    edge_pair: Int[Tensor, " n_edges"]  # the pair of each edge
    directions: Float[
        Tensor, "n_edges 3"
    ]  # centre to neighbour, length 1, shorter where atoms almost coincide
    distances: Float[Tensor, " n_edges"]  # Å, softened at zero
    weights: Float[Tensor, " n_edges"]  # 1 near the centre, 0 at its radius

    @property
    def n_systems(self) -> int:
        """Number of crystals."""
        return len(self.lattice)

    @property
    def n_atoms(self) -> int:
        """Number of atoms of all crystals together."""
        return len(self.system_idx)

    def mean_over_atoms(self, values: Float[Tensor, "n_atoms ..."]) -> Float[Tensor, "n_systems ..."]:
        """Average a quantity of atoms over each crystal."""
        ones = values.new_ones(self.n_atoms)
        counts = values.new_zeros(self.n_systems).index_add(0, self.system_idx, ones)
        total = values.new_zeros(self.n_systems, *values.shape[1:]).index_add(0, self.system_idx, values)
        return total / counts.view(-1, *[1] * (values.dim() - 1))


def build_graph(batch: CrystalBatch, n_neighbors: int, max_neighbors: int) -> CrystalGraph:
    """Find the graph of every crystal of a batch.

    Time and memory are bounded for any cell: cells are reduced first, and the search stops where an atom's own
    images alone are `max_neighbors`. The geometry keeps its precision under autocast.

    Args:
        batch: Crystals in any cell and image.
        n_neighbors: Atoms in a sphere of the radius at the crystal's mean density.
        max_neighbors: Most neighbours of an atom; well below `n_neighbors`, they are simply the nearest ones.

    Raises:
        ValueError: If the numbers are not positive.
    """
    if min(n_neighbors, max_neighbors) < 1:
        raise ValueError(
            f"{n_neighbors} neighbours on average and {max_neighbors} at most, expected 1 or more of each"
        )
    with torch.autocast(batch.device.type, enabled=False):
        return _graph(batch, n_neighbors, max_neighbors)


def _graph(batch: CrystalBatch, n_neighbors: int, max_neighbors: int) -> CrystalGraph:
    short, change = reduced_cells(batch.lattice)
    change = change.to(batch.dtype)
    frac = torch.einsum("ai,aij->aj", batch.frac_coords, _whole_inverse(change)[batch.system_idx])
    lattice = change @ batch.lattice
    spacing = (torch.linalg.det(lattice).abs() / batch.n_atoms_per_system).pow(1 / 3)
    radius = spacing * (3 * n_neighbors / (4 * math.pi)) ** (1 / 3)
    reach = torch.minimum(radius.detach() * (1 + MARGIN), _enough(short, max_neighbors).to(batch.dtype))
    table = find_neighborhood(
        replace(batch, frac_coords=frac.detach(), lattice=lattice.detach() / reach[:, None, None]), 1.0
    )
    vectors = table.vectors(frac, lattice)
    soft = (SOFTNESS * spacing[batch.system_idx, None]) ** 2
    distances = (vectors.square().sum(2) + soft).sqrt().masked_fill(~table.present, torch.inf)
    limit = radius[batch.system_idx]
    if distances.shape[1] >= max_neighbors:
        limit = torch.minimum(limit, distances.kthvalue(max_neighbors, dim=1).values)
    centre, slot = (distances < limit[:, None]).nonzero(as_tuple=True)
    neighbor = table.neighbor_idx[centre, slot]
    distances = distances[centre, slot]
    keys, edge_pair = torch.unique_consecutive(centre * batch.n_atoms + neighbor, return_inverse=True)
    return CrystalGraph(
        lattice=batch.lattice,
        system_idx=batch.system_idx,
        spacing=spacing,
        pair_idx=torch.stack([keys // max(batch.n_atoms, 1), keys % max(batch.n_atoms, 1)]),
        edge_pair=edge_pair,
        directions=vectors[centre, slot] / distances[:, None],
        distances=distances,
        weights=smoothstep_cutoff(distances / limit[centre], cutoff=1.0),
    )


def _whole_inverse(change: Float[Tensor, "n_systems 3 3"]) -> Float[Tensor, "n_systems 3 3"]:
    """Invert matrices of whole numbers with determinant ±1 without rounding: by cross products of rows."""
    a, b, c = change.unbind(1)
    cofactors = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], 2)
    return cofactors * (a * cofactors[:, :, 0]).sum(1)[:, None, None]


def _enough(short: Float[Tensor, "n_systems 3 3"], max_neighbors: int) -> Float[Tensor, " n_systems"]:
    """Return a radius, Å, in which each atom has `max_neighbors` images of itself, for bases of ascending length.

    Along a line, in a plane and in space, the images with coordinates from -m to m are near enough to be counted
    by the triangle inequality; the smallest of the three radii is taken.
    """
    lengths = short.norm(dim=2).cumsum(1)
    steps = [math.ceil(((max_neighbors + 1) ** (1 / dimension) - 1) / 2 - 1e-9) for dimension in (1, 2, 3)]
    return (lengths * lengths.new_tensor(steps)).amin(1) * (1 + MARGIN)
