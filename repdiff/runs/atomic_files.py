"""Files that are written whole or not at all, their hashes, and what a disk's refusal means to the user."""

import errno
import hashlib
import json
import math
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from repdiff.errors import UserError
from repdiff.settings.paths import readable

UNHASHED = {"manifest.json", "config.yaml"}  # they hold times and paths, so they differ between equal runs

DISK_TROUBLE = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the disk quota is used up: free some space",
    errno.EROFS: "the disk is read-only: choose another `workspace`",
    errno.EACCES: "permission denied: choose another path or change its permissions",
    errno.EPERM: "permission denied: choose another path or change its permissions",
    errno.ENOTDIR: "a part of this path is a file, expected a folder",
    errno.ENOENT: "no such file or folder, and it cannot be made: choose another path",
    errno.ENAMETOOLONG: "a name in this path is too long: choose a shorter one",
    errno.ELOOP: "links in this path lead in a circle: choose another path",
}


@contextmanager
def replacing(path: Path) -> Generator[Path, None, None]:
    """Yield a path beside `path` to write to; on success it takes its place in one step, else it is removed.

    The yielded path keeps the suffix, for writers that look at it.
    """
    partial = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield partial
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk; without that, a power cut may undo a renaming."""
    if sys.platform == "win32":  # has no such call
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network disks do not offer it
            raise
    finally:
        os.close(handle)


def write_json(path: Path, data: object) -> None:
    """Write JSON in one step, as `as_written` says."""
    text = json.dumps(as_written(data), indent=2, ensure_ascii=False, allow_nan=False)
    with replacing(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:  # noqa: ANN401 (JSON holds anything)
    """Read JSON.

    Raises:
        UserError: If the file is absent or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged, expected JSON: {error}") from error


def sha256(path: Path) -> str:
    """Hash a file, or a folder by the names and hashes of its files.

    Hidden files and the manifest and config of a run do not count.

    Raises:
        UserError: If there is nothing at `path`.
    """
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder")
    total = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        parts = file.relative_to(path).parts
        if file.is_file() and parts[0] not in UNHASHED and not any(part.startswith(".") for part in parts):
            total.update(os.fsencode("/".join(parts)) + f" {sha256(file)}\n".encode())
    return total.hexdigest()


def disk_trouble(error: BaseException | None) -> str | None:
    """Say in one line what the disk refused, or return None if the error is of another kind.

    Libraries that write through native code wrap the disk's error in one of their own: the cause and the text
    of such an error are looked at too.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK_TROUBLE:
            return f"{error.filename or 'writing'}: {DISK_TROUBLE[error.errno]}"
        for code in (errno.ENOSPC, errno.EROFS):
            if os.strerror(code) in str(error):
                return DISK_TROUBLE[code]
        error = error.__cause__
    return None


def as_written(data: object) -> Any:  # noqa: ANN401 (JSON holds anything)
    """Return what JSON can hold of a document: NaN and infinities become null, names that are no UTF-8 readable.

    Raises:
        TypeError: If something in it is no number, text, list or mapping.
    """
    if isinstance(data, dict):
        return {readable(str(key)): as_written(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [as_written(value) for value in data]
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if data is None or isinstance(data, int):
        return data
    if isinstance(data, str | Path):
        return readable(str(data))
    raise TypeError(f"{data!r} is a {type(data).__name__}, expected numbers, text, lists and dicts only")
