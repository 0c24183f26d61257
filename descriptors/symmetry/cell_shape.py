"""Conventional cells as numbers that suit a model: volume per atom and shape, for all crystal systems alike.

A cell is seven numbers: the logarithm of the volume per atom, those of a, b and c over the cube root of the volume,
and the cosines of α, β and γ. What a space group ties or fixes has its value there too, so that unlike groups share
columns.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descriptors import lattice as cells
from descriptors.symmetry import unit_cell
from descriptors.symmetry.space_group import LAST_OF_SYSTEM, N_SPACE_GROUPS, space_group

N_SHAPE = 7
STEEPEST = math.cos(math.radians(20))  # largest cosine of an angle that is read
FLATTEST = 0.02  # squared volume of a cell with edges of length 1, below which its cosines are reduced
SHRINK, N_SHRINKS = 0.9, 40


def to_shape(
    free: Float[Tensor, "n_systems 6"],
    numbers: Int[Tensor, " n_systems"],
    n_atoms: Int[Tensor, " n_systems"],
) -> Float[Tensor, "n_systems 7"]:
    """Describe conventional cells by volume per atom and shape.

    Args:
        free: Free cell parameters, as `unit_cell` orders them.
        numbers: Space group of each crystal.
        n_atoms: Number of atoms of each primitive cell.
    """
    cell = unit_cell.to_cell(free, numbers)
    volume = cells.volume(cells.from_parameters(cell))
    lengths = cell[:, :3] / volume[:, None] ** (1 / 3)
    per_atom = volume / (n_atoms * n_lattice_points(numbers))
    return torch.cat([per_atom.log()[:, None], lengths.log(), torch.cos(torch.deg2rad(cell[:, 3:]))], dim=1)


def from_shape(
    shape: Float[Tensor, "n_systems 7"],
    numbers: Int[Tensor, " n_systems"],
    n_atoms: Int[Tensor, " n_systems"],
) -> Float[Tensor, "n_systems 6"]:
    """Return the free parameters of the cells that the groups allow and that come near to a description.

    The volume per atom is kept exactly. Angles that no cell has are brought nearer to 90° until one has them.

    Args:
        shape: Cell shape, what `to_shape` returns, or about that.
        numbers: Space group of each crystal.
        n_atoms: Number of atoms of each primitive cell.
    """
    cosines = shape[:, 4:].clamp(-STEEPEST, STEEPEST)
    rough = torch.cat([shape[:, 1:4].exp(), torch.rad2deg(torch.acos(cosines))], 1)
    cell = _allowed(rough, numbers)
    oblique = (numbers <= LAST_OF_SYSTEM["triclinic"])[:, None]
    for _ in range(N_SHRINKS):
        flat = oblique & (_squared_unit_volume(cell) < FLATTEST)[:, None]
        if not bool(flat.any()):
            break
        bent = torch.rad2deg(torch.acos(SHRINK * torch.cos(torch.deg2rad(cell[:, 3:]))))
        cell = torch.cat([cell[:, :3], torch.where(flat, bent, cell[:, 3:])], 1)
    wanted = shape[:, 0].exp() * n_atoms * n_lattice_points(numbers)
    scale = (wanted / cells.volume(cells.from_parameters(cell))) ** (1 / 3)
    scaled = torch.cat([cell[:, :3] * scale[:, None], cell[:, 3:]], 1)
    return unit_cell.from_cell(scaled, numbers)


def n_lattice_points(numbers: Int[Tensor, " n_systems"]) -> Int[Tensor, " n_systems"]:
    """Count the lattice points of the conventional cell of each space group."""
    counts = [0] + [len(space_group(number).centring_translations) for number in range(1, N_SPACE_GROUPS + 1)]
    return torch.tensor(counts, device=numbers.device)[numbers]


def _allowed(
    cell: Float[Tensor, "n_systems 6"], numbers: Int[Tensor, " n_systems"]
) -> Float[Tensor, "n_systems 6"]:
    return unit_cell.to_cell(unit_cell.from_cell(cell, numbers), numbers)


def _squared_unit_volume(cell: Float[Tensor, "n_systems 6"]) -> Float[Tensor, " n_systems"]:
    a, b, c = torch.cos(torch.deg2rad(cell[:, 3:])).unbind(1)
    return 1 - a**2 - b**2 - c**2 + 2 * a * b * c
