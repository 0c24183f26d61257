import math

import numpy as np
import pytest
from sample_crystals import crystal

from repdiff.metrics import Context, CrystalSet
from repdiff.metrics.matching import Matching, match_pairs
from repdiff.metrics.targets import best_attempts, find_targets


def salt(id="NaCl", displacement=0.0, **labels):
    made = crystal(id, [11, 17], np.eye(3) * 4.0, [[0, 0, 0], [0.5 + displacement / 4.0, 0.5, 0.5]])
    return made.replace(labels=labels)


def rock_salt(id):
    lattice = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 2.5
    return crystal(id, [11, 17], lattice, [[0, 0, 0], [0.5, 0.5, 0.5]])


def test_a_label_a_name_or_a_name_with_a_number_names_the_target():
    crystals = [
        salt("x", target="a"),
        salt("a"),
        salt("a#2"),
        salt("b#1#7"),
        salt("c"),
        salt("a", target="c"),
    ]
    generated = CrystalSet(crystals=crystals, failed={"a#3": "no cell", "d#1": "no cell"})
    assert find_targets(generated, {"a", "b#1"}) == ["a", "a", "a", "b#1", None, None, "a", None]


def test_a_known_name_with_a_mark_is_taken_as_it_is():
    assert find_targets(CrystalSet(crystals=[salt("a#1")]), {"a", "a#1"}) == ["a#1"]


def test_the_best_attempt_is_the_smallest_that_matched():
    rms = [0.3, math.nan, 0.1, math.nan, 0.2]
    best = best_attempts(["a", "a", "a", "b", None], rms)
    assert best["a"] == 0.1
    assert math.isnan(best["b"])
    assert set(best) == {"a", "b"}


def test_the_match_rate_at_k_counts_targets_by_their_best_attempt():
    known = CrystalSet(crystals=[salt("a"), salt("b"), salt("c")])
    crystals = [salt("a#1", 0.4), salt("a#2", 0.1), rock_salt("b#1"), salt("b#2", 0.2), rock_salt("c#1")]
    generated = CrystalSet(crystals=crystals, failed={"c#2": "no cell"})
    result = Matching().compute(generated, Context(reference=known))
    values = result.values
    assert values["match_rate"].value == pytest.approx(3 / 6)
    assert (values["match_rate_at_k"].value, values["match_rate_at_k"].n) == (pytest.approx(2 / 3), 3)
    best = match_pairs([salt("", 0.1), salt("", 0.2)], [salt()] * 2)
    assert values["rmse_at_k"].value == pytest.approx(best.mean())
    assert values["match_rate_at_k"].protocol == "pairs-at-2"
    assert result.protocols["pairs-at-2"]["k"] == 2
    assert result.columns["match_target"] == ["a", "a", "b", "b", "c", "c"]


def test_one_attempt_each_gives_no_rate_at_k():
    known = CrystalSet(crystals=[salt("a"), salt("b")])
    result = Matching().compute(CrystalSet(crystals=[salt("a#1"), salt("b")]), Context(reference=known))
    assert result.values["match_rate"].value == 1
    assert "match_rate_at_k" not in result.values
