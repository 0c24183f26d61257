"""Parquet tables by open files: the library takes no path whose bytes are no UTF-8."""

from pathlib import Path
from typing import TYPE_CHECKING

from repdiff.errors import DamagedError
from repdiff.runs.atomic_files import replacing

if TYPE_CHECKING:
    import pyarrow as pa


def read_table(path: Path) -> "pa.Table":
    """Read a table.

    Raises:
        OSError: If there is no such file.
        pyarrow.ArrowException: If it is no parquet.
    """
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        return pq.ParquetFile(file).read()  # which takes columns of one name


def read_own_table(path: Path) -> "pa.Table":
    """Read a table that repdiff wrote.

    Raises:
        DamagedError: If it is cut short or changed.
        OSError: If there is no such file, or the disk refuses.
    """
    import pyarrow as pa

    try:
        table = read_table(path)
        table.validate(full=True)
    except (pa.ArrowException, ValueError, OSError, MemoryError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise DamagedError(f"{path}: damaged or cut short, expected parquet: {why}") from error
    return table


def write_table(path: Path, table: "pa.Table", *, level: int | None = None) -> None:
    """Write a table, packed by zstd at some level, replacing the file as a whole."""
    import pyarrow.parquet as pq

    with replacing(path) as partial, partial.open("wb") as file:
        pq.write_table(table, file, compression="zstd", compression_level=level)
