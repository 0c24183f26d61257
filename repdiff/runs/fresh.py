"""The folder of a new run, which is gone again if the run is refused before it has made anything."""

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from repdiff.errors import UserError
from repdiff.runs.atomic_files import UNHASHED


def holds_work(folder: Path) -> bool:
    """Say whether there is more in the folder of a run than what every run begins with."""
    return any(
        file.is_file() and file.relative_to(folder).as_posix() not in UNHASHED for file in folder.rglob("*")
    )


@contextmanager
def fresh_folder(path: Path) -> Generator[None, None, None]:
    """Make the folder of a new run, and put things back if the block is refused before it has made anything.

    Args:
        path: What is there is replaced: it is set aside until the block has ended.

    Raises:
        UserError: What the block raises; so with OSError.
    """
    aside = path.with_name(f".{path.name}.old")
    shutil.rmtree(aside, ignore_errors=True)  # left by a process that died
    if path.exists():
        path.rename(aside)
    try:
        path.mkdir(parents=True)
        yield
    except (UserError, OSError):
        if not holds_work(path):
            shutil.rmtree(path, ignore_errors=True)
            if aside.exists():
                aside.rename(path)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
