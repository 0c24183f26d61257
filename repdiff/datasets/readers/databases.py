"""Is a database of ASE what it should be, plain tables and not too many rows?"""

import sqlite3
from contextlib import closing
from pathlib import Path

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
