"""What the model is told about the Wyckoff positions of all space groups."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Int
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
