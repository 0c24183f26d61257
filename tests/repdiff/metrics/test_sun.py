"""Which of the stable crystals are unique and new, and what counts as known."""

from dataclasses import replace

import numpy as np
import pytest
from relaxed_sets import (
    GENERATED,
    IDENTITY,
    RELAXED,
    SET,
    TRAINING,
    broken,
    hand_made_hull,
    relaxed_to,
    st,
    value,
)
from sample_crystals import cubic_perovskite

from repdiff.energies.hull_table import read_hull_table, write_hull_table
from repdiff.energies.relaxed import RelaxedSet
from repdiff.metrics import Context, CrystalSet
from repdiff.metrics.evaluation import evaluate_crystals
from repdiff.metrics.stability import Stability

pytestmark = pytest.mark.usefixtures("hull")


def test_what_was_trained_on_is_not_new_and_another_training_set_changes_that():
    other = CrystalSet(crystals=[cubic_perovskite("CaTiO3", a_site=20)])
    assert value("sun", training=other).value == pytest.approx(2 / 7)


def test_what_counts_as_known_is_named_counted_and_need_not_be_the_training_set():
    ba_known = CrystalSet(
        name="mp", crystals=[GENERATED[0], GENERATED[1]], refused={"no cell": 2, "overlap": 1}
    )
    result = Stability().compute(SET, Context(relaxed=RELAXED, training=TRAINING, known_set=ba_known))
    assert result.values["sun"].value == 0
    assert "known is what mp holds, and the hull is of hand-made" in result.values["sun"].reason
    for name, filters in (("sun", "stable, of these novel"), ("sun_mattergen", "the first of each group")):
        constants = result.protocols[result.values[name].protocol]
        assert constants["novel_against"] == "mp"
        assert (constants["n_novel_against"], constants["n_novel_against_not_read"]) == (2, 3)
        assert constants["filters"].startswith(filters)
        assert constants["stol"] == 0.3


@pytest.mark.parametrize("role", ["known_set", "training"])
def test_stable_unique_new_is_not_claimed_over_rows_of_the_known_set_that_were_refused(role):
    marked = [one.replace(labels={"start": "random"}) for one in GENERATED]
    refused = CrystalSet(name="hand-made", crystals=[st("known")], refused={"no cell": 2})
    context = Context(relaxed=RELAXED, **{"training": TRAINING, role: refused})
    values = Stability().compute(CrystalSet(crystals=marked), context).values
    for name in ("sun", "sun_symmetric", "sun_symmetric_before", "sun_mattergen", "sun_without_templates"):
        said = values[name].reason
        assert "not claimed over all known crystals: 2 rows of its source were refused (2 × no cell)" in said
    assert "not claimed" not in values["stable"].reason


def test_rows_of_the_named_known_set_that_were_refused_are_counted_and_told():
    known = CrystalSet(name="hand-made", crystals=[st("known")], refused={"no cell": 2})
    found = evaluate_crystals(SET, Context(relaxed=RELAXED, known_set=known), metrics=["stability"])
    assert found.to_json()["refused"] == {"novelty": {"no cell": 2}}
    assert "note: novelty: 2 rows of its source were refused (2 × no cell)" in found.table()


@pytest.mark.parametrize(
    ("known", "cleared"),
    [
        ("mp_20", False),
        ("data/mp_all.csv.gz", False),
        ("mp_20:train,data/mp_all.csv.gz", False),
        ("mp_20,data/mp_all.csv.gz", True),
        ("data/mp_all.parquet, mp_20", True),
        ("hand-made", False),
    ],
)
def test_a_word_on_the_hull_goes_when_all_data_sets_that_it_was_built_from_are_known(hull, known, cleared):
    table = replace(read_hull_table(hull), datasets=("mp_20", "mp_all:train"))
    write_hull_table(hull, table)
    found = value("sun", known_set=CrystalSet(name=known, crystals=[st("known")]))
    said = f"known is what {known} holds, and the hull is of mp_20 and mp_all:train: name them by `novelty`"
    assert found.reason == ("" if cleared else said)


