"""Labels keep their values, and structures are found in every dialect of table, JSON, folder and zip."""

import bz2
import datetime
import gzip
import json
import zipfile
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from salt_files import CIF, SALT, load, only

from repdiff.crystals.crystal import Crystal, read_crystals, write_crystals
from repdiff.datasets.readers.rows import clean_label, typed_columns
from repdiff.datasets.readers.stated import disagreeing
from repdiff.errors import UserError
from repdiff.testing.example_crystals import rock_salt

XYZ = '2\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3 pbc="T T T"\nNa 0 0 0\nCl 2 2 2\n'

COLUMNS = {
    "names with zeros": (["0012", "0034"], ["0012", "0034"]),
    "names with underscores": (["1_2", "3_4"], ["1_2", "3_4"]),
    "one name among numbers": (["12", "007"], ["12", "007"]),
    "integers": (["1", "-2", ""], [1, -2, None]),
    "zero": (["0", "10"], [0, 10]),
    "above 64 bits": (["1" * 23, "2"], ["1" * 23, "2"]),
    "long integers among floats": (["12345678901234567890", "0.5"], ["12345678901234567890", "0.5"]),
    "floats": (["1e3", "-.5", "inf", "2."], [1000.0, -0.5, float("inf"), 2.0]),
    "booleans": (["True", "false", ""], [True, False, None]),
    "booleans and words": (["True", "maybe"], ["True", "maybe"]),
    "dates": (["2020-01-01"], ["2020-01-01"]),
}


@pytest.mark.parametrize("name", sorted(COLUMNS))
def test_a_column_of_texts_keeps_its_values(name):
    texts, values = COLUMNS[name]
    found = typed_columns({"x": texts})["x"]
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (Decimal("0.10"), 0.1),
        (Decimal("7"), 7),
        (Decimal("0.12345678901234567890123"), "0.12345678901234567890123"),
        (pd.Timestamp("2020-01-02"), "2020-01-02T00:00:00"),
        (datetime.date(2020, 1, 2), "2020-01-02"),
        (np.bool_(True), True),
        (2**64, str(2**64)),
        (pd.NaT, None),
        (float("nan"), None),
    ],
)
def test_a_scalar_becomes_a_label_of_the_same_value(value, label):
    assert clean_label(value) == label
    assert type(clean_label(value)) is type(label)


def test_labels_of_unlike_kinds_survive_a_file_of_crystals(tmp_path):
    one = Crystal(id="a", atomic_numbers=np.array([1]), lattice=np.eye(3), frac_coords=np.zeros((1, 3)))
    rows = [one.replace(labels={"flag": True, "mix": True}), one.replace(labels={"flag": None, "mix": 2})]
    write_crystals(tmp_path / "c.parquet", rows)
    assert [dict(c.labels) for c in read_crystals(tmp_path / "c.parquet")] == [
        {"flag": True, "mix": 1},
        {"flag": None, "mix": 2},
    ]


def test_a_second_name_stays_as_a_label_and_what_is_no_scalar_is_said(tmp_path):
    record = {"material_id": "mp-1", "jid": "J-1", "id": 5, "cif": CIF, "note": "two\nlines"}
    pd.DataFrame([record]).to_csv(tmp_path / "t.csv", index=False)
    dataset = load(tmp_path / "t.csv")
    assert dataset.crystals[0].id == "mp-1"
    assert dataset.crystals[0].labels == {"jid": "J-1", "id_label": "5"}
    assert dataset.remarks == ("1 × 'note' is no label: a text of several lines",)


def test_categories_decimals_and_dates_of_parquet_keep_their_values(tmp_path):
    frame = pd.DataFrame(
        {
            "material_id": pd.Categorical(["mp-7"]),
            "split": pd.Categorical(["test"]),
            "price": [Decimal("1.25")],
            "when": [pd.Timestamp("2021-03-04")],
            "metal": [False],
            "cif": [CIF],
        }
    )
    frame.to_parquet(tmp_path / "t.parquet")
    crystal = only(tmp_path / "t.parquet")
    assert (crystal.id, crystal.split) == ("mp-7", "test")
    assert crystal.labels == {"price": 1.25, "when": "2021-03-04T00:00:00", "metal": False}


