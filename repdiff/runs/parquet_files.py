"""Parquet tables by open files: the library takes no path whose bytes are no UTF-8."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repdiff.errors import DamagedError, UserError
from repdiff.runs.atomic_files import replacing
from repdiff.runs.checksums import check_parquet, seal_parquet
from repdiff.runs.csv_text import check_cells
from repdiff.settings.limits import MAX_COLUMNS, MAX_ROWS, MAX_TABLE, shown_bytes

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

BATCH = 4096  # rows read at once of a table from anywhere
BUFFER = 2**20  # bytes read at once of a column, which may be of gigabytes


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


def read_foreign_table(path: Path) -> "pa.Table":
    """Read a table from anywhere, whose few bytes may stand for many.

    Raises:
        OSError: If there is no such file.
        pyarrow.ArrowException: If it is no parquet.
        UserError: If it has more rows, columns or bytes than are read, or is not what its checksum says.
    """
    import pyarrow as pa

    n_bytes, batches = 0, []
    with open_foreign(path) as file:
        for batch in file.iter_batches(BATCH):
            batches.append(batch)
            n_bytes += batch.nbytes
            if n_bytes > MAX_TABLE:
                raise UserError(
                    f"{path} takes more than {shown_bytes(MAX_TABLE)} of memory, expected at most that: split it"
                )
        return pa.Table.from_batches(batches, file.schema_arrow)


@contextmanager
def open_foreign(path: Path) -> "Generator[pq.ParquetFile, None, None]":
    """Open a table from anywhere, to be read in batches.

    Raises:
        OSError: If there is no such file.
        pyarrow.ArrowException: If it is no parquet.
        UserError: If it has more rows or columns than are read, or is not what its checksum says.
    """
    import pyarrow.parquet as pq

    check_parquet(path)
    with path.open("rb") as stream:
        file = pq.ParquetFile(stream, buffer_size=BUFFER)
        n_rows, n_columns = file.metadata.num_rows, file.metadata.num_columns
        if n_rows > MAX_ROWS:
            raise UserError(f"{path} has {n_rows} rows, expected at most {MAX_ROWS}: split it into parts")
        if n_columns > MAX_COLUMNS:
            raise UserError(
                f"{path} has {n_columns} columns, expected at most {MAX_COLUMNS}: leave out those that are no labels"
            )
        check_cells(path, n_rows, n_columns)
        yield file


def read_columns(path: Path, names: Sequence[str]) -> "pa.Table":
    """Read some columns of a table that repdiff wrote.

    Raises:
        OSError: If there is no such file.
        pyarrow.ArrowException: If it is no parquet.
    """
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        return pq.ParquetFile(file).read(columns=list(names))


def plain_values(column: "pa.ChunkedArray") -> list[Any]:
    """Return the values of a column; as the integers behind them where Python has no such dates."""
    values = python_values(column)
    return values_behind(column) if values is None else values


def python_values(column: "pa.ChunkedArray") -> list[Any] | None:
    """Return the values of a column; None where Python has no such dates."""
    try:
        return column.to_pylist()
    except (ValueError, ArithmeticError):
        return None


def values_behind(column: "pa.ChunkedArray") -> list[Any]:
    """Return the integers that stand for the dates of a column."""
    return [getattr(scalar, "value", None) for scalar in column]


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


def write_table(
    path: Path, table: "pa.Table", *, level: int | None = None, rows_per_group: int | None = None
) -> None:
    """Write a table, packed by zstd at some level, with its checksum, replacing the file as a whole.

    Args:
        path: File to write or replace.
        table: What it shall hold.
        level: Level of zstd; None for its default.
        rows_per_group: Rows that are packed, and can be read, at once; None for a million.
    """
    with table_writer(path, table.schema, level=level) as write:
        write(table, rows_per_group)


@contextmanager
def table_writer(
    path: Path, schema: "pa.Schema", *, level: int | None = None
) -> "Generator[Callable[..., None], None, None]":
    """Write a table piece by piece, as `write_table` does; the file appears once all of it is written.

    Args:
        path: File to write or replace.
        schema: What all pieces have.
        level: Level of zstd.

    Yields:
        A function that writes some more rows, given a table and how many of its rows to pack at once.
    """
    import pyarrow.parquet as pq

    with replacing(path) as partial:
        with (
            partial.open("wb") as file,
            pq.ParquetWriter(file, schema, compression="zstd", compression_level=level) as writer,
        ):
            yield writer.write_table
        seal_parquet(partial)
