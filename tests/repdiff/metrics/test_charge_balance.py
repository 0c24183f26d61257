import itertools
from collections import Counter

import pytest
import smact
from ase.data import atomic_numbers, chemical_symbols
from hypothesis import given
from hypothesis import strategies as st
from smact.screening import pauling_test, smact_validity

from repdiff.crystals.formula import count_elements
from repdiff.metrics.charge_balance import check_composition

ELEMENTS = [
    "H",
    "Li",
    "C",
    "N",
    "O",
    "F",
    "Na",
    "Si",
    "S",
    "Cl",
    "Ti",
    "Fe",
    "Cu",
    "As",
    "Pm",
    "Ar",
    "Au",
    "Pb",
    "U",
]
formulas = st.dictionaries(st.sampled_from(ELEMENTS), st.integers(1, 6), min_size=1, max_size=4)


def numbers(formula):
    return {atomic_numbers[symbol]: count for symbol, count in formula.items()}


def every_combination(formula):
    """The test as it was published: try all products of oxidation states."""
    elements = [smact.Element(symbol) for symbol in formula]
    if len(elements) == 1 or all(symbol in smact.metals for symbol in formula):
        return True
    if any(not element.oxidation_states_smact14 for element in elements):
        return False
    return any(
        smact.neutral_ratios(
            states, stoichs=[(n,) for n in formula.values()], threshold=max(formula.values())
        )
        and pauling_test(states, [element.pauling_eneg for element in elements])
        for states in itertools.product(*(element.oxidation_states_smact14 for element in elements))
    )


@given(
    formula=formulas.filter(
        lambda f: any(n % 2 for n in f.values()) and any(n % 3 and n % 5 for n in f.values())
    )
)
def test_the_answer_is_that_of_trying_all_combinations(formula):
    divisor = next(d for d in (6, 5, 4, 3, 2, 1) if all(n % d == 0 for n in formula.values()))
    reduced = {symbol: count // divisor for symbol, count in formula.items()}
    assert check_composition(numbers(formula)).valid == every_combination(reduced)


@given(formula=formulas, factor=st.integers(2, 5))
def test_a_multiple_of_the_formula_gets_the_same_answer(formula, factor):
    larger = {number: count * factor for number, count in numbers(formula).items()}
    assert check_composition(larger) == check_composition(numbers(formula))


@pytest.mark.parametrize(
    ("formula", "valid", "reason"),
    [
        ({"Sr": 1, "Ti": 1, "O": 3}, True, "charge neutral"),
        ({"C": 8}, True, "single element"),
        ({"Ar": 1}, True, "single element"),
        ({"Fe": 1, "Al": 3}, True, "all metals"),
        ({"Na": 1, "F": 2}, False, "not charge neutral"),
        ({"Na": 1, "B": 1}, False, "neutral only with cations more electronegative than anions"),
        ({"Ar": 1, "O": 1}, False, "an element without oxidation states"),
        ({"Pm": 2, "O": 3}, False, "an element without electronegativity"),
    ],
)
def test_verdicts_come_with_their_reason(formula, valid, reason):
    verdict = check_composition(numbers(formula))
    assert (verdict.valid, verdict.reason) == (valid, reason)


@pytest.mark.parametrize("number", [0, 104, 118, 119])
def test_an_element_beyond_the_list_is_invalid_and_no_error(number):
    assert check_composition({number: 1, 8: 1}).reason == "an element unknown to smact"


def test_the_list_of_2014_decides_and_not_the_default_of_new_versions():
    formula = {"N": 1, "F": 1, "Si": 1}
    old = smact_validity("SiNF", oxidation_states_set="smact14")
    assert check_composition(numbers(formula)).valid == old
    lists = [smact.Element(symbol) for symbol in chemical_symbols[1:100]]
    assert any(e.oxidation_states_smact14 != e.oxidation_states_icsd24 for e in lists)


def test_a_formula_of_30_elements_is_answered_at_once():
    metals_and_oxygen = {number: 1 for number in range(21, 50)} | {8: 40}
    assert check_composition(metals_and_oxygen).reason


@pytest.mark.parametrize("name", ["perov_5", "mp20"])
def test_real_crystals_get_the_answer_of_smact(benchmark, name):
    crystals = benchmark(name, "test", 400)
    mine = [check_composition(count_elements(crystal)).valid for crystal in crystals]
    theirs = [smact_validity(crystal.formula, oxidation_states_set="smact14") for crystal in crystals]
    assert mine == theirs
    assert len(Counter(mine)) == 2


@pytest.mark.parametrize(("name", "low", "high"), [("perov_5", 0.984, 0.988), ("mp20", 0.908, 0.913)])
def test_as_many_real_crystals_are_valid_as_was_published(benchmark, name, low, high):
    crystals = benchmark(name, "test")
    valid = [check_composition(count_elements(crystal)).valid for crystal in crystals]
    assert low < sum(valid) / len(valid) < high
