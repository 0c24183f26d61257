"""Damaged and hostile files: each a line that says what is wrong, or named failures beside what can be read."""

import csv
import gzip
import io
import json
import sqlite3
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ase import Atoms
from ase.db import connect
from hostile_files import SALT, load, refusal

from repdiff.crystals.structure_files import write_file
from repdiff.datasets.label_tables import read_label_table
from repdiff.errors import UserError
from repdiff.runs import csv_text
from repdiff.settings import limits
from repdiff.testing.example_crystals import cubic_perovskite

FRAME = '2\nLattice="5 0 0 0 5 0 0 0 5" Properties={} pbc="T T T"\nNa 0 0 0\nCl 2.5 2.5 2.5\n'


@pytest.mark.parametrize("count", ["99999999", "9" * 30, "1000000000"])
def test_an_absurd_count_of_columns_is_refused_at_once(tmp_path, count):
    frames = [FRAME.format(f"species:S:1:pos:R:3:x:R:{count}"), FRAME.format("species:S:1:pos:R:3")]
    (tmp_path / "a.extxyz").write_text("".join(frames))
    started = time.monotonic()
    dataset = load(tmp_path / "a.extxyz")
    assert time.monotonic() - started < 5
    assert len(dataset.crystals) == 1
    assert "columns, expected at most" in dataset.rejected[0].reason


@pytest.mark.parametrize("text", ["x" * 1_000_000, "\n" * 3_000_000, "1\n" + "a" * 1_000_000 + "\nH 0 0 0\n"])
def test_long_words_and_many_blank_lines_take_no_time(tmp_path, text):
    (tmp_path / "a.extxyz").write_text(text)
    refusal(tmp_path / "a.extxyz")


def test_a_poscar_that_asks_for_billions_of_atoms_is_refused(tmp_path):
    lines = ["x", "1.0", "4 0 0", "0 4 0", "0 0 4", "Na", "999999999", "direct", "0 0 0"]
    (tmp_path / "POSCAR").write_text("\n".join(lines))
    assert "and there are 9 lines" in refusal(tmp_path / "POSCAR")


DEEP = 100_000


@pytest.mark.parametrize(
    "text",
    [
        "[" * DEEP,
        "[" * DEEP + "]" * DEEP,
        '{"a":' * DEEP + "1" + "}" * DEEP,
        '{"structure":' * 900 + "1" + "}" * 900,
        '[{"structure":' + "[" * 500 + "]" * 500 + "}]",
        '{"lattice": {"matrix": ' + "[" * 500 + "]" * 500 + '}, "sites": []}',
        f'[{{"a": {"9" * 5000}}}]',
    ],
)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_deep_json_and_endless_integers_are_one_line(tmp_path, text, name):
    (tmp_path / name).write_text(text)
    refusal(tmp_path / name)


def document(**changes) -> dict:
    site = {"species": [{"element": "Na", "occu": 1}], "abc": [0, 0, 0]}
    return {"lattice": {"matrix": [[4, 0, 0], [0, 4, 0], [0, 0, 4]]}, "sites": [site]} | changes


@pytest.mark.parametrize(
    "entry",
    [
        document(lattice={"matrix": [[10**400, 0, 0], [0, 4, 0], [0, 0, 4]]}),
        document(sites=[{"species": [{"element": "Na", "occu": 10**400}], "abc": [0, 0, 0]}]),
        document(sites=[{"species": [{"element": ["Na"], "occu": 1}], "abc": [0, 0, 0]}]),
        document(sites=[{"species": [{"element": "Na", "occu": 1}], "abc": [10**400, 0, 0]}]),
        document(sites=7),
        document(lattice=[1]),
        document(lattice={"matrix": 5, "pbc": 3}),
        {"lattice_mat": [[10**400]], "coords": [], "elements": []},
        {"lattice_vectors": 1, "cartesian_site_positions": None, "species_at_sites": 5},
        {"structure": {"structure": None}},
        None,
        7,
        "text",
    ],
)
def test_strange_json_is_a_named_failure(tmp_path, entry):
    (tmp_path / "a.json").write_text(json.dumps([document(), entry]))
    dataset = load(tmp_path / "a.json")
    assert len(dataset.crystals) == 1
    assert len(dataset.rejected) == 1
    assert len(dataset.rejected[0].reason) <= 200


def test_labels_beyond_a_float_stay_as_they_are_written(tmp_path):
    entry = {"structure": document(), "big": 10**400, "name": "half \ud800 sign", "id": "\udc80"}
    (tmp_path / "a.json").write_text(json.dumps([entry]))
    (crystal,) = load(tmp_path / "a.json").crystals
    assert crystal.labels["big"] == str(10**400)
    assert crystal.labels["name"] == "half \\ud800 sign"
    assert crystal.id == "\\udc80"


