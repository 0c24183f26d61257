"""CSV tables: read as texts within limits, and written so that no spreadsheet takes a text for a formula.

A text that begins with `=`, `+`, `-`, `@`, a tab or a line break gets an apostrophe before it, as does one of
apostrophes before such a sign, and the empty one where it is meant. Numbers are written as they are. Readers of our
own tables take the apostrophe away again.
"""

import csv
import io
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from repdiff.errors import UserError
from repdiff.runs.unpacking import open_bytes
from repdiff.settings.limits import MAX_CELLS, MAX_COLUMNS, MAX_ROWS

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("material_id", "formula", "cif_string")  # our tables of crystals begin with them
LARGEST_FIELD = 2**31 - 1
RISKY = re.compile(r"'*(?:[=+\-@\t\r\n]|$)")
ESCAPED = re.compile(r"'+(?:[=+\-@\t\r\n]|$)")


def escaped(text: str) -> str:
    """Return a text as it is written to a CSV.

    Example:
        >>> escaped("=1+2"), escaped("-1"), escaped("mp-1"), escaped("'=1")
        ("'=1+2", "'-1", 'mp-1', "''=1")
    """
    return f"'{text}" if RISKY.match(text) else text


def unescaped(text: str) -> str:
    """Return the text that `escaped` was given."""
    return text[1:] if ESCAPED.match(text) else text


def escaped_frame(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return a table whose texts, those of the index included, are escaped; empty ones stay empty.

    Carriage returns become spaces: pandas does not quote them, so that they would begin another row.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"id": ["=1+2", "mp-1"], "energy": [-1.5, 2.0]})
        >>> print(escaped_frame(frame).to_csv(index=False), end="")
        id,energy
        '=1+2,-1.5
        mp-1,2.0
    """

    def written(value: object) -> object:
        return escaped(value).replace("\r", " ") if isinstance(value, str) and value else value

    changed = {
        str(name): column.map(written) for name, column in frame.items() if column.dtype.kind not in "biufcMm"
    }
    return frame.assign(**changed).set_axis(frame.index.map(written).rename(frame.index.name), axis="index")


def read_texts(path: Path, *, errors: str = "strict") -> tuple[list[str], list[list[str]]]:
    """Read the names of the columns of a CSV (.gz, .bz2) and its rows, all as texts; blank lines are left out.

    Args:
        path: The file.
        errors: What to do with bytes that are no UTF-8, as in `open`.

    Raises:
        OSError: If it cannot be opened.
        csv.Error: If it is no CSV.
        UnicodeDecodeError: If it is no UTF-8 and `errors` is "strict".
        UserError: If it has more rows or columns than are read, or is packed and damaged or far too large.
    """
    with open_texts(path, errors=errors) as (names, lines):
        rows = list(lines)
    check_cells(path, len(rows), len(names))
    return names, rows


@contextmanager
def open_texts(
    path: Path, *, errors: str = "strict"
) -> Generator[tuple[list[str], Iterator[list[str]]], None, None]:
    """Read a CSV as `read_texts` does, row by row, for the length of a `with` block.

    Args:
        path: The file.
        errors: What to do with bytes that are no UTF-8, as in `open`.

    Yields:
        The names of the columns, and the rows.

    Raises:
        OSError: If it cannot be opened.
        csv.Error: If it is no CSV.
        UnicodeDecodeError: If it is no UTF-8 and `errors` is "strict".
        UserError: If it has more rows or columns than are read, or is packed and damaged or far too large.
    """
    csv.field_size_limit(LARGEST_FIELD)
    with io.TextIOWrapper(open_bytes(path), encoding="utf-8-sig", errors=errors, newline="") as file:
        lines = csv.reader(file)
        names = next((line for line in islice(lines, MAX_ROWS) if line), [])
        if len(names) > MAX_COLUMNS:
            raise UserError(
                f"{path} has {len(names)} columns, expected at most {MAX_COLUMNS}: leave out those that are no labels"
            )
        yield names, _rows(path, lines, len(names))


def _rows(path: Path, lines: Iterator[list[str]], n_columns: int) -> Iterator[list[str]]:
    for number, line in enumerate(lines):
        if line:
            yield line[:n_columns]
        if number >= MAX_ROWS:
            raise too_many_rows(path)


def check_cells(path: Path, n_rows: int, n_columns: int) -> None:
    """Refuse a table of too many cells.

    Raises:
        UserError: If it has.
    """
    if n_rows * n_columns > MAX_CELLS:
        raise UserError(
            f"{path} has {n_rows} rows of {n_columns} columns, expected at most {MAX_CELLS} cells: leave out columns, "
            "or split it"
        )


def too_many_rows(path: Path) -> UserError:
    """Make the error for a file of too many rows."""
    return UserError(f"{path} has more than {MAX_ROWS} rows, expected at most so many: split it into parts")


def is_ours(names: Sequence[str]) -> bool:
    """Tell by its columns whether a table is one of ours, whose texts are escaped."""
    return tuple(names[: len(COLUMNS)]) == COLUMNS
