import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_crystals import crystal, cubic_perovskite, invalid_crystals

from repdiff.crystals.geometry import check_structures, shortest_distances
from repdiff.metrics import METRICS, Context, CrystalSet


def brute_force(structure, reach=6):
    """Shortest distance through all images up to a reach, found without any shortcut."""
    shifts = np.array(list(itertools.product(range(-reach, reach + 1), repeat=3)))
    difference = structure.frac_coords[:, None] - structure.frac_coords
    distances = np.linalg.norm((difference[:, :, None] + shifts) @ structure.lattice, axis=-1)
    itself = np.eye(structure.n_atoms, dtype=bool)[:, :, None] & (shifts == 0).all(1)
    return distances[~itself].min()


@given(seed=st.integers(0, 10**6), n_atoms=st.integers(1, 4))
def test_the_shortest_distance_is_found_in_skewed_cells(seed, n_atoms):
    rng = np.random.default_rng(seed)
    lattice = np.diag(rng.uniform(1.5, 6, 3)) + np.tril(rng.uniform(-4, 4, (3, 3)), -1)
    structure = crystal("x", [6] * n_atoms, lattice, rng.uniform(-1, 2, (n_atoms, 3)))
    assert shortest_distances([structure])[0] == pytest.approx(brute_force(structure), rel=1e-9)


def test_images_of_an_atom_itself_count():
    thin = crystal("thin", [26], np.diag([0.4, 5, 5]), [[0, 0, 0]])
    (check,) = check_structures([thin])
    assert not check.valid
    assert check.shortest_distance == pytest.approx(0.4)


def test_two_atoms_across_the_cell_boundary_are_close():
    (check,) = check_structures([crystal("x", [11, 17], np.eye(3) * 4, [[0, 0, 0], [0.95, 0, 0]])])
    assert check.reason == "atoms closer than 0.5 Å"
    assert check.shortest_distance == pytest.approx(0.2)


@pytest.mark.parametrize(("distance", "valid"), [(0.49, False), (0.51, True)])
def test_half_an_angstrom_is_the_limit(distance, valid):
    pair = crystal("x", [1, 1], np.eye(3) * 10, [[0, 0, 0], [distance / 10, 0, 0]])
    assert check_structures([pair])[0].valid is valid


def test_every_kind_of_bad_crystal_has_its_reason_and_good_neighbours_stay_good():
    crystals = [cubic_perovskite(), *invalid_crystals(), cubic_perovskite("second")]
    checks = check_structures(crystals)
    assert [check.valid for check in checks] == [True] + [False] * 7 + [True]
    assert [check.reason for check in checks[1:-1]] == [
        "a coordinate or a cell vector is not finite",
        "a coordinate or a cell vector is not finite",
        "volume below 0.1 Å³",
        "atoms closer than 0.5 Å",
        "unknown element",
        "unknown element",
        "no atoms",
    ]


def test_a_long_flat_cell_is_measured_without_thousands_of_images():
    flat = crystal("flat", [6], [[1e5, 3.0, 0.0], [1e5, 0.0, 2.0], [0.0, 0.0, 9.0]], [[0, 0, 0]])
    assert shortest_distances([flat])[0] == pytest.approx(13**0.5)


def test_an_atom_alone_in_a_huge_cell_is_valid():
    (check,) = check_structures([crystal("x", [18], np.eye(3) * 500, [[0, 0, 0]])])
    assert check.valid
    assert check.shortest_distance == pytest.approx(500)


def test_crystals_that_were_not_reconstructed_lower_the_fractions():
    crystals = CrystalSet(crystals=[cubic_perovskite()], failed={"lost": "no valid lattice"})
    result = METRICS["validity"].example().compute(crystals, Context())
    assert {name: value.value for name, value in result.values.items()} == {
        "structure_valid": 0.5,
        "composition_valid": 0.5,
        "valid": 0.5,
    }
    assert result.columns["structure_reason"] == ["", "could not be made or read"]


def test_the_oxidation_states_are_part_of_the_protocols_name():
    result = METRICS["validity"].example().compute(CrystalSet(crystals=[cubic_perovskite()]), Context())
    assert result.values["composition_valid"].protocol == "cdvae-smact14"
    assert result.values["structure_valid"].protocol == "cdvae"


def test_all_real_perovskites_are_valid_structures(benchmark):
    assert all(check.valid for check in check_structures(benchmark("perov_5", "test")))
