"""Pettifor's chemical scale, and what known crystals tell of others."""

import numpy as np
import pytest

from repdiff.crystals.pettifor import WIDTH, likeness, pettifor_number

PUBLISHED = {2: 1, 55: 8, 3: 12, 38: 15, 22: 51, 26: 61, 29: 72, 14: 85, 8: 101, 9: 102, 1: 103}
"""Pettifor, J. Phys. C 19, 285 (1986), table 1."""


def test_the_numbers_are_those_that_are_published():
    assert {z: pettifor_number(z) for z in PUBLISHED} == PUBLISHED


def test_every_element_up_to_lawrencium_has_a_number_of_its_own():
    assert sorted(pettifor_number(z) for z in range(1, 104)) == list(range(1, 104))


def test_likeness_is_one_for_the_same_elements_and_falls_with_each_difference():
    known = np.array([[61.0, 101.0], [60.0, 101.0], [60.0, 102.0], [61.0 + WIDTH, 101.0]])
    found = likeness(known, np.array([61.0, 101.0]))
    assert found == pytest.approx([1, np.exp(-1 / WIDTH), np.exp(-2 / WIDTH), np.exp(-1)])