JARVIS = {
    "lattice_mat": [[4, 0, 0], [0, 4, 0], [0, 0, 4]],
    "coords": [[0, 0, 0], [2, 2, 2]],
    "elements": ["Na", "Cl"],
    "cartesian": True,
}
OPTIMADE = {
    "lattice_vectors": JARVIS["lattice_mat"],
    "cartesian_site_positions": JARVIS["coords"],
    "species_at_sites": ["Na", "Cl"],
}
ENTRY = {"entry_id": "x", "energy": -1.5, "structure": SALT.as_dict(), "data": {"gap": 2.0}}
DOCUMENTS: dict[str, tuple[object, str, dict[str, object]]] = {
    "single structure": (SALT.as_dict(), "0", {}),
    "single entry": (ENTRY, "x", {"energy": -1.5, "gap": 2.0}),
    "Alexandria": ({"entries": [ENTRY]}, "x", {"energy": -1.5, "gap": 2.0}),
    "JARVIS": ([{"jid": "J", "atoms": JARVIS, "gap": 1}], "J", {"gap": 1}),
    "OPTIMADE list": ({"data": [{"id": "o", "type": "structures", "attributes": OPTIMADE}]}, "o", {}),
    "OPTIMADE single": ({"data": {"id": "o", "attributes": OPTIMADE}}, "o", {}),
    "OPTIMADE flat": ([{"immutable_id": "i", **OPTIMADE}], "i", {}),
    "matbench": (
        {"index": ["m"], "columns": ["structure", "gap"], "data": [[SALT.as_dict(), 1.0]]},
        "m",
        {"gap": 1.0},
    ),
    "records of texts": ([{"material_id": "r", "cif": CIF, "gap": 1.0}], "r", {"gap": 1.0}),
    "columns of pandas": ({"cif": {"7": CIF}, "gap": {"7": 1.0}}, "7", {"gap": 1.0}),
    "by name": ({"n": SALT.as_dict()}, "n", {}),
}


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_every_dialect_of_json_gives_structure_name_and_labels(name, tmp_path):
    document, id, labels = DOCUMENTS[name]
    (tmp_path / "d.json").write_text(json.dumps(document))
    crystal = only(tmp_path / "d.json")
    assert (crystal.id, crystal.labels) == (id, labels)


@pytest.mark.parametrize("name", ["d.jsonl", "d.jsonl.gz", "d.ndjson", "d.json"])
def test_json_lines_are_read_and_a_broken_line_is_named(name, tmp_path):
    text = json.dumps(ENTRY) + "\n" + '{"structure": \n' + json.dumps(ENTRY | {"entry_id": "y"}) + "\n"
    data = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    dataset = load(tmp_path / name)
    assert [crystal.id for crystal in dataset.crystals] == ["x", "y"]
    assert "cannot be read as JSON" in dataset.rejected[0].reason


def test_json_packed_by_bzip2_is_read(tmp_path):
    (tmp_path / "a.json.bz2").write_bytes(bz2.compress(json.dumps({"entries": [ENTRY]}).encode()))
    assert only(tmp_path / "a.json.bz2").id == "x"


def test_disorder_and_slabs_of_json_are_refused(tmp_path):
    mixed = OPTIMADE | {
        "species": [
            {"name": "Na", "chemical_symbols": ["Na", "K"], "concentration": [0.5, 0.5]},
            {"name": "Cl", "chemical_symbols": ["Cl"]},
        ]
    }
    slab = SALT.as_dict()
    slab["lattice"]["pbc"] = [True, True, False]
    (tmp_path / "d.json").write_text(
        json.dumps([mixed, slab, OPTIMADE | {"dimension_types": [1, 1, 0]}, OPTIMADE])
    )
    reasons = [entry.reason for entry in load(tmp_path / "d.json").rejected]
    assert "partial occupancy: a site holds Na 0.5, K 0.5" in reasons[0]
    assert "pbc is [True, True, False]" in reasons[1]
    assert "dimension_types is [1, 1, 0]" in reasons[2]


