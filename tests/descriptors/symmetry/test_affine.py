import numpy as np
import pytest

from descriptors.symmetry.affine import DENOMINATOR, Affine


def random_map(generator):
    return Affine(
        generator.integers(-2, 3, size=(3, 3)), generator.integers(-DENOMINATOR, 2 * DENOMINATOR, size=3)
    )


@pytest.mark.parametrize("seed", range(5))
def test_one_map_after_another_is_the_one_applied_to_what_the_other_gives(seed):
    generator = np.random.default_rng(seed)
    one, other, points = random_map(generator), random_map(generator), generator.random((4, 3))
    both = other.after(one)
    gap = both(points) - other(one(points))
    np.testing.assert_allclose(gap, np.round(gap), atol=1e-12)
    assert ((both.shift >= 0) & (both.shift < DENOMINATOR)).all()
