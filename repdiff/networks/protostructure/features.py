"""Protostructures as plain numbers, for linear models."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descriptors.symmetry.space_group import N_SPACE_GROUPS
from repdiff.networks.protostructure.positions import PositionTable, read_orbits


def linear_features(
    encoded: Int[Tensor, "n n_columns"], elements: tuple[int, ...]
) -> Float[Tensor, "n n_features"]:
    """Describe protostructures: composition, its square roots, mean Wyckoff position, group, and size.

    Args:
        encoded: Protostructures, written by `descriptors.symmetry.encoding.encode_protostructures`.
        elements: Atomic numbers that may occur, ascending.
    """
    table = PositionTable.of_all_groups()
    group, atomic, present, place, n_atoms, share = read_orbits(encoded, table.start, table.size)
    composition = torch.zeros(len(encoded), 119).scatter_add(1, atomic, share)[:, list(elements)]
    position = (table.features[place] * share[..., None]).sum(1)
    groups = torch.nn.functional.one_hot(group, N_SPACE_GROUPS + 1).to(position)
    totals = torch.cat([n_atoms.log(), present.sum(1, keepdim=True) / 8, torch.ones_like(n_atoms)], 1)
    return torch.cat([composition, composition.sqrt(), position, groups, totals.to(position)], 1)
