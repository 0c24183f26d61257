"""Tables with one crystal a row: CSV with a column of texts, parquet with texts or arrays."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from repdiff.crystals.arrays import Arrays
from repdiff.crystals.crystal import RESERVED_COLUMNS, Crystal
from repdiff.datasets.readers.entries import OPTIMADE, structure_of
from repdiff.datasets.readers.json_files import NoStructures
from repdiff.datasets.readers.linked import text_rows
from repdiff.datasets.readers.rows import (
    BAD_STRUCTURE,
    ID_COLUMNS,
    NOT_FINITE,
    STRUCTURE_COLUMNS,
    Row,
    clean_label,
    crystal_of,
    reason_of,
    row_of,
    typed_columns,
)
from repdiff.datasets.readers.stated import distinct_columns
from repdiff.errors import UserError
from repdiff.runs.csv_text import is_ours, read_texts, too_many_rows, unescaped
from repdiff.runs.parquet_files import plain_values, read_foreign_table
from repdiff.runs.unpacking import UnpackingError
from repdiff.settings.limits import HOPELESS, MAX_ROWS, listed

if TYPE_CHECKING:
    import pyarrow as pa

LARGEST_NUMBER = 2**31  # no atomic number; beyond it integers overflow
NAN_TEXTS = ("nan", "+nan", "-nan")
ARRAY_COLUMNS = {  # what the arrays may be called
    "atomic_numbers": ("atomic_numbers", "numbers"),
    "lattice": ("lattice", "cell"),
    "frac_coords": ("frac_coords", "frac"),
}


def read_csv(path: Path, *, split: str | None = None) -> list[Row]:
    """Read a CSV (or .csv.gz) whose column `cif`, `cif_string` or `structure` holds one structure a row.

    Args:
        path: The file.
        split: The split of all its rows, overruling a `split` column.

    Raises:
        UserError: If the file is empty, is no CSV, or has no such column; those found are listed.
    """
    try:
        found, records = read_texts(path, errors="replace")
    except UnpackingError as error:
        raise UserError(f"{path} cannot be read as CSV: {error.reason}") from error
    except csv.Error as error:
        raise UserError(f"{path} cannot be read as CSV: {error}; expected a column cif") from error
    found, doubled = distinct_columns(found)
    if not found:
        raise UserError(f"{path} is empty, expected a CSV with a column cif")
    column = _structure_column(path, found)
    if not records:
        raise UserError(f"{path} has a header but no rows, expected one crystal a row")
    place, ours = found.index(column), is_ours(found)
    first = records[:HOPELESS]
    if len(records) > HOPELESS and not any(len(record) > place and record[place].strip() for record in first):
        raise NoStructures(
            f"{path}: the column {column} is empty in the first {HOPELESS} rows, expected structures"
        )
    facts = _facts_of_texts(found, records, column, ours=ours)
    noted = _nan_notes(found, records, facts)
    forced = {"split": split} if split else {}
    rows: list[Row] = []
    for number, record in enumerate(records):
        described = {name: values[number] for name, values in facts.items()} | forced
        text = record[place] if place < len(record) else ""
        own = "" if ours and described["material_id"] == "" else None
        found_here = text_rows(path, number, text, described, id=own)
        rows += (
            [replace(one, notes=(*one.notes, *noted[number])) for one in found_here]
            if number in noted
            else found_here
        )
        records[number] = []
        if len(rows) > MAX_ROWS:
            raise too_many_rows(path)
    return [replace(one, notes=(*one.notes, *doubled)) for one in rows] if doubled else rows


def read_parquet(path: Path, *, split: str | None = None) -> list[Row]:
    """Read a parquet file: arrays (as `write_crystals` makes, or `numbers`, `lattice`, `frac`), or texts.

    Args:
        path: The file.
        split: The split of all its rows, overruling a `split` column.

    Raises:
        UserError: If the file is no parquet, has no rows, or lacks the columns; those found are listed.
    """
    import pyarrow as pa

    try:
        table = read_foreign_table(path)
    except UserError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:  # names that are no UTF-8 among them
        raise UserError(
            f"{path} cannot be read as parquet: {' '.join(str(error).split())[:150]}; is it complete?"
        ) from error
    names, doubled = distinct_columns(table.column_names)
    if doubled:
        table = table.rename_columns(names)
    try:
        rows = _rows_of(path, table, split)
    except UserError:
        raise
    except (pa.ArrowException, ValueError) as error:
        raise UserError(
            f"{path} cannot be read as parquet: {' '.join(str(error).split())[:150]}; write it with plain columns"
        ) from error
    return [replace(row, notes=(*row.notes, *doubled)) for row in rows] if doubled else rows


def _rows_of(path: Path, table: "pa.Table", split: str | None) -> list[Row]:
    if not table.num_rows:
        raise UserError(f"{path} has no rows, expected one crystal a row")
    arrays = {
        key: next((n for n in names if n in table.column_names), None) for key, names in ARRAY_COLUMNS.items()
    }
    ours = tuple(table.column_names[: len(RESERVED_COLUMNS)]) == RESERVED_COLUMNS
    facts = _facts(table, left_out=() if ours else STRUCTURE_COLUMNS)
    forced = {"split": split} if split else {}
    described = [
        {name: values[row] for name, values in facts.items()} | forced for row in range(table.num_rows)
    ]
    if all(arrays.values()):
        columns = [_lists(table[name]) for name in arrays.values() if name]
        return [
            _array_row(path, row, parts, described[row], _own_row if ours else row_of)
            for row, parts in enumerate(zip(*columns, strict=True))
        ]
    if set(table.column_names).issuperset(OPTIMADE):
        entries = table.select(OPTIMADE).to_pylist()
        return [_entry_row(path, row, entry, described[row]) for row, entry in enumerate(entries)]
    column = _structure_column(path, table.column_names)
    return [
        one
        for row, value in enumerate(table[column].to_pylist())
        for one in (
            text_rows(path, row, value, described[row])
            if isinstance(value, str)
            else [_entry_row(path, row, value, described[row])]
        )
    ]


def _nan_notes(
    found: Sequence[str], records: Sequence[Sequence[str]], facts: Mapping[str, Sequence[Any]]
) -> dict[int, tuple[str, ...]]:
    """Note, by row, what is written as NaN among numbers instead of being left empty."""
    notes: dict[int, tuple[str, ...]] = {}
    for place, name in enumerate(found):
        for number, value in enumerate(facts.get(name, ())):
            if value is None and place < len(records[number]) and records[number][place].lower() in NAN_TEXTS:
                notes[number] = (*notes.get(number, ()), f"the label {name!r} of nan {NOT_FINITE}")
    return notes


def _facts_of_texts(
    found: Sequence[str], records: Sequence[Sequence[str]], column: str, *, ours: bool
) -> dict[str, list[Any]]:
    """Take the columns beside that of the structures, ids as texts and the others by what fits all of a column."""
    texts: dict[str, list[str | None]] = {
        name: [record[place] if place < len(record) else None for record in records]
        for place, name in enumerate(found)
        if name and not name.startswith("Unnamed:") and name != column
    }
    facts: dict[str, list[Any]] = {}
    facts |= typed_columns({name: values for name, values in texts.items() if name not in ID_COLUMNS})
    facts |= {name: values for name, values in texts.items() if name in ID_COLUMNS}
    if not ours:
        return facts
    return {
        name: [unescaped(value) if isinstance(value, str) and value else value for value in values]
        for name, values in facts.items()
    }


def _structure_column(path: Path, found: Sequence[str]) -> str:
    for name in STRUCTURE_COLUMNS:
        if name in found:
            return name
    raise NoStructures(
        f"{path} has the columns {listed(found)}, expected one called "
        f"{', '.join(STRUCTURE_COLUMNS[:-1])} or {STRUCTURE_COLUMNS[-1]}"
    )


def _facts(table: "pa.Table", *, left_out: Sequence[str]) -> dict[str, list[Any]]:
    """Take the columns of scalars out of a table, categories by their values."""
    import pyarrow.types as kinds

    nested = (kinds.is_nested, kinds.is_binary, kinds.is_large_binary, kinds.is_fixed_size_binary)
    scalar = [field.name for field in table.schema if not any(check(field.type) for check in nested)]
    names = [name for name in scalar if not name.startswith("__index_level_") and name not in left_out]
    return {name: plain_values(table[name]) for name in names}


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
