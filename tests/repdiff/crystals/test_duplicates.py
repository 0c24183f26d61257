"""The fingerprint behind the search for duplicates: what it must not depend on, and what it must show."""

import numpy as np
import pytest

from repdiff.crystals.crystal import Crystal
from repdiff.crystals.duplicates import distance_fingerprints


def sample(scale: float = 1.0) -> Crystal:
    return Crystal(
        id="sample",
        atomic_numbers=np.array([11, 17, 17]),
        lattice=scale * np.array([[4.0, 0, 0], [0.3, 4.5, 0], [0.2, 0.6, 5.0]]),
        frac_coords=np.array([[0, 0, 0], [0.5, 0.5, 0.4], [0.2, 0.7, 0.8]]),
    )


def test_the_fingerprint_is_that_of_any_supercell():
    one = sample()
    doubled = one.replace(
        lattice=one.lattice * [[2], [1], [1]],
        atomic_numbers=np.tile(one.atomic_numbers, 2),
        frac_coords=np.concatenate([one.frac_coords, one.frac_coords + np.array([1, 0, 0])]) / [2, 1, 1],
    )
    first, second = distance_fingerprints([one, doubled])
    np.testing.assert_allclose(first, second, atol=1e-9)


def test_only_the_first_number_shows_the_volume():
    one, grown = distance_fingerprints([sample(), sample(1.1)])
    assert grown[0] - one[0] == pytest.approx(np.log(1.1))
    np.testing.assert_allclose(one[1:], grown[1:], atol=1e-9)


def test_the_fingerprint_shows_which_element_sits_where():
    exchanged = sample().replace(atomic_numbers=np.array([17, 11, 17]))
    one, other = distance_fingerprints([sample(), exchanged])
    assert np.abs(one[1:] - other[1:]).max() > 0.01


def test_fingerprints_come_in_the_order_of_the_crystals():
    big = sample().replace(
        atomic_numbers=np.array([11, 17, 17, 11, 17, 17]),
        frac_coords=np.concatenate([sample().frac_coords, sample().frac_coords + 0.1]),
    )
    alone = [distance_fingerprints([one])[0] for one in (big, sample())]
    for together, single in zip(distance_fingerprints([big, sample()]), alone, strict=True):
        np.testing.assert_allclose(together, single, atol=1e-12)