def test_training_crystals_that_could_not_be_read_are_counted_where_they_are_the_known_ones():
    training = CrystalSet(crystals=[st("known")], failed={"a": "no cell", "b": "no cell"})
    result = Stability().compute(SET, Context(relaxed=RELAXED, training=training))
    constants = result.protocols[result.values["sun"].protocol]
    assert constants["novel_against"] == "training crystals"
    assert (constants["n_novel_against"], constants["n_novel_against_not_read"]) == (1, 2)


def test_without_training_set_there_is_no_sun_but_its_reason():
    found = value("sun", training=None)
    assert found.value is None
    assert "`training`" in found.reason
    assert value("stable", training=None).value is not None


def pushed(one, step):
    """Move the last atom, so that no operation but the identity is left."""
    moved = one.frac_coords.copy()
    moved[-1] += step
    return one.replace(frac_coords=moved)


STEP = np.array([0.051, 0.083, 0.117])  # of 4 Å: beyond the tolerance in every direction
OFF = [
    cubic_perovskite("kept", a_site=56, a=4.0),
    cubic_perovskite("lost", a_site=56, a=4.0, x_site=16),
    pushed(cubic_perovskite("found", a_site=56, a=4.0, x_site=34), STEP),
    cubic_perovskite("never relaxed", a_site=56, a=4.0, x_site=52),
]


def symmetries(**context):
    """Three stable, new crystals of unlike elements: one stays cubic, one falls to P1, one rises from it."""
    ends = {
        "kept": relaxed_to(OFF[0], -7.0),
        "lost": relaxed_to(pushed(OFF[1], STEP), -9.0),
        "found": relaxed_to(cubic_perovskite("found", a_site=56, a=4.0, x_site=34), -9.0),
        "never relaxed": broken("the cell collapsed"),
    }
    relaxed = RelaxedSet(force_field=IDENTITY, relaxations=ends)
    given = context.pop("generated", OFF)
    return Stability().compute(
        CrystalSet(crystals=given), Context(relaxed=relaxed, training=TRAINING, **context)
    )


@pytest.fixture
def wide_hull(hull):
    """The elements of the three, so that each has a place on the hull."""
    energies = {"Ba": -1.0, "Ti": -4.0, "O2": -4.0, "S": -4.0, "Se": -4.0, "Te": -4.0}
    write_hull_table(hull, hand_made_hull(energies))


@pytest.mark.usefixtures("wide_hull")
def test_symmetric_sun_leaves_out_p1_before_or_after_relaxation():
    result = symmetries()
    values = {name: value.value for name, value in result.values.items()}
    assert values["sun"] == 3 / 4
    assert values["sun_symmetric"] == values["sun_symmetric_before"] == 2 / 4
    assert result.columns["sun_symmetric"] == [True, False, True, False]
    assert result.columns["sun_symmetric_before"] == [True, True, False, False]
    assert result.columns["space_group_before"] == [221, 221, 1, 221]
    assert result.columns["space_group_relaxed"] == [221, 1, 221, None]
    assert values["symmetry_kept"] == pytest.approx(1 / 3)
    assert result.values["symmetry_kept"].n == 3
    assert result.protocols[result.values["sun_symmetric"].protocol]["symprec_angstrom"] == 0.1


@pytest.mark.usefixtures("wide_hull")
def test_sun_is_told_without_what_was_started_from_templates():
    marked = [one.replace(labels={"start": "template" if one.id == "kept" else "random"}) for one in OFF]
    values = symmetries(generated=marked).values
    assert values["sun_without_templates"].value == pytest.approx(2 / 3)
    assert values["sun_symmetric_without_templates"].value == pytest.approx(1 / 3)
    assert "sun_without_templates" not in symmetries().values
