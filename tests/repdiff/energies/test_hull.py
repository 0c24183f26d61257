from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from repdiff.energies import hull_table
from repdiff.energies.hull import Hull
from repdiff.energies.hull_table import (
    SHIPPED,
    HullTable,
    find_hull_table,
    join_hull_tables,
    read_hull_table,
    reduced_name,
    shipped_names,
    write_hull_table,
)
from repdiff.energies.relaxed import ForceFieldIdentity
from repdiff.errors import UserError

IDENTITY = ForceFieldIdentity(name="toy", version="1", weights_sha256="ab" * 32, convention="consistent")


def table(energies, identity=IDENTITY):
    return HullTable(
        name="hand-made",
        force_field=identity,
        convention="consistent",
        geometry="as given",
        note=None,
        ids=[f"{formula}-{row}" for row, (formula, _) in enumerate(energies)],
        formulas=[formula for formula, _ in energies],
        energies=np.array([energy for _, energy in energies]),
    )


KNOWN = table([("Na", -1.0), ("Na", -0.7), ("Cl2", -2.0), ("NaCl", -3.5), ("He", 0.0)])


@pytest.mark.parametrize(
    ("formula", "energy", "above"),
    [
        ("Na", -1.0, 0.0),
        ("Na3", -0.8, 0.2),
        ("ClNa", -3.4, 0.1),
        ("Cl4Na4", -3.7, -0.2),
        # Na3Cl: two atoms of four as NaCl, two as Na: (-3.5 - 1) / 2
        ("ClNa3", -2.0, 0.25),
        # NaCl3: two atoms as NaCl, two as Cl2
        ("Cl3Na", -2.75, 0.0),
        ("HeNa", -0.5, 0.0),
    ],
)
def test_energies_above_a_hand_made_hull_are_those_by_hand(formula, energy, above):
    assert Hull(KNOWN).above(formula, energy) == (pytest.approx(above, abs=1e-9), "")


def test_an_element_without_crystal_in_the_table_gives_no_value_and_its_name():
    above, reason = Hull(KNOWN).above("OKNa", -3.0)
    assert above is None
    assert "K, O" in reason


def test_a_table_comes_back_with_all_it_says(tmp_path):
    write_hull_table(tmp_path / "hull.parquet", KNOWN)
    for path in (tmp_path, tmp_path / "hull.parquet"):
        found = read_hull_table(path)
        assert found.force_field == IDENTITY
        assert (found.name, found.geometry, found.note) == ("hand-made", "as given", None)
        assert found.datasets == ("hand-made",)
        assert (list(found.ids), list(found.formulas)) == (list(KNOWN.ids), list(KNOWN.formulas))
        np.testing.assert_allclose(found.energies, KNOWN.energies, rtol=1e-6)


@pytest.mark.parametrize("field", ["name", "version", "weights_sha256"])
def test_a_table_of_another_force_field_is_refused(tmp_path, field):
    other = ForceFieldIdentity(**{**vars(IDENTITY), field: "other"})
    write_hull_table(tmp_path / "hull.parquet", KNOWN)
    with pytest.raises(UserError, match="repdiff hull build"):
        find_hull_table(other, tmp_path / "hull.parquet")


def test_the_shipped_table_is_found_by_the_identity_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(hull_table, "SHIPPED", tmp_path)
    with pytest.raises(UserError, match=r"\(none\).*repdiff hull build DATASET --force-field toy"):
        find_hull_table(IDENTITY)
    write_hull_table(tmp_path / "any name.parquet", KNOWN)
    assert len(find_hull_table(IDENTITY)) == len(KNOWN)
    with pytest.raises(UserError, match="hand-made by toy 1"):
        find_hull_table(ForceFieldIdentity(**{**vars(IDENTITY), "weights_sha256": "0" * 64}))


@pytest.mark.parametrize("content", ["text", "parquet"])
def test_another_file_is_refused_in_one_line(tmp_path, content):
    file = tmp_path / "x.parquet"
    if content == "text":
        file.write_text("no parquet")
    else:
        pq.write_table(pa.table({"id": [1]}), file)
    with pytest.raises(UserError, match="not a hull table") as error:
        read_hull_table(file)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("formula", "name"), [("O6Ti2Sr2", "SrTiO3"), ("O8", "O2"), ("C4", "C"), ("He2", "He")]
)
def test_formulas_are_reduced(formula, name):
    assert reduced_name(formula) == name


