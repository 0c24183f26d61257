import math

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from scipy.linalg import logm

from descriptors import lattice as cells
from descriptors.batch import CrystalBatch
from repdiff.diffusion.lattice_space import (
    BASIS,
    ROTATION,
    SHAPE,
    VOLUME,
    LatticeCoordinates,
    from_algebra,
    right_handed,
    to_algebra,
    to_lattice,
    to_vector,
)

DOUBLE = torch.float64
GAUGES = ["polar", "general"]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def rotations(n, seed=0):
    q, r = torch.linalg.qr(normal(n, 3, 3, seed=seed))
    q = q * torch.diagonal(r, dim1=1, dim2=2).sign()[:, None, :]
    return q * torch.linalg.det(q).sign()[:, None, None]


def random_cells(n, seed=0):
    """Right-handed cells without negative eigenvalues, 2 to 10 Å or so, oriented at random within limits."""
    return to_lattice(torch.cat([normal(n, 8, seed=seed) / 2, 2.5 + normal(n, 1, seed=seed + 1) / 3], 1))


def metric(lattice):
    return lattice @ lattice.mT


@pytest.fixture(scope="module", params=["perov_5", "carbon_24", "mp20"])
def published(request, data_dir):
    column = pq.read_table(data_dir / f"{request.param}.parquet", columns=["lattice"])["lattice"]
    return torch.tensor(np.stack(column.to_numpy()), dtype=DOUBLE).reshape(-1, 3, 3)


def test_basis_is_orthonormal_and_in_three_parts():
    torch.testing.assert_close(BASIS.flatten(1) @ BASIS.flatten(1).T, torch.eye(9, dtype=DOUBLE))
    assert torch.equal(BASIS[ROTATION].mT, -BASIS[ROTATION])
    assert torch.equal(BASIS[SHAPE].mT, BASIS[SHAPE])
    torch.testing.assert_close(torch.einsum("kii->k", BASIS[SHAPE]), torch.zeros(5, dtype=DOUBLE))
    torch.testing.assert_close(BASIS[VOLUME][0], torch.eye(3, dtype=DOUBLE) / math.sqrt(3))
    assert [len(range(*part.indices(9))) for part in (ROTATION, SHAPE, VOLUME)] == [3, 5, 1]


def test_the_map_to_matrices_is_an_isometry_with_its_inverse():
    vector = normal(50, 9)
    matrix = to_algebra(vector)
    torch.testing.assert_close(matrix.flatten(1).norm(dim=1), vector.norm(dim=1))
    torch.testing.assert_close(from_algebra(matrix), vector)


