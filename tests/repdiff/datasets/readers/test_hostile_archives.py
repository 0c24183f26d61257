"""Packed files that are damaged, unpack to gigabytes or lead out of their place, and tables that are too large."""

import bz2
import gzip
import stat
import zipfile
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile_files import load, refusal

from repdiff.datasets.label_tables import read_label_table
from repdiff.datasets.readers.parquet_tables import parquet_blocks
from repdiff.errors import UserError
from repdiff.runs import csv_text
from repdiff.settings import limits


def packed_newlines(n_bytes: int, wbits: int = 31) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    block = b"\n" * 2**20
    return b"".join([packer.compress(block) for _ in range(n_bytes // 2**20)]) + packer.flush()


@pytest.mark.parametrize("place", [12, 30, 100, -4, -8, -20])
@pytest.mark.parametrize("suffix", [".csv.gz", ".json.gz", ".jsonl.gz", ".json.bz2"])
def test_a_damaged_packed_file_is_one_line(tmp_path, csv_bytes, suffix, place):
    pack = bz2.compress if suffix.endswith("bz2") else gzip.compress
    data = bytearray(pack(csv_bytes))
    data[place] ^= 0xFF
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    assert "cannot be" in refusal(path)
    path.write_bytes(pack(csv_bytes)[: len(data) // 2])
    assert "cannot be" in refusal(path)


def test_a_damaged_table_of_labels_is_one_line(tmp_path):
    data = bytearray(gzip.compress(b"id,e\n" + b"".join(b"mp-%d,%d\n" % (n, n) for n in range(99))))
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "l.csv.gz").write_bytes(data)
    with pytest.raises(UserError, match="cannot be read as CSV"):
        read_label_table(tmp_path / "l.csv.gz", ["e"])


@pytest.mark.parametrize("n_flipped", range(1, 9))
def test_a_damaged_file_of_a_zip_does_not_hide_the_others(tmp_path, cif, n_flipped):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("good.cif", "hurt.cif", "last.cif.gz"):
            archive.writestr(name, gzip.compress(cif.encode()) if name.endswith("gz") else cif)
        entry = archive.getinfo("hurt.cif")
    data = bytearray(path.read_bytes())
    start = entry.header_offset + 30 + len("hurt.cif")
    for place in np.random.default_rng(n_flipped).integers(entry.compress_size, size=n_flipped):
        data[start + place] ^= 0x55
    path.write_bytes(data)
    dataset = load(path)
    assert [crystal.id for crystal in dataset.crystals] == ["good", "last"]
    assert [entry.id for entry in dataset.rejected] == ["hurt"]
    assert "unpacked" in dataset.rejected[0].reason


def test_a_damaged_gzip_in_a_folder_or_zip_does_not_hide_the_others(tmp_path, cif):
    hurt = bytearray(gzip.compress(cif.encode()))
    hurt[len(hurt) // 2] ^= 0xFF
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "good.cif").write_text(cif)
    (folder / "hurt.cif.gz").write_bytes(hurt)
    (folder / "cut.cif.gz").write_bytes(gzip.compress(cif.encode())[:60])
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
    for path in (folder, tmp_path / "a.zip"):
        dataset = load(path)
        assert [crystal.id for crystal in dataset.crystals] == ["good"]
        assert sorted(entry.id for entry in dataset.rejected) == ["cut", "hurt"]


@pytest.mark.parametrize("name", ["a.csv.gz", "a.json.gz", "a.jsonl.gz", "a.cif.gz"])
def test_a_bomb_of_newlines_is_not_unpacked(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(packed_newlines(2**27))
    why = (
        f"more than {limits.MAX_ROWS} rows" if "csv" in name else f"at most {limits.MAX_RATIO} times as much"
    )
    assert why in refusal(path)


def test_a_zip_of_newlines_is_not_unpacked(tmp_path, cif):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("good.cif", cif)
        with archive.open("bomb.cif", "w") as stream:
            for _ in range(100):
                stream.write(b"\n" * 2**20)
    dataset = load(path)
    assert [crystal.id for crystal in dataset.crystals] == ["good"]
    assert f"at most {limits.MAX_RATIO} times" in dataset.rejected[0].reason


def test_a_zip_of_many_files_that_are_large_together_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(40):
            archive.writestr(f"{number}.cif", b"\n" * 2**21)
    assert "unpack it yourself and name the folder" in refusal(path)


def test_gzips_in_a_zip_count_together(tmp_path, monkeypatch):
    monkeypatch.setattr("repdiff.datasets.readers.archives.MAX_UNPACKED_ZIP", 2**22)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(6):
            archive.writestr(f"{number}.cif.gz", gzip.compress(b"\n" * 2**20))
    assert "the packed files of" in refusal(tmp_path / "a.zip")


def test_an_absolute_size_holds_too(tmp_path, csv_bytes, monkeypatch):
    monkeypatch.setattr("repdiff.runs.unpacking.MAX_UNPACKED", 1000)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(csv_bytes))
    assert "it unpacks to more than" in refusal(tmp_path / "a.csv.gz")


def test_too_many_rows_are_refused(tmp_path, csv_bytes, monkeypatch):
    monkeypatch.setattr(csv_text, "MAX_ROWS", 10)
    (tmp_path / "a.csv").write_bytes(csv_bytes)
    assert "more than 10 rows" in refusal(tmp_path / "a.csv")


def test_too_many_columns_are_refused(tmp_path):
    names = [f"c{number}" for number in range(limits.MAX_COLUMNS + 1)]
    (tmp_path / "a.csv").write_text(",".join(["cif", *names]) + "\n")
    assert "columns, expected at most" in refusal(tmp_path / "a.csv")
    pq.write_table(pa.table({name: [1] for name in names}), tmp_path / "a.parquet")
    assert "columns, expected at most" in refusal(tmp_path / "a.parquet")


def test_a_parquet_of_a_billion_equal_rows_is_refused_before_it_is_read(tmp_path):
    table = pa.table({"cif": pa.array(["x"] * (limits.MAX_ROWS + 1)).dictionary_encode()})
    pq.write_table(table, tmp_path / "a.parquet")
    assert "rows, expected at most" in refusal(tmp_path / "a.parquet")


def test_a_parquet_whose_rows_repeat_a_long_text_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("repdiff.datasets.readers.parquet_tables.MAX_TABLE", 2**22)
    pq.write_table(pa.table({"cif": ["x" * 2**12] * 2**12}), tmp_path / "a.parquet")
    assert "of memory, expected at most" in refusal(tmp_path / "a.parquet")
    with pytest.raises(UserError, match="of memory, expected at most"):
        next(iter(parquet_blocks(tmp_path / "a.parquet")))


@pytest.mark.parametrize(
    "name", ["../up.cif", "a/../../up.cif", "/etc/up.cif", "..\\up.cif", "C:\\up.cif", "../up.extxyz"]
)
def test_names_that_lead_out_of_a_zip_are_refused(tmp_path, cif, name):
    path = tmp_path / "place" / "a.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good.cif", cif)
        archive.writestr(name, cif)
    dataset = load(path)
    assert [crystal.id for crystal in dataset.crystals] == ["good"]
    assert [entry.reason for entry in dataset.rejected] == ["its name leads out of the zip: rename it"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.zip", "place"]


def test_links_in_a_zip_are_refused(tmp_path, cif):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("good.cif", cif)
        link = zipfile.ZipInfo("link.cif")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    dataset = load(tmp_path / "a.zip")
    assert "a link inside of a zip" in dataset.rejected[0].reason


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_stands_twice_in_a_zip_is_said(tmp_path, cif):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("good.cif", cif)
        archive.writestr("good.cif", cif)
    dataset = load(tmp_path / "a.zip")
    assert len(dataset.crystals) == 1
    assert "another file of the zip has the same name" in dataset.remarks[0]
