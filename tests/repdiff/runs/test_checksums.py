"""A flipped bit anywhere in a file that carries a checksum changes nothing silently."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from repdiff.errors import UserError
from repdiff.runs.atomic_files import read_json, write_json
from repdiff.runs.checkpoint import load_checkpoint, save_checkpoint
from repdiff.runs.checksums import BLANK, MARK
from repdiff.runs.parquet_files import read_table, write_table

TABLE = pa.table({"id": ["a", "b", "c"], "energy": [1.0, float("nan"), -2.5], "n": [[1, 2], [], [3]]})
TENSORS = {"weight": torch.linspace(-1, 1, 60).reshape(5, 12), "steps": torch.tensor([7])}
DOCUMENT = {"seed": 7, "name": "Å", "values": [0.1, None, {"deep": True}]}


def _flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _table_text(table: pa.Table) -> str:
    return repr(table.to_pydict())


def test_every_flipped_bit_of_a_parquet_file_is_found_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_table(path, TABLE)
    content, expected = path.read_bytes(), _table_text(TABLE)
    n_found = 0
    for bit in range(0, 8 * len(content), 7):
        path.write_bytes(_flipped(content, bit))
        try:
            assert _table_text(read_table(path)) == expected
        except (UserError, OSError, pa.ArrowException):
            n_found += 1
    assert n_found > 0.9 * len(range(0, 8 * len(content), 7))


def test_other_readers_see_the_same_table_and_lose_the_checksum_when_they_write(tmp_path: Path) -> None:
    path, again = tmp_path / "table.parquet", tmp_path / "again.parquet"
    write_table(path, TABLE)
    read = pq.read_table(path)
    assert _table_text(read) == _table_text(TABLE)
    assert path.read_bytes().count(MARK) == 1
    pq.write_table(read.slice(1), again)
    assert MARK not in again.read_bytes()
    assert read_table(again).num_rows == 2


def test_a_parquet_file_with_statistics_and_many_row_groups_is_sealed(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    values = np.random.default_rng(0).normal(size=5000)
    write_table(path, pa.table({"x": values}).combine_chunks())
    assert np.array_equal(read_table(path)["x"].to_numpy(), values)
    content = path.read_bytes()
    path.write_bytes(_flipped(content, 8 * 1000))
    with pytest.raises(UserError, match=r"table.parquet: damaged since it was written"):
        read_table(path)


def test_every_flipped_bit_of_a_checkpoint_is_found_or_harmless(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "model.safetensors", TENSORS, {"rate": 0.25}, kind="test")
    content = path.read_bytes()
    for bit in range(0, 8 * len(content), 5):
        path.write_bytes(_flipped(content, bit))
        try:
            tensors, metadata = load_checkpoint(path, kind="test")
        except UserError:
            continue
        assert metadata["rate"] == 0.25
        assert tensors.keys() == TENSORS.keys()
        assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


def test_a_checkpoint_is_filled_with_its_own_checksum(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "model.safetensors", TENSORS, {"rate": 0.25}, kind="test")
    assert BLANK not in path.read_bytes()
    assert path.read_bytes().count(MARK) == 1
    assert torch.equal(load_file(path)["weight"], TENSORS["weight"])
    last = 8 * path.stat().st_size - 3
    path.write_bytes(_flipped(path.read_bytes(), last))
    with pytest.raises(UserError, match=r"model.safetensors: damaged since it was written"):
        load_checkpoint(path, kind="test")


def test_equal_checkpoints_are_equal_bytes(tmp_path: Path) -> None:
    paths = [
        save_checkpoint(tmp_path / f"{n}.safetensors", TENSORS, {"rate": 0.25}, kind="test")
        for n in range(20)
    ]
    assert len({path.read_bytes() for path in paths}) == 1


def test_files_without_a_checksum_are_taken_as_they_are(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "table.parquet")
    assert read_table(tmp_path / "table.parquet").num_rows == 3
    (tmp_path / "a.json").write_text('{"seed": 3}', encoding="utf-8")
    assert read_json(tmp_path / "a.json") == {"seed": 3}
    (tmp_path / "list.json").write_text("[1, 2]", encoding="utf-8")
    assert read_json(tmp_path / "list.json") == [1, 2]


def test_json_says_when_a_number_was_changed_and_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_json(path, DOCUMENT)
    assert read_json(path) == DOCUMENT
    text = path.read_text(encoding="utf-8")
    path.write_text(json.dumps(json.loads(text)), encoding="utf-8")
    assert read_json(path) == DOCUMENT  # another layout says the same
    path.write_text(text.replace("0.1", "0.3"), encoding="utf-8")
    with pytest.raises(UserError, match=r"changed since it was written .* remove its line \"checksum\""):
        read_json(path)
    document = json.loads(path.read_text(encoding="utf-8"))
    del document["checksum"]
    path.write_text(json.dumps(document), encoding="utf-8")
    assert read_json(path)["values"][0] == 0.3


def test_an_empty_or_truncated_file_is_no_crash_of_the_check(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_table(path, TABLE)
    content = path.read_bytes()
    for n in (0, 3, 8, 20, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:n])
        with pytest.raises((UserError, OSError, pa.ArrowException)):
            read_table(path)
