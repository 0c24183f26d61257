"""The families of conditions and of plain properties: measured on crystals again, whatever their labels say."""

import pytest

from repdiff.crystals.crystal_set import CrystalSet
from repdiff.metrics import METRICS, Context
from repdiff.testing.example_crystals import cubic_perovskite, invalid_crystals, rock_salt

LABELS = {"space_group_asked": "225", "space_group_obtained": 225, "space_group_within": True}
SALT = rock_salt(a=5.64).replace(labels={**LABELS, "band_gap_asked": "1.5", "density_asked": "2..3"})
WRONG = cubic_perovskite().replace(labels=LABELS)


def compute(name, crystals, failed=None):
    return METRICS[name]().compute(CrystalSet(crystals=crystals, failed=failed or {}), Context())


def test_what_was_obtained_is_measured_and_not_taken_from_labels():
    found = compute("conditions", [SALT, WRONG], {"lost": "no cell"})
    assert found.values["space_group"].value == 0.5
    assert found.values["density"].n == 1
    assert found.values["band_gap"].value is None
    assert "model of its own" in found.values["band_gap"].reason
    assert found.columns["space_group_obtained"] == [225, 221, None]
    assert found.columns["space_group_within"] == [True, False, None]
    assert found.details == {"n_not_made": 1}


def test_crystals_that_were_asked_for_nothing_have_no_value():
    found = compute("conditions", [rock_salt()])
    assert [value.reason for value in found.values.values()] == ["no crystal says what it was asked to be"]
    assert not found.columns


def test_means_of_plain_properties_leave_out_what_has_none():
    found = compute("plain_properties", [rock_salt(a=5.64), *invalid_crystals()], {"lost": "no cell"})
    assert found.values["mean_density"].value is not None
    assert found.values["mean_hhi_production"].unit == ""
    assert found.columns["density"][0] == pytest.approx(2.163, rel=1e-3)
    assert found.columns["density"][-1] is None
    assert "shortest_distance" not in found.columns  # the family of validity has it
