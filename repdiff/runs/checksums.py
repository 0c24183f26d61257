"""A checksum inside a file, over all its other bytes: a flipped bit is found when the file is read.

A file that carries none is taken as it is, since other tools write such files and may rewrite ours: a parquet file that
another program wrote anew has lost the checksum, which lies before the footer where readers do not look.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, BinaryIO

from repdiff.errors import DamagedError

MARK = b"repdiff-sha256:"
N_DIGITS = 64
BLANK = MARK + b"0" * N_DIGITS
KEY = "checksum"  # in a JSON document, and in that of the header of a safetensors file
PARQUET_END = 8  # bytes: length of the footer, then "PAR1"
CHUNK = 2**20  # bytes hashed at once
HEADER = 8  # bytes in front of the header of a safetensors file, which say how long it is


def seal_parquet(path: Path) -> None:
    """Put the checksum of a parquet file between its data and its footer.

    Every offset in the footer counts from the beginning of the file, so they all stay true.
    """
    with path.open("r+b") as file:
        place = _footer(file)
        file.seek(place)
        footer = file.read()
        file.seek(place)
        file.write(BLANK + footer)
    _fill(path, place)


def check_parquet(path: Path) -> None:
    """Compare a parquet file with its checksum, if it carries one.

    Raises:
        DamagedError: If they differ.
    """
    with path.open("rb") as file:
        file.seek(0, 2)
        if file.tell() < PARQUET_END:
            return
        place = _footer(file) - len(BLANK)
    _check(path, place)


def seal_safetensors(path: Path) -> None:
    """Fill in the checksum of a safetensors file, whose header holds the text `BLANK`."""
    _fill(path, _in_header(path))


def check_safetensors(path: Path) -> None:
    """Compare a safetensors file with its checksum, if it carries one.

    Raises:
        DamagedError: If they differ.
    """
    _check(path, _in_header(path))


def checksum_of(document: object) -> str:
    """Return the checksum of a JSON document: of what it says, however it is laid out."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def without_checksum(path: Path, document: Any) -> Any:  # noqa: ANN401 (JSON holds anything)
    """Compare a JSON document with the checksum that it carries, if any, and return it without.

    Raises:
        DamagedError: If they differ.
    """
    if not isinstance(document, dict) or KEY not in document:
        return document
    rest = {name: value for name, value in document.items() if name != KEY}
    if document[KEY] != checksum_of(rest):
        raise DamagedError(
            f"{path}: changed since it was written (its checksum differs)",
            f'make it again, or remove its line "{KEY}" if the change was meant',
        )
    return rest


def _footer(file: BinaryIO) -> int:
    """Return where the footer of a parquet file begins."""
    end = file.seek(-PARQUET_END, 2)
    return end - int.from_bytes(file.read(4), "little")


def _in_header(path: Path) -> int:
    """Return where the mark is in the header of a safetensors file, or -1."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(HEADER), "little")
        if length > path.stat().st_size:
            return -1
        found = file.read(length).find(MARK)
    return found if found < 0 else HEADER + found


def _fill(path: Path, place: int) -> None:
    digest = _digest(path, place)
    with path.open("r+b") as file:
        file.seek(place + len(MARK))
        file.write(digest.encode())


def _check(path: Path, place: int) -> None:
    if place < 0:
        return
    with path.open("rb") as file:
        file.seek(place)
        found = file.read(len(BLANK))
    if found[: len(MARK)] == MARK and found[len(MARK) :] != _digest(path, place).encode():
        raise DamagedError(f"{path}: damaged since it was written (its checksum differs)")


def _digest(path: Path, place: int) -> str:
    """Hash a file, its checksum at `place` left blank."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        left = place
        while left and (part := file.read(min(left, CHUNK))):
            total.update(part)
            left -= len(part)
        total.update(BLANK)
        file.seek(place + len(BLANK))
        while part := file.read(CHUNK):
            total.update(part)
    return total.hexdigest()
