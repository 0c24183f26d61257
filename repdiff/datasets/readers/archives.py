"""The files of a zip, read one by one within limits, none of them to or from a place outside."""

import io
import stat
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import cast

from repdiff.datasets.readers.rows import Row
from repdiff.errors import UserError
from repdiff.runs.csv_text import too_many_rows
from repdiff.runs.unpacking import Unpacked, UnpackingError, too_large
from repdiff.settings.limits import (
    ANY_RATIO,
    MAX_RATIO,
    MAX_ROWS,
    MAX_UNPACKED_ZIP,
    shown_bytes,
)

TWICE = "another file of the zip has the same name"


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open a zip.

    Raises:
        UserError: If it is none, holds too many files, or these unpack to more than is read.
    """
    try:
        archive = zipfile.ZipFile(path)
    except OSError as error:
        if error.strerror and error.filename:
            raise
        raise _no_zip(path, error) from error
    except Exception as error:  # a damaged list of files makes errors of many kinds
        raise _no_zip(path, error) from error
    entries = archive.infolist()
    if len(entries) > MAX_ROWS:
        archive.close()
        raise UserError(f"{path} holds {len(entries)} files, expected at most {MAX_ROWS}: split it")
    return archive


class Texts:
    """Count rows and characters that unpacked files have given.

    Args:
        path: Where they are from, for messages.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.n_characters = path, 0

    def add(self, rows: Sequence[Row], *, n_rows: int) -> None:
        """Add the rows of another file.

        Args:
            rows: Rows of the file.
            n_rows: Number of all rows until now.

        Raises:
            UserError: If there are more than are read.
        """
        self.n_characters += sum(len(row.content) for row in rows if isinstance(row.content, str))
        if self.n_characters > MAX_UNPACKED_ZIP:
            raise UserError(
                f"the packed files of {self.path} unpack to more than {shown_bytes(MAX_UNPACKED_ZIP)}, expected at "
                "most that: unpack them yourself and name the folder"
            )
        if n_rows > MAX_ROWS:
            raise too_many_rows(self.path)


def check_total(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    """Refuse a zip whose files together unpack to more than is read.

    Raises:
        UserError: If it does.
    """
    total, packed = sum(entry.file_size for entry in entries), path.stat().st_size
    if total > MAX_UNPACKED_ZIP:
        raise UserError(
            f"{path} unpacks to {shown_bytes(total)}, expected at most {shown_bytes(MAX_UNPACKED_ZIP)} of a zip: "
            "unpack it yourself and name the folder"
        )
    if total > ANY_RATIO and total > MAX_RATIO * packed:
        raise UserError(
            f"{path} of {shown_bytes(packed)} unpacks to {shown_bytes(total)}, expected at most {MAX_RATIO} times as "
            "much: if you trust it, unpack it yourself and name the folder"
        )


def refusal(entry: zipfile.ZipInfo) -> str:
    """Say why a file of a zip is not read; "" if it is.

    Example:
        >>> refusal(zipfile.ZipInfo("../x.cif"))
        'its name leads out of the zip: rename it'
    """
    if leads_out(entry):
        return "its name leads out of the zip: rename it"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "a link inside of a zip: put the file itself there"
    return too_large(entry.file_size, max(entry.compress_size, 1))


def leads_out(entry: zipfile.ZipInfo) -> bool:
    """Tell whether the name of a file, by the rules of any system, means a place outside of the zip."""
    ways = (PurePosixPath(entry.filename), PureWindowsPath(entry.filename))
    return any(".." in way.parts or way.is_absolute() or way.drive for way in ways)


def member_reader(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Callable[[], bytes]:
    """Return what reads one file of a zip.

    The function that is returned raises `UnpackingError` if the file is damaged, or refused.
    """

    def read() -> bytes:
        if reason := refusal(entry):
            raise UnpackingError(entry.filename, reason)
        try:
            stream = cast("io.BufferedIOBase", archive.open(entry))
        except Exception as error:  # a damaged head, a password, a way of packing that nobody knows
            reason = f"it cannot be unpacked: {error or type(error).__name__}"
            raise UnpackingError(entry.filename, reason) from error
        with Unpacked(stream, entry.filename, max(entry.compress_size, 1)) as whole:
            return whole.readall()

    return read


def _no_zip(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} cannot be read as zip: {error or type(error).__name__}; is it complete?")
