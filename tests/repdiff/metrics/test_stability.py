import math
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import pytest
from sample_crystals import cubic_perovskite, invalid_crystals

from repdiff.energies import hull_table
from repdiff.energies.hull_table import HullTable, read_hull_table, write_hull_table
from repdiff.energies.relaxed import ForceFieldIdentity, Relaxation, RelaxedSet
from repdiff.errors import UserError
from repdiff.metrics import METRICS, Context, CrystalSet
from repdiff.metrics.evaluation import evaluate_crystals
from repdiff.metrics.hull_rows import NOT_RELAXED
from repdiff.metrics.stability import Stability
from repdiff.metrics.sun import NONE_RELAXED

IDENTITY = ForceFieldIdentity(name="toy", version="1", weights_sha256="ab" * 32, convention="consistent")
ENERGIES = {"Sr": -1.0, "Ti": -4.0, "Ba": -1.0, "O2": -4.0, "SrTiO3": -7.0, "BaTiO3": -7.0}
# below it by the elements alone: (-1 - 4 - 3 * 4) / 5 = -3.4


@pytest.fixture(autouse=True)
def hull(tmp_path, monkeypatch):
    """A hand-made table in the place of the shipped ones."""
    table = HullTable(
        name="hand-made",
        force_field=IDENTITY,
        convention="consistent",
        geometry="as given",
        note=None,
        ids=list(ENERGIES),
        formulas=list(ENERGIES),
        energies=np.array(list(ENERGIES.values())),
    )
    folder = tmp_path / "shipped"
    folder.mkdir()
    write_hull_table(folder / "t.parquet", table)
    monkeypatch.setattr(hull_table, "SHIPPED", folder)
    return folder / "t.parquet"


def relaxed_to(crystal, energy, *, rmsd=0.1, converged=True):
    return Relaxation(
        crystal=crystal, initial_energy=energy + 0.5, energy=energy, n_steps=7, converged=converged, rmsd=rmsd
    )


def broken(reason):
    return Relaxation(
        crystal=None,
        initial_energy=None,
        energy=None,
        n_steps=0,
        converged=False,
        rmsd=None,
        reason=reason,
    )


def st(name, a=3.905):
    return cubic_perovskite(name, a=a)


GENERATED = [
    st("on hull"),
    cubic_perovskite("stable twin 1", a_site=56, a=4.0),
    cubic_perovskite("stable twin 2", a_site=56, a=4.01),
    cubic_perovskite("unstable", a_site=56, a=5.5),
    cubic_perovskite("no reference", a_site=19),
    st("exploded"),
]
RELAXED = RelaxedSet(
    force_field=IDENTITY,
    relaxations={
        "on hull": relaxed_to(GENERATED[0], -7.0, rmsd=0.0),
        "stable twin 1": relaxed_to(GENERATED[1], -6.95, rmsd=0.2),
        "stable twin 2": relaxed_to(GENERATED[2], -6.94, rmsd=0.1, converged=False),
        "unstable": relaxed_to(GENERATED[3], -6.0, rmsd=0.3),
        "no reference": relaxed_to(GENERATED[4], -8.0, rmsd=0.4),
        "exploded": broken("the volume grew more than 10 times"),
        "gen-9": broken("no formula"),
    },
    protocol={"fmax_eV_per_angstrom": 0.05},
)
SET = CrystalSet(crystals=GENERATED, failed={"gen-9": "no formula"})
TRAINING = CrystalSet(crystals=[st("known")])


def value(name, *, generated=SET, metric=None, **context):
    options = {"relaxed": RELAXED, "training": TRAINING, "reference": TRAINING, **context}
    return (metric or Stability()).compute(generated, Context(**options)).values[name]


def test_it_is_registered():
    assert METRICS["stability"] is Stability


