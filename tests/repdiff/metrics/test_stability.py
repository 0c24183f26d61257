import math
from importlib.metadata import version

import numpy as np
import pytest
from relaxed_sets import GENERATED, IDENTITY, RELAXED, SET, TRAINING, broken, relaxed_to, st, value
from sample_crystals import cubic_perovskite, invalid_crystals
from scipy.integrate import trapezoid

from repdiff.energies.hull_table import HullTable, write_hull_table
from repdiff.energies.relaxed import ForceFieldIdentity, RelaxedSet
from repdiff.errors import UserError
from repdiff.metrics import METRICS, Context, CrystalSet
from repdiff.metrics.hull_rows import NOT_RELAXED
from repdiff.metrics.stability import Stability
from repdiff.metrics.sun import NONE_RELAXED

pytestmark = pytest.mark.usefixtures("hull")


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
    by_hand = trapezoid(np.abs(cumulative[0] - cumulative[1]), grid)
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


def test_a_reference_of_which_the_table_holds_half_is_not_compared_with():
    reference = CrystalSet(crystals=[st("SrTiO3"), cubic_perovskite("elsewhere", a_site=19)])
    found = value("energy_emd", reference=reference)
    assert found.value is None
