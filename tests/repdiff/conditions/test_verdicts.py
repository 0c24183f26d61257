"""Crystals beside what was asked: what they have is measured on them, and what does not obey does not count."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repdiff.conditions import Asked, How, judge, typed
from repdiff.conditions.files import MISSED, told, write_judged
from repdiff.conditions.verdicts import verdicts
from repdiff.crystals.crystal import read_crystals
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.errors import UserError
from repdiff.testing.example_crystals import cubic_perovskite, invalid_crystals, rock_salt

SALT = rock_salt(a=5.64)


def asked(how=How.EXACTLY, compositions=(), **conditions):
    read = typed(conditions)
    return Asked(conditions=read, how=dict.fromkeys(read, how), compositions=tuple(compositions))


@pytest.mark.parametrize(
    ("condition", "obtained", "within"),
    [
        ({"space_group": "221,225"}, 225, True),
        ({"space_group": "221"}, 225, False),
        ({"crystal_system": "cubic"}, "cubic", True),
        ({"crystal_system": "hexagonal,trigonal"}, "cubic", False),
        ({"chemical_system": "Na-Cl"}, "Cl-Na", True),
        ({"chemical_system": "Na-Cl-K"}, "Cl-Na", False),
        ({"elements_allowed": "Na-Cl-K"}, "Cl-Na", True),
        ({"elements_allowed": "Na-K"}, "Cl-Na", False),
        ({"elements_excluded": "K"}, "Cl-Na", True),
        ({"elements_excluded": "K-Na"}, "Cl-Na", False),
        ({"n_atoms": "2-4"}, SALT.n_atoms, True),
        ({"n_atoms": "99"}, SALT.n_atoms, False),
        ({"density": "2.1-2.2"}, 2.163, True),
        ({"density": "2.2.."}, 2.163, False),
        ({"shortest_distance": "2.82±0.01"}, 2.82, True),
        ({"volume_per_atom": "22-23"}, 5.64**3 / 8, True),
        ({"lattice_a": "5.64±0.01"}, 5.64, True),
        ({"lattice_a": "3-4"}, 5.64, False),  # the primitive cell has 3.99
        ({"lattice_gamma": "90±0.5"}, 90, True),
        ({"hhi_production": "..1400"}, 1342.64, True),  # (1100 · 22.99 + 1500 · 35.45) / 58.44
        ({"formula_mass": "58-59"}, 58.44, True),
        ({"mass_per_atom": "..20"}, 29.22, False),
        ({"band_gap": 1.5}, None, None),
    ],
)
def test_what_a_crystal_has_is_measured_on_it(condition, obtained, within):
    ((verdict,),) = (one.values() for one in verdicts([SALT], [list(typed(condition).values())]))
    assert verdict.within is within
    if isinstance(obtained, float):
        assert verdict.obtained == pytest.approx(obtained, rel=2e-3)
    else:
        assert verdict.obtained == obtained


@given(seed=st.integers(0, 10**6))
def test_another_cell_of_a_crystal_has_the_same_lattice_and_space_group(seed):
    rng = np.random.default_rng(seed)
    change = np.eye(3, dtype=int)
    change[rng.integers(3)] += rng.integers(-1, 2, 3) * (np.arange(3) != np.flatnonzero(np.eye(3)[0])[0])
    if abs(round(np.linalg.det(change))) != 1:
        return
    other = SALT.replace(lattice=change @ SALT.lattice, frac_coords=SALT.frac_coords @ np.linalg.inv(change))
    conditions = list(typed({"lattice_a": "5.63-5.65", "space_group": 225, "density": "2.16-2.17"}).values())
    (verdict,) = verdicts([other], [conditions])
    assert all(one.within for one in verdict.values())


def test_crystals_that_do_not_obey_count_as_not_made_and_are_kept_aside(tmp_path):
    perovskite = cubic_perovskite()
    judged = judge(
        CrystalSet(crystals=[SALT, perovskite], failed={"third": "no cell"}),
        asked(space_group=225, density="2-3"),
        [SALT.id, perovskite.id, "third"],
    )
    (kept,) = judged.crystals.crystals
    assert {name: kept.labels[name] for name in kept.labels if name.startswith("space_group")} == {
        "space_group_asked": "225",
        "space_group_obtained": 225,
        "space_group_within": True,
    }
    assert list(judged.crystals.failed) == [perovskite.id, "third"]
    assert "space_group is 221, asked for was 225; density is" in judged.crystals.failed[perovskite.id]
    assert judged.lines() == [
        "space_group 225 (exactly): 1 of 2 crystals made obey",
        "density 2..3 (exactly): 1 of 2 crystals made obey",
        "1 crystals that do not obey count as not made",
    ]
    assert judged.summary()["conditions"]["space_group"]["n_within"] == 1
    write_judged(tmp_path, judged)
    assert told(tmp_path).splitlines() == judged.lines()
    (aside,) = read_crystals(tmp_path / MISSED)
    assert aside.labels["space_group_obtained"] == 221


def test_crystals_stay_where_a_condition_is_honoured_softly():
    judged = judge(CrystalSet(crystals=[SALT]), asked(How.SOFTLY, space_group=221, band_gap=1.5), [SALT.id])
    (kept,) = judged.crystals.crystals
    assert kept.labels["space_group_within"] is False
    assert (kept.labels["band_gap_asked"], kept.labels["band_gap_within"]) == ("1.5", None)
    assert not judged.crystals.failed
    assert judged.lines() == [
        "space_group 221 (softly): 0 of 1 crystals made obey",
        "band_gap 1.5 (softly): of 1 crystals, none tells it",
    ]


def test_compositions_are_judged_in_turn():
    crystals = [SALT.replace(id=name) for name in "abc"]
    n = SALT.n_atoms // 2
    judged = judge(
        CrystalSet(crystals=crystals), asked(compositions=[{11: n, 17: n}, {19: n, 17: n}]), list("abc")
    )
    assert [crystal.id for crystal in judged.crystals.crystals] == ["a", "c"]
    assert judged.rates["composition"].n_within == 2
    assert judged.rates["composition"].asked == "2 formulas"


def test_crystals_of_any_quality_are_judged_and_invalid_ones_have_no_symmetry():
    conditions = asked(
        space_group=225, lattice_a="1-9", density="0..", chemical_system="Na-Cl", n_atoms="1-9"
    )
    crystals = invalid_crystals()
    judged = judge(CrystalSet(crystals=crystals), conditions, [crystal.id for crystal in crystals])
    assert len(judged.crystals.failed) == len(crystals)


def test_nothing_asked_changes_nothing():
    given = CrystalSet(crystals=[SALT])
    judged = judge(given, Asked(), [SALT.id])
    assert judged.crystals is given
    assert (judged.lines(), judged.summary()) == ([], {})


def test_what_is_asked_travels_in_a_file(tmp_path):
    first = asked(
        compositions=[{11: 1, 17: 1}, {22: 1, 8: 2}],
        formula_units="1-4",
        density="5-7",
        lattice_a="4.1±0.05",
        elements_excluded="Pb",
        band_gap=1.5,
    )
    first.write(tmp_path)
    again = Asked.read(tmp_path)
    assert again.compositions == first.compositions
    assert [again.of_sample(k) for k in range(2)] != [first.of_sample(k) for k in range(2)]  # labels are text
    del again.conditions["band_gap"], first.conditions["band_gap"]
    assert [again.of_sample(k) for k in range(3)] == [first.of_sample(k) for k in range(3)]
    assert again.of_sample(1)[0].text == "1-4 x O2Ti"


def test_nothing_asked_writes_no_file_and_a_damaged_one_is_refused(tmp_path):
    Asked().write(tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "asked.json").write_text('{"conditions": 3}')
    with pytest.raises(UserError, match=r"asked\.json: damaged"):
        Asked.read(tmp_path)
