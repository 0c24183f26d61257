"""The grammar of conditions: what is written is read, what is read is written, what is neither is refused."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descriptors.symmetry.space_group import LAST_OF_SYSTEM
from descriptors.symmetry.symbols import SYMBOLS
from repdiff.conditions import GRAMMAR, typed
from repdiff.conditions.grammar import ANGLES, OF_ELEMENTS, STRAIGHT, interval, read_back
from repdiff.conditions.how import SELECTED_BY_ALL
from repdiff.conditions.kinds import CrystalSystems, Elements, FormulaUnits, Interval, Learnt, Numbers
from repdiff.crystals.plain_properties import PLAIN_PROPERTIES
from repdiff.errors import UserError
from repdiff.settings.conditions import CELL, FLAGS, PLAIN, ConditionSettings

NUMBERS = st.floats(0, 1e6, allow_nan=False)
ELEMENTS = st.frozensets(st.integers(1, len(SYMBOLS)), min_size=1, max_size=9)
ARGUMENTS = st.one_of(
    st.tuples(
        st.just(Numbers),
        st.fixed_dictionaries(
            {
                "name": st.sampled_from(["space_group", "n_atoms"]),
                "numbers": st.frozensets(st.integers(1, 230), min_size=1),
            }
        ),
    ),
    st.tuples(
        st.just(Elements),
        st.fixed_dictionaries({"name": st.sampled_from(OF_ELEMENTS), "elements": ELEMENTS}),
    ),
    st.tuples(
        st.just(CrystalSystems),
        st.fixed_dictionaries(
            {
                "name": st.just("crystal_system"),
                "systems": st.frozensets(st.sampled_from(list(LAST_OF_SYSTEM)), min_size=1),
            }
        ),
    ),
    st.tuples(
        st.just(Interval),
        st.builds(
            lambda name, ends: {"name": name, "low": min(ends), "high": max(ends)},
            st.sampled_from(SELECTED_BY_ALL),
            st.one_of(
                st.tuples(NUMBERS, NUMBERS),
                st.tuples(st.just(-math.inf), NUMBERS),
                st.tuples(NUMBERS, st.just(math.inf)),
            ),
        ).filter(lambda one: one["name"] not in ANGLES or one["low"] < STRAIGHT),
    ),
    st.tuples(
        st.just(FormulaUnits),
        st.builds(
            lambda counts, units: {
                "name": "composition",
                "counts": tuple(sorted(counts.items())),
                "units": units,
            },
            st.dictionaries(st.integers(1, len(SYMBOLS)), st.integers(1, 9), min_size=1, max_size=9),
            st.frozensets(st.integers(1, 8), min_size=1),
        ),
    ),
)


@given(arguments=ARGUMENTS)
def test_what_is_written_is_read_as_the_same(arguments):
    kind, values = arguments
    condition = kind(**values)
    assert read_back(condition.name, condition.text) == condition


@given(middle=st.floats(0.1, 1e3), width=st.floats(0, 0.1))
def test_all_ways_to_write_a_range_mean_the_same(middle, width):
    low, high = middle - width, middle + width
    expected = Interval(name="density", low=low, high=high)
    for text in (f"{middle!r}±{width!r}", f"{middle!r}+-{width!r}", f"{middle!r} +/- {width!r}"):
        found = interval("density", text)
        assert math.isclose(found.low, low, abs_tol=1e-11)
        assert math.isclose(found.high, high, rel_tol=1e-11)
    for value in (f"{low!r}-{high!r}", f"{low!r}..{high!r}", f"{low!r} - {high!r}", (low, high)):
        assert interval("density", value) == expected


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("..2000", (-math.inf, 2000)),
        ("2000..", (2000, math.inf)),
        ("<=4.5", (-math.inf, 4.5)),
        (">=4.5", (4.5, math.inf)),
        ("5..7", (5, 7)),
        ("5.-7.", (5, 7)),
        ("1e-3-2e-3", (0.001, 0.002)),
        ("-1..7", (-1, 7)),
        ("5-5", (5, 5)),
    ],
)
def test_limits_may_be_open_and_numbers_may_have_exponents(text, ends):
    found = interval("density", text)
    assert (found.low, found.high) == ends


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"space_group": "231"}, "expected numbers from 1 to 230, such as 225 or 221,225$"),
        ({"space_group": "Fm-3m"}, "expected numbers from 1 to 230"),
        ({"space_group": True}, "expected numbers from 1 to 230"),
        ({"space_group": 0}, "expected numbers from 1 to 230"),
        ({"space_group": "²"}, "expected numbers from 1 to 230"),
        ({"crystal_system": "cubik"}, "unknown crystal system 'cubik'.*Did you mean 'cubic'"),
        ({"chemical_system": "Li-Fe-Ox"}, "'Ox' is none"),
        ({"chemical_system": ""}, "'' is none"),
        ({"chemical_system": []}, "empty"),
        ({"elements_allowed": "lithium"}, "'lithium' is none"),
        ({"n_atoms": "9-5"}, "`n_atoms` is '9-5', expected the smaller number first: 5-9$"),
        ({"n_atoms": "few"}, "expected numbers from 1 to 1000, such as 8 or 2-8$"),
        ({"n_atoms": "0"}, "`n_atoms` is '0', expected numbers from 1 to 1000, such as 8 or 2-8$"),
        ({"n_atoms": "1001"}, "expected numbers from 1 to 1000, such as 8 or 2-8$"),
        ({"n_atoms": 2.5}, "expected numbers from 1 to 1000"),
        ({"density": 5}, "which no crystal has to the last digit"),
        ({"density": "heavy"}, "`density` is 'heavy', expected a range such as"),
        ({"density": ".."}, "expected a range such as"),
        ({"density": "7-5"}, "smaller number first"),
        ({"density": "nan-5"}, "expected a range such as"),
        ({"density": "-7..-5"}, "expected a range that holds a positive number"),
        ({"lattice_a": "4.1±"}, "expected a range such as"),
        ({"volume_per_atom": None}, "`volume_per_atom` is empty, expected a range such as"),
        ({"volume_per_atom": "12±-1"}, "`volume_per_atom` is 12±-1, expected a tolerance of at least 0"),
        ({"lattice_gamma": "200-210"}, "expected an angle of a cell, less than 180 degrees"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(asked, message):
    with pytest.raises(UserError, match=message) as caught:
        typed(asked)
    assert "\n" not in str(caught.value)


def test_what_is_no_condition_is_taken_for_a_label():
    assert typed({"band_gap": 1.5}) == {"band_gap": Learnt(name="band_gap", value=1.5)}


def test_a_label_that_was_learnt_goes_before_a_plain_property_of_its_name():
    assert typed({"density": 5}, learnt=["density"]) == {"density": Learnt(name="density", value=5)}
    assert isinstance(
        typed({"chemical_system": "Li-O"}, learnt=["chemical_system"])["chemical_system"], Elements
    )


def test_what_is_read_already_stays():
    once = typed({"n_atoms": "5-12", "density": "5-7"})
    assert typed(once) == once


def test_settings_are_gathered_by_the_names_of_conditions():
    settings = ConditionSettings.model_validate(
        {
            "space_group": 225,
            "chemical_system": ["Li", "O"],
            "n_atoms": [5, 6],
            "volume_per_atom": [10, 14.5],
            "lattice": {"a": "4.1±0.05", "gamma": "119-121"},
            "condition": {"density": "5-7", "band_gap": 1.5},
        }
    )
    assert settings.asked() == {
        "chemical_system": "Li,O",
        "space_group": "225",
        "n_atoms": "5,6",
        "volume_per_atom": "10..14.5",
        "lattice_a": "4.1±0.05",
        "lattice_gamma": "119-121",
        "density": "5-7",
        "band_gap": 1.5,
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"space_group": "225", "condition": {"space_group": 221}}, "space_group is asked for twice"),
        ({"lattice": {"a": "4-5"}, "condition": {"lattice_a": "4-5"}}, "lattice_a is asked for twice"),
        ({"lattice": {"d": "4-5"}}, "`lattice` gives 'd', expected some of a, b, c, alpha, beta, gamma"),
    ],
)
def test_what_is_asked_in_two_ways_is_refused(values, message):
    with pytest.raises(UserError, match=message):
        ConditionSettings.model_validate(values).asked()


def test_every_setting_and_every_plain_property_is_a_condition():
    assert set(FLAGS) | {f"lattice_{name}" for name in CELL} | set(PLAIN) == set(GRAMMAR)
    assert PLAIN_PROPERTIES.keys() == set(PLAIN)
