import itertools
import logging

import numpy as np
import pytest
from moved_crystals import MOVES, shaken
from pymatgen.analysis.structure_matcher import StructureMatcher
from sample_crystals import crystal, cubic_perovskite, invalid_crystals

from repdiff.crystals.crystal import to_structure
from repdiff.metrics import Context, CrystalSet, primitive_cells, structure_groups, uniqueness
from repdiff.metrics.primitive_cells import find_candidates, reduce_crystals
from repdiff.metrics.structure_groups import find_known, group_same
from repdiff.metrics.uniqueness import Uniqueness, novel_flags, unique_flags


def cesium_chloride(id="CsCl"):
    return crystal(id, [55, 17], np.eye(3) * 4.1, [[0, 0, 0], [0.5, 0.5, 0.5]])


def rock_salt(id="CsCl"):
    lattice = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 3.5
    return crystal(id, [55, 17], lattice, [[0, 0, 0], [0.5, 0.5, 0.5]])


def pair(id, distance):
    """Two atoms in a long cell, the second one `distance` Å above the first."""
    return crystal(id, [55, 17], np.diag([4, 4, 8.0]), [[0, 0, 0], [0.5, 0.5, distance / 8]])


def with_copies(crystals, rng):
    """Add a copy of each, moved in a random way and shaken, under another name."""
    moves = list(MOVES.values())
    copies = [moves[rng.integers(len(moves))](shaken(one, rng), rng) for one in crystals]
    return crystals + [copy.replace(id=f"{one.id}-copy") for one, copy in zip(crystals, copies, strict=True)]


def real_crystals(benchmark, n=20):
    found = [one for name in ("perov_5", "carbon_24", "mp20") for one in benchmark(name, "test", n)]
    return [one.replace(id=f"{k}") for k, one in enumerate(found)]


@pytest.mark.parametrize("move", sorted(MOVES))
def test_a_moved_copy_is_a_duplicate_and_not_novel(move):
    copy = MOVES[move](cubic_perovskite(), np.random.default_rng(1)).replace(id="a copy")
    assert unique_flags([cubic_perovskite(), copy]) == [True, False]
    assert novel_flags([copy], [cubic_perovskite()]) == [False]


def test_a_crystal_of_another_volume_is_the_same_one():
    assert unique_flags([cubic_perovskite("a"), cubic_perovskite("b", a=4.4)]) == [True, False]


def test_polymorphs_and_other_elements_are_distinct():
    crystals = [cesium_chloride("a"), rock_salt("b"), cubic_perovskite("c"), cubic_perovskite("d", a_site=56)]
    assert unique_flags(crystals) == [True] * 4
    assert novel_flags(crystals[:2], [rock_salt()]) == [True, False]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_the_count_does_not_depend_on_the_order_though_likeness_does_not_carry_over(order):
    crystals = [pair("a1", 1.0), pair("a2", 2.7), pair("a10", 4.0), cubic_perovskite()]
    likeness = [novel_flags([crystals[i]], [crystals[j]])[0] for i, j in ((0, 1), (1, 2), (0, 2))]
    assert likeness == [False, False, True]
    flags = unique_flags([crystals[k] for k in order])
    assert dict(zip(order, flags, strict=True)) == {0: True, 1: False, 2: True, 3: True}


def test_real_crystals_are_grouped_as_pymatgen_groups_all_pairs(benchmark):
    crystals = with_copies(real_crystals(benchmark), np.random.default_rng(0))
    by_name = sorted(crystals, key=lambda one: (len(one.id), one.id))
    groups = StructureMatcher().group_structures([to_structure(one) for one in by_name])
    assert sum(unique_flags(crystals)) == len(groups)
    assert sum(unique_flags(crystals)) <= 60


def test_real_crystals_are_known_where_pymatgen_finds_them_among_all(benchmark):
    rng = np.random.default_rng(3)
    known = real_crystals(benchmark, 15)
    asked = [shaken(one, rng, noise=0.15) for one in known[::3]] + known[1::9]
    matcher = StructureMatcher()
    expected = [
        not any(matcher.fit(to_structure(one), to_structure(other)) for other in known) for one in asked
    ]
    assert novel_flags(asked, known) == expected