@pytest.mark.parametrize("gauge", GAUGES)
def test_round_trip_on_every_published_cell(published, gauge):
    back = to_lattice(to_vector(published, gauge=gauge))
    torch.testing.assert_close(
        cells.to_parameters(back), cells.to_parameters(published), rtol=1e-8, atol=1e-8
    )
    expected = published
    if gauge == "polar":  # the gauge: the cell comes back symmetric, the old one times an orthogonal matrix
        torch.testing.assert_close(back, back.mT, rtol=0, atol=1e-8)
        turn = torch.linalg.solve(published, back)
        torch.testing.assert_close(
            metric(turn), torch.eye(3, dtype=DOUBLE).expand_as(turn), rtol=0, atol=1e-8
        )
        expected = published @ turn
    torch.testing.assert_close(back, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("gauge", GAUGES)
def test_round_trip_on_random_matrices(gauge):
    lattice = random_cells(500)
    back = to_lattice(to_vector(lattice, gauge=gauge))
    torch.testing.assert_close(metric(back), metric(lattice), rtol=1e-10, atol=1e-10)
    if gauge == "general":
        torch.testing.assert_close(back, lattice, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("gauge", GAUGES)
def test_single_precision_stays_single_and_close(gauge):
    lattice = random_cells(100)
    vector = to_vector(lattice.float(), gauge=gauge)
    assert vector.dtype == torch.float32
    torch.testing.assert_close(vector.double(), to_vector(lattice, gauge=gauge), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(metric(to_lattice(vector)), metric(lattice).float(), rtol=1e-4, atol=1e-3)


def test_general_logarithm_agrees_with_scipy():
    lattice = random_cells(60, seed=3)
    logarithms = np.stack([logm(matrix) for matrix in lattice.mT.numpy()])
    expected = from_algebra(torch.tensor(logarithms))
    torch.testing.assert_close(to_vector(lattice, gauge="general"), expected, rtol=1e-9, atol=1e-9)


def test_general_logarithm_serves_cells_without_a_basis_of_eigenvectors():
    lattice = torch.tensor([[[4.0, 0, 0], [1.5, 4, 0], [2.0, 1.0, 4]]], dtype=DOUBLE)
    torch.testing.assert_close(
        to_lattice(to_vector(lattice, gauge="general")), lattice, rtol=1e-11, atol=1e-11
    )


def test_polar_vectors_are_the_same_for_all_orientations_and_have_no_rotation():
    lattice = random_cells(100, seed=4)
    vector = to_vector(lattice, gauge="polar")
    torch.testing.assert_close(to_vector(lattice @ rotations(100), gauge="polar"), vector)
    torch.testing.assert_close(vector[:, ROTATION], torch.zeros(100, 3, dtype=DOUBLE))


def test_a_turn_is_all_that_the_rotation_part_of_the_general_vector_holds():
    vector = torch.cat([normal(50, 3, seed=5) / 2, torch.zeros(50, 6, dtype=DOUBLE)], 1)
    lattice = to_lattice(vector)
    torch.testing.assert_close(metric(lattice), torch.eye(3, dtype=DOUBLE).expand(50, 3, 3))
    torch.testing.assert_close(to_vector(lattice, gauge="general"), vector)


@pytest.mark.parametrize("gauge", GAUGES)
def test_volume_coordinate_is_the_logarithm_of_the_volume(gauge):
    lattice = random_cells(50, seed=6)
    expected = cells.volume(lattice).log() / math.sqrt(3)
    torch.testing.assert_close(to_vector(lattice, gauge=gauge)[:, 8], expected)


def test_volume_depends_on_the_volume_coordinate_alone():
    vector = (normal(20, 9, seed=7) / 2).requires_grad_()
    volume = torch.linalg.det(to_lattice(vector))
    (gradient,) = torch.autograd.grad(volume.sum(), vector)
    torch.testing.assert_close(gradient[:, 8], math.sqrt(3) * volume.detach())
    torch.testing.assert_close(gradient[:, :8], torch.zeros(20, 8, dtype=DOUBLE), rtol=0, atol=1e-10)


def test_cells_have_a_gradient_by_their_vector_also_where_cubic():
    vector = torch.zeros(2, 9, dtype=DOUBLE)
    vector[0] = normal(1, 9)[0] / 3
    assert torch.autograd.gradcheck(to_lattice, vector.requires_grad_())


@pytest.mark.parametrize("gauge", GAUGES)
def test_a_left_handed_cell_has_the_vector_of_its_inverse_image(gauge):
    lattice = random_cells(10, seed=8)
    vector = to_vector(-lattice, gauge=gauge)
    torch.testing.assert_close(vector, to_vector(lattice, gauge=gauge))
    torch.testing.assert_close(
        cells.to_parameters(to_lattice(vector)), cells.to_parameters(-lattice), rtol=1e-9, atol=1e-9
    )


def test_right_handed_cells_hold_the_same_atoms():
    lattice = random_cells(4, seed=9) * torch.tensor([1.0, -1, -1, 1], dtype=DOUBLE)[:, None, None]
    batch = CrystalBatch(
        frac_coords=normal(8, 3, seed=10),
        lattice=lattice,
        atomic_numbers=torch.arange(1, 9),
        system_idx=torch.arange(4).repeat_interleave(2),
    )
    turned = right_handed(batch)
    assert bool((torch.linalg.det(turned.lattice) > 0).all())
    torch.testing.assert_close(turned.cart_coords, batch.cart_coords)
    torch.testing.assert_close(metric(turned.lattice), metric(batch.lattice))
    torch.testing.assert_close(turned.lattice[0], batch.lattice[0])


def test_a_cell_without_a_real_logarithm_is_turned_before_one_is_taken():
    lattice = torch.diag(torch.tensor([-2.0, -3.0, 4.0], dtype=DOUBLE))[None]
    expected = to_vector(lattice.abs(), gauge="polar")
    for gauge in GAUGES:
        torch.testing.assert_close(to_vector(lattice, gauge=gauge), expected)


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
def test_what_is_no_cell_is_refused(value):
    lattice = torch.eye(3, dtype=DOUBLE).repeat(2, 1, 1)
    lattice[1, 2, 2] = value
    with pytest.raises(ValueError, match=r"lattice\[1\] has volume"):
        to_vector(lattice, gauge="polar")


@pytest.mark.parametrize("gauge", GAUGES)
@pytest.mark.parametrize("per_atom", [False, True])
def test_fitted_coordinates_have_mean_zero_and_spread_one_and_lead_back(gauge, per_atom):
    lattice, n_atoms = random_cells(300, seed=11), torch.arange(300) % 20 + 1
    coordinates = LatticeCoordinates.fit(lattice, n_atoms, gauge=gauge, per_atom=per_atom, min_std=0.05)
    encoded = coordinates.encode(lattice, n_atoms)
    torch.testing.assert_close(encoded.mean(0), torch.zeros(9, dtype=DOUBLE), rtol=0, atol=1e-9)
    varies = slice(3, 9) if gauge == "polar" else slice(0, 9)
    torch.testing.assert_close(encoded[:, varies].std(0, correction=0), torch.ones(9, dtype=DOUBLE)[varies])
    torch.testing.assert_close(metric(coordinates.decode(encoded, n_atoms)), metric(lattice))


def test_volume_per_atom_does_not_depend_on_the_number_of_atoms():
    lattice = random_cells(1, seed=12)
    doubled = lattice * 2 ** (1 / 3)
    coordinates = LatticeCoordinates.plain(gauge="polar", per_atom=True)
    torch.testing.assert_close(
        coordinates.encode(doubled, torch.tensor([8])), coordinates.encode(lattice, torch.tensor([4]))
    )


def test_coordinates_that_do_not_vary_get_the_least_scale():
    lattice = torch.eye(3, dtype=DOUBLE) * torch.linspace(3, 5, 20, dtype=DOUBLE)[:, None, None]
    coordinates = LatticeCoordinates.fit(
        lattice, torch.full((20,), 5), gauge="polar", per_atom=False, min_std=0.05
    )
    torch.testing.assert_close(coordinates.std[:8], torch.full((8,), 0.05, dtype=DOUBLE))
    assert float(coordinates.std[8]) > 0.1
