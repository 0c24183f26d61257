"""What the model is told about the Wyckoff positions of all space groups."""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from descriptors.symmetry.point_groups import POINT_GROUPS
from descriptors.symmetry.space_group import LAST_OF_SYSTEM, N_SPACE_GROUPS, WyckoffPosition, space_group


@dataclass(frozen=True, kw_only=True)
class PositionTable:
    """All Wyckoff positions in one list, those of group 1 first, each group from a on.

    Attributes:
        features: Multiplicity, order and symbol of the site symmetry, free coordinates, crystal system.
        size: Atoms of an orbit in the primitive cell.
        n_free: Free coordinates of an orbit.
        start: Number of the first position of each group; place 0 is unused.
    """

    features: Float[Tensor, "n_positions n_features"]
    size: Int[Tensor, " n_positions"]
    n_free: Int[Tensor, " n_positions"]
    start: Int[Tensor, " 231"]

    @classmethod
    @cache
    def of_all_groups(cls) -> "PositionTable":
        """Build the table, once."""
        features, size, n_free, start = [], [], [], [0]
        for number in range(1, N_SPACE_GROUPS + 1):
            start.append(len(size))
            for position in space_group(number).positions:
                features.append(_features(position))
                size.append(position.primitive_multiplicity)
                n_free.append(position.n_free)
        return cls(
            features=torch.tensor(np.array(features), dtype=torch.float32),
            size=torch.tensor(size),
            n_free=torch.tensor(n_free),
            start=torch.tensor(start),
        )


class EncodedOrbits(NamedTuple):
    """Orbits of encoded protostructures, padded to one length.

    Attributes:
        group: Space group of each.
        atomic: Atomic number of each orbit, 0 behind the last.
        present: Whether there is an orbit.
        place: Number of its position among those of all groups, 0 behind the last.
        n_atoms: Atoms of the primitive cell, as a column.
        share: Share of these in each orbit.
    """

    group: Int[Tensor, " n"]
    atomic: Int[Tensor, "n n_orbits"]
    present: Bool[Tensor, "n n_orbits"]
    place: Int[Tensor, "n n_orbits"]
    n_atoms: Int[Tensor, "n 1"]
    share: Float[Tensor, "n n_orbits"]


def read_orbits(
    encoded: Int[Tensor, "n n_columns"], start: Int[Tensor, " 231"], size: Int[Tensor, " n_positions"]
) -> EncodedOrbits:
    """Read what `descriptors.symmetry.encoding.encode_protostructures` wrote, on the device of the table.

    Args:
        encoded: Protostructures.
        start: Number of the first position of each group, that of `PositionTable`.
        size: Atoms of an orbit of each position, that of `PositionTable`.
    """
    numbers = encoded.long()
    group, atomic, letter = numbers[:, 0], numbers[:, 1::2], numbers[:, 2::2]
    present = atomic > 0
    place = torch.where(present, start[group][:, None] + letter - 1, 0)
    atoms = torch.where(present, size[place], 0)
    n_atoms = atoms.sum(1, keepdim=True)
    return EncodedOrbits(group, atomic, present, place, n_atoms, atoms / n_atoms)


def _features(position: WyckoffPosition) -> list[float]:
    sites, systems = sorted(POINT_GROUPS.values()), list(LAST_OF_SYSTEM)
    return [
        np.log2(position.primitive_multiplicity) / 3,
        np.log2(position.site_symmetry_order) / 3,
        float(position.n_free == 0),
        *np.eye(4)[position.n_free],
        *np.eye(len(sites))[sites.index(position.site_symmetry)],
        *np.eye(len(systems))[systems.index(position.group.crystal_system)],
    ]
