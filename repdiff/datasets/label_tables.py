"""Labels of crystals in a table of their own, joined by the names of the crystals."""

import csv
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from repdiff.crystals.crystal import Crystal, Label
from repdiff.datasets.readers.rows import ID_COLUMNS, NUMBER, clean_label, is_scalar, typed_columns
from repdiff.errors import UserError, unknown
from repdiff.runs.csv_text import is_ours, read_texts, unescaped
from repdiff.runs.parquet_files import plain_values, read_foreign_table
from repdiff.runs.unpacking import UnpackingError
from repdiff.settings.limits import cut, listed, shown
from repdiff.settings.paths import home_expanded

log = logging.getLogger(__name__)


def read_label_table(path: str | Path, names: Sequence[str]) -> dict[str, dict[str, Label]]:
    """Read some columns of a table by the name of the crystal in each row.

    Args:
        path: CSV (also packed, .csv.gz) or parquet, with one of the columns material_id, id, entry_id, mat_id,
            immutable_id or jid; the first of these that is there names the crystals.
        names: Columns to read.

    Returns:
        The labels by name of the crystal; None where a field is empty or NaN.

    Raises:
        UserError: If the table cannot be read, lacks a column, has no rows, names a crystal twice, or has a text in a
            column of numbers, which would make all of them classes.
    """
    path = home_expanded(path)
    columns = _columns(path)
    column = next((name for name in ID_COLUMNS if name in columns), None)
    if column is None:
        raise UserError(
            f"{path} has the columns {listed(columns)}, expected one of {', '.join(ID_COLUMNS)} that "
            "names the crystals"
        )
    for name in names:
        if name not in columns or name == column:
            raise UserError(f"{path}: {unknown('column', name, [one for one in columns if one != column])}")
    ids = [str(value).strip() for value in columns[column]]
    if not ids:
        raise UserError(f"{path} has no rows, expected one crystal a row")
    name, n_times = Counter(ids).most_common(1)[0]
    if n_times > 1:
        raise UserError(f"{path} has {n_times} rows for {shown(name)}, expected one for each crystal")
    chosen = {one: columns[one] for one in names}
    for one, values in chosen.items():
        _check_numbers(one, values, ids, path)
    return {crystal: {one: chosen[one][row] for one in names} for row, crystal in enumerate(ids)}


def with_labels(
    crystals: Sequence[Crystal], table: Mapping[str, Mapping[str, Label]], *, source: str
) -> list[Crystal]:
    """Give crystals the labels of a table by their names, and say on the log how many have none there.

    What the table holds goes before labels of that name that crystals have; a crystal that is not in the table has
    none of them afterwards.

    Args:
        crystals: The crystals.
        table: Labels by name of the crystal.
        source: What the table is called in messages.

    Raises:
        UserError: If the table has none of the crystals.
    """
    known = [crystal for crystal in crystals if crystal.id in table]
    if not known:
        raise UserError(
            f"{source} has none of the {len(crystals)} crystals: it names {shown(next(iter(table), 'none'))}, they are "
            f"called {', '.join(shown(crystal.id) for crystal in crystals[:2])}"
        )
    if n_missing := len(crystals) - len(known):
        first = next(crystal.id for crystal in crystals if crystal.id not in table)
        log.warning("%d of %d crystals are not in %s, the first: %s", n_missing, len(crystals), source, first)
    if strange := [name for name in table if name not in {crystal.id for crystal in known}]:
        log.warning(
            "%d rows of %s name no crystal of the data set, the first: %s", len(strange), source, strange[0]
        )
    names = {name for labels in table.values() for name in labels}
    nothing: dict[str, Label] = dict.fromkeys(names)
    return [
        crystal.replace(labels={**crystal.labels, **nothing, **table.get(crystal.id, {})})
        for crystal in crystals
    ]


def _check_numbers(name: str, values: Sequence[Label], ids: Sequence[str], path: Path) -> None:
    """Refuse an infinite number, and a text in a column most of whose values are numbers.

    Raises:
        UserError: If there is one; the message names the first.
    """
    endless = [row for row, value in enumerate(values) if isinstance(value, float) and not isfinite(value)]
    if endless:
        row = endless[0]
        raise UserError(
            f"{path}: {name} of {cut(ids[row])} (row {row + 1}) is {values[row]}, expected a finite number: leave "
            "the field empty where a value is unknown"
        )
    texts = {row: value for row, value in enumerate(values) if isinstance(value, str) and value}
    strange = [row for row, value in texts.items() if not NUMBER.match(value)]
    n_numbers = sum(bool(NUMBER.match(value)) and isfinite(float(value)) for value in texts.values())
    if strange and n_numbers > len(strange):
        row = strange[0]
        raise UserError(
            f"{path}: {name} of {cut(ids[row])} (row {row + 1}) is {shown(texts[row])}, and {n_numbers} of "
            f"{len(texts)} values are numbers, expected numbers alone: leave the field empty where a value is unknown, "
            "or, if these are classes, write texts that are no numbers"
        )


def _columns(path: Path) -> dict[str, list[Label]]:
    """Read all columns of scalars."""
    if not path.is_file():
        raise UserError(f"{path}: no such file, expected a CSV or parquet table of labels")
    if path.suffix == ".parquet":
        return _of_parquet(path)
    if not path.name.endswith((".csv", ".csv.gz")):
        raise UserError(f"{path} is no table of labels that can be read, expected .csv, .csv.gz or .parquet")
    try:
        found, records = read_texts(path)
    except UnpackingError as error:
        raise UserError(f"{path} cannot be read as CSV: {error.reason}") from error
    except (csv.Error, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as CSV: {error}") from error
    texts: dict[str, list[Any]] = {
        name: [record[place] if place < len(record) else None for record in records]
        for place, name in enumerate(found)
        if name
    }
    typed = typed_columns({name: values for name, values in texts.items() if name not in ID_COLUMNS})
    columns = {name: typed.get(name, texts[name]) for name in texts}
    if not is_ours(found):
        return columns
    return {
        name: [unescaped(value) if isinstance(value, str) else value for value in values]
        for name, values in columns.items()
    }


def _of_parquet(path: Path) -> dict[str, list[Label]]:
    import pyarrow as pa
    import pyarrow.types as kinds

    try:
        table = read_foreign_table(path)
        columns: dict[str, list[Label]] = {}
        for field in table.schema:
            values = [] if kinds.is_nested(field.type) else plain_values(table[field.name])
            if not kinds.is_nested(field.type) and all(map(is_scalar, values)):
                columns[field.name] = [clean_label(value) for value in values]
    except UserError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:  # names that are no UTF-8 among them
        reason = " ".join(str(error).split())[:150]
        raise UserError(f"{path} cannot be read as parquet: {reason}; is it complete?") from error
    return columns
