import numpy as np
import pytest
from sample_crystals import crystal, cubic_perovskite

from repdiff.crystals.formula import (
    anonymous_formula,
    count_elements,
    is_abx3,
    is_strict_abx3,
    reduced_formula,
)
from repdiff.metrics import METRICS, Context, CrystalSet


@pytest.mark.parametrize(
    ("counts", "anonymous"),
    [({38: 1, 22: 1, 8: 3}, "ABC3"), ({38: 2, 22: 2, 8: 6}, "ABC3"), ({6: 8}, "A"), ({13: 4, 8: 6}, "A2B3")],
)
def test_anonymous_formulas_are_reduced(counts, anonymous):
    assert anonymous_formula(counts) == anonymous


def test_a_formula_of_many_elements_has_a_name():
    assert anonymous_formula({number: 1 for number in range(1, 60)}).endswith("[58]")


@pytest.mark.parametrize(
    ("counts", "mixed", "strict"),
    [
        ({38: 1, 22: 1, 8: 3}, True, True),  # SrTiO3
        ({38: 1, 22: 1, 8: 2, 7: 1}, True, False),  # SrTiO2N
        ({38: 1, 22: 1, 8: 1, 7: 1, 9: 1}, True, False),  # SrTiOFN
        ({22: 2, 8: 3}, True, False),  # Ti2O3, one element on both sites
        ({38: 1, 22: 1, 17: 3}, False, True),  # SrTiCl3
        ({38: 2, 22: 2, 8: 6}, False, False),  # ten atoms
        ({38: 1, 22: 2, 8: 2}, False, False),
    ],
)
def test_abx3_takes_mixed_anions_and_the_strict_form_does_not(counts, mixed, strict):
    assert (is_abx3(counts), is_strict_abx3(counts)) == (mixed, strict)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_every_real_perovskite_is_abx3_and_a_quarter_strictly(benchmark, split):
    counts = [count_elements(crystal) for crystal in benchmark("perov_5", split)]
    assert all(map(is_abx3, counts))
    assert 0.25 < np.mean([is_strict_abx3(c) for c in counts]) < 0.3


def test_shares_count_the_failed_and_means_do_not():
    twice = [
        cubic_perovskite("a"),
        cubic_perovskite("b"),
        crystal("c", [6, 6], np.eye(3) * 3, [[0] * 3, [0.5] * 3]),
    ]
    result = (
        METRICS["composition"]
        .example()
        .compute(CrystalSet(crystals=twice, failed={"d": "no formula"}), Context())
    )
    values = {name: value.value for name, value in result.values.items()}
    assert values["abx3"] == values["abx3_strict"] == 0.5
    assert values["mean_n_elements"] == pytest.approx(7 / 3)
    assert values["mean_n_atoms"] == 4
    assert values["distinct_formulas"] == pytest.approx(2 / 3)
    assert result.details["proportions"] == {"ABC3": 2, "A": 1}


def test_formulas_reduce_whatever_the_order():
    assert reduced_formula({8: 6, 13: 4}) == reduced_formula({13: 2, 8: 3}) == ((8, 3), (13, 2))


@pytest.mark.parametrize("numbers", [[], [0], [119], [8, 119], [0, 8]])
def test_a_crystal_without_a_formula_counts_for_no_mean_and_no_share(numbers):
    odd = crystal("odd", numbers, np.eye(3) * 4, [[0.3 * k] * 3 for k in range(len(numbers))])
    found = (
        METRICS["composition"].example().compute(CrystalSet(crystals=[cubic_perovskite("a"), odd]), Context())
    )
    values = {name: (value.value, value.n) for name, value in found.values.items()}
    assert values == {
        "abx3": (0.5, 2), "abx3_strict": (0.5, 2), "mean_n_elements": (3, 1), "mean_n_atoms": (5, 1),
        "distinct_formulas": (1, 1),
    }  # fmt: skip
    assert found.details["proportions"] == {"ABC3": 1}
