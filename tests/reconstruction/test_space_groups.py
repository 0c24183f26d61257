import numpy as np
import pytest
import spglib
from known_crystals import CUBIC, LATTICES

from reconstruction.space_groups import point_group, point_subgroups, space_groups

pytestmark = pytest.mark.filterwarnings(
    "ignore:Set OLD_ERROR_HANDLING:DeprecationWarning"
)  # spglib, about itself


def all_space_groups(lattice):
    key = point_group(lattice, tolerance=0.01).astype(np.int64).tobytes()
    return [space_groups(key, k) for k in range(len(point_subgroups(key).subgroups))]


@pytest.mark.parametrize(("lattice", "order"), list(zip(LATTICES, [48, 48, 48, 24, 8, 2], strict=True)))
def test_a_lattice_has_the_rotations_of_its_crystal_system(lattice, order):
    assert len(point_group(lattice, tolerance=0.01)) == order


@pytest.mark.parametrize("lattice", LATTICES)
def test_rotations_keep_the_metric(lattice):
    rotations = point_group(lattice, tolerance=0.01)
    metric = lattice @ lattice.T
    np.testing.assert_allclose(
        rotations @ metric @ rotations.transpose(0, 2, 1), np.broadcast_to(metric, rotations.shape), atol=1e-9
    )


@pytest.mark.parametrize("seed", range(10))
def test_what_a_tolerance_finds_is_a_group(seed):
    noise = np.random.default_rng(seed).normal(size=(3, 3)) * 0.06
    rotations = point_group(CUBIC + noise, tolerance=0.03)
    members = {rotation.tobytes() for rotation in rotations}
    assert np.array_equal(rotations[0], np.eye(3))
    assert {(one @ other).tobytes() for one in rotations for other in rotations} == members


def test_a_tolerance_forgives_what_a_generated_cell_is_off_by():
    cell = CUBIC * np.array([[1.0], [1.01], [0.99]])
    assert len(point_group(cell, tolerance=0.001)) == 8
    assert len(point_group(cell, tolerance=0.03)) == 48


@pytest.mark.parametrize("lattice", LATTICES)
def test_translations_close_modulo_the_lattice(lattice):
    for groups in all_space_groups(lattice):
        for translations in groups.translations:
            joined = np.einsum("ai,bij->abj", translations, groups.rotations) + translations
            difference = joined - translations[groups.table]
            np.testing.assert_allclose(difference, np.rint(difference), atol=1e-9)


def test_the_lattices_of_all_systems_yield_all_230_space_groups():
    found = set()
    for lattice in LATTICES:
        for groups in all_space_groups(lattice):
            columns = groups.rotations.transpose(0, 2, 1)
            for translations in groups.translations:
                named = spglib.get_spacegroup_type_from_symmetry(columns, translations, lattice)
                assert named is not None
                found.add(named.number)
    assert found == set(range(1, 231))
