import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from descriptors import lattice as cells
from descriptors.symmetry import unit_cell
from descriptors.symmetry.cell_shape import from_shape, n_lattice_points, to_shape

LENGTHS = st.floats(2.0, 30.0)
ANGLES = st.floats(60.0, 120.0)


@st.composite
def free_cells(draw):
    """Draw a space group and free parameters of a cell that is not flat."""
    number = draw(st.integers(1, 230))
    cell = torch.tensor(
        [[draw(LENGTHS) for _ in range(3)] + [draw(ANGLES) for _ in range(3)]], dtype=torch.float64
    )
    a, b, c = torch.cos(torch.deg2rad(cell[0, 3:])).tolist()
    if 1 - a**2 - b**2 - c**2 + 2 * a * b * c < 0.05:
        cell[0, 3:] = 90.0
    numbers = torch.tensor([number])
    return numbers, unit_cell.from_cell(cell, numbers)


@given(free_cells(), st.integers(1, 40))
def test_cells_come_back_from_their_shape(cell, n_atoms):
    numbers, free = cell
    sizes = torch.tensor([n_atoms])
    torch.testing.assert_close(from_shape(to_shape(free, numbers, sizes), numbers, sizes), free)


def test_shape_is_what_it_says_it_is():
    numbers, sizes = torch.tensor([225, 194]), torch.tensor([2, 2])
    free = torch.tensor([[5.64, 0, 0, 0, 0, 0], [3.2, 5.2, 0, 0, 0, 0]], dtype=torch.float64)
    shape = to_shape(free, numbers, sizes)
    assert n_lattice_points(numbers).tolist() == [4, 1]
    assert shape[0].tolist() == pytest.approx([math.log(5.64**3 / 8), 0, 0, 0, 0, 0, 0], abs=1e-12)
    volume = 3.2**2 * 5.2 * math.sqrt(0.75)
    edge = volume ** (1 / 3)
    expected = [
        math.log(volume / 2),
        math.log(3.2 / edge),
        math.log(3.2 / edge),
        math.log(5.2 / edge),
        0,
        0,
        -0.5,
    ]
    assert shape[1].tolist() == pytest.approx(expected, abs=1e-12)


@given(st.integers(1, 230), st.lists(st.floats(-3, 3), min_size=7, max_size=7))
def test_any_seven_numbers_give_a_cell_of_the_group_with_the_volume_that_they_say(number, values):
    numbers, sizes = torch.tensor([number]), torch.tensor([6])
    shape = torch.tensor([values], dtype=torch.float64)
    free = from_shape(shape, numbers, sizes)
    lattice = unit_cell.to_lattice(free, numbers)
    unit_cell.check_cell(cells.to_parameters(lattice), numbers)
    volume = cells.volume(lattice) / (6 * n_lattice_points(numbers))
    torch.testing.assert_close(volume, shape[:, 0].exp())
