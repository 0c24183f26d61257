"""What is left of a representation once the protostructure is known: descriptor, shortest distance and free cell.

Source: the blocks are those of StructRepDiff, arXiv 2408.07213, section 4.1; composition and number of atoms follow
from the protostructure, and of the cell only its volume per atom and the shape that the space group leaves free remain.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from descriptors import lattice as cells
from descriptors.representation import Representation
from descriptors.symmetry.cell_shape import N_SHAPE, from_shape, to_shape
from descriptors.symmetry.orbit_maps import orbit_maps
from descriptors.symmetry.protostructure import Protostructure
from repdiff.crystals.niggli import niggli_lattice
from repdiff.representations.batch import RepresentationBatch
from repdiff.representations.layout import RepresentationSpec
from repdiff.symmetry import SymmetryTable

KEPT = ("descriptor", "min_distance")  # blocks that stay as they are
CELL = "cell"


def symmetric_blocks(representation: Representation) -> dict[str, slice]:
    """Return where each block of the shorter vectors lies."""
    blocks, start = {}, 0
    for name in KEPT:
        part = representation.blocks[name]
        blocks[name] = slice(start, start + part.stop - part.start)
        start = blocks[name].stop
    blocks[CELL] = slice(start, start + N_SHAPE)
    return blocks


def to_symmetric_vectors(
    vectors: Float[Tensor, "n n_features"], symmetry: SymmetryTable, representation: Representation
) -> Float[Tensor, "n n_symmetric"]:
    """Replace composition, number of atoms and cell of vectors by the free part of the conventional cell.

    Args:
        vectors: Representations in physical units.
        symmetry: What belongs to them; each has a protostructure.
        representation: What their columns mean.
    """
    numbers, sizes = _numbers(symmetry.protostructures)
    shape = to_shape(symmetry.cells.double(), numbers, sizes).to(vectors)
    return torch.cat([*(vectors[:, representation.blocks[name]] for name in KEPT), shape], 1)


def from_symmetric_vectors(
    symmetric: Float[Tensor, "n n_symmetric"],
    protostructures: Sequence[Protostructure | None],
    layout: RepresentationSpec,
) -> RepresentationBatch:
    """Put protostructures and what is left of the vectors together to whole vectors.

    Args:
        symmetric: Vectors that `to_symmetric_vectors` makes, or about those.
        protostructures: One for each; where there is none, the vector is NaN.
        layout: What the columns of the whole vectors shall mean.
    """
    representation = layout.representation()
    blocks, own = representation.blocks, symmetric_blocks(representation)
    vectors = torch.full((len(symmetric), representation.n_features), torch.nan)
    free_cells = torch.full((len(symmetric), 6), torch.nan)
    rows = [row for row, one in enumerate(protostructures) if one is not None]
    present = [one for one in protostructures if one is not None]
    if present:
        numbers, sizes = _numbers(present)
        found = symmetric[rows]
        free = from_shape(found[:, own[CELL]].double(), numbers, sizes)
        filled = torch.zeros(len(rows), representation.n_features)
        for name in KEPT:
            filled[:, blocks[name]] = found[:, own[name]].float()
        counts = layout.composition_counts([one.composition() for one in present])
        filled[:, blocks["composition"]] = counts / sizes[:, None]
        filled[:, blocks["n_atoms"]] = sizes[:, None].float()
        filled[:, blocks["lattice"]] = _lattice_block(present, free, niggli=layout.niggli).float()
        vectors[rows], free_cells[rows] = filled, free.float()
    symmetry = SymmetryTable.without_coordinates(protostructures, free_cells)
    return RepresentationBatch(vectors=vectors, layout=layout, symmetry=symmetry)


def _numbers(
    protostructures: Sequence[Protostructure | None],
) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
    """Return the space groups, and the atoms of the primitive cells."""
    pairs = [(one.number, one.n_atoms()) for one in protostructures if one is not None]
    if len(pairs) != len(protostructures):
        raise ValueError(f"{len(protostructures) - len(pairs)} rows have no protostructure, expected none")
    numbers, sizes = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T
    return numbers, sizes


def _lattice_block(
    protostructures: Sequence[Protostructure], free: Float[Tensor, "n 6"], *, niggli: bool
) -> Float[Tensor, "n 6"]:
    """Return lengths and angles of the primitive cells, reduced if the layout says so and they can be."""
    lattices = orbit_maps(protostructures).lattice(free)
    if niggli:
        reduced = [niggli_lattice(lattice) for lattice in lattices.numpy()]
        kept = [new if new is not None else old for new, old in zip(reduced, lattices.numpy(), strict=True)]
        lattices = torch.from_numpy(np.stack(kept))
    return cells.to_parameters(lattices)
