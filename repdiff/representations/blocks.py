"""What functions of a representation see: its blocks by name, in physical units, with a gradient.

They are the same whether a model draws protostructures first, so that composition and number of atoms are fixed, or
whole vectors. The lattice is left out: its reduction to the Niggli cell has no gradient, and lengths and angles depend
on the choice of the cell. Of it the volume per atom remains.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from descriptors.representation import Representation
from descriptors.symmetry.protostructure import MAX_ATOMIC_NUMBER, Protostructure
from repdiff.crystals.checks import check_crystals
from repdiff.crystals.crystal import Crystal
from repdiff.representations.encoding import encode_crystals
from repdiff.representations.layout import RepresentationSpec
from repdiff.representations.symmetric_vectors import CELL, KEPT, symmetric_blocks

Blocks = Mapping[str, Tensor]
"""Blocks by name, a row for each crystal.

`descriptor`, (n, width): as the layout's descriptor makes it. `min_distance`, (n, 1): shortest distance of atoms, Å.
`composition`, (n, 119): share of each element among the atoms, by atomic number. `n_atoms`, (n, 1): atoms of the cell.
`volume_per_atom`, (n, 1): Å³.
"""
NAMES = ("descriptor", "min_distance", "composition", "n_atoms", "volume_per_atom")
LEAST_SQUARED_VOLUME = 1e-4  # of a cell with edges of length 1; sampled angles may belong to no cell
PROGRESS_FROM = 500  # crystals that take more than a moment to encode
FEWEST_ATOMS = 0.5  # of a sampled number, which need not be whole


def whole_blocks(vectors: Float[Tensor, "n n_features"], layout: RepresentationSpec) -> Blocks:
    """Return the blocks of whole vectors, in physical units."""
    representation = layout.representation()
    places = representation.blocks
    sizes = vectors[:, places["n_atoms"]]
    shares = vectors.new_zeros(len(vectors), MAX_ATOMIC_NUMBER + 1)
    columns = torch.tensor(representation.elements, device=vectors.device)
    shares = shares.index_copy(1, columns, vectors[:, places["composition"]])
    return {
        **{name: vectors[:, places[name]] for name in KEPT},
        "composition": shares,
        "n_atoms": sizes,
        "volume_per_atom": _volume(vectors[:, places["lattice"]]) / sizes.clamp(min=FEWEST_ATOMS),
    }


def sound_rows(crystals: Sequence[Crystal]) -> list[int]:
    """Return the places of the crystals that can be encoded."""
    return [row for row, why in enumerate(check_crystals(crystals, progress=False)) if why is None]


def blocks_of(crystals: Sequence[Crystal], descriptor: str) -> Blocks:
    """Encode crystals, in whatever cells; all passed `check_crystals`.

    Args:
        crystals: At least one.
        descriptor: Name of the descriptor, NAME or NAME:PRESET.

    Raises:
        UserError: If there is no such descriptor.
    """
    elements = sorted({int(number) for one in crystals for number in one.atomic_numbers})
    layout = RepresentationSpec.of(descriptor, elements, niggli=False, dataset="", note=None)
    vectors = encode_crystals(
        crystals, layout.representation(), device=torch.device("cpu"), progress=len(crystals) >= PROGRESS_FROM
    )
    return whole_blocks(vectors, layout)


def _volume(parameters: Float[Tensor, "n 6"]) -> Float[Tensor, "n 1"]:
    """Return the volumes of cells of lengths and angles, also of such as no cell has."""
    lengths, cosines = parameters[:, :3], torch.cos(torch.deg2rad(parameters[:, 3:]))
    squared = 1 - cosines.square().sum(1, keepdim=True) + 2 * cosines.prod(1, keepdim=True)
    return lengths.prod(1, keepdim=True) * squared.clamp(min=LEAST_SQUARED_VOLUME).sqrt()


@dataclass(frozen=True, kw_only=True, eq=False)
class SymmetricBlocks:
    """Turns what is left of vectors, once protostructures are known, into blocks.

    Attributes:
        representation: What the columns of whole vectors mean.
        shares: Share of each element, by atomic number; zeros where there is no protostructure.
        sizes: Atoms of the primitive cells; 1 where there is no protostructure.
    """

    representation: Representation
    shares: Float[Tensor, "n n_numbers"]
    sizes: Float[Tensor, "n 1"]

    @classmethod
    def of(
        cls, protostructures: Sequence[Protostructure | None], layout: RepresentationSpec
    ) -> "SymmetricBlocks":
        """Take the protostructures that vectors belong to, one for each."""
        shares = torch.zeros(len(protostructures), MAX_ATOMIC_NUMBER + 1)
        sizes = torch.ones(len(protostructures), 1)
        for row, one in enumerate(protostructures):
            for element, count in ({} if one is None else one.composition()).items():
                shares[row, element] = count
            sizes[row] = max(float(shares[row].sum()), 1.0)
        return cls(representation=layout.representation(), shares=shares / sizes, sizes=sizes)

    def __call__(self, vectors: Float[Tensor, "n width"], rows: slice = slice(None)) -> Blocks:
        """Return the blocks of vectors as `to_symmetric_vectors` makes them, in physical units.

        Args:
            vectors: The vectors of some rows.
            rows: Which rows these are.
        """
        places = symmetric_blocks(self.representation)
        return {
            **{name: vectors[:, places[name]] for name in KEPT},
            "composition": self.shares[rows].to(vectors),
            "n_atoms": self.sizes[rows].to(vectors),
            "volume_per_atom": vectors[:, places[CELL].start, None].exp(),
        }


Function = Callable[[Blocks], Tensor]
"""Turns blocks into one number a row."""
