import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_crystals import crystal, cubic_perovskite, invalid_crystals

from repdiff.errors import UserError
from repdiff.metrics import Context, CrystalSet, matching
from repdiff.metrics.matching import Matching, compare_pairs, match_any, match_pairs

SKEW = np.array([[1, 1, 0], [0, 1, 0], [2, 0, 1]])  # another basis of the same lattice


def salt(id="NaCl", displacement=0.0, a=4.0):
    """Two atoms of a caesium chloride cell, the second displaced along x, Å."""
    return crystal(id, [11, 17], np.eye(3) * a, [[0, 0, 0], [0.5 + displacement / a, 0.5, 0.5]])


def test_the_rms_displacement_is_divided_by_the_cube_root_of_the_volume_per_atom():
    known = cubic_perovskite(a=4.0)
    moved = known.replace(frac_coords=known.frac_coords + np.eye(5)[:, :3] * [0.05, 0, 0])
    # one atom moved by 0.2 Å; superposed, it is off by 4/5 of that and the four others by 1/5
    rms = 0.2 * math.sqrt(((4 / 5) ** 2 + 4 * (1 / 5) ** 2) / 5)
    expected = rms / (4.0**3 / 5) ** (1 / 3)
    assert match_pairs([moved], [known])[0] == pytest.approx(expected, rel=1e-6)


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6))
def test_another_cell_origin_order_and_image_of_the_same_crystal_match_exactly(seed):
    rng = np.random.default_rng(seed)
    known = cubic_perovskite()
    order = rng.permutation(5)
    frac = (known.frac_coords + rng.uniform(0, 1, 3) + rng.integers(-2, 3, (5, 3)))[order]
    moved = known.replace(
        lattice=SKEW @ known.lattice,
        frac_coords=frac @ np.linalg.inv(SKEW),
        atomic_numbers=known.atomic_numbers[order],
    )
    assert match_pairs([moved], [known])[0] == pytest.approx(0, abs=1e-4)


def test_a_crystal_grown_by_five_percent_still_matches():
    assert match_pairs([salt(a=4.2)], [salt()])[0] == pytest.approx(0, abs=1e-6)


def test_pairs_that_do_not_match_are_nan_and_say_why():
    other_layout = cubic_perovskite().replace(frac_coords=cubic_perovskite().frac_coords * [0.6, 1, 1])
    cases = [
        (cubic_perovskite(), cubic_perovskite(), ""),
        (cubic_perovskite(a_site=56), cubic_perovskite(), "other composition"),
        (invalid_crystals()[0], cubic_perovskite(), "a coordinate or a cell vector is not finite"),
        (cubic_perovskite(), invalid_crystals()[3], "reference: atoms closer than 0.5 Å"),
        (other_layout, salt(), "other composition"),
    ]
    generated, reference, reasons = zip(*cases, strict=True)
    assert [match.reason for match in compare_pairs(generated, reference)] == list(reasons)
    assert np.isnan(match_pairs(generated, reference)).tolist() == [False, True, True, True, True]


