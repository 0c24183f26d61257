"""Draws obey what is honoured exactly, whatever was learnt, or say why there is none."""

from pathlib import Path

import pytest

import repdiff as rd
from repdiff.backends import BACKENDS
from repdiff.backends.described import NAMES, conditions_table
from repdiff.conditions import How, honoured, typed
from repdiff.conditions.how import SELECTED_BY_ALL
from repdiff.conditions.kinds import system_text
from repdiff.crystals.formula import count_elements

N = 200
EXACT = {
    "chemical system": {"chemical_system": "Na-Cl"},
    "exclusion": {"elements_excluded": "O-F"},
    "allowed": {"elements_allowed": "Na-K-Cl"},
    "space group": {"space_group": "221,225"},
    "crystal system": {"crystal_system": "cubic"},
    "number of atoms": {"n_atoms": "2-4"},
    "supply risk": {"hhi_production": "..2500"},
    "several": {
        "crystal_system": "cubic",
        "n_atoms": "2-5",
        "elements_excluded": "O",
        "formula_mass": "..150",
    },
}


@pytest.fixture(scope="module")
def model(tiny_workspace):
    return rd.load_model(next((tiny_workspace / "train").iterdir()), device="cpu")


@pytest.mark.parametrize("name", EXACT)
def test_every_drawn_protostructure_obeys(name, model):
    model.backend.check(conditions=EXACT[name])
    drawn = [one for one in model.backend.draw(N, conditions=EXACT[name]) if one is not None]
    assert len(drawn) > 0.9 * N
    for condition in typed(EXACT[name]).values():
        assert all(
            condition.allows_formula(one.composition()) and condition.allows_group(one.number)
            for one in drawn
        )


def test_every_drawn_protostructure_has_the_composition_asked_for(model):
    asked = {"conditions": {"formula_units": "1-2"}, "compositions": [{11: 1, 17: 1}, {19: 1, 9: 1}] * 100}
    model.backend.check(**asked)
    drawn = model.backend.draw(200, **asked)
    found = [one and one.composition() for one in drawn]
    assert {one[11] for one in found[::2] if one} <= {1, 2}
    assert all(one in (None, {11: 1, 17: 1}, {11: 2, 17: 2}) for one in found[::2])
    assert all(one in (None, {9: 1, 19: 1}, {9: 2, 19: 2}) for one in found[1::2])


def test_crystals_of_another_system_obey_by_the_formulas_they_begin_with(encoded_salts):
    model = rd.train(
        encoded_salts, backend="gemsdiff", max_steps=1, device="cpu", progress=False,
        **{"network.width": 16, "network.n_blocks": 1, "torus.timesteps": 4, "lattice.timesteps": 4},
    )  # fmt: skip
    first = system_text(model.backend.formulas.rows[0].nonzero()[:, 0].tolist())
    for asked in ({"chemical_system": first}, {"elements_excluded": "H"}, {"elements_allowed": first}):
        made = model.sample(50, **asked, progress=False)
        (condition,) = typed(asked).values()
        assert all(condition.allows_formula(count_elements(crystal)) for crystal in made.crystals)
        assert made.remarks[0].endswith("50 of 50 crystals made obey")


@pytest.fixture(scope="module")
def encoded_salts():
    from ase.build import bulk

    salts = [bulk(name, "rocksalt", a=5.5) for name in ("NaCl", "KCl", "NaBr", "NaF", "KF")]
    return rd.encode(salts, device="cpu", progress=False)


def test_what_is_read_off_crystals_is_honoured_by_all():
    assert {honoured({})[name] for name in SELECTED_BY_ALL} == {How.SELECTED}


def test_the_table_has_a_row_for_each_condition_and_all_that_is_declared_is_known():
    rows = conditions_table().splitlines()
    assert len(rows) == 2 + len(NAMES) - 5  # the six parameters of the cell are one row
    for name in BACKENDS:
        assert set(BACKENDS[name].conditions) <= set(NAMES)


def test_the_documents_say_what_is_declared():
    text = (Path(__file__).parents[3] / "docs" / "how-to" / "conditions.md").read_text(encoding="utf-8")
    shown = text.split("<!-- conditions -->\n")[1].split("\n<!-- /conditions -->")[0]
    assert shown == conditions_table(), "put what `conditions_table` writes into docs/how-to/conditions.md"