def test_energies_and_data_of_a_database_become_labels(tmp_path):
    atoms = Atoms("NaCl", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=[4, 4, 4], pbc=True)
    atoms.calc = SinglePointCalculator(atoms, energy=-5.5)
    with connect(tmp_path / "t.db") as database:
        database.write(atoms, gap=1.0, data={"hull": 0.25, "array": [1, 2]})
    assert only(tmp_path / "t.db").labels == {"energy": -5.5, "hull": 0.25, "gap": 1.0}


@pytest.mark.parametrize("name", ["d.extxyz", "d.json"])
def test_deuterium_is_hydrogen_and_said_so(name, tmp_path):
    heavy = XYZ if name == "d.extxyz" else json.dumps([{"jid": "J", "atoms": JARVIS}])
    (tmp_path / name).write_text(heavy.replace("Na 0", "D 0").replace('"Na', '"D'))
    dataset = load(tmp_path / name)
    assert dataset.crystals[0].atomic_numbers.tolist() == [1, 17]
    assert dataset.remarks == ("1 × deuterium or tritium read as hydrogen",)


def mixed_files() -> dict[str, bytes]:
    table = pd.DataFrame([{"material_id": "t", "cif": CIF}]).to_csv(index=False).encode()
    return {
        "a.cif": CIF.encode(),
        "b.cif.gz": gzip.compress(CIF.encode()),
        "c.extxyz": (XYZ + XYZ).encode(),
        "d.json": json.dumps(SALT.as_dict()).encode(),
        "e/POSCAR": b"salt\n4\n1 0 0\n0 1 0\n0 0 1\nNa Cl\n1 1\nDirect\n0 0 0\n.5 .5 .5\n",
        "f.csv": table,
        "g.txt": b"words",
        "settings.json": b"3",
        "broken.cif": b"data_x\n_cell_length_a 4\n",
    }


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_files_of_mixed_formats_are_all_read_or_named(packed, tmp_path):
    place = tmp_path / "mixed"
    place.mkdir()
    for name, data in mixed_files().items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(data)
    if packed:
        with zipfile.ZipFile(tmp_path / "mixed.zip", "w") as archive:
            for name, data in mixed_files().items():
                archive.writestr(name, data)
        place = tmp_path / "mixed.zip"
    dataset = load(place)
    assert [crystal.id for crystal in dataset.crystals] == ["a", "b", "c#1", "c#2", "d", "e/POSCAR", "t"]
    assert [entry.id for entry in dataset.rejected] == ["broken"]
    (remark,) = dataset.remarks
    assert remark.startswith("2 files not read: settings.json")
    assert "g.txt (of no known format)" in remark


@pytest.mark.parametrize("name", ["valid", "validation", "dev", "val"])
def test_a_validation_table_goes_by_any_of_its_names(name, tmp_path):
    for split in ("train", name, "test"):
        pd.DataFrame([{"material_id": split, "cif": CIF}]).to_csv(tmp_path / f"{split}.csv", index=False)
    assert [(c.id, c.split) for c in load(tmp_path).crystals] == [
        ("train", "train"),
        (name, "val"),
        ("test", "test"),
    ]


def test_labels_whose_name_is_taken_are_kept_with_a_note(tmp_path):
    facts = {"lattice": "cubic", "numbers": 7, "frac": 0.5, "frac_coords": 2, "atomic_numbers": 3}
    pd.DataFrame([{"cif": CIF, **facts}] * 2).to_csv(tmp_path / "t.csv")
    dataset = load(tmp_path / "t.csv")
    assert dataset.crystals[1].labels == {f"{name}_label": value for name, value in facts.items()}
    assert "2 × label 'lattice' is called 'lattice_label': the name is taken" in dataset.remarks


