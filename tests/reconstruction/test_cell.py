import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import crystals

from descriptors import lattice as cells
from reconstruction.cell import MIN_FLATNESS, decode_cells


def decode(*parameters, n_atoms=4.0):
    return decode_cells(torch.tensor([parameters], dtype=torch.float32), torch.tensor([n_atoms]))


def flatness(lattice):
    return float(cells.volume(lattice)[0] / lattice[0].norm(dim=1).prod())


@given(batch=crystals())
def test_parameters_of_a_cell_come_back(batch):
    parameters = cells.to_parameters(batch.lattice)
    read = decode_cells(parameters, batch.n_atoms_per_system.double())
    for row in range(batch.n_systems):
        assert read.reasons[row] is None
        if flatness(batch.lattice[row : row + 1]) > MIN_FLATNESS + 1e-6:
            assert read.repaired[row] is None
            torch.testing.assert_close(cells.to_parameters(read.lattice)[row], parameters[row])
    assert bool((torch.linalg.det(read.lattice) > 0).all())


@given(
    lengths=st.lists(st.floats(3, 12), min_size=3, max_size=3),
    angles=st.lists(st.floats(-100, 300), min_size=3, max_size=3),
)
def test_any_angles_make_a_cell_that_is_not_flat_and_keeps_its_edges(lengths, angles):
    read = decode(*lengths, *angles, n_atoms=1.0)
    if read.reasons[0] is None:
        assert flatness(read.lattice) >= MIN_FLATNESS - 1e-4
        torch.testing.assert_close(cells.to_parameters(read.lattice)[0, :3], torch.tensor(lengths))
    else:
        assert "volume is" in read.reasons[0]


@pytest.mark.parametrize("angles", [(90.0, 90.0, 190.0), (100.0, 130.0, 135.0), (60.0, 20.0, 95.0)])
def test_angles_that_do_not_close_are_repaired_and_said_so(angles):
    read = decode(4.0, 4.0, 4.0, *angles)
    assert read.reasons == [None]
    assert read.repaired[0] is not None
    assert "moved towards 90" in read.repaired[0]


def test_a_repair_is_the_smallest_that_helps():
    read = decode(4.0, 4.0, 4.0, 119.99, 119.99, 119.99)  # 120 degrees lie in a plane
    moved = cells.to_parameters(read.lattice)[0, 3:]
    assert read.repaired[0] is not None
    assert bool((moved > 119).all())


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ((float("nan"), 4.0, 4.0, 90.0, 90.0, 90.0), "expected finite numbers"),
        ((4.0, 4.0, 4.0, 90.0, float("inf"), 90.0), "expected finite numbers"),
        ((0.5, 4.0, 4.0, 90.0, 90.0, 90.0), "an edge is 0.5 Å, expected at least 1 Å"),
        ((-4.0, 4.0, 4.0, 90.0, 90.0, 90.0), "an edge is -4 Å"),
        ((1.5, 1.5, 1.5, 90.0, 90.0, 90.0), "volume is 0.844 Å³ an atom"),
        ((30.0, 30.0, 30.0, 90.0, 90.0, 90.0), "volume is 6.75e+03 Å³ an atom"),
    ],
)
def test_what_makes_no_cell_is_refused_with_the_reason(parameters, reason):
    read = decode(*parameters)
    assert reason in read.reasons[0]
    assert read.repaired == [None]
    torch.testing.assert_close(read.lattice[0], torch.eye(3))


def test_a_refused_row_leaves_its_neighbours_alone():
    good = [4.0, 5.0, 6.0, 80.0, 90.0, 100.0]
    parameters = torch.tensor([good, [torch.nan] * 6, good])
    read = decode_cells(parameters, torch.tensor([2.0, 2.0, 2.0]))
    assert [reason is None for reason in read.reasons] == [True, False, True]
    torch.testing.assert_close(cells.to_parameters(read.lattice)[[0, 2]], parameters[[0, 2]])