def test_another_arrangement_of_the_same_atoms_is_beyond_the_tolerances():
    rock_salt = crystal(
        "rock", [11, 17], np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 2.5, [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    (match,) = compare_pairs([rock_salt], [salt()])
    assert math.isnan(match.rms)
    assert match.reason == "beyond the tolerances"


def test_unequal_numbers_are_refused():
    with pytest.raises(ValueError, match="2 crystals and 1 references"):
        match_pairs([salt(), salt()], [salt()])


def test_any_takes_the_nearest_reference_of_the_formula():
    known = [salt("far", 0.4), salt("near", 0.1), cubic_perovskite()]
    (match,) = match_any([salt("generated")], known)
    assert match.matched_id == "near"
    assert match.rms == pytest.approx(match_pairs([salt()], [known[1]])[0])


def test_processes_give_what_one_process_gives(monkeypatch, pickled_pool):
    monkeypatch.setattr(matching, "COMPARISONS_PER_PROCESS", 1)
    generated = [salt(displacement=d) for d in (0.0, 0.1, 0.2, 0.3)] + [cubic_perovskite()]
    reference = [salt()] * 4 + [cubic_perovskite()]
    one, two = (match_pairs(generated, reference, n_workers=n) for n in (1, 2))
    assert np.array_equal(one, two)
    assert pickled_pool == [2]


def test_names_that_are_all_known_are_paired_and_the_failed_count():
    known = [salt("a"), salt("b", 0.3), salt("c")]
    generated = CrystalSet(crystals=[known[1], known[0]], failed={"c": "no valid lattice"})
    result = Matching().compute(generated, Context(reference=CrystalSet(crystals=known)))
    assert result.values["match_rate"].value == pytest.approx(2 / 3)
    assert result.values["match_rate"].protocol == "pairs"
    assert result.values["rmse"].value == pytest.approx(0, abs=1e-6)
    assert result.columns["match_id"] == ["b", "a", None]
    assert result.columns["match_rms"] == [pytest.approx(0, abs=1e-6)] * 2 + [None]
    assert result.columns["match_reason"] == ["", "", "could not be made or read"]


def test_crystals_without_a_partner_are_no_match_and_are_named():
    generated = CrystalSet(crystals=[salt("a"), salt("stray")])
    result = Matching(pairing="id").compute(generated, Context(reference=CrystalSet(crystals=[salt("a")])))
    assert result.values["match_rate"].value == 0.5
    assert result.details["unpaired"] == ["stray"]


def test_any_says_whether_the_formula_or_the_number_of_atoms_has_no_reference():
    places = [[0, 0, 0], [0.5, 0.5, 0.3], [0, 0, 0.4], [0.5, 0.5, 0.7]]
    doubled = crystal("doubled", [11, 17, 11, 17], np.diag([4, 4, 8.0]), places)
    found = match_any([doubled, cubic_perovskite(), salt()], [salt()])
    assert [match.reason for match in found] == [matching.OTHER_SIZE, matching.OTHER_COMPOSITION, ""]


def test_one_strange_name_makes_auto_look_through_all_references():
    generated = CrystalSet(crystals=[salt("a"), salt("stray")])
    result = Matching().compute(generated, Context(reference=CrystalSet(crystals=[salt("a")])))
    assert result.values["rediscovered"].value == 1
    assert "match_rate" not in result.values


def test_names_that_occur_twice_cannot_be_paired():
    reference = CrystalSet(crystals=[salt("a"), salt("a")])
    with pytest.raises(UserError, match="more than once"):
        Matching().compute(CrystalSet(crystals=[salt("a")]), Context(reference=reference))


def test_too_many_comparisons_are_refused_with_their_number(monkeypatch):
    monkeypatch.setattr(matching, "MAX_COMPARISONS", 3)
    with pytest.raises(UserError, match="4 comparisons"):
        match_any([salt(), salt()], [salt("a"), salt("b")])


def test_the_stricter_rate_leaves_out_formulas_without_charge_balance():
    odd = crystal("Na2Cl", [11, 11, 17], np.diag([4, 4, 6]), [[0, 0, 0], [0, 0, 0.5], [0.5, 0.5, 0.25]])
    known = CrystalSet(crystals=[odd, salt()])
    result = Matching().compute(known, Context(reference=known))
    assert result.values["match_rate"].value == 1
    assert result.values["match_rate_valid"].value == 0.5


def test_real_crystals_match_themselves_after_a_small_shake(benchmark):
    rng = np.random.default_rng(0)
    known = benchmark("perov_5", "test", 20)
    shaken = [
        one.replace(frac_coords=one.frac_coords + rng.normal(0, 0.02, (5, 3)) @ np.linalg.inv(one.lattice))
        for one in known
    ]
    rms = match_pairs(shaken, known)
    assert 0 < rms.mean() < 0.03