@pytest.mark.parametrize(
    ("name", "wanted", "n"),
    [
        ("e_above_hull", (0 + 0.05 + 0.06 + 1.0) / 4, 4),
        ("e_above_hull_median", 0.055, 4),
        ("stable", 3 / 7, 7),
        ("on_hull", 1 / 7, 7),
        ("rmsd", 0.2, 5),
        ("energy_change", -0.5, 5),
        ("converged", 4 / 7, 7),
        ("sun", 1 / 7, 7),  # one of the twins; the one on the hull is known
        (
            "sun_mattergen",
            0.0,
            7,
        ),  # the first of the twins' group is the unstable one, whose volume is no difference
    ],
)
def test_values_are_those_by_hand_and_shares_are_of_all(name, wanted, n):
    found = value(name)
    assert found.value == pytest.approx(wanted, abs=1e-6)
    assert found.n == n
    assert found.interval[0] <= found.value <= found.interval[1]


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


def test_columns_say_what_became_of_each():
    result = Stability().compute(SET, Context(relaxed=RELAXED, training=TRAINING))
    columns = result.columns
    assert columns["stable"] == [True, True, True, False, False, False, False]
    assert columns["e_above_hull"][3] == pytest.approx(1.0)
    assert columns["e_above_hull"][4:] == [None, None, None]
    assert columns["stability_reason"][4] == "the hull table hand-made has no crystal of K alone"
    assert columns["stability_reason"][5:] == ["the volume grew more than 10 times", "no formula"]
    assert sum(map(bool, columns["sun"])) == 1
    assert result.details["reasons"]["no formula"] == 1


def test_every_protocol_names_the_force_field_and_the_hull():
    result = Stability().compute(SET, Context(relaxed=RELAXED, training=TRAINING))
    assert {value.protocol for value in result.values.values()} == set(result.protocols)
    assert result.protocols[result.values["sun"].protocol]["pymatgen"] == version("pymatgen")
    for constants in result.protocols.values():
        assert constants["force_field"] == "toy"
        assert constants["version"] == "1"
        assert constants["weights_sha256"] == "ab" * 32
        assert constants["fmax_eV_per_angstrom"] == 0.05
    over = result.protocols[result.values["stable"].protocol]
    assert over["stable_at_most_eV_per_atom"] == 0.1
    assert over["hull_table"].startswith("hand-made, 6 energies of crystals as given")


def test_only_those_that_were_relaxed_count_where_a_part_was():
    part = RelaxedSet(
        force_field=IDENTITY,
        relaxations={name: RELAXED.relaxations[name] for name in ("on hull", "unstable")},
    )
    result = Stability().compute(SET, Context(relaxed=part))
    assert (result.values["stable"].value, result.values["stable"].n) == (0.5, 2)
    assert result.details["n_not_relaxed"] == 5
    assert result.columns["stable"][1] is None
    assert result.columns["stability_reason"][1] == NOT_RELAXED


def test_nothing_relaxed_has_reasons():
    empty = RelaxedSet(force_field=IDENTITY, relaxations={})
    result = Stability().compute(SET, Context(relaxed=empty, training=TRAINING))
    assert result.values["stable"].value is None
    assert result.values["stable"].reason == NONE_RELAXED


def test_the_energy_distance_is_scipys_over_the_crystals_of_the_table():
    reference = CrystalSet(
        crystals=[
            cubic_perovskite("SrTiO3"),
            cubic_perovskite("BaTiO3", a_site=56),
            cubic_perovskite("other name"),
        ]
    )
    energies, known = [-7.0, -6.95, -6.94, -6.0, -8.0], [-7.0, -7.0]
    grid = np.linspace(-9, -5, 400_001)
    cumulative = [np.searchsorted(np.sort(x), grid, side="right") / len(x) for x in (energies, known)]
    by_hand = np.trapezoid(np.abs(cumulative[0] - cumulative[1]), grid)
    assert value("energy_emd", reference=reference).value == pytest.approx(by_hand, abs=1e-4)


def test_a_reference_that_the_table_does_not_hold_gives_a_reason():
    reference = CrystalSet(crystals=[cubic_perovskite("elsewhere"), cubic_perovskite("SrTiO3", a_site=56)])
    found = value("energy_emd", reference=reference)
    assert found.value is None
    assert "holds 0 of 2 reference crystals" in found.reason


