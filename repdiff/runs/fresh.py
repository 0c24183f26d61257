"""The folder of a new run, which is gone again if the run is refused before it has made anything."""

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from repdiff.errors import UserError
from repdiff.runs.atomic_files import CONFIG, MANIFEST, RESERVE, UNHASHED
from repdiff.runs.leftovers import is_partial
from repdiff.runs.manifest import read_manifest

CONFIG_BEGINS = "# To repeat this run: repdiff "


def holds_work(folder: Path) -> bool:
    """Say whether there is more in the folder of a run than what every run begins with, and what is half-written."""
    return any(
        file.is_file()
        and file.relative_to(folder).as_posix() not in {*UNHASHED, RESERVE}
        and not any(is_partial(Path(part)) for part in file.relative_to(folder).parts)
        for file in folder.rglob("*")
    )


def holds_beginning(folder: Path) -> bool:
    """Say whether a folder holds nothing but what a process that was killed wrote before its manifest."""
    return all(
        one.name == RESERVE or is_partial(one) or (one.name == CONFIG and has_config(folder))
        for one in folder.iterdir()
    )


def holds_run(folder: Path) -> bool:
    """Say whether a folder is that of a run, by its manifest or, where that is damaged, by its config."""
    try:
        read_manifest(folder)
    except UserError:
        return (folder / MANIFEST).exists() and has_config(folder)
    return True


def has_config(folder: Path) -> bool:
    """Say whether there is a config that was written by a run."""
    try:
        with (folder / CONFIG).open("rb") as file:
            return file.read(len(CONFIG_BEGINS)) == CONFIG_BEGINS.encode()
    except OSError:
        return False


def put_back(path: Path) -> None:
    """Give a run its folder back from which a process had it set aside that was killed before it made anything.

    If that process has made something, it goes on from there, and what was to be replaced is removed.
    """
    aside = _aside(path)
    if not aside.exists():
        return
    if path.exists():
        if holds_work(path) or (holds_run(path) and read_manifest(path).status == "finished"):
            shutil.rmtree(aside, ignore_errors=True)
            return
        shutil.rmtree(path)
    aside.rename(path)


@contextmanager
def fresh_folder(path: Path) -> Generator[None, None, None]:
    """Make the folder of a new run, and put things back if the block ends before it has made anything.

    Args:
        path: What is there is replaced: it is set aside until the block has ended.

    Raises:
        UserError: What the block raises; so with OSError.
    """
    aside = _aside(path)
    shutil.rmtree(aside, ignore_errors=True)
    if path.exists():
        path.rename(aside)
    try:
        path.mkdir(parents=True)
        yield
    except BaseException as error:
        if not holds_work(path) and (aside.exists() or isinstance(error, (UserError, OSError))):
            shutil.rmtree(path, ignore_errors=True)
            if aside.exists():
                aside.rename(path)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")