def test_the_nearest_few_of_many_polymorphs_find_the_duplicates_and_the_rest_is_counted():
    rng = np.random.default_rng(5)
    polymorphs = [
        crystal(f"{k:02d}", [14] * 9, np.diag(rng.uniform(5, 8, 3)), rng.uniform(0, 1, (9, 3)))
        for k in range(16)
    ]
    copies = [MOVES["basis"](shaken(one, rng, 1e-3), rng).replace(id=f"{one.id}-copy") for one in polymorphs]
    cells = reduce_crystals(polymorphs + copies)
    sound = [k for k in range(16) if cells[k].crystal is not None]
    grouping = group_same(cells, max_candidates=2)
    assert [int(grouping.first[16 + k]) for k in sound] == sound
    assert grouping.n_not_compared > 0
    found = find_known(cells[16:], cells[:16], max_candidates=2)
    assert [int(found.row[k]) for k in sound] == sound
    candidates = find_candidates(cells[16:], cells[:16], max_candidates=2)
    assert candidates.n_dropped.max() == len(sound) - 2


def test_what_the_limit_drops_is_reported(monkeypatch, caplog):
    monkeypatch.setattr(uniqueness, "MAX_CANDIDATES", 1)
    known = [cesium_chloride("a"), cesium_chloride("b"), cesium_chloride("c")]
    with caplog.at_level(logging.WARNING):
        assert novel_flags([rock_salt(), cesium_chloride()], known) == [True, False]
    assert "2 pairs of equal formula were not compared" in caplog.text


def test_failed_and_invalid_crystals_are_neither_unique_nor_novel():
    generated = CrystalSet(crystals=[cubic_perovskite(), *invalid_crystals()], failed={"lost": "no cell"})
    training = CrystalSet(crystals=[rock_salt()])
    result = Uniqueness().compute(generated, Context(training=training))
    for name in ("unique", "novel", "unique_and_novel"):
        assert result.values[name].value == pytest.approx(1 / 9)
        assert result.values[name].n == 9
    assert result.columns["uniqueness_reason"][0] == ""
    assert all(result.columns["uniqueness_reason"][1:])
    assert result.columns["duplicate_of"] == [None] * 9


def test_duplicates_and_known_crystals_are_named():
    generated = CrystalSet(crystals=[cesium_chloride("g2"), cesium_chloride("g1"), rock_salt("g3")])
    training = CrystalSet(crystals=[rock_salt("mp-1"), cubic_perovskite("mp-2")])
    result = Uniqueness().compute(generated, Context(training=training))
    assert result.columns["unique"] == [False, True, True]
    assert result.columns["duplicate_of"] == ["g1", None, None]
    assert result.columns["novel"] == [True, True, False]
    assert result.columns["known_as"] == [None, None, "mp-1"]
    assert result.values["unique_and_novel"].value == pytest.approx(1 / 3)


def test_without_training_crystals_novelty_says_how_to_name_them():
    result = Uniqueness().compute(CrystalSet(crystals=[rock_salt()]), Context())
    assert result.values["unique"].value == 1
    for name in ("novel", "unique_and_novel"):
        assert result.values[name].value is None
        assert "`training`" in result.values[name].reason


def test_processes_say_what_one_process_says(monkeypatch, pickled_pool):
    monkeypatch.setattr(structure_groups, "COMPARISONS_PER_PROCESS", 1)
    monkeypatch.setattr(primitive_cells, "REDUCTIONS_PER_PROCESS", 1)
    crystals = [cesium_chloride("a"), rock_salt("b"), cesium_chloride("c"), *invalid_crystals()]
    one, two = (unique_flags(crystals + [cubic_perovskite("d")] * 2, n_workers=n) for n in (1, 2))
    assert one == two
    assert pickled_pool == [2, 2]
