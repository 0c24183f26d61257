"""Folders of what was computed of crystals, which only grow: written as it is made, found by what the crystal is."""

import hashlib
import logging
import warnings
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

import numpy as np
from jaxtyping import Float

from repdiff.crystals.crystal import Crystal
from repdiff.runs.leftovers import remove_leftovers
from repdiff.runs.parquet_files import read_table, write_table

ROWS_PER_SHARD = 64
log = logging.getLogger(__name__)
Todo = TypeVar("Todo")
T = TypeVar("T")  # a dataclass whose fields are texts and vectors of numbers, or None


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What one crystal looks like to the coverage metrics.

    Attributes:
        structure: Mean of the site fingerprints, 61 numbers; None if it could not be computed.
        composition: Magpie features as they come, 132 numbers, NaN where an element lacks a property; None as above.
        reason: Why there is none; "" if there is one.
    """

    structure: Float[np.ndarray, " n_structure"] | None
    composition: Float[np.ndarray, " n_composition"] | None
    reason: str = ""


def content_key(crystal: Crystal) -> str:
    """Hash the species, the cell and the coordinates bit by bit; the name and the labels do not count."""
    content = hashlib.sha256()
    for array, kind in (
        (crystal.atomic_numbers, "<i8"),
        (crystal.lattice, "<f8"),
        (crystal.frac_coords, "<f8"),
    ):
        content.update(np.ascontiguousarray(array, dtype=kind).tobytes() + b"|")
    return content.hexdigest()[:32]


def read_shards(folder: Path, keys: Iterable[str], kind: type[T]) -> dict[str, T]:
    """Return those of the wanted entries that the folder has.

    A shard that cannot be read is removed with a warning; what it held is then computed again.

    Args:
        folder: May be absent.
        keys: Keys of the crystals, see `content_key`.
        kind: Dataclass of the entries.
    """
    wanted = set(keys)
    found: dict[str, T] = {}
    for shard in sorted(folder.glob("[!.]*.parquet")):
        if len(found) == len(wanted):
            break
        try:
            found.update(_read_shard(shard, wanted, kind))
        except Exception as error:  # pyarrow tells damage by many types
            warnings.warn(
                f"{shard}: damaged, computing what it held again ({type(error).__name__})", stacklevel=2
            )
            shard.unlink(missing_ok=True)
    return found


@contextmanager
def one_at_a_time(folder: Path | None) -> Generator[bool, None, None]:
    """Let one process at a time add to a folder, so that two do not compute the same.

    Yields whether another process was waited for; what it made is then in the folder. A folder that cannot be written
    is no reason to wait.
    """
    from filelock import FileLock, Timeout

    lock, waited = None, False
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / ".lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                log.info("another process computes what goes into %s: waiting for it", folder)
                waited = True
                lock.acquire()
    except OSError:
        lock = None
    try:
        yield waited
    finally:
        if lock is not None:
            lock.release()


@contextmanager
def still_missing(
    folder: Path | None,
    todo: Mapping[str, Todo],
    found: dict[str, T],
    kind: type[T],
    *,
    worth_waiting: int,
) -> Generator[dict[str, Todo], None, None]:
    """Yield what is to be computed, without what another process that was waited for has computed meanwhile.

    Args:
        folder: Where entries are kept; None for nowhere.
        todo: The crystals, or their places, by key.
        found: Entries by key; takes those of the other process.
        kind: Dataclass of the entries.
        worth_waiting: Number of crystals from which on another process is waited for.
    """
    with one_at_a_time(folder if len(todo) >= worth_waiting else None) as waited:
        if waited and folder is not None:
            found.update(read_shards(folder, todo, kind))
        yield {key: one for key, one in todo.items() if key not in found}


@dataclass
class ShardWriter(Generic[T]):
    """Collects entries and writes them in shards, the last of them however the block ends.

    Attributes:
        folder: Made if absent; None writes nothing.
        rows_per_shard: Entries in a file.
    """

    folder: Path | None
    rows_per_shard: int = ROWS_PER_SHARD
    _rows: dict[str, T] = field(default_factory=dict)

    def add(self, key: str, entry: T) -> None:
        """Take one, and write a file once there are enough."""
        self._rows[key] = entry
        if len(self._rows) >= self.rows_per_shard:
            self.flush()

    def flush(self) -> None:
        """Write what is held, as a file named after its contents.

        A disk that refuses costs the cache, not the results: it is warned of once.
        """
        rows, self._rows = self._rows, {}
        if self.folder is None or not rows:
            return
        try:
            _write_shard(self.folder, rows)
        except OSError as error:
            warnings.warn(
                f"{self.folder}: what was computed is not kept ({error.strerror or error}), expected a writable "
                "folder with room",
                stacklevel=2,
            )
            self.folder = None

    def __enter__(self) -> "ShardWriter[T]":
        """Start; what processes that were killed have left half-written is removed."""
        if self.folder is not None:
            with suppress(OSError):
                remove_leftovers(self.folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the rest, also after Ctrl-C."""
        self.flush()


def _write_shard(folder: Path, rows: Mapping[str, Any]) -> None:
    import pyarrow as pa

    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256("".join(sorted(rows)).encode()).hexdigest()[:32]
    columns = {"key": pa.array(list(rows), pa.string())}
    for one in fields(next(iter(rows.values()))):
        columns[one.name] = _column([getattr(row, one.name) for row in rows.values()])
    write_table(folder / f"{name}.parquet", pa.table(columns))


def _read_shard(shard: Path, wanted: set[str], kind: type[T]) -> dict[str, T]:
    import pyarrow as pa

    table = read_table(shard)
    names = [name for name in table.column_names if name != "key"]
    columns = [
        _arrays(table[name]) if pa.types.is_list(table[name].type) else table[name].to_pylist()
        for name in names
    ]
    return {
        key: kind(**dict(zip(names, entry, strict=True)))
        for key, *entry in zip(table["key"].to_pylist(), *columns, strict=True)
        if key in wanted
    }


def _arrays(column: object) -> list[np.ndarray | None]:
    return [None if value is None else np.array(value) for value in column.to_numpy()]  # ty: ignore


def _column(values: Sequence[np.ndarray | str | None]) -> object:
    import pyarrow as pa

    if any(isinstance(value, np.ndarray) for value in values):
        lists = [value.tolist() if isinstance(value, np.ndarray) else None for value in values]
        return pa.array(lists, pa.list_(pa.float64()))
    return pa.array(values, pa.string())