def test_a_label_whose_other_name_is_taken_too_gets_a_third(tmp_path):
    facts = {"lattice": "cubic", "lattice_label": "mine", "id": 3, "id_label": "its own"}
    pd.DataFrame([{"material_id": "a", "cif": CIF, **facts}]).to_csv(tmp_path / "t.csv", index=False)
    dataset = load(tmp_path / "t.csv")
    kept = {"lattice_label": "mine", "lattice_label_2": "cubic", "id_label": "its own", "id_label_2": "3"}
    assert dataset.crystals[0].labels == kept
    assert "1 × label 'lattice' is called 'lattice_label_2': the name is taken" in dataset.remarks


def test_what_states_the_structure_is_left_out_with_a_note_where_it_disagrees(tmp_path):
    said = {"formula": "Na2Cl2", "pretty_formula": "NaCl", "natoms": 2, "nsites": 4, "numbers": "[11, 17]"}
    wrong = {"formula": "KCl", "pretty_formula": "cubic?", "natoms": 2.0, "nsites": "two", "numbers": "[1]"}
    pd.DataFrame([{"cif": CIF, **said}, {"cif": CIF, **wrong}]).to_csv(tmp_path / "t.csv")
    dataset = load(tmp_path / "t.csv")
    assert [crystal.labels for crystal in dataset.crystals] == [{}, {}]
    left = "is left out: it does not say what the structure says"
    expected = {("formula", 1), ("pretty_formula", 1), ("nsites", 2)}
    assert set(dataset.remarks) == {f"{count} × {name!r} {left}" for name, count in expected}


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_columns_of_one_name_are_all_kept(ending, tmp_path):
    table = pa.table([[CIF], [1.5], [2.5], [3.5]], names=["cif", "gap", "gap", "gap_2"])
    if ending == ".csv":
        (tmp_path / "t.csv").write_text(f'cif,gap,gap,gap_2\n"{CIF}",1.5,2.5,3.5\n')
    else:
        pq.write_table(table, tmp_path / "t.parquet")
    dataset = load(tmp_path / f"t{ending}")
    assert dataset.crystals[0].labels == {"gap": 1.5, "gap_3": 2.5, "gap_2": 3.5}
    assert dataset.remarks == ("1 × another column 'gap' is called 'gap_3'",)


def test_paths_in_a_column_are_read_beside_the_table(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "a.cif").write_text(CIF)
    pd.DataFrame([{"id": "a", "cif": "s/a.cif"}, {"id": "b", "cif": "s/b.cif"}]).to_csv(tmp_path / "t.csv")
    dataset = load(tmp_path / "t.csv")
    assert [crystal.id for crystal in dataset.crystals] == ["a"]
    assert "the column holds the path s/b.cif" in dataset.rejected[0].reason


LINKED = {
    "a.cif.gz": lambda: gzip.compress(CIF.encode()),
    "a.json": lambda: json.dumps(SALT.as_dict()).encode(),
    "a.json.gz": lambda: gzip.compress(json.dumps(SALT.as_dict()).encode()),
    "a.xyz": XYZ.encode,
    "POSCAR": lambda: SALT.to(fmt="poscar").encode(),
    "~/a.cif": CIF.encode,
}


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
@pytest.mark.parametrize("name", sorted(LINKED))
def test_paths_in_a_column_are_read_by_the_reader_of_their_form(name, ending, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / name.replace("~", "home")).write_bytes(LINKED[name]())
    table = pd.DataFrame([{"id": "own", "structure": name, "gap": 1.5}])
    table.to_csv(tmp_path / "t.csv") if ending == ".csv" else table.to_parquet(tmp_path / "t.parquet")
    crystal = only(tmp_path / f"t{ending}")
    assert crystal.id == "own"
    assert crystal.labels["gap"] == 1.5