def test_without_a_table_of_the_force_field_the_rest_is_computed():
    other = RelaxedSet(
        force_field=ForceFieldIdentity(
            name="toy", version="2", weights_sha256="cd" * 32, convention="consistent"
        ),
        relaxations=RELAXED.relaxations,
    )
    for name in ("stable", "on_hull", "e_above_hull", "sun", "energy_emd"):
        found = value(name, relaxed=other)
        assert found.value is None
        assert "repdiff hull build" in found.reason
    assert value("rmsd", relaxed=other).value == pytest.approx(0.2)


def test_uncorrected_energies_are_corrected_before_they_meet_the_hull(tmp_path):
    raw = ForceFieldIdentity(name="raw", version="1", weights_sha256="ef" * 32, convention="uncorrected")
    energies = {"La": -1.0, "Fe": -4.0, "O2": -4.0, "LaFeO3": -7.0}
    table = HullTable(
        name="corrected", force_field=raw, convention="mp2020", geometry="as given", note=None,
        ids=["LaFeO3"] * 4, formulas=list(energies), energies=np.array(list(energies.values())),
    )  # fmt: skip
    write_hull_table(tmp_path / "hull.parquet", table)
    correction = (-2.256 - 3 * 0.687) / 5  # of iron with U and of oxide, by hand
    one = cubic_perovskite("LaFeO3", 57, 26)
    relaxed = RelaxedSet(force_field=raw, relaxations={one.id: relaxed_to(one, -7.0 - correction + 0.03)})
    known = CrystalSet(crystals=[one])
    result = Stability(tmp_path / "hull.parquet").compute(known, Context(relaxed=relaxed, reference=known))
    assert result.values["e_above_hull"].value == pytest.approx(0.03, abs=1e-5)
    assert result.values["energy_emd"].value == pytest.approx(0.03, abs=1e-5)
    assert result.columns["relaxed_energy"][0] == pytest.approx(-7.0 - correction + 0.03)
    over = result.protocols[result.values["stable"].protocol]
    assert over["energies"] == "PBE and PBE+U as computed, without corrections"
    assert "MaterialsProject2020Compatibility" in over["added_to_energies"]


def test_an_uncorrected_hull_gives_no_stable_share_but_one_line(tmp_path):
    raw = ForceFieldIdentity(name="toy", version="3", weights_sha256="ef" * 32, convention="uncorrected")
    for name in ("stable", "sun"):
        found = value(name, relaxed=RelaxedSet(force_field=raw, relaxations=RELAXED.relaxations))
        assert found.value is None
        assert "repdiff hull build" in found.reason
        assert "\n" not in found.reason


def test_a_named_table_of_another_force_field_is_refused(hull):
    other = RelaxedSet(
        force_field=ForceFieldIdentity(
            name="toy", version="2", weights_sha256="cd" * 32, convention="consistent"
        ),
        relaxations=RELAXED.relaxations,
    )
    with pytest.raises(UserError, match="expected toy 2"):
        Stability(hull).compute(SET, Context(relaxed=other))
    assert math.isclose(value("stable", metric=Stability(hull)).value, 3 / 7)


def test_crystals_of_any_quality_are_looked_up_by_name_only():
    bad = CrystalSet(crystals=[*invalid_crystals(), GENERATED[0]])
    relaxed = RelaxedSet(
        force_field=IDENTITY,
        relaxations={crystal.id: broken("not finite") for crystal in invalid_crystals()}
        | {"on hull": RELAXED.relaxations["on hull"]},
    )
    assert value("stable", generated=bad, relaxed=relaxed).value == pytest.approx(1 / 8)


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
    table = HullTable(
        name="hand-made",
        force_field=IDENTITY,
        convention="consistent",
        geometry="as given",
        note=None,
        ids=list(energies),
        formulas=list(energies),
        energies=np.array(list(energies.values())),
    )
    write_hull_table(hull, table)


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


def test_a_reference_of_which_the_table_holds_half_is_not_compared_with():
    reference = CrystalSet(crystals=[st("SrTiO3"), cubic_perovskite("elsewhere", a_site=19)])
    found = value("energy_emd", reference=reference)
    assert found.value is None
