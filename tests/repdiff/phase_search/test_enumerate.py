import math
from itertools import permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repdiff.errors import UserError
from repdiff.phase_search.charges import Balance, balance_of
from repdiff.phase_search.enumerate import (
    LEAST,
    RankedFormula,
    allot,
    count_alike,
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


def test_formulas_come_first_whose_neighbours_are_known_and_then_those_that_balance():
    known = ["NaCl", "KCl", "MgO", "Ca2Zr2O6", "BaTiO3", "Ca(VO2)2", "LiFeO2"]
    ranked = rank(enumerate_formulas((38, 22, 8), max_atoms=9), known)
    assert [one.name for one in ranked[:2]] == ["SrTiO3", "SrTi2O4"]
    unknown = [one for one in ranked if one.n_alike == 0]
    balances = [one.balance for one in unknown]
    assert balances == sorted(balances)
    assert set(balances) == set(Balance)


def test_compounds_count_by_all_ways_to_exchange_their_elements():
    from pymatgen.core import Element

    scale = {
        symbol: Element(symbol).mendeleev_no for symbol in ("Sr", "Ti", "O", "Ca", "Zr", "Ba", "La", "Al")
    }
    ours, known = {"Sr": 1, "Ti": 1, "O": 3}, [{"Ca": 1, "Zr": 1, "O": 3}, {"La": 2, "Al": 2, "O": 6}]
    by_hand = 0.0
    for counts in known:
        for order in permutations(counts):
            pairs = dict(zip(ours, order, strict=True))
            n = min(counts.values())
            if all(counts[other] == n * ours[own] for own, other in pairs.items()):
                by_hand += math.exp(-sum(abs(scale[a] - scale[b]) for a, b in pairs.items()) / 1.5)
    (formula,) = read_formulas("SrTiO3")
    found = count_alike([formula, ((8, 9), (22, 4))], ["CaZrO3", "La2Al2O6", "SrO", "TiO2", "SrBa3O9"])
    assert found[formula] == pytest.approx(by_hand)
    assert by_hand > 0
    assert found[((8, 9), (22, 4))] == 0


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
    alike=st.lists(st.floats(0, 5000), min_size=1, max_size=60),
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