def test_scalars_of_parquet_that_are_no_labels(tmp_path, cif):
    table = pa.table(
        {
            "cif": [cif] * 2,
            "id": ["a", "b"],
            "nested": pa.array([{"x": [{"y": 1}]}, None]),
            "map": pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int64())),
            "long_ago": pa.array([2**62, 0], pa.timestamp("us")),
            "far": pa.array([2**31 - 1, 0], pa.date32()),
            "took": pa.array([1, 2], pa.duration("s")),
            "bytes": pa.array([b"\xff", b""]),
            "half": pa.array(np.array([1, 2], np.float16)),
            "list": pa.array([[1], [2]]),
            "big": pa.array([2**64 - 1, 0], pa.uint64()),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    dataset = load(tmp_path / "a.parquet")
    assert [crystal.id for crystal in dataset.crystals] == ["a", "b"]
    assert read_label_table(tmp_path / "a.parquet", ["half"])["b"] == {"half": 2.0}
    with pytest.raises(UserError, match="unknown column 'nested'"):
        read_label_table(tmp_path / "a.parquet", ["nested"])


@pytest.mark.parametrize("damage", [0.3, 0.6, 0.9, 0.99])
def test_a_damaged_parquet_is_one_line(tmp_path, damage):
    path = write_file(tmp_path / "a.parquet", [SALT])
    data = path.read_bytes()
    path.write_bytes(data[: int(damage * len(data))])
    assert "cannot be read as parquet" in refusal(path)


def database(path):
    with connect(path) as found:
        for name in ("NaCl", "KBr"):
            found.write(Atoms(name, scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5)], cell=[4] * 3, pbc=True))
    return path


def test_a_damaged_entry_of_a_database_does_not_hide_the_others(tmp_path):
    path = database(tmp_path / "a.db")
    with sqlite3.connect(path) as found:
        found.execute("UPDATE systems SET positions = x'00' WHERE id = 1")
    dataset = load(path)
    assert [crystal.id for crystal in dataset.crystals] == ["2"]
    assert [entry.id for entry in dataset.rejected] == ["1"]


def test_a_database_that_computes_its_rows_is_refused(tmp_path):
    path = database(tmp_path / "a.db")
    with sqlite3.connect(path) as found:
        found.execute("ALTER TABLE systems RENAME TO other")
        found.execute(
            "CREATE VIEW systems AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c"
        )
    assert "expected plain tables" in refusal(path)


@pytest.mark.parametrize("text", ["inf", "-inf", "1e999", "Infinity"])
def test_an_infinite_label_is_left_empty_and_said_by_name(tmp_path, cif, text):
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "gap", "cif"], ["good", 1.5, cif], ["endless", text, cif]])
    dataset = load(tmp_path / "a.csv")
    assert [crystal.labels["gap"] for crystal in dataset.crystals] == [1.5, None]
    (remark,) = dataset.remarks
    assert remark.startswith("1 × the label 'gap' of ")
    assert remark.endswith("is left empty: no finite number: endless")
    with pytest.raises(UserError, match=r"gap of endless .* expected a finite number"):
        read_label_table(tmp_path / "a.csv", ["gap"])


def test_nan_among_numbers_is_said_and_in_a_column_of_texts_is_a_text(tmp_path, cif):
    with (tmp_path / "a.csv").open("w", newline="") as file:
        rows = [["id", "gap", "name", "cif"], ["a", 1.5, "sodium", cif], ["b", "NaN", "nan", cif]]
        csv.writer(file).writerows(rows)
    dataset = load(tmp_path / "a.csv")
    assert dict(dataset.crystals[1].labels) == {"gap": None, "name": "nan"}
    assert dataset.remarks == ("1 × the label 'gap' of nan is left empty: no finite number: b",)


def test_cells_that_no_crystal_has_are_refused(tmp_path):
    one = cubic_perovskite("small").replace(lattice=0.9 * np.eye(3))
    thin = SALT.replace(
        id="thin",
        atomic_numbers=np.array([11]),
        frac_coords=np.zeros((1, 3)),
        lattice=np.diag([0.15, 9000.0, 9000.0]),
    )
    path = write_file(tmp_path / "a.parquet", [SALT, one, thin])
    dataset = load(path)
    assert [crystal.id for crystal in dataset.crystals] == ["salt"]
    reasons = {entry.id: entry.reason for entry in dataset.rejected}
    assert reasons["small"] == "0.15 Å³ an atom, expected at least 1 Å³: is the cell in Å?"
    assert reasons["thin"] == "1.2e+07 Å³ an atom, expected at most 100000 Å³: is it a crystal?"


