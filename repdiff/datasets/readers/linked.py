"""Texts in a column of a table: structures, or paths of files that hold some."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repdiff.datasets.readers.rows import Row, row_of
from repdiff.errors import UserError
from repdiff.settings.paths import home_expanded

LONGEST_PATH = 1000  # longer texts hold structures


def text_rows(
    path: Path, row: int, text: str, facts: Mapping[str, Any], *, id: str | None = None
) -> list[Row]:
    """Make the rows of a text in a table: one of a structure, or those of the file that it names.

    Args:
        path: The table; paths in it are relative to its folder, and may begin with `~`.
        row: The place in the table.
        text: A structure, or the path of a file of any format but a table. One of several structures names them
            id#1, id#2, ...
        facts: What else the table says; it overrules what the file says.
        id: Name of the crystal where the facts have none.
    """
    from repdiff.datasets.readers.formats import TABLE_SUFFIXES, is_readable, read_file  # which reads tables

    name = text.strip()
    is_path = len(name) < LONGEST_PATH and "\n" not in name and is_readable(name)
    if not is_path or name.lower().endswith(TABLE_SUFFIXES):
        return [row_of(path, row, text, facts, id=id)]
    try:
        file = path.parent / home_expanded(name)
        file.open("rb").close()
        found = read_file(file)
    except (OSError, UserError) as error:
        why = f"cannot be opened: {error.strerror}" if isinstance(error, OSError) else f"is refused: {error}"
        return [row_of(path, row, None, facts, reason=f"the column holds the path {name}, which {why}")]
    return [
        row_of(
            path,
            row,
            one.content,
            {**one.labels, **facts},
            form=one.form,
            reason=one.reason,
            notes=one.notes,
            suffix=f"#{number}" if len(found) > 1 else "",
        )
        for number, one in enumerate(found, start=1)
    ]
