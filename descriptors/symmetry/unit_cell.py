"""The free parameters of the conventional cell of each space group, batched over unlike groups.

Free parameters fill the first columns of a table of six, in this order, the rest being zero: triclinic a, b, c, α, β,
γ; monoclinic a, b, c, β; orthorhombic a, b, c; tetragonal, trigonal and hexagonal a, c; cubic a. Lengths are Å, angles
degrees. Rhombohedral groups have hexagonal axes.
"""

from functools import cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from descriptors import lattice as cells
from descriptors.symmetry.space_group import LAST_OF_SYSTEM, N_SPACE_GROUPS, space_group

PARAMETERS = {
    "triclinic": ("a", "b", "c", "alpha", "beta", "gamma"),
    "monoclinic": ("a", "b", "c", "beta"),
    "orthorhombic": ("a", "b", "c"),
    "tetragonal": ("a", "c"),
    "trigonal": ("a", "c"),
    "hexagonal": ("a", "c"),
    "cubic": ("a",),
}
TIED = {
    "tetragonal": "aac",
    "trigonal": "aac",
    "hexagonal": "aac",
    "cubic": "aaa",
}  # lengths that are one number
LENGTH_TOLERANCE, ANGLE_TOLERANCE = 1e-3, 0.05  # relative; degrees


def parameter_names(number: int) -> tuple[str, ...]:
    """Name the free cell parameters of a space group.

    >>> parameter_names(227)
    ('a',)

    Raises:
        ValueError: If the number is not within 1 to 230.
    """
    return PARAMETERS[space_group(number).crystal_system]


def n_cell_parameters(numbers: Int[Tensor, " n_systems"]) -> Int[Tensor, " n_systems"]:
    """Count the free cell parameters of each space group."""
    return used_columns(numbers).sum(1)


def to_cell(
    free: Float[Tensor, "n_systems 6"], numbers: Int[Tensor, " n_systems"]
) -> Float[Tensor, "n_systems 6"]:
    """Spell out a, b, c in Å and α, β, γ in degrees from free parameters.

    Args:
        free: Free parameters in the first columns; the other columns are ignored.
        numbers: Space group of each crystal.
    """
    _, expansion, constants = _columns(free.device)
    used = torch.where(used_columns(numbers), free, torch.zeros_like(free))
    return (
        torch.einsum("sf,sfp->sp", used, expansion.to(free.dtype)[numbers])
        + constants.to(free.dtype)[numbers]
    )


def to_lattice(
    free: Float[Tensor, "n_systems 6"], numbers: Int[Tensor, " n_systems"]
) -> Float[Tensor, "n_systems 3 3"]:
    """Build conventional cells, rows in Å, a along x and b in the xy plane; differentiable.

    Raises:
        ValueError: If lengths are not positive, or no cell has these angles.
    """
    return cells.from_parameters(to_cell(free, numbers))


def from_lattice(
    lattice: Float[Tensor, "n_systems 3 3"], numbers: Int[Tensor, " n_systems"], *, exact: bool = False
) -> Float[Tensor, "n_systems 6"]:
    """Read the free parameters off conventional cells; lengths that the group ties are averaged.

    Args:
        lattice: Rows are the conventional cell vectors, Å, in any orientation.
        numbers: Space group of each crystal.
        exact: Refuse cells that the group does not allow, rather than take the nearest ones.

    Raises:
        ValueError: If `exact`, and lengths differ by over 0.1 % or angles by over 0.05° from what the group demands.
    """
    cell = cells.to_parameters(lattice)
    if exact:
        check_cell(cell, numbers)
    return from_cell(cell, numbers)


def from_cell(
    cell: Float[Tensor, "n_systems 6"], numbers: Int[Tensor, " n_systems"]
) -> Float[Tensor, "n_systems 6"]:
    """Read the free parameters off a, b, c and angles; lengths that the group ties are averaged, what it fixes is lost.

    Args:
        cell: a, b, c in Å and α, β, γ in degrees.
        numbers: Space group of each crystal.
    """
    reading, _, _ = _columns(cell.device)
    return torch.einsum("sp,sfp->sf", cell, reading.to(cell.dtype)[numbers])


