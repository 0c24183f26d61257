import numpy as np
import pytest
from ase.data import covalent_radii
from sample_crystals import crystal, cubic_perovskite

from repdiff.metrics import Context, CrystalSet
from repdiff.metrics.features import extract_features
from repdiff.metrics.frechet import Frechet

pytest.importorskip("chgnet")


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr("repdiff.metrics.frechet.N_RESAMPLES", 20)


@pytest.fixture(scope="module")
def prototypes():
    """130 perovskites and rock salts of many elements, at sizes that suit their atoms."""
    rng = np.random.default_rng(0)
    metals, others = [3, 11, 12, 19, 20, 22, 25, 26, 29, 30, 38, 40, 50, 56], [7, 8, 9, 16, 17, 35]
    made = []
    for index in range(65):
        (a_site, b_site), x_site = rng.choice(metals, 2, replace=False).tolist(), int(rng.choice(others))
        made.append(cubic_perovskite(f"p{index}", a_site, b_site, x_site, a=2 * bond(b_site, x_site)))
        half = bond(a_site, x_site)
        cell = half * (1 - np.eye(3))
        made.append(crystal(f"r{index}", [a_site, x_site], cell, [[0, 0, 0], [0.5, 0.5, 0.5]]))
    return made


def bond(one, other):
    return 1.1 * (covalent_radii[one] + covalent_radii[other])


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


def compare(generated, reference, cache=None, failed=None):
    return Frechet().compute(
        CrystalSet(crystals=generated, failed=failed or {}),
        Context(reference=CrystalSet(crystals=reference), cache=cache),
    )


def distance(*sets, cache=None):
    return compare(*sets, cache=cache).values["frechet_chgnet"].value


def shaken(crystals, sigma):
    rng = np.random.default_rng(0)
    return [
        one.replace(
            frac_coords=one.frac_coords + rng.normal(0, sigma, (one.n_atoms, 3)) @ np.linalg.inv(one.lattice)
        )
        for one in crystals
    ]


def test_a_set_is_at_no_distance_from_itself(prototypes, cache):
    result = compare(prototypes, prototypes[::-1], cache)
    assert result.values["frechet_chgnet"].value == pytest.approx(0, abs=1e-9)
    assert result.values["computed"].value == 1


def test_distance_is_symmetric(prototypes, cache):
    one, other = prototypes[:65], prototypes[65:]
    assert distance(one, other, cache=cache) == pytest.approx(distance(other, one, cache=cache), rel=1e-9)


def test_distance_is_the_formula_on_the_features(prototypes, cache):
    from scipy.linalg import sqrtm

    sets = prototypes[:65], prototypes[65:]
    one, other = (extract_features(crystals, cache=cache).values for crystals in sets)
    covariances = np.cov(one.T), np.cov(other.T)
    shift = one.mean(0) - other.mean(0)
    root = sqrtm(covariances[0] @ covariances[1] + 1e-14 * np.eye(64)).real
    expected = shift @ shift + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert distance(*sets, cache=cache) == pytest.approx(expected, rel=1e-3)


def test_distance_grows_with_the_noise_on_the_atoms(prototypes, cache):
    some = prototypes[:40]
    distances = [distance(shaken(some, sigma), some, cache=cache) for sigma in (0.05, 0.2, 0.8)]
    assert 0 < 3 * distances[0] < distances[1] < distances[2] / 3


def test_supercells_and_rotations_do_not_change_the_distance(prototypes, cache):
    moved = [
        one.replace(
            lattice=one.lattice[:, [1, 2, 0]] * [[2], [1], [1]],
            atomic_numbers=np.tile(one.atomic_numbers, 2),
            frac_coords=np.concatenate(
                [one.frac_coords * [0.5, 1, 1], one.frac_coords * [0.5, 1, 1] + [0.5, 0, 0]]
            ),
        )
        for one in prototypes[:65]
    ]
    same = distance(prototypes[:65], prototypes[65:], cache=cache)
    assert distance(moved, prototypes[65:], cache=cache) == pytest.approx(same, rel=1e-4)


def test_extrapolated_distance_needs_two_crystals_for_each_feature(prototypes, cache):
    few = compare(prototypes[:127], prototypes, cache).values["frechet_chgnet_infinite"]
    assert few.value is None
    assert "128" in few.reason
    enough = compare(prototypes[:128], prototypes, cache).values
    assert enough["frechet_chgnet_infinite"].value < enough["frechet_chgnet"].value


def test_fewer_crystals_than_features_are_warned_of(prototypes, cache):
    few = compare(prototypes[:40], prototypes, cache).values["frechet_chgnet"]
    assert few.value > 0
    assert few.n == 40
    assert "40 and 130 crystals for 64 features" in few.reason
    assert not compare(prototypes[:70], prototypes, cache).values["frechet_chgnet"].reason


def test_the_interval_holds_the_value(prototypes, cache):
    value = compare(prototypes[:65], prototypes[65:], cache).values["frechet_chgnet"]
    assert 0 <= value.interval[0] < value.value < value.interval[1]


def test_unknown_elements_are_counted_and_named():
    known = [
        cubic_perovskite(),
        cubic_perovskite("BaTiO3", 56, a=4.0),
        cubic_perovskite("CaTiO3", 20, a=3.85),
    ]
    strange = [
        crystal("Po", [84], np.eye(3) * 3.35, [[0, 0, 0]]),
        crystal("Cf", [98], np.eye(3) * 3.5, [[0, 0, 0]]),
    ]
    result = compare([*known, *strange], [*known, strange[0]], failed={"x": "no lattice"})
    assert result.values["frechet_chgnet"].value == pytest.approx(0, abs=1e-9)
    assert result.values["frechet_chgnet"].n == 3
    assert result.values["computed"].value == 0.5
    assert [reason.split()[-1] for reason in result.columns["chgnet_reason"][3:5]] == ["Po", "Cf"]
    assert sum(result.details["reasons_generated"].values()) == 2
    assert sum(result.details["reasons_reference"].values()) == 1


def test_one_crystal_has_a_reason_and_no_distance():
    value = compare([cubic_perovskite()], [cubic_perovskite()] * 3).values["frechet_chgnet"]
    assert value.value is None
    assert "expected at least 2" in value.reason


def test_the_protocol_names_the_network_and_its_weights():
    result = compare([cubic_perovskite()] * 2, [cubic_perovskite()] * 2)
    constants = result.protocols[result.values["frechet_chgnet"].protocol]
    assert result.values["frechet_chgnet"].protocol == "chgnet-0.3.0"
    assert len(constants["weights_sha256"]) == 64
