"""Paths as people and file systems write them: the home folder, and names that are no UTF-8."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from repdiff.errors import UserError


def home_expanded(path: str | Path) -> Path:
    """Return a path without `~` or `~user` at its beginning; as it is where a file or folder is called so.

    Raises:
        UserError: If there is no such home folder, or the text is empty.
    """
    if path == "":
        raise UserError("the path is empty, expected a file or folder: write . for the current folder")
    path = Path(path)
    try:
        return path.expanduser()
    except RuntimeError as error:
        if path.exists():
            return path
        raise UserError(
            f"{path}, but {path.parts[0]} is no home folder, expected one of a user of this machine; "
            f"for a file that is called so write ./{path}"
        ) from error


def readable(name: str) -> str:
    r"""Write a name that the file system gave so that every file can hold it: bytes that are no UTF-8 as \xhh."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


@contextmanager
def opening(path: Path) -> Generator[None, None, None]:
    """Say in one line that a path cannot be opened, if the system refuses it in the block.

    Raises:
        UserError: If it does.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be opened: {error.strerror}; check its permissions") from error