def check_cell(cell: Float[Tensor, "n_systems 6"], numbers: Int[Tensor, " n_systems"]) -> None:
    """Refuse conventional cells that contradict their space groups.

    Raises:
        ValueError: If lengths differ by over 0.1 % or angles by over 0.05° from what the group demands.
    """
    gap = (to_cell(from_cell(cell, numbers), numbers) - cell).abs()
    relative = torch.cat([gap[:, :3] / cell[:, :3] / LENGTH_TOLERANCE, gap[:, 3:] / ANGLE_TOLERANCE], 1)
    bad = (relative > 1).any(1)
    if bool(bad.any()):
        worst = int(bad.nonzero()[0])
        group = space_group(int(numbers[worst]))
        values = ", ".join(f"{value:.6g}" for value in cell[worst].tolist())
        raise ValueError(
            f"cell [{worst}] ({values}) contradicts space group {group.number} ({group.symbol}): a "
            f"{group.crystal_system} cell is given by {', '.join(parameter_names(group.number))} alone"
        )


def used_columns(numbers: Int[Tensor, " n_systems"]) -> Bool[Tensor, "n_systems 6"]:
    """Tell which columns of the table of free parameters each space group uses."""
    return _columns(numbers.device)[0][numbers].any(2)


def symmetric_strains(number: int) -> Float[np.ndarray, "n_strains 3 3"]:
    """Return an orthonormal basis of the symmetric strains that keep the symmetry, as many as free cell parameters.

    A cell of `to_lattice` stays one of the group under lattice @ expm(strain). The basis is orthonormal in the sum of
    products of entries.
    """
    basis = np.zeros((6, 3, 3))
    for row, (i, j) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        basis[row, i, j] = basis[row, j, i] = 1 if i == j else 0.5**0.5
    group = space_group(number)
    example = torch.tensor([[4.0, 5.0, 6.0, 80.0, 95.0, 100.0]], dtype=torch.float64)
    numbers = torch.tensor([number])
    free = torch.einsum("sp,sfp->sf", example, _columns(torch.device("cpu"))[0][numbers])
    cell = to_lattice(free, numbers)[0].numpy()
    rotations = np.linalg.inv(cell) @ group.rotations @ cell
    turned = np.einsum("nji,bjk,nkl->bil", rotations, basis, rotations) / len(rotations)
    projector = np.einsum("bij,cij->bc", turned, basis)
    values, vectors = np.linalg.eigh((projector + projector.T) / 2)
    return np.einsum("bs,bij->sij", vectors[:, values > 0.5], basis)


@cache
def _columns(
    device: torch.device,
) -> tuple[Float[Tensor, "n 6 6"], Float[Tensor, "n 6 6"], Float[Tensor, "n 6"]]:
    """Return by space group: reading (free = reading @ cell), expansion (cell = free @ expansion), constants."""
    reading, expansion = torch.zeros(N_SPACE_GROUPS + 1, 6, 6), torch.zeros(N_SPACE_GROUPS + 1, 6, 6)
    constants = torch.zeros(N_SPACE_GROUPS + 1, 6)
    columns = PARAMETERS["triclinic"]
    for number in range(1, N_SPACE_GROUPS + 1):
        system = next(name for name, last in LAST_OF_SYSTEM.items() if number <= last)
        names = PARAMETERS[system]
        lengths = TIED.get(system, "abc")
        for column, name in enumerate([*lengths, *columns[3:]]):
            if name in names:
                expansion[number, names.index(name), column] = 1
            else:
                constants[number, column] = (
                    120 if name == "gamma" and system in ("trigonal", "hexagonal") else 90
                )
        reading[number] = expansion[number] / expansion[number].sum(1, keepdim=True).clamp(min=1)
    reading, expansion = reading.to(torch.float64), expansion.to(torch.float64)
    return reading.to(device), expansion.to(device), constants.to(torch.float64).to(device)
