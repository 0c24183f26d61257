import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repdiff.errors import UserError
from repdiff.phase_search.charges import Balance, balance_of
from repdiff.phase_search.enumerate import (
    LEAST,
    RankedFormula,
    allot,
    count_kinds,
    enumerate_formulas,
    evenly,
    name_of,
    proportions,
    rank,
    read_formulas,
    read_system,
    system_name,
)


@pytest.mark.parametrize("elements", [(26,), (12, 8), (3, 26, 8), (3, 26, 15, 8)])
def test_every_reduced_formula_within_the_size_is_listed_once(elements):
    found = enumerate_formulas(elements, max_atoms=7)
    expected = {
        tuple(sorted(zip(elements, counts, strict=True)))
        for counts in product(range(1, 8), repeat=len(elements))
        if sum(counts) <= 7 and math.gcd(*counts) == 1
    }
    assert set(found) == expected
    assert len(found) == len(expected)


def test_the_scope_says_whether_sub_systems_and_elements_belong():
    sizes = {
        scope: {len(formula) for formula in enumerate_formulas((3, 26, 8), max_atoms=5, scope=scope)}
        for scope in ("system", "compounds", "all")
    }
    assert sizes == {"system": {3}, "compounds": {2, 3}, "all": {1, 2, 3}}
    assert len(enumerate_formulas((3, 26, 8), max_atoms=5, scope="all")) == 3 + len(
        enumerate_formulas((3, 26, 8), max_atoms=5, scope="compounds")
    )


def test_formulas_that_balance_come_first_and_common_ones_before_rare_ones():
    known = count_kinds(["NaCl", "KCl", "MgO", "SrTiO3", "BaTiO3", "LiFeO2"], sizes=[3])
    assert known == {((1, 1, 3), 8): 2, ((1, 1, 2), 8): 1}
    ranked = rank(enumerate_formulas((38, 22, 8), max_atoms=7), known)
    assert ranked[0].name == "SrTiO3"
    assert next(one for one in ranked if one.balance > Balance.COMMON).name == "SrTiO2"
    balances = [one.balance for one in ranked]
    assert balances == sorted(balances)
    assert set(balances) == set(Balance)


@pytest.mark.parametrize(
    ("formula", "balance"),
    [
        ({3: 1, 26: 1, 8: 2}, Balance.COMMON),
        ({3: 1, 25: 2, 8: 4}, Balance.COMMON),  # Mn³⁺ and Mn⁴⁺, which the test of papers refuses
        ({26: 3, 8: 4}, Balance.COMMON),
        ({12: 1, 30: 2}, Balance.COMMON),  # metals alone
        ({14: 1}, Balance.COMMON),  # an element has no charges
        ({3: 1, 26: 1, 8: 3}, Balance.UNCOMMON),  # Fe⁵⁺
        ({11: 2, 17: 1}, Balance.NONE),
    ],
)
def test_the_balance_of_charges_is_what_a_chemist_says(formula, balance):
    assert balance_of(formula) == balance


def test_proportions_begin_with_the_most_electropositive_element():
    assert proportions({8: 8, 26: 2, 3: 10}) == (5, 1, 4)  # Li5FeO4
    assert proportions({18: 1, 9: 2}) == (2, 1)  # argon has no electronegativity and comes last


@given(
    n=st.integers(1, 400),
    alike=st.lists(st.integers(0, 5000), min_size=1, max_size=60),
    n_balanced=st.integers(0, 60),
)
def test_all_candidates_are_spread_and_no_formula_gets_few(n, alike, n_balanced):
    ranked = [
        RankedFormula(formula=((1, 1), (8, place + 1)), balance=Balance(place >= n_balanced), n_alike=count)
        for place, count in enumerate(alike)
    ]
    shares = allot(n, ranked)
    assert sum(shares.values()) == n
    assert list(shares) == [one.formula for one in ranked][: len(shares)]
    assert len(shares) == 1 or min(shares.values()) >= LEAST
    weights = {one.formula: one.weight for one in ranked}
    for one, other in zip(shares, list(shares)[1:], strict=False):
        assert (weights[one] >= weights[other]) or shares[one] <= shares[other] + 1


def test_given_formulas_get_equal_shares():
    formulas = read_formulas("LiFeO2, Li2Fe2O4, Li5FeO4,Fe2O3")
    assert [name_of(dict(one)) for one in formulas] == ["LiFeO2", "Li5FeO4", "Fe2O3"]
    assert list(evenly(8, formulas).values()) == [3, 3, 2]
    with pytest.raises(UserError, match="`n` is 2, expected at least 3"):
        evenly(2, formulas)


def test_formulas_are_read_from_a_file(tmp_path):
    file = tmp_path / "formulas.txt"
    file.write_text("# oxides\nMgO\nMgO2  # peroxide\n\n")
    assert [name_of(dict(one)) for one in read_formulas(str(file))] == ["MgO", "MgO2"]
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        read_formulas(str(file))
    file.write_text("# none yet\n")
    with pytest.raises(UserError, match=r"formulas.txt holds no formula, expected one a line"):
        read_formulas(str(file))


def test_a_system_is_read_in_its_order():
    assert system_name(read_system("Li-Fe-O")) == "Li-Fe-O"
    assert read_system("O, Li Fe-O") == (8, 3, 26)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "`system` is empty"),
        (" - ", "`system` is empty"),
        ("Li-Xx-O", "'Xx' is none"),
        ("li-fe", "'li' is none. Did you mean 'Li'"),
        ("H-He-Li-Be-B-C-N", "7 elements, expected at most 6"),
    ],
)
def test_a_system_that_cannot_be_is_refused_in_one_line(text, told):
    with pytest.raises(UserError, match=told) as error:
        read_system(text)
    assert "\n" not in str(error.value)


def test_what_is_no_formula_is_refused():
    with pytest.raises(UserError, match="'LiFeX2' is no formula"):
        read_formulas("LiFeO2,LiFeX2")
    with pytest.raises(UserError, match="`formulas` is ','"):
        read_formulas(",")
    with pytest.raises(UserError, match="`max_atoms` is 2, expected at least 3"):
        enumerate_formulas((3, 26, 8), max_atoms=2)
