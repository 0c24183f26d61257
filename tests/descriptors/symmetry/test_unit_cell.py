import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from symmetric_crystals import generic_cell
from torch.autograd import gradcheck

from descriptors import lattice as cells
from descriptors.symmetry import unit_cell
from descriptors.symmetry.space_group import space_group

NUMBERS = torch.arange(1, 231)


def all_cells():
    return torch.cat([generic_cell(number) for number in NUMBERS.tolist()])


def test_free_parameters_survive_the_lattice_for_all_groups_at_once():
    free = all_cells()
    torch.testing.assert_close(
        unit_cell.from_lattice(unit_cell.to_lattice(free, NUMBERS), NUMBERS, exact=True), free
    )


def test_every_operation_keeps_the_metric_of_its_cell():
    lattices = unit_cell.to_lattice(all_cells(), NUMBERS).numpy()
    for number, lattice in enumerate(lattices, start=1):
        rotations = space_group(number).rotations
        metric = lattice @ lattice.T
        np.testing.assert_allclose(
            rotations @ metric @ rotations.transpose(0, 2, 1),
            np.broadcast_to(metric, rotations.shape),
            atol=1e-12,
        )


def test_the_numbers_of_parameters_are_those_of_the_crystal_systems():
    counts = unit_cell.n_cell_parameters(torch.tensor([2, 14, 62, 136, 166, 194, 225]))
    assert counts.tolist() == [6, 4, 3, 2, 2, 2, 1]


def test_gradients_by_cell_parameters_are_exact():
    chosen = torch.tensor([2, 14, 62, 136, 166, 225])
    free = all_cells()[chosen - 1].requires_grad_()
    assert gradcheck(lambda cell: unit_cell.to_lattice(cell, chosen), (free,))


@pytest.mark.parametrize("number", [1, 14, 62, 136, 148, 166, 194, 225])
@given(seed=st.integers(0, 1000))
def test_symmetric_strains_are_as_many_as_parameters_and_keep_the_cell_within_the_group(number, seed):
    strains = unit_cell.symmetric_strains(number)
    assert len(strains) == len(unit_cell.parameter_names(number))
    np.testing.assert_allclose(np.einsum("sij,tij->st", strains, strains), np.eye(len(strains)), atol=1e-12)
    strain = np.einsum("s,sij->ij", np.random.default_rng(seed).normal(0, 0.1, len(strains)), strains)
    numbers = torch.tensor([number])
    lattice = unit_cell.to_lattice(generic_cell(number), numbers) @ torch.linalg.matrix_exp(
        torch.from_numpy(strain)
    )
    unit_cell.from_lattice(lattice, numbers, exact=True)


def test_a_cell_that_contradicts_its_group_is_refused():
    tetragonal = cells.from_parameters(torch.tensor([[4.0, 4.0, 5.0, 90, 90, 90]], dtype=torch.float64))
    with pytest.raises(ValueError, match=r"cell \[0\] \(4, 4, 5, .* contradicts space group 225 \(Fm-3m\)"):
        unit_cell.from_lattice(tetragonal, torch.tensor([225]), exact=True)
    assert unit_cell.from_lattice(tetragonal, torch.tensor([225]))[0, 0] == pytest.approx(13 / 3)
