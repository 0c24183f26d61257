"""One path to rows, whatever its format."""

import hashlib
from pathlib import Path

from repdiff.datasets.readers.files import (
    form_of_name,
    read_ase_db,
    read_extxyz,
    read_folder,
    read_json,
    read_zip,
)
from repdiff.datasets.readers.rows import Row, row_of
from repdiff.datasets.readers.tables import read_csv, read_parquet
from repdiff.errors import UserError
from repdiff.runs.atomic_files import sha256

READERS = {
    ".csv": read_csv,
    ".csv.gz": read_csv,
    ".parquet": read_parquet,
    ".zip": read_zip,
    ".xyz": read_extxyz,
    ".extxyz": read_extxyz,
    ".db": read_ase_db,
    ".json": read_json,
    ".json.gz": read_json,
}
TABLE_SUFFIXES = (".csv", ".csv.gz", ".parquet")
FORMATS_HELP = (
    "CSV with a column cif, folder or zip of CIF or POSCAR, extxyz, ase.db, pymatgen JSON(.gz), parquet"
)


def read_path(path: Path) -> list[Row]:
    """Read the rows of a file or folder; the format is told by the name.

    A folder with train.csv, val.csv and test.csv (or .csv.gz, .parquet; any of the three) gives their splits.

    Raises:
        UserError: If there is no such path, it cannot be opened, is empty, or is of no known format.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist, expected one of: {FORMATS_HELP}")
    try:
        if path.is_dir():
            tables = split_tables(path)
            if tables:
                return [row for split, file in tables.items() for row in _read_table(file, split)]
            return read_folder(path)
        if path.stat().st_size == 0:
            raise UserError(f"{path} is an empty file, expected one of: {FORMATS_HELP}")
        return _read_file(path)
    except OSError as error:
        raise UserError(f"{path} cannot be opened: {error.strerror}; check its permissions") from error


def split_tables(folder: Path) -> dict[str, Path]:
    """Find the tables of a folder that are named after splits, by split."""
    candidates = {
        split: [folder / f"{split}{suffix}" for suffix in TABLE_SUFFIXES]
        for split in ("train", "val", "test")
    }
    found = {split: [file for file in files if file.is_file()] for split, files in candidates.items()}
    return {split: files[0] for split, files in found.items() if files}


def input_files(path: Path) -> list[Path]:
    """List the files that `read_path` reads, sorted."""
    if path.is_file():
        return [path]
    tables = split_tables(path)
    files = [file for file in path.rglob("*") if form_of_name(file.relative_to(path).as_posix())]
    return sorted(tables.values()) if tables else sorted(file for file in files if file.is_file())


def hash_inputs(path: Path) -> dict[str, str]:
    """Compute the sha256 of what `read_path` reads: one a table, one for all files of a folder together."""
    files = input_files(path)
    if path.is_file() or split_tables(path):
        return {str(file): sha256(file) for file in files}
    lines = "".join(f"{sha256(file)}  {file.relative_to(path).as_posix()}\n" for file in files)
    return {str(path): hashlib.sha256(lines.encode()).hexdigest()}


def _read_table(path: Path, split: str) -> list[Row]:
    if path.stat().st_size == 0:
        raise UserError(f"{path} is an empty file, expected a table with one crystal a row")
    return read_parquet(path, split=split) if path.suffix == ".parquet" else read_csv(path, split=split)


def _read_file(path: Path) -> list[Row]:
    name = path.name.lower()
    suffix = next(
        (suffix for suffix in sorted(READERS, key=len, reverse=True) if name.endswith(suffix)), None
    )
    if suffix:
        return READERS[suffix](path)
    if form := form_of_name(path.name):
        text = path.read_text(encoding="utf-8", errors="replace")
        return [row_of(path, 0, text, {}, id=path.name.removesuffix(path.suffix), form=form)]
    raise UserError(f"{path} is of no known format, expected one of: {FORMATS_HELP}")
