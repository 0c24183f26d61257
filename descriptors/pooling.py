"""From per-atom to per-crystal features: reductions over the atoms of each crystal."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descriptors.elements import at_centres, check_weights, weight_columns
from descriptors.neighbors import Neighborhood

POOLINGS = ("max", "min", "mean")


def pool(
    features: Float[Tensor, "n_centres n_features"],
    system_idx: Int[Tensor, " n_centres"],
    n_atoms_per_system: Int[Tensor, " n_systems"],
    *,
    how: str,
    size: int | None = None,
    share: Float[Tensor, " n_centres"] | None = None,
) -> Float[Tensor, "n_systems n_features"]:
    """Reduce over the atoms of each crystal; "max", "min" and "mean" are those of any supercell too.

    Args:
        features: Per atom, or per centre that stands for several atoms alike.
        system_idx: Crystal of each of these.
        n_atoms_per_system: Number of atoms of each crystal.
        how: One of `POOLINGS`.
        size: Number of atoms of every crystal, if they are equal: one dense array is reduced several times faster.
        share: Share of the atoms of its crystal that each centre stands for; None if every atom is there.

    Raises:
        ValueError: If `how` is none of these.
    """
    if how not in POOLINGS:
        raise ValueError(f"pooling is {how!r}, expected one of {', '.join(POOLINGS)}")
    if size is not None:
        return _reduce_dense(features.unflatten(0, (-1, size)), how)
    shape = (len(n_atoms_per_system), features.shape[1])
    if how == "mean" and share is not None:
        return features.new_zeros(shape).index_add(0, system_idx, features * share[:, None])
    if how == "mean":
        total = features.new_zeros(shape).index_add(0, system_idx, features)
        return total / n_atoms_per_system[:, None]
    index = system_idx[:, None].expand_as(features)
    return features.new_zeros(shape).scatter_reduce(0, index, features, f"a{how}", include_self=False)


def _reduce_dense(
    features: Float[Tensor, "n_systems size n_features"], how: str
) -> Float[Tensor, "n_systems n_features"]:
    if how == "mean":
        return features.mean(1)
    return features.amax(1) if how == "max" else features.amin(1)


def check_poolings(names: Sequence[str]) -> None:
    """Check names as `pool_all` takes them.

    Raises:
        ValueError: If a name is none of "max", "min", "mean", "mean:KIND", or there is no such element
            weight.
    """
    for name in names:
        how, colon, kind = name.partition(":")
        if how not in POOLINGS or (colon and how != "mean"):
            raise ValueError(f"pooling is {name!r}, expected max, min, mean or mean:KIND")
        if colon:
            check_weights([kind])


def pool_all(
    features: Float[Tensor, "n_centres n_features"], neighborhood: Neighborhood, names: Sequence[str]
) -> Float[Tensor, "n_systems n_pooled"]:
    """Pool over the atoms of each crystal in several ways, one block of columns each, in order.

    Args:
        features: Per centre.
        neighborhood: Tells which atoms make up a crystal, and their elements.
        names: "max", "min", "mean", or "mean:KIND", the mean of the features times the atom's element weight
            of that kind (`descriptors.elements.element_weights`), which tells whose surroundings the features
            describe.
    """
    pooled = []
    for name in names:
        how, _, kind = name.partition(":")
        weighted = features
        if kind:
            weighted = features * at_centres(
                weight_columns([kind], neighborhood, dtype=features.dtype), neighborhood
            )
        pooled.append(
            pool(
                weighted,
                neighborhood.system_of_centre,
                neighborhood.n_atoms_per_system,
                how=how,
                size=neighborhood.size,
                share=neighborhood.share,
            )
        )
    return torch.cat(pooled, dim=1)
