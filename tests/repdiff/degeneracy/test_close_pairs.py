import itertools

import known_crystals
import numpy as np
import pytest
from stacked_crystals import STACKS

from repdiff.crystals.crystal import from_structure
from repdiff.degeneracy.close_pairs import ClosePairs, find_close_pairs, group_by_formula, judge_pairs


def crystals(*names):
    return [from_structure(STACKS[name], id=name) for name in names]


def all_pairs(n_crystals: int) -> ClosePairs:
    rows = np.array(list(itertools.combinations(range(n_crystals), 2)))
    return ClosePairs(
        rows=rows, descriptor_distances=np.linspace(0, 1e-3, len(rows)), cell_distances=np.zeros(len(rows))
    )


def judged(*names, **limits):
    options = {"same_rms": 0.05, "max_comparisons": None} | limits
    pairs, n_left = judge_pairs(crystals(*names), all_pairs(len(names)), **options)
    return {(names[pair.a], names[pair.b]): pair.verdict for pair in pairs}, n_left


@pytest.mark.parametrize("seed", range(5))
def test_the_pairs_found_are_those_of_a_comparison_of_all_with_all(seed):
    rng = np.random.default_rng(seed)
    vectors = (1 + 0.05 * rng.normal(size=(60, 4))) * rng.choice([1.0, 1.02, 3.0], size=(60, 1))
    parameters = np.array([4.0, 5, 6, 90, 90, 90]) * (1 + 0.02 * rng.normal(size=(60, 6)))
    groups = [np.arange(0, 60, 2), np.arange(1, 60, 2)]
    expected = {}
    for members in groups:
        for i, j in itertools.combinations(members.tolist(), 2):
            smaller = min(np.abs(vectors[i]).sum(), np.abs(vectors[j]).sum())
            distance = np.abs(vectors[i] - vectors[j]).sum() / smaller
            lengths = np.abs(np.log(parameters[i, :3] / parameters[j, :3])).max()
            angles = np.radians(np.abs(parameters[i, 3:] - parameters[j, 3:])).max()
            if distance < 0.04 and max(lengths, angles) < 0.05:
                expected[i, j] = (distance, max(lengths, angles))
    found = find_close_pairs(vectors, parameters, groups, tolerance=0.04, cell_tolerance=0.05, progress=False)
    assert 5 < len(expected) < 400
    assert {tuple(pair) for pair in found.rows.tolist()} == set(expected)
    distances = [expected[i, j] for i, j in found.rows.tolist()]
    np.testing.assert_allclose(
        np.stack([found.descriptor_distances, found.cell_distances], 1), distances, atol=1e-12
    )
    assert (np.diff(found.descriptor_distances) >= 0).all()


def test_only_crystals_of_the_same_formula_and_size_are_compared():
    salt, double = known_crystals.rocksalt(), known_crystals.rocksalt() * (2, 1, 1)
    structures = [salt, known_crystals.rocksalt("K"), double, known_crystals.caesium_chloride("Na", "Cl")]
    groups = group_by_formula([from_structure(s, id=str(n)) for n, s in enumerate(structures)])
    assert [group.tolist() for group in groups] == [[0, 3]]


def test_no_crystal_makes_no_pair():
    found = find_close_pairs(np.ones((0, 3)), np.ones((0, 6)), [], tolerance=1.0, cell_tolerance=1.0)
    assert found.rows.shape == (0, 2)


def test_duplicates_distortions_and_other_crystals_are_told_apart():
    verdicts, n_left = judged("first", "shifted", "bulging", "alternating")
    assert n_left == 0
    assert verdicts == {
        ("first", "shifted"): "duplicate",
        ("first", "bulging"): "distorted",
        ("first", "alternating"): "different",
        ("bulging", "alternating"): "different",
    }


def test_duplicates_are_compared_once():
    verdicts, _ = judged("first", "shifted", "again", "alternating")
    assert set(verdicts) == {("first", "shifted"), ("first", "again"), ("first", "alternating")}


def test_the_limit_of_rms_decides_what_is_a_duplicate():
    verdicts, _ = judged("first", "bulging", same_rms=0.4)
    assert verdicts == {("first", "bulging"): "duplicate"}


def test_a_limit_of_comparisons_tells_how_many_crystals_were_not_reached(caplog):
    verdicts, n_left = judged("first", "bulging", "alternating", "shifted", max_comparisons=1)
    assert len(verdicts) == 1
    assert n_left == 2
    assert "raise `max_comparisons`" in caplog.text


def test_what_the_matcher_cannot_compare_gets_no_other_verdict(monkeypatch):
    class Stubborn:
        def get_rms_dist(self, *_):
            raise RuntimeError

    monkeypatch.setattr("repdiff.metrics.matching._matcher", Stubborn)
    assert judged("first", "alternating")[0] == {("first", "alternating"): "not compared"}
