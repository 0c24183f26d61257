import time
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from descriptors.symmetry.feasibility import can_make, next_orbits, possible_groups, possible_sizes
from descriptors.symmetry.protostructure import Orbit, Protostructure
from descriptors.symmetry.space_group import LETTERS, space_group


def reachable(number, largest, used="", first=""):
    """All pairs of counts of two elements, by filling position after position in every way."""
    found = {(0, 0)}
    for position in space_group(number).positions[LETTERS.index(first or "a") :]:
        size = position.primitive_multiplicity
        if position.n_free == 0:
            if position.letter not in used:
                found |= {(a + size, b) for a, b in found} | {(a, b + size) for a, b in found}
            continue
        most = largest // size
        found = {
            (a + i * size, b + j * size) for a, b in found for i, j in product(range(most + 1), repeat=2)
        }
        found = {pair for pair in found if max(pair) <= largest}
    return {pair for pair in found if max(pair) <= largest}


@pytest.mark.parametrize("number", [1, 2, 10, 14, 47, 62, 123, 136, 166, 191, 194, 216, 221, 225, 227, 230])
def test_pairs_of_counts_agree_with_filling_every_position_in_every_way(number):
    expected = reachable(number, 14)
    for counts in product(range(15), repeat=2):
        assert can_make(number, counts) == (counts in expected), counts


@given(
    number=st.integers(1, 230),
    counts=st.tuples(st.integers(0, 12), st.integers(0, 12)),
    taken=st.lists(st.integers(0, 26), max_size=3),
    start=st.integers(0, 26),
    ordered=st.booleans(),
)
def test_what_is_left_of_any_group_agrees_too(number, counts, taken, start, ordered):
    n = len(space_group(number).positions)
    used = "".join(LETTERS[index % n] for index in taken)
    first = LETTERS[start % n] if ordered else ""
    assert can_make(number, counts, used=used, first=first) == (counts in reachable(number, 12, used, first))


@given(
    number=st.integers(1, 230),
    counts=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    ascending=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_drawing_allowed_orbits_one_after_another_always_ends_in_the_counts(number, counts, ascending, seed):
    if not can_make(number, counts):
        assert not next_orbits(number, counts, first="a" if ascending else "").any()
        return
    random, left, orbits = np.random.default_rng(seed), list(counts), []
    while any(left):
        used = "".join({orbit.letter for orbit in orbits})
        first = (orbits[-1].letter if orbits else "a") if ascending else ""
        allowed = np.argwhere(next_orbits(number, left, used=used, first=first))
        assert len(allowed)
        element, index = allowed[random.integers(len(allowed))].tolist()
        orbits.append(Orbit(index, element + 1))
        left[element] -= space_group(number).positions[index].primitive_multiplicity
    assert list(Protostructure(number, tuple(orbits)).composition().values()) == counts


def test_tables_over_groups_agree_with_single_questions():
    groups = possible_groups([1, 1, 3])
    assert groups[221]
    assert not groups[227]
    assert not groups[0]
    sizes = possible_sizes(20)
    assert sizes.shape == (231, 21)
    assert np.flatnonzero(sizes[227])[:4].tolist() == [2, 4, 6, 8]
    assert sizes[1, 1:].all()
    with pytest.raises(ValueError, match="read-only"):
        sizes[1, 1] = False


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: can_make(0, [1]), "expected 1 to 230"),
        (lambda: can_make(221, [1, -1]), "a count is -1"),
        (lambda: can_make(221, [1], used="z"), "no Wyckoff position 'z'"),
        (lambda: next_orbits(221, [1], first="z"), "no Wyckoff position 'z'"),
    ],
)
def test_bad_questions_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_question_asked_before_takes_microseconds():
    next_orbits(47, [4, 4, 12, 3, 1])
    started = time.process_time()
    for _ in range(1000):
        next_orbits(47, [4, 4, 12, 3, 1])
    assert time.process_time() - started < 1
