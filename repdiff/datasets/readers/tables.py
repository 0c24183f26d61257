"""CSV tables with one crystal a row, as a text or the path of a file."""

import csv
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from repdiff.datasets.readers.blocks import Block, in_blocks
from repdiff.datasets.readers.json_files import NoStructures
from repdiff.datasets.readers.linked import text_rows
from repdiff.datasets.readers.rows import ID_COLUMNS, NOT_FINITE, STRUCTURE_COLUMNS, ColumnKind, Row
from repdiff.datasets.readers.stated import distinct_columns
from repdiff.errors import UserError
from repdiff.runs.csv_text import check_cells, is_ours, open_texts, too_many_rows, unescaped
from repdiff.runs.unpacking import UnpackingError
from repdiff.settings.limits import HOPELESS, MAX_ROWS, listed

NAN_TEXTS = ("nan", "+nan", "-nan")


def read_csv(path: Path, *, split: str | None = None) -> list[Row]:
    """Read a CSV (or .csv.gz) whose column `cif`, `cif_string` or `structure` holds one structure a row.

    Args:
        path: The file.
        split: The split of all its rows, overruling a `split` column.

    Raises:
        UserError: If the file is empty, is no CSV, or has no such column; those found are listed.
    """
    rows: list[Row] = []
    for block in csv_blocks(path, split=split):
        rows += block()
        if len(rows) > MAX_ROWS:
            raise too_many_rows(path)
    return rows


def csv_blocks(path: Path, *, split: str | None = None) -> Iterator[Block]:
    """Read a CSV as `read_csv` does, in blocks; it is read twice, since all of a column decides on its type.

    Args:
        path: The file.
        split: The split of all its rows.

    Raises:
        UserError: If `read_csv` would refuse it; before the first block.
    """
    with _as_csv(path):
        table = _survey(path)
        first = 0
        with open_texts(path, errors="replace") as (_, lines):
            for records in in_blocks(lines, lambda record: sum(map(len, record))):
                yield partial(_rows_of, path, table, first, records, split)
                first += len(records)


@contextmanager
def _as_csv(path: Path) -> Generator[None, None, None]:
    try:
        yield
    except UnpackingError as error:
        raise UserError(f"{path} cannot be read as CSV: {error.reason}") from error
    except csv.Error as error:
        raise UserError(f"{path} cannot be read as CSV: {error}; expected a column cif") from error


@dataclass(frozen=True, kw_only=True)
class _Table:
    """What all of a table decides.

    Attributes:
        names: Names of the columns, each once.
        doubled: Notes on those that had a name of another.
        place: Number of the column of structures.
        kinds: Types of the columns that are labels, by their names.
    """

    names: Sequence[str]
    doubled: tuple[str, ...]
    place: int
    kinds: Mapping[str, ColumnKind]


def _survey(path: Path) -> _Table:
    """Go through all rows once.

    Raises:
        UserError: If the table is empty, has no column of structures, or is too large.
    """
    with open_texts(path, errors="replace") as (found, lines):
        names, doubled = distinct_columns(found)
        if not names:
            deque(lines, maxlen=0)  # too many lines without anything are told as such
            raise UserError(f"{path} is empty, expected a CSV with a column cif")
        column = structure_column(path, names)
        place = names.index(column)
        kinds = {name: ColumnKind() for name in names if _is_fact(name, column) and name not in ID_COLUMNS}
        added = [(number, kinds[name].add) for number, name in enumerate(names) if name in kinds]
        n_rows, hopeless = 0, True
        for record in lines:
            if hopeless and n_rows == HOPELESS:
                raise NoStructures(
                    f"{path}: the column {column} is empty in the first {HOPELESS} rows, expected structures"
                )
            n_rows += 1
            hopeless = hopeless and not (len(record) > place and record[place].strip())
            for number, add in added:
                if number < len(record):
                    add(record[number])
    check_cells(path, n_rows, len(names))
    if not n_rows:
        raise UserError(f"{path} has a header but no rows, expected one crystal a row")
    return _Table(names=names, doubled=doubled, place=place, kinds=kinds)


def _is_fact(name: str, column: str) -> bool:
    return bool(name) and not name.startswith("Unnamed:") and name != column


def _rows_of(
    path: Path, table: _Table, first: int, records: Sequence[Sequence[str]], split: str | None
) -> list[Row]:
    """Make the rows of consecutive records, the first of which has the number `first`."""
    ours = is_ours(table.names)
    forced = {"split": split} if split else {}
    rows: list[Row] = []
    for number, record in enumerate(records, first):
        described, notes = _facts(table, record, ours=ours)
        text = record[table.place] if table.place < len(record) else ""
        own = "" if ours and described["material_id"] == "" else None
        found = text_rows(path, number, text, described | forced, id=own)
        more = (*notes, *table.doubled)
        rows += [replace(one, notes=(*one.notes, *more)) for one in found] if more else found
    return rows


def _facts(table: _Table, record: Sequence[str], *, ours: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Take the columns beside that of the structures, ids as texts and last, and note NaN among numbers.

    What is written as NaN instead of being left empty is noted.
    """
    facts: dict[str, Any] = {}
    ids: dict[str, Any] = {}
    notes: list[str] = []
    for place, name in enumerate(table.names):
        if not _is_fact(name, table.names[table.place]):
            continue
        text = record[place] if place < len(record) else None
        value = text if name in ID_COLUMNS else table.kinds[name].label_of(text)
        if value is None and text is not None and text.lower() in NAN_TEXTS:
            notes.append(f"the label {name!r} of nan {NOT_FINITE}")
        if ours and isinstance(value, str) and value:
            value = unescaped(value)
        (ids if name in ID_COLUMNS else facts)[name] = value
    return facts | ids, tuple(notes)


def structure_column(path: Path, found: Sequence[str]) -> str:
    """Return the name of the column that holds the structures.

    Raises:
        NoStructures: If there is none.
    """
    for name in STRUCTURE_COLUMNS:
        if name in found:
            return name
    raise NoStructures(
        f"{path} has the columns {listed(found)}, expected one called "
        f"{', '.join(STRUCTURE_COLUMNS[:-1])} or {STRUCTURE_COLUMNS[-1]}"
    )