def test_the_shipped_table_is_of_chgnet_and_makes_known_crystals_stable(chgnet):
    found = find_hull_table(chgnet.identity)
    assert len(found) > 30_000
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) < 2_000_000
    lowest = found.lowest()
    hull = Hull(found)
    for formula in ("NaCl", "SrTiO3", "MgO"):
        above, _ = hull.above(formula, lowest[formula])
        assert 0 <= above < 0.05
    above, _ = hull.above("NaCl", lowest["NaCl"] + 0.3)
    assert above == pytest.approx(0.3, abs=0.05)


def test_a_table_without_names_has_the_lowest_energy_of_each_formula_and_nothing_else(tmp_path):
    bare = KNOWN.without_names()
    assert bare.lowest() == KNOWN.lowest()
    assert len(bare) == len(KNOWN.lowest())
    write_hull_table(tmp_path / "bare.parquet", bare)
    assert pq.read_table(tmp_path / "bare.parquet").column_names == ["formula", "energy_per_atom"]
    assert read_hull_table(tmp_path / "bare.parquet").lowest() == pytest.approx(KNOWN.lowest())


def test_joined_tables_have_the_lowest_energy_of_each_formula_and_name_their_parts():
    other = replace(
        table([("NaCl", -3.6), ("Cl2", -1.9), ("LiCl", -3.0)]),
        name="others", note="some left out", datasets=("others",),
    )  # fmt: skip
    joined = join_hull_tables([KNOWN.without_names(), other], name="all")
    assert joined.lowest() == {**KNOWN.lowest(), "NaCl": -3.6, "LiCl": -3.0}
    assert len(joined) == len(joined.lowest())
    assert joined.describe().startswith(
        "all, 5 energies of crystals as given; hand-made (lowest of each formula of 5"
    )
    assert "others (some left out)" in joined.describe()
    assert joined.datasets == ("hand-made", "others")
    with pytest.raises(ValueError, match="expected one"):
        join_hull_tables([KNOWN, replace(KNOWN, geometry="relaxed")], name="mixed")


def test_the_largest_shipped_table_is_taken_unless_another_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(hull_table, "SHIPPED", tmp_path)
    write_hull_table(tmp_path / "a.parquet", replace(KNOWN, name="small").without_names())
    write_hull_table(tmp_path / "b.parquet", replace(KNOWN, name="large"))
    assert find_hull_table(IDENTITY).name == "large"
    assert find_hull_table(IDENTITY, Path("small")).name == "small"
    assert shipped_names() == ["large", "small"]
    with pytest.raises(UserError, match="middle"):
        find_hull_table(IDENTITY, Path("middle"))


def test_more_known_crystals_never_raise_the_hull(chgnet):
    small, large = (find_hull_table(chgnet.identity, Path(name)) for name in ("mp_20", "mp_le20"))
    assert len(large) > len(small)
    both = small.lowest(), large.lowest()
    assert all(both[1][formula] <= energy + 1e-5 for formula, energy in both[0].items())


def test_the_data_sets_that_a_table_was_built_from_come_back_and_the_shipped_tables_name_theirs(tmp_path):
    write_hull_table(tmp_path / "t.parquet", replace(KNOWN, datasets=("one", "two:train")))
    assert read_hull_table(tmp_path / "t.parquet").datasets == ("one", "two:train")
    shipped = {table.name: table.datasets for table in map(read_hull_table, SHIPPED.glob("*.parquet"))}
    assert shipped == {"mp_20": ("mp_20",), "mp_le20": ("mp_20", "mp_le20_all")}


def test_the_shipped_tables_hold_formulas_and_energies_only():
    files = sorted(SHIPPED.glob("*.parquet"))
    assert files
    for file in files:
        assert pq.read_table(file).column_names == ["formula", "energy_per_atom"]
        assert file.stat().st_size < 2e6
