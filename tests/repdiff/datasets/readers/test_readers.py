"""Every format gives the same crystals, and every empty or broken file one clear message."""

import csv
import gzip
import json
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path

import ase.db
import ase.io
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.vasp import Poscar

from repdiff.crystals.crystal import Crystal, from_structure, write_crystals
from repdiff.datasets.load import load_dataset
from repdiff.datasets.readers.any_path import hash_inputs, read_path
from repdiff.datasets.readers.rows import Row, parse_rows
from repdiff.errors import UserError

STRUCTURES = [
    Structure(
        Lattice.from_parameters(3 + n / 10, 4, 5, 80, 95, 100), ["Ti", "O"], [[0, 0, 0], [0.5, 0.4, 0.6]]
    )
    for n in range(4)
]
NAMES = ["t0", "t1", "t2", "t3"]


def write_table(path: Path, rows: list[dict[str, object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def cif_rows(**more: object) -> list[dict[str, object]]:
    return [{"material_id": n, "cif": s.to(fmt="cif")} | more for n, s in zip(NAMES, STRUCTURES, strict=True)]


def as_csv(folder: Path) -> Path:
    return write_table(folder / "t.csv", cif_rows())


def as_csv_gz(folder: Path) -> Path:
    path = folder / "t.csv.gz"
    path.write_bytes(gzip.compress(as_csv(folder).read_bytes()))
    return path


def as_cif_folder(folder: Path) -> Path:
    for name, structure in zip(NAMES, STRUCTURES, strict=True):
        structure.to(filename=str(folder / f"{name}.cif"))
    (folder / "README.txt").write_text("not a structure")
    return folder


def as_poscar_folder(folder: Path) -> Path:
    for name, structure in zip(NAMES, STRUCTURES, strict=True):
        (folder / f"{name}.vasp").write_text(Poscar(structure).get_str(significant_figures=12))
    return folder


def as_zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "t.zip", "w") as archive:
        for name, structure in reversed(list(zip(NAMES, STRUCTURES, strict=True))):
            archive.writestr(f"{name}.cif", structure.to(fmt="cif"))
        for left_by_a_system in ("__MACOSX/._t0.cif", "__MACOSX/t0.cif", "._t0.cif"):
            archive.writestr(left_by_a_system, b"\x00\x05")
    return folder / "t.zip"


def as_extxyz(folder: Path) -> Path:
    atoms = [AseAtomsAdaptor.get_atoms(structure) for structure in STRUCTURES]
    for system, name in zip(atoms, NAMES, strict=True):
        system.info = {"material_id": name}
    ase.io.write(folder / "t.extxyz", atoms)
    return folder / "t.extxyz"


def as_database(folder: Path) -> Path:
    with ase.db.connect(folder / "t.db") as database:
        for name, structure in zip(NAMES, STRUCTURES, strict=True):
            database.write(AseAtomsAdaptor.get_atoms(structure), material_id=name)
    return folder / "t.db"


def as_json(folder: Path) -> Path:
    documents = {name: structure.as_dict() for name, structure in zip(NAMES, STRUCTURES, strict=True)}
    (folder / "t.json").write_text(json.dumps(documents))
    return folder / "t.json"


def as_json_gz(folder: Path) -> Path:
    documents = [
        {"material_id": name, "structure": structure.as_dict()}
        for name, structure in zip(NAMES, STRUCTURES, strict=True)
    ]
    (folder / "t.json.gz").write_bytes(gzip.compress(json.dumps(documents).encode()))
    return folder / "t.json.gz"


def as_parquet(folder: Path) -> Path:
    crystals = [from_structure(s, id=n) for n, s in zip(NAMES, STRUCTURES, strict=True)]
    write_crystals(folder / "t.parquet", crystals)
    return folder / "t.parquet"


def as_parquet_of_cifs(folder: Path) -> Path:
    pq.write_table(pa.Table.from_pylist(cif_rows()), folder / "t.parquet")
    return folder / "t.parquet"


def as_parquet_of_other_arrays(folder: Path) -> Path:
    rows = [
        {
            "material_id": name,
            "numbers": [site.specie.Z for site in structure],
            "lattice": structure.lattice.matrix.tolist(),
            "frac": structure.frac_coords.ravel().tolist(),
        }
        for name, structure in zip(NAMES, STRUCTURES, strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "t.parquet")
    return folder / "t.parquet"


FORMATS: dict[str, Callable[[Path], Path]] = {
    name: maker for name, maker in list(globals().items()) if name.startswith("as_")
}


def crystals_of(rows: list[Row]) -> list[Crystal]:
    results = [result for _, result in parse_rows(rows, progress=False, processes=1)]
    assert all(isinstance(result, Crystal) for result in results), results
    return [result for result in results if isinstance(result, Crystal)]


def reasons_of(rows: list[Row]) -> list[str | None]:
    pairs = parse_rows(rows, progress=False, processes=1)
    return [result if isinstance(result, str) else None for _, result in pairs]


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_every_format_gives_the_same_crystals(form, tmp_path):
    crystals = crystals_of(read_path(FORMATS[form](tmp_path)))
    assert [crystal.id for crystal in crystals] == NAMES
    for crystal, structure in zip(crystals, STRUCTURES, strict=True):
        assert crystal.atomic_numbers.tolist() == [22, 8]
        np.testing.assert_allclose(
            Lattice(crystal.lattice).parameters, structure.lattice.parameters, atol=1e-6
        )
        np.testing.assert_allclose(crystal.frac_coords, structure.frac_coords, atol=1e-6)


def test_a_single_file_of_one_structure_is_a_set_of_one(tmp_path):
    (tmp_path / "POSCAR").write_text(Poscar(STRUCTURES[0]).get_str())
    STRUCTURES[1].to(filename=str(tmp_path / "one.cif"))
    (tmp_path / "one.json").write_text(json.dumps(STRUCTURES[2].as_dict()))
    assert [crystals_of(read_path(tmp_path / name))[0].id for name in ("POSCAR", "one.cif", "one.json")] == [
        "POSCAR",
        "one",
        "0",
    ]


def test_scalars_of_a_csv_become_labels_of_the_narrowest_type(tmp_path):
    rows = cif_rows(energy="-1.5", count="3", kind="oxide", natoms="2", empty="")
    rows[1] |= {"energy": "", "count": "4", "kind": ""}
    rows[2] |= {"energy": "nan"}
    crystals = crystals_of(read_path(write_table(tmp_path / "t.csv", rows)))
    assert crystals[0].labels == {"energy": -1.5, "count": 3, "kind": "oxide", "empty": None}
    assert crystals[1].labels == {"energy": None, "count": 4, "kind": None, "empty": None}
    assert crystals[2].labels["energy"] is None


def test_a_csv_without_names_counts_its_rows(tmp_path):
    rows: list[dict[str, object]] = [{"": n, "structure": s.to(fmt="cif")} for n, s in enumerate(STRUCTURES)]
    crystals = crystals_of(read_path(write_table(tmp_path / "t.csv", rows)))
    assert [crystal.id for crystal in crystals] == ["0", "1", "2", "3"]
    assert crystals[0].labels == {}


def test_names_that_are_numbers_stay_texts(tmp_path):
    rows = cif_rows()
    for number, row in enumerate(rows):
        row["material_id"] = f"00{number}"
    crystals = crystals_of(read_path(write_table(tmp_path / "t.csv", rows)))
    assert crystals[1].id == "001"


def test_a_split_column_is_honoured_and_an_unknown_split_becomes_a_label(tmp_path):
    rows = cif_rows()
    for row, split in zip(rows, ["train", "Validation", "test", "fold7"], strict=True):
        row["split"] = split
    crystals = crystals_of(read_path(write_table(tmp_path / "t.csv", rows)))
    assert [crystal.split for crystal in crystals] == ["train", "val", "test", None]
    assert crystals[3].labels == {"split_name": "fold7"}
    again = tmp_path / "again.parquet"
    write_crystals(again, [crystal.replace(split=None) for crystal in crystals])
    assert load_dataset(str(again), data_dir=None).remarks == (
        "unknown splits, expected train, val or test: 'fold7' (1)",
    )


def test_a_folder_of_tables_named_after_splits_keeps_them(tmp_path):
    rows = cif_rows()
    write_table(tmp_path / "train.csv", rows[:2])
    write_table(tmp_path / "val.csv", rows[2:3])
    write_table(tmp_path / "test.csv", rows[3:])
    crystals = crystals_of(read_path(tmp_path))
    assert [(crystal.id, crystal.split) for crystal in crystals] == [
        ("t0", "train"),
        ("t1", "train"),
        ("t2", "val"),
        ("t3", "test"),
    ]


def test_a_bad_row_is_named_and_the_others_are_read(tmp_path):
    rows = cif_rows()
    rows[1]["cif"] = ""
    rows[2]["cif"] = str(rows[2]["cif"]).replace("Ti  Ti0", "Zz  Zz0")
    read = read_path(write_table(tmp_path / "t.csv", rows))
    assert reasons_of(read) == [None, "no structure: the text is empty", "unknown element: Zz", None]


def test_a_bad_frame_of_an_xyz_file_does_not_hide_the_next(tmp_path):
    path = as_extxyz(tmp_path)
    frames = path.read_text().splitlines(keepends=True)
    frames[4 + 2] = frames[4 + 2].replace("Ti", "Qq")
    path.write_text("".join(frames))
    reasons = reasons_of(read_path(path))
    assert [reason is None for reason in reasons] == [True, False, True, True]
    assert "Qq" in str(reasons[1])


@pytest.mark.parametrize("count", ["x", "2.5", "-1", "9" * 30])
def test_after_an_unreadable_count_the_next_frame_is_read_again(count, tmp_path):
    frame = '1\nLattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3 pbc="T T T"\nCu 0 0 0\n'
    bad = count + frame[1:]
    (tmp_path / "t.extxyz").write_text(frame + bad + frame + frame + bad)
    rows = read_path(tmp_path / "t.extxyz")
    assert [row.content is not None for row in rows] == [True, False, True, True, False]
    assert all(row.reason for row in rows if row.content is None)


def test_a_truncated_xyz_file_gives_what_is_whole(tmp_path):
    path = as_extxyz(tmp_path)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert [reason is None for reason in reasons_of(read_path(path))] == [True, True, True, False]


def test_a_molecule_is_refused_for_its_boundary_conditions(tmp_path):
    (tmp_path / "m.xyz").write_text("1\nwater\nO 0.0 0.0 0.0\n")
    (reason,) = reasons_of(read_path(tmp_path / "m.xyz"))
    assert "pbc" in str(reason)


def test_labels_of_an_xyz_file_include_the_energy(tmp_path):
    atoms = AseAtomsAdaptor.get_atoms(STRUCTURES[0])
    atoms.info = {"energy": -3.5, "gap": 1.0}
    ase.io.write(tmp_path / "e.extxyz", atoms)
    assert crystals_of(read_path(tmp_path / "e.extxyz"))[0].labels == {"energy": -3.5, "gap": 1.0}


def test_rows_of_parquet_that_do_not_fit_together_are_named(tmp_path):
    rows = [
        {"id": "a", "numbers": [6, 6], "lattice": [3.0] * 9, "frac": [0.0] * 3},
        {"id": "b", "numbers": [6], "lattice": None, "frac": [0.0] * 3},
        {"id": "c", "numbers": [6], "lattice": [3.0, 0, 0, 0, 3, 0, 0, 0, 3], "frac": [0.0] * 3},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    reasons = reasons_of(read_path(tmp_path / "p.parquet"))
    assert "2 atoms with 3 coordinates" in str(reasons[0])
    assert "missing" in str(reasons[1])
    assert reasons[2] is None


def test_an_entry_of_json_that_is_no_structure_is_named(tmp_path):
    (tmp_path / "t.json").write_text(json.dumps([STRUCTURES[0].as_dict(), 5, {"a": 1}]))
    reasons = reasons_of(read_path(tmp_path / "t.json"))
    assert [reason is None for reason in reasons] == [True, False, False]


def test_a_damaged_member_of_a_zip_is_named(tmp_path):
    path = as_zip(tmp_path)
    data = bytearray(path.read_bytes())
    place = data.find(b"_cell_length_a   3.1")
    data[place + 17 : place + 20] = b"9.9"
    path.write_bytes(bytes(data))
    reasons = reasons_of(read_path(path))
    assert [reason is None for reason in reasons] == [True, False, True, True]


BROKEN: dict[str, tuple[bytes, str]] = {
    "empty.csv": (b"", "is an empty file"),
    "header.csv": (b"material_id,cif\n", "no rows"),
    "other.csv": (b"name,energy\na,1\n", "has the columns name, energy, expected one called cif"),
    "bad.csv.gz": (b"hello", "cannot be read as CSV"),
    "bad.parquet": (b"hello", "cannot be read as parquet"),
    "bad.zip": (b"hello", "cannot be read as zip"),
    "bad.json": (b"{", "cannot be read as JSON"),
    "number.json": (b"3", "expected a list of structures"),
    "bad.json.gz": (b"hello", "cannot be read as JSON"),
    "bad.db": (b"hello, this is no database" * 50, "cannot be read as a database"),
    "what.docx": (b"hello", "no known format"),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_broken_file_gives_one_line_with_the_way_out(name, tmp_path):
    data, words = BROKEN[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError) as caught:
        read_path(tmp_path / name)
    assert words in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_parquet_without_structures_lists_its_columns(tmp_path):
    pq.write_table(pa.table({"gap": [1.0]}), tmp_path / "g.parquet")
    with pytest.raises(UserError, match="has the columns gap, expected one called cif"):
        read_path(tmp_path / "g.parquet")


def test_a_folder_without_structures_says_what_it_expects(tmp_path):
    with pytest.raises(UserError, match=r"holds no structure, expected \.cif"):
        read_path(tmp_path)


def test_the_database_is_not_written_to(tmp_path):
    path = as_database(tmp_path)
    path.chmod(0o400)
    before = hash_inputs(path)
    read_path(path)
    assert hash_inputs(path) == before
    with sqlite3.connect(path) as connection:
        assert connection.execute("select count(*) from systems").fetchone() == (4,)
    connection.close()


def test_the_hash_of_a_folder_changes_with_any_of_its_structures_only(tmp_path):
    folder = as_cif_folder(tmp_path)
    before = hash_inputs(folder)
    (folder / "README.txt").write_text("changed")
    assert hash_inputs(folder) == before
    (folder / "t2.cif").write_text("changed")
    assert hash_inputs(folder) != before
