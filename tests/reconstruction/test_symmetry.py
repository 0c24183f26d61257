import known_crystals
import numpy as np
import pytest
import spglib
import torch
from known_crystals import CUBIC, FACE_CENTRED, HEXAGONAL, LATTICES, TRICLINIC

from reconstruction.space_groups import point_group
from reconstruction.symmetry import SymmetricStarts

pytestmark = pytest.mark.filterwarnings(
    "ignore:Set OLD_ERROR_HANDLING:DeprecationWarning"
)  # spglib, about itself


def prepared(lattice, numbers, *, n_groups=12, shortest=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    starts = SymmetricStarts.prepare(
        torch.tensor(lattice)[None],
        torch.tensor(numbers)[None],
        torch.tensor([shortest]),
        n_groups=n_groups,
        generator=generator,
    )
    return starts, generator


def drawn(lattice, numbers, n_starts, **settings):
    starts, generator = prepared(lattice, numbers, **settings)
    return starts.draw(torch.tensor([0]), n_starts, dtype=torch.float64, generator=generator)[0].numpy()


def n_operations(lattice, frac_coords, numbers):
    found = spglib.get_symmetry((lattice, frac_coords, numbers), symprec=1e-4)
    assert found is not None
    return len(found["rotations"])


@pytest.mark.parametrize("lattice", LATTICES)
def test_most_starts_are_symmetric(lattice):
    numbers = [3, 3, 8, 8, 8, 8]
    orders = [n_operations(lattice, frac, numbers) for frac in drawn(lattice * 1.5, numbers, 60)]
    assert np.mean(np.array(orders) > 1) > 0.6
    assert max(orders) >= len(point_group(lattice, tolerance=0.01)) / 4


def test_a_perovskite_is_among_the_starts_of_its_cell():
    structure = known_crystals.perovskite()
    numbers = sorted(site.specie.Z for site in structure)
    starts = drawn(structure.lattice.matrix, numbers, 200, shortest=1.8)
    orders = {n_operations(structure.lattice.matrix, frac, numbers) for frac in starts}
    assert 48 in orders


@pytest.mark.parametrize(
    "numbers", [[8, 8, 8, 22, 38], [6] * 16, [1], [3, 8, 8, 8, 8, 8, 8, 8, 15, 15, 26, 26]]
)
@pytest.mark.parametrize("lattice", [FACE_CENTRED, TRICLINIC])
def test_atoms_keep_their_distance(lattice, numbers):
    lattice = lattice * (12 * len(numbers) / abs(np.linalg.det(lattice))) ** (1 / 3)
    starts = drawn(lattice, numbers, 30, shortest=1.3)
    steps = starts[:, :, None] - starts[:, None]
    distances = np.linalg.norm((steps - np.rint(steps)) @ lattice, axis=3)
    distances[:, range(len(numbers)), range(len(numbers))] = np.inf
    assert distances.min() > 1.29


def test_a_formula_that_fits_no_group_falls_back_on_random_positions():
    starts = drawn(CUBIC, [6] * 20, 4, shortest=99.0)
    assert starts.shape == (4, 20, 3)
    assert np.isfinite(starts).all()


def test_starts_repeat_with_their_seed():
    draws = [drawn(HEXAGONAL * 2, [3, 8, 8, 9], 8, seed=seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


def test_every_named_crystal_gets_starts_of_its_own_cell():
    generator = torch.Generator().manual_seed(0)
    lattice = torch.tensor(np.stack([CUBIC, TRICLINIC]))
    numbers = torch.tensor([[3, 3, 3, 8], [3, 8, 8, 8]])
    starts = SymmetricStarts.prepare(lattice, numbers, torch.ones(2), n_groups=8, generator=generator)
    frac = starts.draw(torch.tensor([1, 0]), 16, dtype=torch.float32, generator=generator)
    assert frac.shape == (2, 16, 4, 3)
    assert frac.dtype == torch.float32
    largest = [
        max(n_operations(lattice[row].numpy(), part, numbers[row].numpy()) for part in frac[k].numpy())
        for k, row in enumerate((1, 0))
    ]
    assert largest[0] <= 2 < largest[1]
