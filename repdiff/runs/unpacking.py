"""Packed files (.gz, .bz2, files of a zip) as streams that end in one line where they are damaged or far too large."""

import bz2
import gzip
import io
import zipfile
import zlib
from pathlib import Path

from repdiff.errors import UserError
from repdiff.settings.limits import ANY_RATIO, MAX_RATIO, MAX_UNPACKED, shown_bytes

CHUNK = 2**20
PACKED = (".gz", ".bz2")
DAMAGE = (OSError, EOFError, zlib.error, zipfile.BadZipFile, ValueError, RuntimeError, NotImplementedError)


class UnpackingError(UserError):
    """A packed file is damaged, or unpacks to more than is read; `reason` says so without its name."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.reason = reason


class Unpacked(io.RawIOBase):
    """What a packed stream holds, up to the limits of `repdiff.settings.limits`.

    Args:
        stream: Gives what is unpacked.
        name: Name of the file, for messages.
        n_packed: Its size, bytes.
    """

    def __init__(self, stream: io.BufferedIOBase, name: str, n_packed: int) -> None:
        self.stream, self.name, self.n_packed, self.n_unpacked = stream, name, n_packed, 0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # ty: ignore
        """Read into a buffer; return the number of bytes.

        Raises:
            UnpackingError: If the stream is damaged, or goes beyond a limit.
        """
        try:
            data = self.stream.read(min(len(buffer), CHUNK))
        except DAMAGE as error:
            raise UnpackingError(
                self.name, f"it cannot be unpacked: {error or type(error).__name__}"
            ) from error
        buffer[: len(data)] = data
        self.n_unpacked += len(data)
        if reason := too_large(self.n_unpacked, self.n_packed):
            raise UnpackingError(self.name, reason)
        return len(data)

    def close(self) -> None:
        """Close the stream behind it too."""
        self.stream.close()
        super().close()


def too_large(n_unpacked: int, n_packed: int) -> str:
    """Say why a packed file is not read for its size; "" if it is.

    Example:
        >>> too_large(2**20, 10)
        ''
        >>> too_large(2**30, 2**20)
        'its 1 MiB unpack to 1 GiB or more, expected at most 200 times as much: if you trust it, unpack it yourself'
    """
    if n_unpacked > ANY_RATIO and n_unpacked > MAX_RATIO * n_packed:
        return (
            f"its {shown_bytes(n_packed)} unpack to {shown_bytes(n_unpacked)} or more, expected at most {MAX_RATIO} "
            "times as much: if you trust it, unpack it yourself"
        )
    if n_unpacked > MAX_UNPACKED:
        return (
            f"it unpacks to more than {shown_bytes(MAX_UNPACKED)}, expected at most so much of one packed file: "
            "unpack it yourself"
        )
    return ""


def open_bytes(path: Path) -> io.BufferedReader:
    """Open a file for reading; what is packed (.gz, .bz2) gives what it holds.

    Reading raises `UnpackingError` where it is damaged or goes beyond a limit.

    Raises:
        OSError: If it cannot be opened.
    """
    if path.suffix.lower() not in PACKED:
        return path.open("rb")
    return io.BufferedReader(_unpacking(path, str(path), path.stat().st_size), CHUNK)


def unpacked(name: str, data: bytes) -> bytes:
    """Unpack the bytes of a file by the suffix of its name.

    Raises:
        UnpackingError: If they are damaged or go beyond a limit.
    """
    if not name.lower().endswith(PACKED):
        return data
    with _unpacking(io.BytesIO(data), name, len(data)) as stream:
        return stream.readall()


def _unpacking(file: Path | io.BytesIO, name: str, n_packed: int) -> Unpacked:
    stream = gzip.open(file) if name.lower().endswith(".gz") else bz2.open(file)  # noqa: SIM115 (closed with what wraps it)
    return Unpacked(stream, name, n_packed)
