"""Parquet tables with one crystal a row: arrays, structures, texts, or paths of files."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from repdiff.crystals.arrays import Arrays
from repdiff.crystals.crystal import RESERVED_COLUMNS, Crystal
from repdiff.datasets.readers import blocks
from repdiff.datasets.readers.blocks import Block
from repdiff.datasets.readers.entries import OPTIMADE, structure_of
from repdiff.datasets.readers.linked import text_rows
from repdiff.datasets.readers.rows import (
    BAD_STRUCTURE,
    STRUCTURE_COLUMNS,
    Row,
    clean_label,
    crystal_of,
    reason_of,
    row_of,
)
from repdiff.datasets.readers.stated import distinct_columns
from repdiff.datasets.readers.tables import structure_column
from repdiff.errors import UserError
from repdiff.runs.parquet_files import BATCH, open_foreign, python_values, values_behind
from repdiff.settings.limits import MAX_TABLE, shown_bytes

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

LARGEST_NUMBER = 2**31  # no atomic number; beyond it integers overflow
ARRAY_COLUMNS = {  # what the arrays may be called
    "atomic_numbers": ("atomic_numbers", "numbers"),
    "lattice": ("lattice", "cell"),
    "frac_coords": ("frac_coords", "frac"),
}


def read_parquet(path: Path, *, split: str | None = None) -> list[Row]:
    """Read a parquet file: arrays (as `write_crystals` makes, or `numbers`, `lattice`, `frac`), or texts.

    Args:
        path: The file.
        split: The split of all its rows, overruling a `split` column.

    Raises:
        UserError: If the file is no parquet, has no rows, or lacks the columns; those found are listed.
    """
    return [row for block in parquet_blocks(path, split=split, largest=MAX_TABLE) for row in block()]


def parquet_blocks(path: Path, *, split: str | None = None, largest: int | None = None) -> Iterator[Block]:
    """Read a parquet file as `read_parquet` does, in blocks.

    Args:
        path: The file.
        split: The split of all its rows.
        largest: Bytes of all blocks together at most; None for any number. A block takes `MAX_TABLE` at most anyway.

    Raises:
        UserError: If `read_parquet` would refuse it; for a missing column before the first block.
    """
    first, held = 0, []
    n_bytes = n_all = 0
    with _as_parquet(path, "is it complete?"), open_foreign(path) as file:
        table = _survey(path, file)
        for batch in file.iter_batches(-(-blocks.ROWS // -(-blocks.ROWS // BATCH))):
            held.append(batch)
            n_bytes, n_all = n_bytes + batch.nbytes, n_all + batch.nbytes
            if n_bytes > MAX_TABLE or (largest is not None and n_all > largest):
                most = shown_bytes(MAX_TABLE if largest is None else largest)
                raise UserError(f"{path} takes more than {most} of memory, expected at most that: split it")
            if (n_rows := sum(map(len, held))) >= blocks.ROWS or n_bytes >= blocks.SIZE:
                yield partial(_rows_of, path, table, first, held, split)
                first, held, n_bytes = first + n_rows, [], 0
        if held:
            yield partial(_rows_of, path, table, first, held, split)


@contextmanager
def _as_parquet(path: Path, remedy: str) -> Generator[None, None, None]:
    import pyarrow as pa

    try:
        yield
    except UserError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:  # names that are no UTF-8 among them
        why = " ".join(str(error).split())[:150]
        raise UserError(f"{path} cannot be read as parquet: {why}; {remedy}") from error


@dataclass(frozen=True, kw_only=True)
class _Table:
    """What all of a table decides.

    Attributes:
        names: Names of the columns, each once.
        doubled: Notes on those that had a name of another.
        ours: Whether it is one of `write_crystals`.
        arrays: Names of the columns of atomic numbers, cells and coordinates, if it has all three.
        texts: Name of the column that holds the structures otherwise; None if they are those of OPTIMADE.
        facts: Names of the columns of scalars.
        behind: Those of them with dates that Python does not have.
    """

    names: Sequence[str]
    doubled: tuple[str, ...]
    ours: bool
    arrays: tuple[str, ...]
    texts: str | None
    facts: Sequence[str]
    behind: frozenset[str]


def _survey(path: Path, file: "pq.ParquetFile") -> _Table:
    """Look at the columns of a table.

    Raises:
        UserError: If it has no rows, or no structures.
    """
    names, doubled = distinct_columns(file.schema_arrow.names)
    if not file.metadata.num_rows:
        raise UserError(f"{path} has no rows, expected one crystal a row")
    arrays = [next((name for name in known if name in names), None) for known in ARRAY_COLUMNS.values()]
    ours = tuple(names[: len(RESERVED_COLUMNS)]) == RESERVED_COLUMNS
    schema = file.schema_arrow.empty_table().rename_columns(names).schema
    facts = _scalars(schema, left_out=() if ours else STRUCTURE_COLUMNS)
    whole = all(arrays)
    return _Table(
        names=names,
        doubled=doubled,
        ours=ours,
        arrays=tuple(name for name in arrays if name) if whole else (),
        texts=None if whole or set(names).issuperset(OPTIMADE) else structure_column(path, names),
        facts=facts,
        behind=_beyond_python(file, schema, facts),
    )


def _scalars(schema: "pa.Schema", *, left_out: Sequence[str]) -> list[str]:
    """Name the columns of scalars."""
    import pyarrow.types as kinds

    nested = (kinds.is_nested, kinds.is_binary, kinds.is_large_binary, kinds.is_fixed_size_binary)
    scalar = [field.name for field in schema if not any(check(field.type) for check in nested)]
    return [name for name in scalar if not name.startswith("__index_level_") and name not in left_out]


def _beyond_python(file: "pq.ParquetFile", schema: "pa.Schema", names: Sequence[str]) -> frozenset[str]:
    """Find columns of dates that Python does not have, all of which are then taken as the integers behind them."""
    import pyarrow as pa
    import pyarrow.types as kinds

    plain = (kinds.is_integer, kinds.is_floating, kinds.is_boolean, kinds.is_string, kinds.is_large_string)
    dates = [name for name in names if not any(check(schema.field(name).type) for check in plain)]
    found: set[str] = set()
    for batch in file.iter_batches(BATCH) if dates else ():
        table = pa.Table.from_batches([batch]).rename_columns(schema.names)
        found |= {name for name in dates if name not in found and python_values(table[name]) is None}
    return frozenset(found)


def _rows_of(
    path: Path, layout: _Table, first: int, batches: "Sequence[pa.RecordBatch]", split: str | None
) -> list[Row]:
    """Make the rows of consecutive batches, the first of which has the number `first`."""
    import pyarrow as pa

    with _as_parquet(path, "write it with plain columns"):
        table = pa.Table.from_batches(batches).rename_columns(layout.names)
        rows = list(_each_row(path, layout, first, table, split))
    if not layout.doubled:
        return rows
    return [replace(row, notes=(*row.notes, *layout.doubled)) for row in rows]


def _each_row(path: Path, layout: _Table, first: int, table: "pa.Table", split: str | None) -> Iterator[Row]:
    facts = {
        name: values_behind(table[name]) if name in layout.behind else table[name].to_pylist()
        for name in layout.facts
    }
    forced = {"split": split} if split else {}
    described = ({name: values[k] for name, values in facts.items()} | forced for k in range(len(table)))
    if layout.arrays:
        columns = [_lists(table[name]) for name in layout.arrays]
        make = _own_row if layout.ours else row_of
        for row, (parts, said) in enumerate(zip(zip(*columns, strict=True), described, strict=True), first):
            yield _array_row(path, row, parts, said, make)
        return
    values = (table.select(OPTIMADE) if layout.texts is None else table[layout.texts]).to_pylist()
    for row, (value, said) in enumerate(zip(values, described, strict=True), first):
        if isinstance(value, str):
            yield from text_rows(path, row, value, said)
        else:
            yield _entry_row(path, row, value, said)


def _entry_row(path: Path, row: int, entry: object, facts: Mapping[str, Any]) -> Row:
    try:
        found = "" if entry is None else structure_of(entry)
        if isinstance(found, Arrays):
            return row_of(path, row, crystal_of(found), facts, notes=found.notes)
        return row_of(path, row, found, facts)
    except BAD_STRUCTURE as error:
        return row_of(path, row, None, facts, reason=reason_of(error))


def _lists(column: "pa.ChunkedArray") -> list[np.ndarray | None]:
    """Turn a column of lists, nested or flat, into one flat array a row; None where there is no list."""
    values = column.to_numpy(zero_copy_only=False)
    return [
        None
        if value is None
        else np.concatenate(list(value))
        if value.dtype == object and len(value)
        else value
        for value in (item if isinstance(item, np.ndarray) else None for item in values)
    ]


def _array_row(
    path: Path,
    row: int,
    parts: Sequence[np.ndarray | None],
    facts: Mapping[str, Any],
    make: Callable[..., Row],
) -> Row:
    try:
        return make(path, row, _crystal(parts), facts)
    except BAD_STRUCTURE as error:
        return make(path, row, None, facts, reason=reason_of(error))


def _own_row(
    path: Path, row: int, content: Crystal | None, facts: Mapping[str, Any], *, reason: str | None = None
) -> Row:
    """Make a row of a file of `write_crystals`: all but its own columns are labels, whatever they are called."""
    own = {name: facts.get(name) for name in ("id", "split")}
    bare = row_of(path, row, content, own, id="" if own["id"] == "" else None, reason=reason)
    labels = {name: clean_label(value) for name, value in facts.items() if name not in RESERVED_COLUMNS}
    crystal = bare.content.replace(labels=labels) if isinstance(bare.content, Crystal) else bare.content
    return replace(bare, content=crystal, labels=labels)


def _crystal(parts: Sequence[np.ndarray | None]) -> Crystal:
    """Build a crystal from flat arrays: atomic numbers, cell, coordinates.

    Raises:
        ValueError: If one is missing, holds something that is no number, or has the wrong length.
    """
    if any(part is None for part in parts):
        raise ValueError("no structure: the atomic numbers, the cell or the coordinates are missing")
    numbers, lattice, frac = (np.array(part, dtype=np.float64) for part in parts)
    if len(lattice) != 9 or len(frac) != 3 * len(numbers):
        raise ValueError(
            f"{len(numbers)} atoms with {len(frac)} coordinates and {len(lattice)} numbers for the cell, "
            "expected 3 per atom and 9"
        )
    if not np.isfinite(numbers).all() or (numbers % 1).any() or (np.abs(numbers) > LARGEST_NUMBER).any():
        raise ValueError("unknown element: an atomic number is no integer")
    return Crystal(
        id="",
        atomic_numbers=numbers.astype(np.int64),
        lattice=lattice.reshape(3, 3),
        frac_coords=frac.reshape(-1, 3),
    )
