"""`failed.jsonl` and `rejected.jsonl`: what is missing from a result, one JSON object a line, with the reason."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from repdiff.errors import DamagedError
from repdiff.runs.atomic_files import replacing

FAILED, REJECTED = "failed.jsonl", "rejected.jsonl"


def write_records(path: Path, records: Iterable[Mapping[str, Any]], *, ascii_only: bool = True) -> None:
    """Write records, one a line, in one step; no records give an empty file.

    Args:
        path: File to write or replace.
        records: Plain JSON values by name.
        ascii_only: Write other characters as escapes, which a reader of JSON takes for the same.
    """
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(dict(record), ensure_ascii=ascii_only) + "\n")


def write_failed(folder: Path, reasons: Mapping[str, str]) -> None:
    """Write into `failed.jsonl` of a run why crystals are missing, by name."""
    write_records(folder / FAILED, ({"id": name, "reason": reason} for name, reason in reasons.items()))


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read what `write_records` wrote.

    Raises:
        DamagedError: If the file is absent or damaged.
    """
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedError(f"{path}: cannot be read ({error}), expected a JSON object a line") from error
    if not all(isinstance(record, dict) and "reason" in record for record in records):
        raise DamagedError(f"{path}: damaged, expected a JSON object with a reason on every line")
    return records


def read_failed(folder: Path) -> dict[str, str]:
    """Read why crystals of a run are missing, by name; nothing where the run has no `failed.jsonl`.

    Raises:
        DamagedError: If the file is damaged.
    """
    path = folder / FAILED
    if not path.is_file():
        return {}
    return {str(record.get("id")): record["reason"] for record in read_records(path)}
