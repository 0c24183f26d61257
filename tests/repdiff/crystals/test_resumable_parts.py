"""Pieces of a work that an earlier session left: whole ones are used, damaged ones are said and made again."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from repdiff.crystals.crystal import Crystal, read_crystals, write_crystals
from repdiff.crystals.resumable_parts import PARTS, SHARDS, compute_in_parts, crystals_in_shards
from repdiff.errors import DamagedError


def crystals(n):
    return [
        Crystal(
            id=f"c{k}",
            atomic_numbers=np.array([14]),
            lattice=np.eye(3) * (3 + k),
            frac_coords=np.zeros((1, 3)),
        )
        for k in range(n)
    ]


def cut_short(file):
    file.write_bytes(file.read_bytes()[:-20])


def drop(*names):
    return lambda file: pq.write_table(pq.read_table(file).drop_columns(list(names)), file)


def spoil(file):
    table = pq.read_table(file)
    place = table.column_names.index("lattice")
    pq.write_table(table.set_column(place, "lattice", pa.array([[1.0]] * len(table))), file)


DAMAGES = {
    "cut short": cut_short,
    "empty": lambda file: file.write_bytes(b""),
    "another kind of file": lambda file: file.write_text("{}"),
    "zeros within": lambda file: file.write_bytes(
        file.read_bytes()[:4] + bytes(200) + file.read_bytes()[204:]
    ),
    "without a column": drop("frac_coords"),
    "a lattice of one number": spoil,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_part_is_said_and_computed_again_and_no_other(damage, tmp_path, caplog):
    given, asked = crystals(6), []

    def compute(parts):
        for part in parts:
            asked.append(part[0].id)
            yield part, [one.replace(labels={"energy": float(one.id[1:])}) for one in part]

    def work():
        return compute_in_parts(tmp_path, given, compute, part_size=2, label="x", progress=False)

    first = work()
    file = sorted((tmp_path / PARTS).iterdir())[1]
    damage(file)
    again = work()
    assert asked == ["c0", "c2", "c4", "c2"]
    assert [one.labels for one in again] == [one.labels for one in first]
    (warning,) = [entry.message for entry in caplog.records]
    assert file.name in warning
    assert warning.endswith("computing what it held again")
    assert "\n" not in warning


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_shard_is_said_and_made_again_as_it_was(damage, tmp_path, caplog):
    made, known = [], crystals(6)

    def make(first, n):
        made.append((first, n))
        return known[first : first + n]

    crystals_in_shards(tmp_path, 6, 2, make)
    damage(tmp_path / SHARDS / "00001.parquet")
    found, n_made = crystals_in_shards(tmp_path, 6, 2, make)
    assert made[3:] == [(2, 2)]
    assert n_made == 2
    assert [one.id for one in found] == [one.id for one in known]
    assert "00001.parquet" in caplog.text


def test_a_damaged_table_is_one_line_with_a_way_out(tmp_path):
    write_crystals(tmp_path / "a.parquet", crystals(2))
    cut_short(tmp_path / "a.parquet")
    with pytest.raises(DamagedError, match=r"a\.parquet: damaged or cut short.*with `overwrite`") as caught:
        read_crystals(tmp_path / "a.parquet")
    assert "\n" not in str(caught.value)
