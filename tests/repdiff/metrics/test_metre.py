import math

import numpy as np
import pytest
from moved_crystals import shaken
from pymatgen.analysis.structure_matcher import StructureMatcher
from sample_crystals import crystal, cubic_perovskite, invalid_crystals

from repdiff.crystals.crystal import to_structure
from repdiff.errors import UserError
from repdiff.metrics import Context, CrystalSet, metre
from repdiff.metrics.matching import match_pairs
from repdiff.metrics.metre import Metre, match_reference
from repdiff.metrics.primitive_cells import reduce_crystals

STOL = 0.5


def salt(id="NaCl", displacement=0.0):
    """Two atoms of a caesium chloride cell, the second displaced along x, Å."""
    return crystal(id, [11, 17], np.eye(3) * 4.0, [[0, 0, 0], [0.5 + displacement / 4.0, 0.5, 0.5]])


def compute(generated, reference, **options):
    context = Context(reference=CrystalSet(crystals=reference))
    return Metre(**options).compute(CrystalSet(crystals=generated), context)


def test_the_unmatched_reference_counts_as_the_site_tolerance():
    reference = [salt("a"), cubic_perovskite("b"), cubic_perovskite("c", a_site=56)]
    result = compute([salt("g", 0.2)], reference)
    rms = match_pairs([salt("g", 0.2)], [salt()])[0]
    assert 0 < rms < STOL
    assert result.values["metre"].value == pytest.approx(1 / 3)
    assert result.values["metre"].n == 3
    assert result.values["crmse"].value == pytest.approx((rms + 2 * STOL) / 3)


def test_generating_one_crystal_many_times_earns_nothing():
    reference = [salt("a"), cubic_perovskite("b")]
    once = compute([salt("g")], reference)
    often = compute([salt(f"g{k}") for k in range(5)], reference)
    assert {name: value.value for name, value in once.values.items()} == {
        name: value.value for name, value in often.values.items()
    }


def test_one_crystal_matches_all_duplicates_of_the_reference():
    result = compute([salt("g"), cubic_perovskite("h")], [salt("a"), salt("b"), salt("c")])
    assert result.values["metre"].value == 1
    assert result.values["crmse"].value == pytest.approx(0, abs=1e-6)
    assert result.columns["matched_references"] == [3, 0]


def test_the_best_of_several_matches_counts():
    result = compute([salt("far", 0.4), salt("near", 0.1), salt("other", 0.3)], [salt("a")])
    assert result.values["crmse"].value == pytest.approx(match_pairs([salt("", 0.1)], [salt()])[0])
    assert result.columns["matched_references"] == [0, 1, 0]


def test_real_crystals_get_the_smallest_displacement_over_all_pairs(benchmark):
    rng = np.random.default_rng(0)
    reference = [one for name in ("carbon_24", "mp20") for one in benchmark(name, "test", 12)]
    generated = [shaken(one, rng, noise=0.1) for one in reference[::2]]
    matcher = StructureMatcher(stol=0.5, ltol=0.3, angle_tol=10)
    expected = []
    for one in reference:
        same_formula = [other for other in generated if set(other.atomic_numbers) == set(one.atomic_numbers)]
        found = [matcher.get_rms_dist(to_structure(other), to_structure(one)) for other in same_formula]
        expected.append(min((pair[0] for pair in found if pair is not None), default=math.nan))
    best, n_dropped = match_reference(reduce_crystals(reference), reduce_crystals(generated))
    np.testing.assert_allclose([rms for rms, _ in best], expected, atol=1e-4)
    assert n_dropped == 0


def test_where_many_are_alike_the_nearest_are_compared_and_the_rest_counted(caplog):
    reference = [salt("a"), salt("b", 0.5)]
    generated = [salt(f"g{k}", 0.1 * k) for k in range(8)]
    full, bounded = (compute(generated, reference, max_candidates=n) for n in (8, 2))
    assert bounded.values["crmse"].value == pytest.approx(full.values["crmse"].value)
    assert bounded.details["pairs_not_compared"] == 12
    assert "12 pairs of equal formula were not compared" in caplog.text


def test_reference_crystals_that_are_invalid_are_not_matched():
    result = compute([salt("g")], [salt("a"), *invalid_crystals()])
    assert result.values["metre"].value == pytest.approx(1 / 8)


def test_reference_entries_that_could_not_be_read_count_as_not_matched():
    reference = CrystalSet(
        crystals=[salt("a"), cubic_perovskite("b")], failed={"c": "no cell", "d": "no atoms"}
    )
    result = Metre().compute(CrystalSet(crystals=[salt("g")]), Context(reference=reference))
    assert result.values["metre"].value == pytest.approx(1 / 4)
    assert result.values["metre"].n == result.values["crmse"].n == result.details["n_reference"] == 4
    assert result.values["crmse"].value == pytest.approx(3 * STOL / 4, abs=1e-6)


def test_what_was_not_reconstructed_matches_nothing_and_nothing_at_all_gives_a_reason():
    context = Context(reference=CrystalSet(crystals=[salt("a")]))
    lost = Metre().compute(CrystalSet(crystals=[], failed={"g": "no cell"}), context)
    assert (lost.values["metre"].value, lost.values["crmse"].value) == (0, STOL)
    empty = Metre().compute(CrystalSet(crystals=[]), context)
    assert empty.values["metre"].value is None
    assert empty.values["metre"].reason == "no structures"


def test_too_many_comparisons_are_refused_with_a_way_out(monkeypatch):
    monkeypatch.setattr(metre, "MAX_COMPARISONS", 3)
    with pytest.raises(UserError, match=r"take 4 comparisons.*smaller reference.*max_candidates"):
        compute([salt("g"), salt("h")], [salt("a"), salt("b")])


def test_a_limit_below_one_is_refused():
    with pytest.raises(UserError, match="max_candidates is 0, expected at least 1"):
        Metre(max_candidates=0)


def test_a_limit_of_one_compares_with_the_nearest_alone():
    found = compute([salt("g", 0.1), salt("h", 0.02)], [salt("a")], max_candidates=1)
    assert found.values["metre"].value == 1
    assert found.details["pairs_not_compared"] == 1
