"""Numbers that belong to chemical elements, and weights made of them."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descriptors.neighbors import Neighborhood

# Index Z - 1. Pauling scale as tabulated by the CRC Handbook; He, Ne and Ar, which have no Pauling value, on
# Allen's scale (J. Am. Chem. Soc. 1989, 111, 9003); 1.3, the value of the late actinides, where nothing is
# known.
ELECTRONEGATIVITY = (
    2.2,
    4.16,
    0.98,
    1.57,
    2.04,
    2.55,
    3.04,
    3.44,
    3.98,
    4.787,
    0.93,
    1.31,
    1.61,
    1.9,
    2.19,
    2.58,
    3.16,
    3.242,
    0.82,
    1,
    1.36,
    1.54,
    1.63,
    1.66,
    1.55,
    1.83,
    1.88,
    1.91,
    1.9,
    1.65,
    1.81,
    2.01,
    2.18,
    2.55,
    2.96,
    3,
    0.82,
    0.95,
    1.22,
    1.33,
    1.6,
    2.16,
    1.9,
    2.2,
    2.28,
    2.2,
    1.93,
    1.69,
    1.78,
    1.96,
    2.05,
    2.1,
    2.66,
    2.6,
    0.79,
    0.89,
    1.1,
    1.12,
    1.13,
    1.14,
    1.13,
    1.17,
    1.2,
    1.2,
    1.1,
    1.22,
    1.23,
    1.24,
    1.25,
    1.1,
    1.27,
    1.3,
    1.5,
    2.36,
    1.9,
    2.2,
    2.2,
    2.28,
    2.54,
    2,
    1.62,
    2.33,
    2.02,
    2,
    2.2,
    2.2,
    0.7,
    0.9,
    1.1,
    1.3,
    1.5,
    1.38,
    1.36,
    1.28,
    1.3,
    1.3,
    1.3,
    1.3,
    1.3,
    1.3,
    1.3,
    1.3,
    1.3,
    1.3,
    1.3,
    1.3,
    1.3,
    1.3,
    1.3,
    1.3,
    1.3,
    1.3,
    1.3,
    1.3,
    1.3,
    1.3,
    1.3,
    1.3,
)

WEIGHTS = ("one", "number", "relative_number", "electronegativity", "rank")


def element_weights(
    kind: str,
    atomic_numbers: Int[Tensor, " n_atoms"],
    system_idx: Int[Tensor, " n_atoms"],
    n_atoms_per_system: Int[Tensor, " n_systems"],
    *,
    dtype: torch.dtype,
) -> Float[Tensor, " n_atoms"]:
    """Give each atom a number that tells its element from the others of its crystal.

    Args:
        kind: "one"; "number", Z; "relative_number", Z over the mean Z of the crystal; "electronegativity",
            half the value of the Pauling scale, about 1; "rank", the place of the element among those of its
            crystal ordered by electronegativity (then by Z), from 0 for the most electropositive to 1 for the
            most electronegative, and 1 if there is only one element. The rank separates neighbours of the
            periodic table as well as it does sodium and chlorine.
        atomic_numbers: Z of each atom.
        system_idx: Crystal of each atom.
        n_atoms_per_system: Size of each crystal.
        dtype: Floating-point type of the result.

    Raises:
        ValueError: If the kind is not one of `WEIGHTS`.
    """
    check_weights([kind])
    numbers = atomic_numbers.to(dtype)
    if kind == "one":
        return torch.ones_like(numbers)
    if kind == "number":
        return numbers
    if kind == "relative_number":
        total = numbers.new_zeros(len(n_atoms_per_system)).index_add(0, system_idx, numbers)
        return numbers / (total / n_atoms_per_system)[system_idx]
    table = torch.tensor(ELECTRONEGATIVITY, dtype=dtype, device=atomic_numbers.device)
    if kind == "electronegativity":
        return table[atomic_numbers - 1] / 2
    order = torch.argsort(table, stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    has = torch.zeros(len(n_atoms_per_system), len(table), dtype=torch.long, device=order.device)
    has[system_idx, place[atomic_numbers - 1]] = 1
    below = has.cumsum(1)[system_idx, place[atomic_numbers - 1]] - 1
    highest = (has.sum(1) - 1)[system_idx]
    return torch.where(highest > 0, below / highest.clamp(min=1), 1.0).to(dtype)


def check_weights(kinds: Sequence[str]) -> None:
    """Check names of element weights.

    Raises:
        ValueError: If one is not among `WEIGHTS`.
    """
    for kind in kinds:
        if kind not in WEIGHTS:
            raise ValueError(f"element weight is {kind!r}, expected one of {', '.join(WEIGHTS)}")


def weight_columns(
    kinds: Sequence[str], neighborhood: Neighborhood, *, dtype: torch.dtype
) -> Float[Tensor, "n_atoms n_kinds"]:
    """Return `element_weights` of several kinds, one column each, for the atoms of a table, which remembers them."""
    known = neighborhood.weights
    for kind in kinds:
        if (kind, dtype) not in known:
            known[kind, dtype] = element_weights(
                kind,
                neighborhood.atomic_numbers,
                neighborhood.system_idx,
                neighborhood.n_atoms_per_system,
                dtype=dtype,
            )
    return torch.stack([known[kind, dtype] for kind in kinds], dim=1)


def at_centres(
    weights: Float[Tensor, "n_atoms n_kinds"], neighborhood: Neighborhood
) -> Float[Tensor, "n_centres n_kinds"]:
    """Return the rows of the atoms that are centres."""
    return weights if neighborhood.centres is None else weights[neighborhood.centres.atoms]
