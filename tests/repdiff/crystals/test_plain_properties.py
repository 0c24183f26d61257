"""Plain properties against pymatgen's own numbers, and crystals of any quality."""

import numpy as np
import pytest
from pymatgen.core import Structure

from repdiff.crystals.crystal import to_structure
from repdiff.crystals.plain_properties import PLAIN_PROPERTIES, hhi_production, hhi_reserve, plain_properties
from repdiff.testing.example_crystals import cubic_perovskite, invalid_crystals, rock_salt


@pytest.mark.parametrize("crystal", [cubic_perovskite(), rock_salt(a=5.64)])
def test_densities_and_masses_are_those_of_pymatgen(crystal):
    structure: Structure = to_structure(crystal)
    found = {name: values[0] for name, values in plain_properties([crystal]).items()}
    assert found["density"] == pytest.approx(float(structure.density), rel=1e-4)
    assert found["volume_per_atom"] == pytest.approx(structure.volume / len(structure))
    assert found["mass_per_atom"] == pytest.approx(
        float(structure.composition.weight) / len(structure), rel=1e-4
    )
    assert found["formula_mass"] == pytest.approx(
        float(structure.composition.reduced_composition.weight), rel=1e-4
    )
    distances = structure.distance_matrix[np.triu_indices(len(structure), 1)]
    assert found["shortest_distance"] == pytest.approx(distances.min())


def test_supply_risk_is_the_mean_by_mass_of_the_published_table():
    mass = {"Na": 22.98976928, "Cl": 35.45}
    total = sum(mass.values())
    assert hhi_production({11: 2, 17: 2}) == pytest.approx(
        (1100 * mass["Na"] + 1500 * mass["Cl"]) / total, rel=1e-4
    )
    assert hhi_reserve({11: 1, 17: 1}) == pytest.approx(
        (500 * mass["Na"] + 1500 * mass["Cl"]) / total, rel=1e-4
    )
    assert hhi_production({60: 1}) == 9500  # neodymium


def test_an_element_without_an_entry_leaves_the_formula_without_a_risk():
    assert hhi_production({89: 1, 8: 1}) is None


def test_what_has_no_cell_has_no_properties():
    crystals = invalid_crystals()
    found = plain_properties(crystals)
    assert found.keys() == PLAIN_PROPERTIES.keys()
    assert all(len(values) == len(crystals) for values in found.values())
