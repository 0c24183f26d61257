"""Crystals that stay on the disk are the same crystals, and one table of them at a time is in memory."""

from pathlib import Path

import numpy as np
import pytest

from repdiff.crystals import on_disk
from repdiff.crystals.crystal import Crystal, read_crystals, write_crystals
from repdiff.crystals.on_disk import CrystalsOnDisk
from repdiff.crystals.structure_files import FILES, read_structures, write_structures


def crystals(n: int, start: int = 0) -> list[Crystal]:
    labels = [{"loss": 0.5}, {"loss": 2, "note": "a"}, {"template": None}, {"template": "mp-1", "index": 7}]
    return [
        Crystal(
            id=f"c{start + row}",
            atomic_numbers=np.array([11, 17]),
            lattice=np.eye(3) * (3 + (start + row) / 100),
            frac_coords=np.array([[0, 0, 0], [0.5, 0.5, 0.5]]),
            labels=labels[(start + row) % 4],
        )
        for row in range(n)
    ]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths, start = [], 0
    for number, n in enumerate((3, 0, 5, 1)):
        paths.append(tmp_path / f"{number}.parquet")
        write_crystals(paths[-1], crystals(n, start))
        start += n
    return paths


def test_they_are_a_sequence_like_any_other(files: list[Path]) -> None:
    found, expected = CrystalsOnDisk(files), crystals(9)
    assert len(found) == 9
    assert [one.id for one in found] == [one.id for one in expected]
    assert [found[place].id for place in (8, 0, -1, 3, 2)] == ["c8", "c0", "c8", "c3", "c2"]
    assert [one.id for one in found[2:7:2]] == ["c2", "c4", "c6"]
    assert [one.lattice[0, 0] for one in reversed(found)] == [one.lattice[0, 0] for one in reversed(expected)]
    with pytest.raises(IndexError):
        found[9]
    assert len(CrystalsOnDisk([])) == 0


def test_going_through_them_reads_each_table_once(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counted(path: Path) -> list[Crystal]:
        read.append(path.name)
        return read_crystals(path)

    found = CrystalsOnDisk(files)
    monkeypatch.setattr(on_disk, "read_crystals", counted)
    assert sum(1 for _ in found) == 9
    assert [found[place].id for place in range(9)] == [f"c{place}" for place in range(9)]
    assert read == [path.name for path in files] + ["0.parquet", "2.parquet", "3.parquet"]


def test_files_of_crystals_on_disk_are_those_of_crystals_in_memory(files: list[Path], tmp_path: Path) -> None:
    write_structures(tmp_path / "disk", CrystalsOnDisk(files))
    write_structures(tmp_path / "memory", list(CrystalsOnDisk(files)))
    for name in FILES:
        assert (tmp_path / "disk" / name).read_bytes() == (tmp_path / "memory" / name).read_bytes(), name


def test_a_table_of_many_row_groups_holds_one_type_for_each_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("repdiff.crystals.crystal.ROWS", 2)
    write_structures(tmp_path, crystals(9))
    again = read_structures(tmp_path)
    assert [one.id for one in again] == [f"c{place}" for place in range(9)]
    assert [one.labels["loss"] for one in again] == [0.5, 2.0, None, None, 0.5, 2.0, None, None, 0.5]
    assert [one.labels["template"] for one in again] == [
        None,
        None,
        None,
        "mp-1",
        None,
        None,
        None,
        "mp-1",
        None,
    ]
    assert [one.labels["index"] for one in again] == list(range(9))
    assert [one.labels["index_label"] for one in again][3] == 7
