import numpy as np
import pytest
from sample_crystals import crystal, cubic_perovskite

from repdiff.energies.base import FORCE_FIELDS, single_points
from repdiff.energies.conventions import CONVENTIONS, hull_energy, mp2020_correction
from repdiff.energies.hull import Hull
from repdiff.energies.hull_table import HullTable, find_hull_table, reduced_name, write_hull_table
from repdiff.energies.registered import load_force_field
from repdiff.energies.relaxed import ForceFieldIdentity
from repdiff.errors import UserError

RAW = ForceFieldIdentity(name="raw", version="1", weights_sha256="ab" * 32, convention="uncorrected")
OXIDE, PEROXIDE, FLUORIDE, CHLORIDE, SULFIDE, NITRIDE = -0.687, -0.465, -0.462, -0.614, -0.503, -0.361
IRON, NICKEL, MANGANESE, TUNGSTEN = -2.256, -2.541, -1.668, -4.438  # with oxygen or fluorine


def rock_salt(cation, anion, a=4.2):
    cell = a / 2 * (np.ones((3, 3)) - np.eye(3))
    return crystal("salt", [cation, anion], cell, [[0, 0, 0], [0.5, 0.5, 0.5]])


def peroxide(cation=56):
    cell = np.diag([3.8, 3.8, 6.8])
    return crystal("BaO2", [cation, 8, 8], cell, [[0, 0, 0], [0.5, 0.5, 0.39], [0.5, 0.5, 0.61]])


@pytest.mark.parametrize("name", sorted(FORCE_FIELDS))
def test_every_force_field_states_what_its_energies_mean(name):
    assert FORCE_FIELDS[name].convention in CONVENTIONS


@pytest.mark.parametrize(
    ("one", "by_hand"),
    [
        (rock_salt(28, 8), (NICKEL + OXIDE) / 2),
        (rock_salt(25, 8), (MANGANESE + OXIDE) / 2),
        (cubic_perovskite("LaFeO3", 57, 26), (IRON + 3 * OXIDE) / 5),
        (cubic_perovskite("NaWO3", 11, 74), (TUNGSTEN + 3 * OXIDE) / 5),
        (cubic_perovskite("KFeF3", 19, 26, 9), (IRON + 3 * FLUORIDE) / 5),
        (rock_salt(26, 16, 5.2), SULFIDE / 2),  # no U on sulphides
        (rock_salt(24, 7), NITRIDE / 2),
        (rock_salt(11, 17, 5.6), CHLORIDE / 2),
        (peroxide(), 2 * PEROXIDE / 3),
        (rock_salt(26, 28, 3.0), 0.0),
        (crystal("Fe", [26], 2.87 * np.eye(3), [[0, 0, 0]]), 0.0),
        (crystal("O2", [8, 8], 5 * np.eye(3), [[0, 0, 0], [0.24, 0, 0]]), 0.0),
    ],
    ids=lambda value: getattr(value, "formula", None),
)
def test_the_correction_is_the_published_one_by_hand(one, by_hand):
    assert mp2020_correction(one) == pytest.approx(by_hand, abs=1e-9)


def test_the_correction_is_of_an_atom_whatever_the_cell():
    one = rock_salt(28, 8)
    double = crystal(
        "2", [28, 8] * 2, one.lattice * [[2], [1], [1]], [[0, 0, 0], [0.25, 0.5, 0.5], [0.5, 0, 0], [0.75, 0.5, 0.5]]
    )  # fmt: skip
    assert mp2020_correction(double) == pytest.approx(mp2020_correction(one), abs=1e-9)


def test_only_uncorrected_energies_are_corrected():
    one = rock_salt(28, 8)
    assert hull_energy(one, -5.0, "mp2020") == hull_energy(one, -5.0, "consistent") == (-5.0, "")
    assert hull_energy(one, -5.0, "uncorrected")[0] == pytest.approx(-5.0 + (NICKEL + OXIDE) / 2)


def test_what_has_no_correction_gets_the_reason():
    ghost = crystal("ghost", [119, 8], 4 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]])
    energy, reason = hull_energy(ghost, -5.0, "uncorrected")
    assert energy is None
    assert reason.startswith("no correction of MaterialsProject2020")


def table(convention, identity=RAW):
    return HullTable(
        name="t", force_field=identity, convention=convention, geometry="as given", note=None, ids=[],
        formulas=["Ni", "O2", "NiO"], energies=np.array([-1.0, -2.0, -3.0]),
    )  # fmt: skip


def test_a_table_of_uncorrected_energies_is_refused_in_one_line(tmp_path):
    write_hull_table(tmp_path / "raw.parquet", table("uncorrected"))
    with pytest.raises(
        UserError, match=r"without corrections, expected .*MaterialsProject2020.*hull build"
    ) as told:
        find_hull_table(RAW, tmp_path / "raw.parquet")
    assert "\n" not in str(told.value)
    write_hull_table(tmp_path / "corrected.parquet", table("mp2020"))
    assert find_hull_table(RAW, tmp_path / "corrected.parquet").convention == "mp2020"


@pytest.mark.parametrize(("name", "convention"), [("chgnet", "mp2020"), ("sevennet", "uncorrected")])
def test_files_that_do_not_state_a_convention_get_that_of_their_force_field(name, convention):
    assert ForceFieldIdentity(name=name, version="1", weights_sha256="0" * 64).convention == convention


def above_hull(crystals, energies, identity):
    """Energies above the hull of these crystals themselves, eV per atom."""
    formulas = [reduced_name(one.formula) for one in crystals]
    hull = Hull(
        HullTable(
            name="t", force_field=identity, convention="mp2020", geometry="as given", note=None, ids=[],
            formulas=formulas, energies=np.array(energies),
        )
    )  # fmt: skip
    return np.array([hull.above(f, e)[0] for f, e in zip(formulas, energies, strict=True)])


@pytest.mark.parametrize("name", sorted(FORCE_FIELDS))
def test_stable_oxides_of_nickel_iron_and_manganese_are_judged_stable(name, data_dir):
    import pyarrow.parquet as pq

    try:
        force_field = load_force_field(name)
    except UserError as error:
        pytest.skip(str(error))
    columns = ["material_id", "numbers", "lattice", "frac", "e_above_hull"]
    rows = [
        row
        for row in pq.read_table(data_dir / "mp20.parquet", columns=columns).to_pylist()
        if any(set(row["numbers"]) <= {8, metal} for metal in (25, 26, 28))
        and (row["e_above_hull"] == 0 or len(set(row["numbers"])) == 1)
    ]
    crystals = [crystal(row["material_id"], row["numbers"], row["lattice"], row["frac"]) for row in rows]
    stable = [k for k, row in enumerate(rows) if len(set(row["numbers"])) == 2]
    assert len(stable) > 5
    raw, _ = single_points(crystals, force_field)
    corrected = [hull_energy(c, e, force_field.convention)[0] for c, e in zip(crystals, raw, strict=True)]
    assert above_hull(crystals, corrected, force_field.identity)[stable].max() < 0.1
    if force_field.convention == "uncorrected":  # what the corrections are for
        assert above_hull(crystals, raw, force_field.identity)[stable].max() > 0.3
