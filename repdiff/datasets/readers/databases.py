"""Databases: is one of ASE what it should be, plain tables and not too many rows? Those of LMDB are refused."""

import sqlite3
from contextlib import closing
from pathlib import Path

from repdiff.datasets.readers.rows import Row
from repdiff.errors import UserError
from repdiff.runs.csv_text import too_many_rows
from repdiff.settings.limits import MAX_ROWS


def checked_ids(path: Path) -> list[int]:
    """Return the numbers of the entries; refuse a database that computes what it says or is too long.

    Raises:
        ValueError: If it has views or triggers.
        UserError: If it has too many rows.
        sqlite3.Error: If it is no database.
    """
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA query_only = ON")
        (n_strange,) = database.execute(
            "SELECT count(*) FROM sqlite_master WHERE type IN ('view', 'trigger') OR sql LIKE 'CREATE VIRTUAL%'"
        ).fetchone()
        if n_strange:
            raise ValueError(f"{n_strange} views, triggers or virtual tables, expected plain tables")
        (n_rows,) = database.execute("SELECT count(*) FROM systems").fetchone()
        if n_rows > MAX_ROWS:
            raise too_many_rows(path)
        return [number for (number,) in database.execute("SELECT id FROM systems ORDER BY id")]


def refuse_lmdb(path: Path) -> list[Row]:
    """Refuse a file of LMDB, whose entries are mostly pickles: to read one is to run what it says.

    Raises:
        UserError: Always; the message names the way out.
    """
    raise UserError(
        f"{path} is an LMDB, whose entries are pickles or of many forms and are not read: with the program that wrote "
        "it, write them as an ASE database (.db), extended XYZ or parquet"
    )
