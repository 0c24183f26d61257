"""Parquet tables by open files: the library takes no path whose bytes are no UTF-8."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from repdiff.errors import DamagedError
from repdiff.runs.atomic_files import replacing
from repdiff.runs.checksums import check_parquet, seal_parquet

if TYPE_CHECKING:
    import pyarrow as pa


def read_table(path: Path) -> "pa.Table":
    """Read a table.

    Raises:
        OSError: If there is no such file.
        pyarrow.ArrowException: If it is no parquet.
        DamagedError: If it is not what its checksum says.
    """
    import pyarrow.parquet as pq

    check_parquet(path)
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
    except DamagedError:
        raise
    except (pa.ArrowException, ValueError, OSError, MemoryError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise DamagedError(f"{path}: damaged or cut short, expected parquet: {why}") from error
    return table


def count_rows(path: Path) -> int:
    """Count the rows of a table without reading them.

    Raises:
        OSError: If there is no such file.
        pyarrow.ArrowException: If it is no parquet.
    """
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        return pq.ParquetFile(file).metadata.num_rows


def write_table(path: Path, table: "pa.Table", *, level: int | None = None) -> None:
    """Write a table, packed by zstd at some level, with its checksum, replacing the file as a whole."""
    with table_writer(path, table.schema, level=level) as write:
        write(table)


@contextmanager
def table_writer(
    path: Path, schema: "pa.Schema", *, level: int | None = None
) -> "Generator[Callable[[pa.Table], None], None, None]":
    """Write a table piece by piece, as `write_table` does; the file appears once all of it is written.

    Args:
        path: File to write or replace.
        schema: What all pieces have.
        level: Level of zstd.

    Yields:
        A function that writes some more rows.
    """
    import pyarrow.parquet as pq

    with replacing(path) as partial:
        with (
            partial.open("wb") as file,
            pq.ParquetWriter(file, schema, compression="zstd", compression_level=level) as writer,
        ):
            yield writer.write_table
        seal_parquet(partial)