def test_bytes_of_a_stream_are_read_to_the_end(csv_bytes, tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(csv_bytes))
    assert len(load(tmp_path / "a.csv.gz").crystals) == 20
    buffer = io.BytesIO(gzip.compress(csv_bytes))
    (tmp_path / "b.csv.gz").write_bytes(buffer.getvalue() + buffer.getvalue()[:0])
    assert [crystal.labels["e"] for crystal in load(tmp_path / "b.csv.gz").crystals][:2] == [0.0, 1.0]


def test_a_file_of_frames_none_of_which_can_be_read_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("repdiff.datasets.readers.ase_files.HOPELESS", 20)
    (tmp_path / "a.extxyz").write_text("1\n\n" * 100)
    assert "none of its first 20 frames can, the first:" in refusal(tmp_path / "a.extxyz")
    (tmp_path / "b.extxyz").write_text(FRAME.format("species:S:1:pos:R:3") + "1\n\nH 0 0 0\n" * 100)
    assert len(load(tmp_path / "b.extxyz").rejected) == 100


def test_a_cif_of_a_million_sites_is_refused_at_once(tmp_path, cif):
    whole = cif.rstrip("\n")
    (tmp_path / "a.cif").write_text(whole + f"\n{whole.splitlines()[-1]}" * 300_000)
    assert "sites, expected at most" in refusal(tmp_path / "a.cif")


def test_a_literal_that_is_nested_too_deep_is_a_named_failure(tmp_path, cif):
    with (tmp_path / "a.csv").open("w", newline="") as file:
        deep = "{'a':" + "-" * 200_000 + "1}"
        csv.writer(file).writerows([["id", "cif"], ["good", cif], ["deep", deep]])
    (entry,) = load(tmp_path / "a.csv").rejected
    assert "nested too deep" in entry.reason


@pytest.mark.parametrize("count", ["3", "99999999999999999999", "9" * 5000])
def test_a_frame_that_states_more_atoms_than_it_has_is_refused_at_once(tmp_path, count):
    frame = FRAME.format("species:S:1:pos:R:3")
    (tmp_path / "a.extxyz").write_text(frame + frame.replace("2", count, 1))
    started = time.monotonic()
    dataset = load(tmp_path / "a.extxyz")
    assert time.monotonic() - started < 5
    assert len(dataset.crystals) == len(dataset.rejected) == 1


@pytest.mark.parametrize(
    "table", ["{0},e\na,1\n", "id,{0}\na,1\n", "id,e\n{0},1\n{0},2\n", "id,e\na,1\nb,2\nc,{0}\n"]
)
def test_long_words_do_not_make_long_messages(tmp_path, table):
    (tmp_path / "l.csv").write_text(table.format("x" * 100_000))
    with pytest.raises(UserError) as error:
        read_label_table(tmp_path / "l.csv", ["e"])
    assert len(str(error.value)) < 3000


def test_names_of_columns_that_are_no_utf8_are_one_line(tmp_path):
    path = write_file(tmp_path / "a.parquet", [SALT.replace(labels={"strange": 1.0})])
    pq.write_table(pq.read_table(path), path)  # without the checksum
    path.write_bytes(path.read_bytes().replace(b"strange", b"\xe5trange"))
    assert "cannot be read as parquet" in refusal(path)
    with pytest.raises(UserError, match="cannot be read as parquet"):
        read_label_table(path, ["e"])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "cif,b\n" + ",\n" * 30_000),
        ("a.json", "[" + "[]," * 30_000 + "[]]"),
        ("a.json", '{"data": [' + "{}," * 30_000 + "{}]}"),
        ("a.jsonl", "{}\n" * 30_000),
        ("a.jsonl", "{\n" * 30_000),
        ("a.extxyz", "1\n\n" * 30_000),
    ],
)
def test_a_long_file_without_a_structure_is_given_up(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert str(limits.HOPELESS) in refusal(tmp_path / name)


def test_too_many_cells_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_text, "MAX_CELLS", 5)
    (tmp_path / "a.csv").write_text("id,cif\n" + "a,b\n" * 3)
    assert "3 rows of 2 columns, expected at most 5 cells" in refusal(tmp_path / "a.csv")
    pq.write_table(pa.table({"cif": ["x"] * 3, "id": ["a"] * 3}), tmp_path / "a.parquet")
    assert "3 rows of 2 columns, expected at most 5 cells" in refusal(tmp_path / "a.parquet")
