"""One file to rows, by the suffix of its name."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from repdiff.crystals.cif_names import name_in_cif
from repdiff.datasets.readers.ase_files import ase_db_blocks, extxyz_blocks, read_ase_db, read_extxyz
from repdiff.datasets.readers.blocks import Block, in_blocks
from repdiff.datasets.readers.json_files import read_json, read_json_lines
from repdiff.datasets.readers.lmdb_files import lmdb_blocks, read_lmdb
from repdiff.datasets.readers.names import form_of_name, stem_of_name
from repdiff.datasets.readers.parquet_tables import parquet_blocks, read_parquet
from repdiff.datasets.readers.rows import Row, row_of
from repdiff.datasets.readers.tables import csv_blocks, read_csv
from repdiff.errors import UserError
from repdiff.runs.unpacking import UnpackingError, unpacked

READERS: dict[str, Callable[[Path], list[Row]]] = {
    ".csv": read_csv,
    ".csv.gz": read_csv,
    ".parquet": read_parquet,
    ".xyz": read_extxyz,
    ".extxyz": read_extxyz,
    ".db": read_ase_db,
    ".lmdb": read_lmdb,
    ".aselmdb": read_lmdb,
    ".mdb": read_lmdb,
    ".json": read_json,
    ".json.gz": read_json,
    ".json.bz2": read_json,
    ".jsonl": read_json_lines,
    ".jsonl.gz": read_json_lines,
    ".jsonl.bz2": read_json_lines,
    ".ndjson": read_json_lines,
}
BLOCKS: dict[Callable[[Path], list[Row]], Callable[[Path], Iterator[Block]]] = {
    read_csv: csv_blocks,
    read_parquet: parquet_blocks,
    read_extxyz: extxyz_blocks,
    read_ase_db: ase_db_blocks,
    read_lmdb: lmdb_blocks,
}
"""By reader: what reads the same in blocks. Files of the other readers are in memory as a whole."""
TABLE_SUFFIXES = (".csv", ".csv.gz", ".parquet")
FORMATS_HELP = (
    "CSV with a column cif, folder or zip of structure files, CIF or POSCAR, extxyz, ase.db, LMDB of ASE, "
    "JSON(.gz, .bz2) or JSON lines of pymatgen, JARVIS or OPTIMADE, parquet"
)


def reader_of_name(name: str) -> Callable[[Path], list[Row]] | None:
    """Return the reader of a file of many crystals by its name; None if there is none."""
    plain = Path(name).name.lower()
    if plain.startswith(".") or plain == "lock.mdb" or "__MACOSX" in Path(name).parts:
        return None
    suffixes = sorted(READERS, key=len, reverse=True)
    return next((READERS[suffix] for suffix in suffixes if plain.endswith(suffix)), None)


def is_readable(name: str) -> bool:
    """Tell whether a file of this name is of a format that is read."""
    return form_of_name(name) is not None or reader_of_name(name) is not None


def text_row(source: Path | str, row: int, name: str, data: bytes) -> Row:
    """Make the row of a file that holds one text, packed or not."""
    id = stem_of_name(name)
    try:
        data = unpacked(name, data)
    except UnpackingError as error:
        return row_of(source, row, None, {}, id=id, reason=error.reason)
    text, form = data.decode("utf-8", errors="replace"), form_of_name(name)
    stated = name_in_cif(text) if form == "cif" else None
    return row_of(source, row, text, {}, id=id if stated is None else stated, form=form)


def read_file(path: Path) -> list[Row]:
    """Read one file.

    Raises:
        UserError: If it is of no known format, or its reader refuses it.
    """
    if reader := reader_of_name(path.name):
        return reader(path)
    if form_of_name(path.name):
        return [text_row(path, 0, path.name, path.read_bytes())]
    raise UserError(f"{path} is of no known format, expected one of: {FORMATS_HELP}")


def file_blocks(path: Path) -> Iterator[Block]:
    """Read one file in blocks.

    Raises:
        UserError: If it is of no known format, or its reader refuses it; before the first block.
    """
    reader = reader_of_name(path.name)
    if reader is not None and reader in BLOCKS:
        return BLOCKS[reader](path)
    return rows_in_blocks(read_file(path))


def rows_in_blocks(rows: list[Row]) -> Iterator[Block]:
    """Hand over rows that are in memory in blocks."""
    return (partial(list, some) for some in in_blocks(rows))
