import numpy as np
import pytest
from moved_crystals import shaken
from sample_crystals import crystal, cubic_perovskite, invalid_crystals

from repdiff.metrics import by_formula, primitive_cells, structure_groups
from repdiff.metrics.by_formula import find_likeness
from repdiff.metrics.primitive_cells import MAX_CANDIDATES, Nearby, Reduced
from repdiff.metrics.structure_groups import group_same


def polymorphs(n, rng, element=14):
    return [
        crystal(f"{element}-{k}", [element] * 7, np.diag(rng.uniform(5, 8, 3)), rng.uniform(0, 1, (7, 3)))
        for k in range(n)
    ]


def mixed(rng):
    """Crystals of eight formulas, each with some copies, and broken ones; in random order."""
    found = [cubic_perovskite(f"p{z}", a_site=z) for z in (20, 38, 56, 57)]
    found += [one for z in (6, 14, 32, 50) for one in polymorphs(4, rng, z)]
    found += [shaken(one, rng, 1e-3).replace(id=f"{one.id}-copy") for one in found[::2]]
    found += [one.replace(id=f"bad{k}") for k, one in enumerate(invalid_crystals())]
    return [found[k] for k in rng.permutation(len(found))]


@pytest.mark.parametrize("at_once", [1, 5, 12])
@pytest.mark.parametrize("matcher", ["mattergen-ordered", "mattergen-disordered"])
def test_batches_find_what_one_pass_finds(monkeypatch, at_once, matcher):
    rng = np.random.default_rng(1)
    crystals, known = mixed(rng), mixed(rng)[::2]
    whole = find_likeness(crystals, known, matcher=matcher, max_candidates=1)
    assert len(set(whole.first.tolist())) < len(crystals) - len(invalid_crystals())
    assert whole.n_pairs_dropped > 0
    assert (whole.known >= 0).any()
    monkeypatch.setattr(by_formula, "LARGE", at_once)
    parts = find_likeness(crystals, known, matcher=matcher, max_candidates=1)
    assert parts.first.tolist() == whole.first.tolist()
    assert parts.known.tolist() == whole.known.tolist()
    assert parts.reasons == whole.reasons
    assert parts.n_pairs_dropped == whole.n_pairs_dropped
    assert parts.n_known_dropped == whole.n_known_dropped


def test_cells_are_made_for_one_batch_at_a_time(monkeypatch):
    sizes = []
    reduce = by_formula.reduce_crystals
    monkeypatch.setattr(by_formula, "LARGE", 10)
    monkeypatch.setattr(
        by_formula, "reduce_crystals", lambda some, **how: sizes.append(len(some)) or reduce(some, **how)
    )
    crystals = mixed(np.random.default_rng(2))
    find_likeness(crystals)
    assert sum(sizes) == len(crystals)
    assert len(sizes) > 2
    assert max(sizes) <= 10


def test_nothing_is_like_nothing():
    found = find_likeness([], [])
    assert (len(found.first), len(found.known), found.reasons) == (0, 0, [])


@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("n_others", [3, 30, 700])
def test_the_nearest_are_those_of_all_differences(n_others, n):
    rng = np.random.default_rng(3)
    others = rng.integers(0, 4, (n_others, 6)) / 4  # many are equally far
    grown = Nearby(6)
    for one in others:
        grown.add(one)
    for features in rng.integers(0, 4, (20, 6)) / 4:
        expected = np.argsort(np.abs(others - features).mean(1), kind="stable")[:n].tolist()
        assert Nearby(6, others).nearest(features, n).tolist() == expected
        assert grown.nearest(features, n).tolist() == expected


def test_a_large_formula_takes_so_many_comparisons_a_crystal_and_no_more(monkeypatch):
    compared = []
    monkeypatch.setattr(structure_groups, "_fits", lambda *_: compared.append(1) or False)
    monkeypatch.setattr(structure_groups, "STRUCTURES_HELD", 10)
    n = 200
    grouping = group_same([Reduced(one) for one in polymorphs(n, np.random.default_rng(4))])
    assert grouping.first.tolist() == list(range(n))
    assert len(compared) == sum(min(k, MAX_CANDIDATES) for k in range(n))
    assert grouping.n_not_compared == n * (n - 1) // 2 - len(compared)


def test_fingerprints_in_a_row_are_compared_by_their_means_first(monkeypatch):
    looked = []
    distances = Nearby._distances
    monkeypatch.setattr(
        primitive_cells.Nearby,
        "_distances",
        lambda self, rows, one: looked.append(len(rows)) or distances(self, rows, one),
    )
    others = (np.arange(1024) / 1024)[:, None] + np.zeros((1, 5))
    assert Nearby(5, others).nearest(others[500], 3).tolist() == [500, 499, 501]
    assert sum(looked) < 20
