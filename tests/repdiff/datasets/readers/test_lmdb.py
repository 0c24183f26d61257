"""Databases of ASE in LMDB: those of the package that they come from, and what is damaged, strange or a pickle."""

import pickle
import zlib
from pathlib import Path

import lmdb
import pytest
from ase.io.jsonio import encode

import repdiff as rd
from repdiff.datasets.readers import lmdb_files
from repdiff.datasets.readers.any_path import path_blocks, read_path
from repdiff.errors import UserError

GOLDEN = Path(__file__).parents[3] / "golden" / "three.aselmdb"
COPPER = {
    "numbers": [29],
    "positions": [[0, 0, 0]],
    "cell": [[3.6, 0, 0], [0, 3.6, 0], [0, 0, 3.6]],
    "pbc": [True] * 3,
}


def written(path: Path, entries: dict[str, bytes]) -> Path:
    with lmdb.open(str(path), subdir=False, map_size=2**24) as opened, opened.begin(write=True) as writing:
        for key, value in entries.items():
            writing.put(key.encode(), value)
    return path


def packed(facts: object) -> bytes:
    return zlib.compress(encode(facts).encode())


def test_a_database_of_its_own_package_is_read():
    rows = read_path(GOLDEN)
    assert [row.id for row in rows] == ["1", "2", "4"]
    copper, iron, salt = (row.content for row in rows)
    assert copper.atomic_numbers.tolist() == [29]
    assert copper.volume == pytest.approx(3.61**3 / 4)
    assert iron.volume == pytest.approx(2.87**3 / 2)
    assert sorted(salt.atomic_numbers.tolist()) == [11, 17]
    assert dict(rows[2].labels) == {"energy": -4.5, "e_above_hull": 0.3, "gap": 1.5, "name": "made-NaCl"}
    assert not any(row.reason for row in rows)


def test_it_is_encoded_like_any_other_set(tmp_path):
    encoded = rd.encode(GOLDEN, folder=tmp_path / "encoded", symprec=None, progress=False, device="cpu")
    assert len(encoded) == 3


def test_keys_are_numbers_and_sorted_as_such(tmp_path):
    entries = {str(n): packed(COPPER) for n in (1, 2, 10, 9)}
    rows = read_path(written(tmp_path / "some.lmdb", entries | {"nextid": packed(11), "length": b"4"}))
    assert [row.id for row in rows] == ["1", "2", "9", "10"]
    plain = written(tmp_path / "data.mdb", {"0": encode(COPPER).encode()})
    assert [row.content.n_atoms for row in read_path(plain)] == [1]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"words", "neither JSON nor packed JSON"),
        (b"x\x9cbroken", "decode"),
        (packed([1, 2]), "it holds no object of JSON"),
        (packed({"numbers": [29]}), "cannot be read"),
        (packed(COPPER | {"pbc": [True, True, False]}), "expected all three true"),
        (pickle.dumps(COPPER), "neither JSON nor packed JSON"),
        (packed(COPPER | {"data": {"x": "0" * 70_000_000}}), "unpacks to more than 64 MiB"),
    ],
)
def test_what_is_wrong_with_an_entry_stays_with_it(value, why, tmp_path):
    rows = read_path(
        written(tmp_path / "some.aselmdb", {"1": packed(COPPER), "2": value, "3": packed(COPPER)})
    )
    assert [row.reason is None for row in rows] == [True, False, True]
    assert why in rows[1].reason


def test_an_entry_that_is_too_large_is_not_taken_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(lmdb_files, "ANY_RATIO", 2000)
    rows = read_path(written(tmp_path / "some.aselmdb", {"1": packed(COPPER), "2": b"{" * 3000}))
    assert [row.reason is None for row in rows] == [True, False]
    assert "it has more than" in rows[1].reason


def test_pickles_are_refused_and_not_run(tmp_path):
    class Run:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    path = written(tmp_path / "data.lmdb", {"0": pickle.dumps(Run()), "length": pickle.dumps(1)})
    with pytest.raises(UserError, match=r"is an LMDB of pickles, .* write it as an ASE database") as refused:
        read_path(path)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("size", [1, 100, 4096, 8192, 12288])
def test_a_file_that_is_cut_off_ends_no_more_than_the_reading_of_it(size, tmp_path):
    path = tmp_path / "cut.aselmdb"
    path.write_bytes(GOLDEN.read_bytes()[:size])
    with pytest.raises(UserError, match="cannot be read as LMDB") as told:
        read_path(path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["data.lmdb", "data.aselmdb", "data.mdb"])
def test_what_is_no_lmdb_or_empty_is_refused_in_one_line(name, tmp_path):
    (tmp_path / name).write_bytes(b"\0" * 100)
    with pytest.raises(UserError, match=r"cannot be read as LMDB") as refused:
        next(path_blocks(tmp_path / name))
    assert "\n" not in str(refused.value)
    empty = written(tmp_path / f"empty{name}", {"length": b"0"})
    with pytest.raises(UserError, match="without entries of ASE"):
        read_path(empty)


def test_without_the_package_the_way_to_it_is_told(monkeypatch):
    monkeypatch.setattr(lmdb_files, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install 'repdiff\[lmdb\]'"):
        read_path(GOLDEN)


def test_too_many_rows_are_refused(monkeypatch):
    monkeypatch.setattr(lmdb_files, "MAX_ROWS", 2)
    with pytest.raises(UserError, match="rows"):
        read_path(GOLDEN)


def test_a_folder_of_several_is_read(tmp_path):
    for name in ("data.0000.aselmdb", "data.0001.aselmdb"):
        (tmp_path / name).write_bytes(GOLDEN.read_bytes())
    (tmp_path / "lock.mdb").write_bytes(b"\0" * 8192)
    rows = read_path(tmp_path)
    assert sum(row.reason is None for row in rows) == 6
    assert [row.reason for row in rows if row.reason] == ["of no known format"]  # the lock
