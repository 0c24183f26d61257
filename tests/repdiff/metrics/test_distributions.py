import numpy as np
import pytest
from ordinary_crystals import GENERATED, REFERENCE, ordinary
from sample_crystals import crystal, cubic_perovskite, invalid_crystals
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from repdiff.crystals.crystal import to_structure
from repdiff.crystals.symmetry import space_groups
from repdiff.errors import UserError
from repdiff.metrics import Context, CrystalSet
from repdiff.metrics.distributions import (
    Distributions,
    densities,
    divergence,
    earth_movers_distance,
    numbers_of_elements,
    volumes_per_atom,
)
from repdiff.metrics.validity import check_crystal_composition

EMD = ("emd_density", "emd_n_elements", "emd_volume_per_atom", "emd_n_atoms")


def score(generated, reference, *, failed=None, max_samples=None, seed=0):
    context = Context(reference=CrystalSet(crystals=reference), seed=seed)
    return Distributions(max_samples).compute(CrystalSet(crystals=generated, failed=failed or {}), context)


def shares(sample, n):
    return np.bincount(sample, minlength=n) / len(sample)


def test_the_values_are_those_of_scipy_and_pymatgen():
    generated, reference = ordinary(GENERATED, 1), ordinary(REFERENCE, 0)
    valid = [one for one in generated if check_crystal_composition(one).valid]
    ours, theirs = ([to_structure(one) for one in crystals] for crystals in (valid, reference))
    quantities = {
        "emd_density": lambda s: s.density,
        "emd_n_elements": lambda s: len(s.composition),
        "emd_volume_per_atom": lambda s: s.volume / len(s),
        "emd_n_atoms": len,
    }
    expected = {
        name: wasserstein_distance([f(s) for s in ours], [f(s) for s in theirs])
        for name, f in quantities.items()
    }
    p, q = (shares(space_groups(crystals), 231) for crystals in (valid, reference))
    expected["js_space_groups"] = jensenshannon(p, q, base=2) ** 2
    values = {name: value.value for name, value in score(generated, reference).values.items()}
    assert values == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert values["emd_density"] > 0


def test_the_distance_of_shares_is_scipys_of_samples():
    rng = np.random.default_rng(0)
    one, other = rng.integers(20, size=31), rng.integers(25, size=17)
    found = earth_movers_distance(np.arange(30), shares(one, 30), shares(other, 30))
    assert found == pytest.approx(wasserstein_distance(one, other))


@pytest.mark.parametrize(("n_generated", "n_reference"), [(3, 24), (24, 3), (1, 17)])
def test_sets_of_unlike_size_get_the_distances_of_scipy(n_generated, n_reference):
    valid = [one for one in ordinary(GENERATED, 1) if check_crystal_composition(one).valid]
    generated = [valid[k % len(valid)].replace(id=f"g{k}") for k in range(n_generated)]
    reference = [ordinary(REFERENCE, 0)[k % len(REFERENCE)].replace(id=f"r{k}") for k in range(n_reference)]
    result = score(generated, reference)
    assert result.values["emd_density"].value == pytest.approx(
        wasserstein_distance(densities(generated), densities(reference))
    )
    assert result.values["emd_n_elements"].value == pytest.approx(
        wasserstein_distance(numbers_of_elements(generated), numbers_of_elements(reference))
    )
    p, q = (shares(space_groups(crystals), 231) for crystals in (generated, reference))
    assert result.values["js_space_groups"].value == pytest.approx(jensenshannon(p, q, base=2) ** 2)


@pytest.mark.parametrize(
    ("other", "expected"), [([0.5, 0.5, 0, 0], 0), ([0, 0, 0.5, 0.5], 1), ([0, 0.5, 0.5, 0], 0.5)]
)
def test_the_divergence_is_in_bits(other, expected):
    found = divergence(np.arange(4), np.array([0.5, 0.5, 0.0, 0.0]), np.array(other, dtype=float))
    assert found == pytest.approx(expected)


def test_a_set_is_at_no_distance_from_itself_in_any_order():
    same = ordinary(REFERENCE, 0)
    assert {value.value for value in score(same[::-1], same).values.values()} == {0.0}


def test_invalid_crystals_do_not_count_but_have_their_columns():
    good = [one for one in ordinary(REFERENCE, 0) if check_crystal_composition(one).valid]
    uncharged = cubic_perovskite("uncharged", 11, 19, 9)
    result = score([*good, uncharged, *invalid_crystals()], good, failed={"a": "no lattice"})
    assert {value.value for value in result.values.values()} == {0.0}
    assert {value.n for value in result.values.values()} == {len(good)}
    assert len(result.columns["density"]) == len(good) + 1 + len(invalid_crystals()) + 1
    assert result.columns["density"][-1] is None
    assert result.columns["density"][len(good)] > 0


def test_the_composition_test_is_not_applied_to_the_reference():
    uncharged = cubic_perovskite("uncharged", 11, 19, 9)
    assert not check_crystal_composition(uncharged).valid
    result = score([cubic_perovskite()], [uncharged, cubic_perovskite()])
    assert result.protocols[result.values["emd_density"].protocol]["n_reference"] == 2
    assert result.values["emd_density"].value > 0


def test_quantities_without_an_answer_are_nan():
    flat, ghost = (next(c for c in invalid_crystals() if c.id == name) for name in ("flat", "element 119"))
    assert np.isnan(densities([flat, ghost])).all()
    assert np.isnan(volumes_per_atom([flat])).all()
    assert densities([]).shape == volumes_per_atom([]).shape == numbers_of_elements([]).shape == (0,)


def test_density_does_not_depend_on_handedness_or_size_of_the_cell():
    one = cubic_perovskite()
    left = one.replace(lattice=one.lattice * [[1], [1], [-1]])
    assert densities([left])[0] == densities([one])[0] == pytest.approx(to_structure(one).density, rel=1e-6)


def test_fewer_samples_are_drawn_by_the_seed_and_named_in_the_protocol():
    generated, reference = ordinary(REFERENCE, 2), ordinary(REFERENCE, 0)
    first, again = (score(crystals, reference, max_samples=5) for crystals in (generated, generated[::-1]))
    assert {value.n for value in first.values.values()} == {5}
    assert first.values == again.values
    assert all(value.protocol.endswith("-5") for value in first.values.values())
    others = {
        score(generated, reference, max_samples=5, seed=seed).values["emd_density"].value for seed in range(5)
    }
    assert len(others) > 1


def test_a_number_of_samples_must_be_positive():
    with pytest.raises(UserError, match="max_samples is 0"):
        Distributions(0)


def test_no_valid_structure_is_a_reason():
    values = score(invalid_crystals(), ordinary(REFERENCE, 0)).values
    assert {value.reason for value in values.values()} == {"no valid structure"}


def test_intervals_hold_the_value_and_stay_above_zero():
    values = score(ordinary(REFERENCE, 2), ordinary(REFERENCE, 0)).values
    for name in (*EMD, "js_space_groups"):
        low, high = values[name].interval
        assert 0 <= low <= values[name].value <= high


def test_a_lone_box_of_gas_has_a_density():
    gas = crystal("He", [2], np.eye(3) * 30, [[0, 0, 0]])
    assert densities([gas])[0] == pytest.approx(4.0026 * 1.66054 / 27000, rel=1e-3)
