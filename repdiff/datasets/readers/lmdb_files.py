"""Databases of ASE in LMDB, as OMat24 and others of FAIR chemistry come: packed JSON. Pickles are refused."""

import json
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from repdiff.datasets.readers import lmdb_values
from repdiff.datasets.readers.ase_files import entry_row
from repdiff.datasets.readers.blocks import Block, in_blocks
from repdiff.datasets.readers.rows import Row
from repdiff.errors import UserError
from repdiff.runs.csv_text import too_many_rows
from repdiff.settings.limits import ANY_RATIO, MAX_ROWS, shown_bytes

if TYPE_CHECKING:
    from ase.db.row import AtomsRow

PICKLE = b"\x80"  # that of every protocol since 2 begins so
ZLIB = b"\x78"
WAY_OUT = "with the program that wrote it, write it as an ASE database (.db), extended XYZ or parquet"


def read_lmdb(path: Path) -> list[Row]:
    """Read a database of ASE in LMDB as `read_ase_db` does one in SQLite.

    Raises:
        UserError: If it is none, is damaged or holds pickles, or the package that reads LMDB is absent.
    """
    return [row for block in lmdb_blocks(path) for row in block()]


def lmdb_blocks(path: Path) -> Iterator[Block]:
    """Read a database of ASE in LMDB as `read_lmdb` does, in blocks.

    Raises:
        UserError: If it is none, is damaged or holds pickles; before the first block.
    """
    if find_spec("lmdb") is None:
        raise UserError(f"{path} is an LMDB, which needs another package: pip install 'repdiff[lmdb]'")
    ids = _keys(path)
    if len(ids) > MAX_ROWS:
        raise too_many_rows(path)
    if not ids:
        raise UserError(f"{path} is an LMDB without entries of ASE, whose keys are whole numbers: {WAY_OUT}")
    ((first, _),) = list(_values(path, ids[:1]))
    if first.startswith(PICKLE):
        raise UserError(f"{path} is an LMDB of pickles, which run what they say and are not read: {WAY_OUT}")
    start = 0
    for some in in_blocks(ids):
        yield partial(_rows, path, start, some)
        start += len(some)


def _rows(path: Path, first: int, ids: Sequence[int]) -> list[Row]:
    return [
        entry_row(path, row, partial(_entry, value, reason, id), id)
        for row, (id, (value, reason)) in enumerate(zip(ids, _values(path, ids), strict=True), first)
    ]


def _entry(value: bytes, reason: str, id: int) -> "AtomsRow":
    """Unpack an entry.

    Raises:
        ValueError: If it is not one of ASE, or too large.
    """
    from ase.db.row import AtomsRow
    from ase.io.jsonio import decode

    if reason:
        raise ValueError(reason)
    if value.startswith(ZLIB):
        unpacking = zlib.decompressobj()
        value = unpacking.decompress(value, ANY_RATIO)
        if unpacking.unconsumed_tail:
            raise ValueError(f"it unpacks to more than {shown_bytes(ANY_RATIO)}")
    elif not value.startswith(b"{"):
        raise ValueError("it is neither JSON nor packed JSON")
    facts = decode(value.decode())
    if not isinstance(facts, dict):
        raise ValueError("it holds no object of JSON")
    return AtomsRow(facts | {"id": id})


def _values(path: Path, ids: Sequence[int]) -> Iterator[tuple[bytes, str]]:
    """Yield the value of each entry, or nothing and the reason why there is none; one is in memory at a time."""
    with tempfile.TemporaryFile() as keys, tempfile.TemporaryFile() as errors:
        keys.write("".join(f"{id}\n" for id in ids).encode())
        keys.seek(0)
        with subprocess.Popen(
            _command(path, "values", ANY_RATIO), stdin=keys, stdout=subprocess.PIPE, stderr=errors
        ) as reading:
            assert reading.stdout is not None
            for _ in ids:
                head = reading.stdout.read(8)
                size = int.from_bytes(head, "big")
                if size == lmdb_values.TOO_LARGE:
                    yield b"", f"it has more than {shown_bytes(ANY_RATIO)}"
                elif size == lmdb_values.ABSENT:
                    yield b"", "it is absent"
                else:
                    value = reading.stdout.read(size)
                    if len(head) < 8 or len(value) < size:
                        break
                    yield value, ""
            else:
                return
        errors.seek(0)
        raise _unreadable(path, reading.returncode, errors.read())


def _keys(path: Path) -> list[int]:
    """Return the numbers of the entries."""
    ended = subprocess.run(_command(path, "keys", MAX_ROWS), capture_output=True, check=False)
    if ended.returncode != 0:
        raise _unreadable(path, ended.returncode, ended.stderr)
    return json.loads(ended.stdout)


def _command(path: Path, what: str, limit: int) -> list[str]:
    return [sys.executable, "-P", lmdb_values.__file__, str(path), what, str(limit)]


def _unreadable(path: Path, status: int, said: bytes) -> UserError:
    """Tell why the library refuses the file, or that the file ended the process."""
    lines = said.decode(errors="replace").strip().splitlines()
    why = lines[-1][:200] if lines and status > 0 else "what it says ends the process that reads it"
    return UserError(f"{path} cannot be read as LMDB ({why}): is it complete? Otherwise, {WAY_OUT}")
