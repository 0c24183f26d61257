"""Textbook crystals as protostructures, free coordinates and cells."""

import torch

from descriptors.symmetry.orbit_maps import orbit_maps
from descriptors.symmetry.protostructure import Protostructure

CRYSTALS = {
    "rock salt": (Protostructure.of(225, [(11, "a"), (17, "b")]), [], [5.64]),
    "rutile": (Protostructure.of(136, [(22, "a"), (8, "f")]), [0.305], [4.594, 2.959]),
    "pyrite": (Protostructure.of(205, [(26, "a"), (16, "c")]), [0.385], [5.417]),
    "spinel": (Protostructure.of(227, [(12, "a"), (13, "d"), (8, "e")]), [0.2624], [8.083]),
    "quartz": (
        Protostructure.of(152, [(14, "a"), (8, "c")]),
        [0.4697, 0.4135, 0.2669, 0.1191],
        [4.913, 5.405],
    ),
    "orthorhombic perovskite": (
        Protostructure.of(62, [(64, "c"), (26, "b"), (8, "c"), (8, "d")]),
        [0.467, 0.101, 0.0626, 0.9842, 0.302, 0.051, 0.693],
        [5.611, 7.669, 5.349],
    ),
}


def textbook(*names: str):
    """Protostructures, free coordinates of each, and cells."""
    names = names or tuple(CRYSTALS)
    cells = torch.zeros(len(names), 6, dtype=torch.float64)
    for row, name in enumerate(names):
        cells[row, : len(CRYSTALS[name][2])] = torch.tensor(CRYSTALS[name][2], dtype=torch.float64)
    free = [torch.tensor(CRYSTALS[name][1], dtype=torch.float64) for name in names]
    return [CRYSTALS[name][0] for name in names], free, cells


def textbook_batch(*names: str):
    """Their primitive crystals."""
    protostructures, free, cells = textbook(*names)
    return orbit_maps(protostructures).crystals(torch.cat(free), cells)
