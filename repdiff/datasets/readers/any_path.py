"""One path to rows, whatever its format."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from repdiff.datasets.readers.blocks import Block
from repdiff.datasets.readers.folders import contents_of_folder, folder_blocks, read_folder, read_zip
from repdiff.datasets.readers.formats import FORMATS_HELP, file_blocks, read_file, rows_in_blocks
from repdiff.datasets.readers.rows import Row
from repdiff.errors import UserError
from repdiff.runs.atomic_files import sha256
from repdiff.settings.paths import opening, readable


def read_path(path: Path) -> list[Row]:
    """Read the rows of a file or folder; the format is told by the name.

    A folder with train.csv, val.csv and test.csv (or .csv.gz, .parquet; any of the three) gives their splits.

    Raises:
        UserError: If there is no such path, it cannot be opened, is empty, or is of no known format.
    """
    with opening(path):
        _check(path)
        if path.is_dir():
            return read_folder(path)
        return read_zip(path) if _is_zip(path) else read_file(path)


def path_blocks(path: Path) -> Iterator[Block]:
    """Read the rows that `read_path` reads, in the same order, in blocks.

    Tables, extended XYZ and databases, and folders of tables named after splits, are in memory block by block; other
    folders, zips and JSON as a whole.

    Raises:
        UserError: If `read_path` would refuse it; before the first block.
    """
    with opening(path):
        _check(path)
        if path.is_dir():
            yield from folder_blocks(path)
        elif _is_zip(path):
            yield from rows_in_blocks(read_zip(path))
        else:
            yield from file_blocks(path)


def _check(path: Path) -> None:
    if not path.exists():
        raise UserError(f"{path} does not exist, expected one of: {FORMATS_HELP}")
    if path.is_file() and path.stat().st_size == 0:
        raise UserError(f"{path} is an empty file, expected one of: {FORMATS_HELP}")


def _is_zip(path: Path) -> bool:
    return path.name.lower().endswith(".zip")


def input_files(path: Path) -> list[Path]:
    """List the files that `read_path` reads, sorted."""
    if path.is_file():
        return [path]
    return [path / name for name in sorted(contents_of_folder(path).read)]


def hash_inputs(path: Path) -> dict[str, str]:
    """Compute the sha256 of what `read_path` reads: one a table, one for all files of a folder together.

    Of a file in a folder that cannot be opened the name counts alone, as `read_path` names it among the others.
    """
    files = input_files(path)
    if path.is_file() or contents_of_folder(path).splits:
        return {readable(str(file)): sha256(file) for file in files}
    digest = hashlib.sha256()
    for file in files:
        try:
            content = sha256(file)
        except OSError:
            content = "cannot be opened"
        digest.update(f"{content}  ".encode() + os.fsencode(file.relative_to(path).as_posix()) + b"\n")
    return {readable(str(path)): digest.hexdigest()}
