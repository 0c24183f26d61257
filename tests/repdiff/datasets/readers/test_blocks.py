"""Sources that are read in blocks: their rows are those of the readers, whatever the size of a block."""

import zlib
from pathlib import Path

import lmdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ase.build import bulk
from ase.db import connect
from ase.io import write
from ase.io.jsonio import encode

from repdiff.crystals.crystal import write_crystals
from repdiff.datasets.readers import blocks
from repdiff.datasets.readers.any_path import path_blocks, read_path
from repdiff.datasets.readers.rows import ColumnKind, Row
from repdiff.errors import UserError
from repdiff.testing.example_crystals import rock_salt

N_ROWS = 11
CIF = "data_x _cell_length_a 4 # {}"


def csv_table(folder: Path) -> Path:
    """Columns whose types are decided by their last rows, a name that occurs twice, and a short row."""
    lines = ["material_id,cif,early,late,mixed,early,empty,code"]
    for n in range(N_ROWS):
        late = "0.5" if n == N_ROWS - 1 else str(n)
        mixed = "word" if n == N_ROWS - 1 else str(n)
        early = "nan" if n == 7 else "0.25"
        lines.append(f"id{n},{CIF.format(n)},{early},{late},{mixed},{n % 2 == 0},,00{n}")
    lines[4] = f"short,{CIF.format(3)}"
    (folder / "table.csv").write_text("\n".join([*lines[:6], "", *lines[6:]]) + "\n")
    return folder / "table.csv"


def parquet_of_texts(folder: Path) -> Path:
    """Dates of which the last is beyond those of Python."""
    days = [*range(N_ROWS - 1), 4_000_000]
    table = pa.table(
        {
            "id": [f"p{n}" for n in range(N_ROWS)],
            "cif": [CIF.format(n) for n in range(N_ROWS)],
            "day": pa.array(days, pa.date32()),
            "kind": pa.array(["a", "b"] * 5 + ["c"]).dictionary_encode(),
        }
    )
    pq.write_table(table, folder / "texts.parquet", row_group_size=4)
    return folder / "texts.parquet"


def parquet_of_arrays(folder: Path) -> Path:
    write_crystals(
        folder / "arrays.parquet",
        [rock_salt(f"r{n}").replace(labels={"energy": n / 2, "cif": "a label"}) for n in range(N_ROWS)],
    )
    return folder / "arrays.parquet"


def parquet_of_structures(folder: Path) -> Path:
    structures = [bulk("Cu", a=3.5 + n / 10) for n in range(N_ROWS)]
    entries = [
        {
            "lattice": {"matrix": atoms.cell.tolist()},
            "sites": [{"species": [{"element": "Cu", "occu": 1.0}], "abc": [0.0, 0.0, 0.0]}],
        }
        for atoms in structures
    ]
    pq.write_table(pa.table({"structure": entries, "energy": list(range(N_ROWS))}), folder / "nested.parquet")
    return folder / "nested.parquet"


def database(folder: Path) -> Path:
    with connect(folder / "some.db") as opened:
        for n in range(N_ROWS):
            opened.write(bulk("Fe", a=2.8 + n / 100), key_value_pairs={"gap": n / 2})
    return folder / "some.db"


def lmdb_database(folder: Path) -> Path:
    with lmdb.open(str(folder / "some.aselmdb"), subdir=False) as opened, opened.begin(write=True) as writing:
        for n in range(N_ROWS):
            atoms = bulk("Fe", a=2.8 + n / 100)
            facts = {
                "numbers": [26],
                "positions": atoms.positions,
                "cell": atoms.cell.array,
                "pbc": [True] * 3,
            }
            writing.put(str(n + 1).encode(), zlib.compress(encode(facts | {"gap": n / 2}).encode()))
    return folder / "some.aselmdb"


def extended_xyz(folder: Path) -> Path:
    write(folder / "some.extxyz", [bulk("Al", a=4 + n / 100) for n in range(N_ROWS)], format="extxyz")
    text = (folder / "some.extxyz").read_text().replace("Al ", "Xx ", 1)
    (folder / "some.extxyz").write_text(text)
    return folder / "some.extxyz"


def tables_of_splits(folder: Path) -> Path:
    place = folder / "splits"
    place.mkdir()
    csv_table(place).rename(place / "train.csv")
    parquet_of_arrays(place).rename(place / "test.parquet")
    (place / "notes.txt").write_text("words")
    return place


def folder_of_files(folder: Path) -> Path:
    place = folder / "files"
    place.mkdir()
    for n in range(N_ROWS):
        (place / f"{n:02d}.cif").write_text(CIF.format(n))
    return place


SOURCES = (
    csv_table,
    parquet_of_texts,
    parquet_of_arrays,
    parquet_of_structures,
    database,
    lmdb_database,
    extended_xyz,
    tables_of_splits,
    folder_of_files,
)


def told(row: Row) -> list[object]:
    """Return all that a row says, crystals by their arrays."""
    content = row.content
    if content is not None and not isinstance(content, str):
        content = [content.id, content.split, content.atomic_numbers.tolist(), content.lattice.tolist()]
    return [
        row.source,
        row.row,
        row.id,
        content,
        row.form,
        row.split,
        dict(row.labels),
        row.notes,
        row.reason,
    ]


@pytest.mark.parametrize("make", SOURCES)
def test_small_blocks_hold_the_rows_that_are_read_at_once(make, tmp_path, monkeypatch):
    path = make(tmp_path)
    whole = [told(row) for row in read_path(path)]
    monkeypatch.setattr(blocks, "ROWS", 3)
    made = [block() for block in path_blocks(path)]
    assert len(made) > N_ROWS // 4
    assert max(map(len, made)) <= 4
    assert [told(row) for block in made for row in block] == whole
    assert len(whole) >= N_ROWS


def test_a_block_ends_early_where_its_rows_are_large(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "SIZE", 100)
    assert [len(block()) for block in path_blocks(csv_table(tmp_path))] == [3, 3, 3, 2]


@pytest.mark.parametrize("make", [csv_table, parquet_of_texts, database, lmdb_database])
def test_blocks_that_are_passed_over_do_not_change_the_others(make, tmp_path, monkeypatch):
    path = make(tmp_path)
    whole = [told(row) for row in read_path(path)]
    monkeypatch.setattr(blocks, "ROWS", 4)
    last = list(path_blocks(path))[-1]
    assert [told(row) for row in last()] == whole[-len(last()) :]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["1", "2", ""], [1, 2, None]),
        (["true", "False"], [True, False]),
        (["1", "0.5"], [1.0, 0.5]),
        (["1", "x"], ["1", "x"]),
        (["1" * 5000, "2"], ["1" * 5000, "2"]),
        (["", ""], [None, None]),
        (["true", "1"], ["true", "1"]),
    ],
)
def test_all_of_a_column_decides_on_its_type(texts, expected):
    kind = ColumnKind()
    for text in texts:
        kind.add(text)
    found = [kind.label_of(text) for text in texts]
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))


def test_a_table_without_structures_is_refused_before_the_first_block(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="expected one called cif"):
        next(path_blocks(tmp_path / "x.csv"))
