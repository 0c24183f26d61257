import numpy as np
import pytest

from repdiff.crystals.volumes import atomic_volumes


def test_volumes_are_found_again_where_crystals_are_their_sums():
    rooms = np.array([11.0, 20.0, 25.0, 35.0])
    counts = np.random.default_rng(0).integers(0, 4, (12, 4)).astype(float)
    counts[:, 0] += 1
    np.testing.assert_allclose(atomic_volumes(counts, counts @ rooms), rooms, rtol=1e-6)


def test_no_volume_is_below_the_bound_and_an_absent_element_has_the_mean():
    counts = np.array([[1.0, 1.0, 0.0], [1.0, 2.0, 0.0], [2.0, 1.0, 0.0]])
    found = atomic_volumes(counts, np.array([10.0, 9.5, 20.0]), least=3.0)
    assert found.min() == pytest.approx(3.0)
    assert found[2] == pytest.approx(found[:2].mean())
