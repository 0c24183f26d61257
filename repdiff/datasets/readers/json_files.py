"""JSON and JSON lines: lists, mappings, tables of pandas, answers of OPTIMADE, dumps of Alexandria."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repdiff.crystals.arrays import Arrays
from repdiff.crystals.label_names import OWN
from repdiff.datasets.readers.entries import NESTED, TEXTS, facts_of, is_entry, structure_of
from repdiff.datasets.readers.rows import BAD_STRUCTURE, Row, crystal_of, reason_of, row_of
from repdiff.errors import UserError
from repdiff.runs.csv_text import too_many_rows
from repdiff.runs.json_text import load_json
from repdiff.runs.unpacking import UnpackingError, open_bytes
from repdiff.settings.limits import HOPELESS, MAX_ROWS

Entry = tuple[dict[str, Any], object]  # facts that stand outside, and the entry


class NoStructures(UserError):
    """A file was read, and holds no structures."""


def read_json(path: Path) -> list[Row]:
    """Read JSON (.gz, .bz2): structures of pymatgen, JARVIS or OPTIMADE, alone or with names and labels beside.

    Lists, mappings from name to structure, `{"entries": [...]}` of Alexandria, `{"data": [...]}` of OPTIMADE, and
    tables of pandas (orient records, split, columns, index) are known; a structure may be a CIF as text.

    Raises:
        UserError: If it is no JSON, or holds nothing of this form.
    """
    text = _text(path)
    try:
        document = load_json(text)
    except ValueError as error:
        if "Extra data" in str(error):  # one document a line
            return _lines(path, text)
        raise UserError(f"{path} cannot be read as JSON: {error}; is it complete?") from error
    inner = [document, *(document.get(key) for key in ("entries", "data") if isinstance(document, Mapping))]
    if any(isinstance(one, list) and len(one) > MAX_ROWS for one in inner):
        raise too_many_rows(path)
    entries = _entries(path, document)
    first = entries[:HOPELESS] if len(entries) > HOPELESS else []
    if first and not any(isinstance(entry, str) or is_entry(entry) for _, entry in first):
        raise NoStructures(f"{path} holds no structure in its first {HOPELESS} entries, expected structures")
    return [_row(path, row, *entry) for row, entry in enumerate(entries)]


def read_json_lines(path: Path) -> list[Row]:
    """Read JSON lines (.gz, .bz2), one structure a line; a line that is no JSON is named.

    Raises:
        UserError: If the file cannot be unpacked.
    """
    return _lines(path, _text(path))


def _text(path: Path) -> str:
    try:
        with open_bytes(path) as file:
            return file.read().decode("utf-8-sig")
    except UnpackingError as error:
        raise UserError(f"{path} cannot be read as JSON: {error.reason}") from error
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}; is it complete?") from error


def _lines(path: Path, text: str) -> list[Row]:
    rows, n_entries = [], 0
    if text.count("\n") > MAX_ROWS:
        raise too_many_rows(path)
    for number, line in enumerate(line for line in text.splitlines() if line.strip()):
        try:
            document = load_json(line)
        except ValueError as error:
            rows.append(row_of(path, number, None, {}, reason=f"cannot be read as JSON: {error}"))
            document = None
        n_entries += is_entry(document)
        if number >= HOPELESS and not n_entries:
            raise NoStructures(
                f"{path} holds no structure in its first {HOPELESS} lines, expected one a line"
            )
        if document is None:
            continue
        rows.append(_row(path, number, {}, document))
    if rows and not n_entries:
        raise NoStructures(f"{path} holds no structure in any of its {len(rows)} lines, expected one a line")
    return rows


def _entries(path: Path, document: object) -> list[Entry]:
    if isinstance(document, list):
        return [({}, entry) for entry in document]
    if not isinstance(document, Mapping):
        raise NoStructures(
            f"{path} holds a {type(document).__name__}, expected a list of structures, a mapping from "
            "name to structure, or a single one"
        )
    if is_entry(document):
        return [({}, document)]
    if isinstance(document.get("entries"), list):
        return [({}, entry) for entry in document["entries"]]
    if isinstance(document.get("data"), Mapping) and is_entry(document["data"]):
        return [({}, document["data"])]
    if isinstance(document.get("data"), list):
        names = document.get("columns")
        if not isinstance(names, list):
            return [({}, entry) for entry in document["data"]]
        index = document.get("index")
        index = index if isinstance(index, list) and index else range(len(document["data"]))
        return [
            ({"row name": name}, dict(zip(map(str, names), values, strict=False)))
            for name, values in zip(index, document["data"], strict=False)
        ]
    if columns := _columns(document):
        return columns
    if document and not any(map(is_entry, document.values())):
        raise NoStructures(
            f"{path} holds no structure, expected a list of them, or a mapping from name to structure"
        )
    return [({"row name": str(name)}, entry) for name, entry in document.items()]


def _columns(document: Mapping[str, Any]) -> list[Entry]:
    """Turn the columns of a table around, if one of them holds the structures."""
    keys = [key for key in (*TEXTS, *NESTED) if isinstance(document.get(key), Mapping)]
    if not keys or not all(isinstance(column, Mapping) for column in document.values()):
        return []
    names = list(document[keys[0]])
    return [
        ({"row name": name}, {key: column.get(name) for key, column in document.items()}) for name in names
    ]


def _row(path: Path, row: int, outside: dict[str, Any], entry: object) -> Row:
    name, facts = outside.get("row name"), {}
    given = None if name is None else str(name)
    try:
        facts = facts_of(entry)
        if facts.get("id") == "" and set(facts).issuperset(OWN):
            given = ""
        found = structure_of(entry)
        content = crystal_of(found) if isinstance(found, Arrays) else found
        notes = found.notes if isinstance(found, Arrays) else ()
        return row_of(path, row, content, facts, id=given, notes=notes)
    except BAD_STRUCTURE as error:
        return row_of(path, row, None, facts, id=given, reason=reason_of(error))
