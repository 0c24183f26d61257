import pickle
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sample_crystals import crystal, cubic_perovskite

from repdiff.crystals import stored_crystals
from repdiff.crystals.crystal import read_crystals, write_crystals
from repdiff.crystals.stored_crystals import CrystalRows, StoredCrystals
from repdiff.errors import UserError
from repdiff.runs.parquet_files import count_rows


def some(n):
    labels = [{"loss": 0.5 * k, "stopped": None if k % 2 else "early", "ok": k % 3 == 0} for k in range(n)]
    shapes = [crystal(f"c{k}", [14] * k, np.eye(3) * (4 + k), np.full((k, 3), 0.1 * k)) for k in range(n - 1)]
    return [
        one.replace(labels=told, split="test" if row % 2 else None)
        for row, (one, told) in enumerate(zip([*shapes, cubic_perovskite()], labels, strict=True))
    ]


def same(one, other):
    arrays = ("atomic_numbers", "lattice", "frac_coords")
    return (
        (one.id, one.split, dict(one.labels)) == (other.id, other.split, dict(other.labels))
        and all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays)
        and all(getattr(one, name).dtype == getattr(other, name).dtype for name in arrays)
    )


@pytest.mark.parametrize("rows_per_group", [1, 3, 100])
@pytest.mark.parametrize("rows_per_block", [1, 4, 100])
@pytest.mark.parametrize("n", [1, 4, 9])
def test_they_are_those_that_were_written(tmp_path, monkeypatch, rows_per_block, rows_per_group, n):
    monkeypatch.setattr(stored_crystals, "ROWS_PER_BLOCK", rows_per_block)
    path = tmp_path / "table.parquet"
    write_crystals(path, some(n))
    expected = read_crystals(path)
    pq.write_table(pq.read_table(path), path, row_group_size=rows_per_group)
    found = StoredCrystals(path)
    assert len(found) == count_rows(path) == n
    assert all(map(same, found, expected))
    assert all(same(found[row], expected[row]) for row in range(-n, n))
    assert all(map(same, found[1::2], expected[1::2]))
    with pytest.raises(IndexError):
        found[n]


def test_some_of_them_are_sent_to_a_process_as_they_are(tmp_path):
    write_crystals(tmp_path / "table.parquet", some(5))
    sent = pickle.loads(pickle.dumps(StoredCrystals(tmp_path / "table.parquet")[1:4]))
    assert type(sent) is list
    assert all(map(same, sent, some(5)[1:4]))
    assert type(sent[0].labels) is dict


def test_rows_of_rows_are_counted_from_the_first():
    crystals = some(6)
    rows = CrystalRows(crystals, [5, 3, 1])
    assert [one.id for one in rows[1:]] == [crystals[3].id, crystals[1].id]
    assert rows[-1] is crystals[1]


def test_a_crystal_takes_a_third_of_the_room_of_an_object(tmp_path):
    n = 3000
    path = tmp_path / "table.parquet"
    write_crystals(path, [cubic_perovskite(f"c{row}").replace(labels={"loss": row / 7}) for row in range(n)])

    def room(read):
        before = pa.total_allocated_bytes()
        tracemalloc.start()
        found = read(path)
        used = tracemalloc.get_traced_memory()[0] + pa.total_allocated_bytes() - before
        tracemalloc.stop()
        assert len(found) == n
        return used / n

    assert room(StoredCrystals) < room(read_crystals) / 3
    assert room(StoredCrystals) < 400


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"id": ["a"]}), path)
    with pytest.raises(ValueError, match="expected a file written by write_crystals"):
        StoredCrystals(path)
    write_crystals(path, some(3))
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="checksum"):
        StoredCrystals(path)