def test_a_path_to_several_structures_gives_them_all_and_a_table_none(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([SALT.as_dict(), SALT.as_dict()]))
    names = ["a.json", "t.csv", "gone.json", "~no-such-user/a.cif"]
    pd.DataFrame({"id": [*"abcd"], "cif": names}).to_csv(tmp_path / "t.csv")
    dataset = load(tmp_path / "t.csv")
    assert [crystal.id for crystal in dataset.crystals] == ["a#1", "a#2"]
    reasons = {entry.id: entry.reason for entry in dataset.rejected}
    assert sorted(reasons) == [*"bcd"]
    assert "the path gone.json, which cannot be opened: No such file" in reasons["c"]
    assert "no home folder" in reasons["d"]


def test_refused_rows_of_one_name_have_names_of_their_own(tmp_path):
    bad = CIF.replace("  Na  Na0", "  Qq  Qq0")
    (tmp_path / "x.cif").write_text(CIF + bad + bad + bad)
    dataset = load(tmp_path / "x.cif")
    assert [entry.id for entry in dataset.rejected] == ["x#2", "x#3", "x#4"]
    pd.DataFrame([{"id": "a", "cif": CIF}, {"id": "a", "cif": bad}, {"id": "a", "cif": bad}]).to_csv(
        tmp_path / "t.csv"
    )
    assert [entry.id for entry in load(tmp_path / "t.csv").rejected] == ["a#2", "a#3"]


def test_a_file_name_that_is_no_utf8_names_a_crystal_that_can_be_written(tmp_path):
    name = tmp_path / b"M\xfcller.cif".decode("utf-8", "surrogateescape")
    try:
        name.write_text(CIF)
    except OSError:
        pytest.skip("the file system takes UTF-8 names alone")
    (tmp_path / "z.cif").write_text(CIF)
    crystals = load(tmp_path).crystals
    assert crystals[0].id == "M\\xfcller"
    write_crystals(tmp_path / "c.parquet", crystals)
    assert load(name).crystals[0].id == "M\\xfcller"


POSCARS = {
    "no symbols": ("4 4\nDirect\n0 0 0\n", "no line of element symbols"),
    "fewer symbols": ("Na Cl\n1 1 1\nDirect\n0 0 0\n", "3 counts for the 2 elements"),
    "words as counts": ("Na Cl\na b\nDirect\n0 0 0\n", "how many atoms"),
}


@pytest.mark.parametrize("name", sorted(POSCARS))
def test_a_poscar_whose_elements_are_unclear_is_refused(name, tmp_path):
    rest, words = POSCARS[name]
    (tmp_path / "POSCAR").write_text("x\n1\n4 0 0\n0 4 0\n0 0 4\n" + rest)
    with pytest.raises(UserError, match=words):
        load(tmp_path / "POSCAR")


def test_three_scale_factors_of_a_poscar_stretch_cartesian_coordinates_too(tmp_path):
    (tmp_path / "POSCAR").write_text("x\n1 2 4\n4 0 0\n0 2 0\n0 0 1\nNa Cl\n1 1\nCartesian\n0 0 0\n2 1 .5\n")
    only(tmp_path / "POSCAR")


def test_json_of_other_things_is_no_crystal_of_a_folder(tmp_path):
    (tmp_path / "a.cif").write_text(CIF)
    (tmp_path / "manifest.json").write_text(json.dumps({"seed": 1, "inputs": {"a": {"sha256": "0"}}}))
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n{"step": 2}\n')
    dataset = load(tmp_path)
    assert len(dataset.crystals) == 1
    assert not dataset.rejected
    assert dataset.remarks[0].startswith("2 files not read: log.jsonl")
    (tmp_path / "a.cif").unlink()
    with pytest.raises(UserError, match="holds no structure"):
        load(tmp_path)


@pytest.mark.parametrize("text", ["SrTiO1e999", f"(Na{'9' * 400}Cl)2", "(NaCl)0", "(NaCl", "(Qq)2"])
def test_a_formula_that_means_nothing_is_noted(text):
    assert len(disagreeing({"formula": text}, rock_salt())) == 1


def test_a_formula_with_parentheses_is_compared():
    assert disagreeing({"formula": "(NaCl)4"}, rock_salt()) == ()
    assert len(disagreeing({"formula": "(Na2Cl)4"}, rock_salt())) == 1
