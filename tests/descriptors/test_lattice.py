import numpy as np
import pytest
import torch
from ase.geometry import cellpar_to_cell
from hypothesis import given
from pymatgen.core import Lattice
from strategies import crystals

from descriptors import lattice as cells

PARAMETERS = torch.tensor(
    [[4.0, 4.0, 4.0, 90, 90, 90], [3.1, 5.2, 7.3, 75, 97, 121], [2.5, 2.5, 2.5, 60, 60, 60]],
    dtype=torch.float64,
)


@given(batch=crystals())
def test_cartesian_and_fractional_coordinates_are_inverse(batch):
    back = cells.cart_to_frac(batch.cart_coords, batch.lattice, batch.system_idx)
    torch.testing.assert_close(back, batch.frac_coords)


@given(batch=crystals())
def test_rows_are_the_cell_vectors(batch):
    one = torch.eye(3, dtype=torch.float64)
    along = cells.frac_to_cart(one, batch.lattice, torch.zeros(3, dtype=torch.long))
    torch.testing.assert_close(along, batch.lattice[0])


@given(batch=crystals())
def test_parameters_agree_with_pymatgen(batch):
    for matrix, parameters in zip(batch.lattice, cells.to_parameters(batch.lattice), strict=True):
        np.testing.assert_allclose(parameters, Lattice(matrix.numpy()).parameters, rtol=1e-9)


@given(batch=crystals())
def test_parameters_rebuild_the_cell_up_to_a_rotation(batch):
    rebuilt = cells.from_parameters(cells.to_parameters(batch.lattice))
    torch.testing.assert_close(rebuilt @ rebuilt.mT, batch.lattice @ batch.lattice.mT, rtol=1e-6, atol=1e-6)
    assert bool((torch.linalg.det(rebuilt) > 0).all())


def test_cells_from_parameters_agree_with_ase():
    expected = np.stack([cellpar_to_cell(row) for row in PARAMETERS.numpy()])
    np.testing.assert_allclose(cells.from_parameters(PARAMETERS), expected, atol=1e-9)


@given(batch=crystals())
def test_volume_is_positive_and_agrees_with_pymatgen(batch):
    expected = [Lattice(matrix.numpy()).volume for matrix in batch.lattice]
    np.testing.assert_allclose(cells.volume(batch.lattice), expected, rtol=1e-9)
    assert bool((cells.volume(batch.lattice) > 0).all())


@given(batch=crystals())
def test_heights_times_face_areas_are_the_volume(batch):
    a, b, c = batch.lattice.unbind(1)
    areas = torch.stack([torch.linalg.cross(u, v).norm(dim=1) for u, v in ((b, c), (c, a), (a, b))], 1)
    expected = cells.volume(batch.lattice)[:, None].expand(-1, 3)
    torch.testing.assert_close(cells.plane_heights(batch.lattice) * areas, expected)


@pytest.mark.parametrize(
    "row",
    [[4.0, 4, -1, 90, 90, 90], [0.0, 4, 4, 90, 90, 90], [4, 4, 4, 120, 120, 120], [4, 4, 4, 30, 30, 80]],
)
def test_parameters_that_no_cell_has_are_refused_by_number(row):
    parameters = torch.cat([PARAMETERS, torch.tensor([row], dtype=torch.float64)])
    with pytest.raises(ValueError, match=r"no cell has the parameters \[3\]"):
        cells.from_parameters(parameters)


def test_parameters_have_a_gradient():
    lattice = cells.from_parameters(PARAMETERS[1:]).requires_grad_()
    assert torch.autograd.gradcheck(cells.to_parameters, lattice)
    parameters = PARAMETERS.clone().requires_grad_()
    assert torch.autograd.gradcheck(cells.from_parameters, parameters)


@pytest.mark.parametrize("sign", [1, -1])
def test_vectors_along_one_line_have_an_angle_whatever_rounding_makes_of_their_cosine(sign):
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(500, 3, generator=generator)
    stretch = sign * (0.5 + torch.rand(500, 1, generator=generator))
    lattice = torch.stack([first, stretch * first, torch.randn(500, 3, generator=generator)], 1)
    angles = cells.to_parameters(lattice)[:, 5]
    assert bool(torch.isfinite(angles).all())
    torch.testing.assert_close(angles, torch.full_like(angles, 0.0 if sign > 0 else 180.0), rtol=0, atol=0.1)
