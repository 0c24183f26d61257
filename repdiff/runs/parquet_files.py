"""Parquet tables by open files: the library takes no path whose bytes are no UTF-8."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from repdiff.errors import UserError
from repdiff.runs.atomic_files import replacing
from repdiff.runs.csv_text import check_cells
from repdiff.settings.limits import MAX_COLUMNS, MAX_ROWS, MAX_TABLE, shown_bytes

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 4096  # rows read at once of a table from anywhere


def read_table(path: Path) -> "pa.Table":
    """Read a table.

    Raises:
        OSError: If there is no such file.
        pyarrow.ArrowException: If it is no parquet.
    """
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        return pq.ParquetFile(file).read()  # which takes columns of one name


def read_foreign_table(path: Path) -> "pa.Table":
    """Read a table from anywhere, whose few bytes may stand for many.

    Raises:
        OSError: If there is no such file.
        pyarrow.ArrowException: If it is no parquet.
        UserError: If it has more rows, columns or bytes than are read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with path.open("rb") as stream:
        file = pq.ParquetFile(stream)
        n_rows, n_columns = file.metadata.num_rows, file.metadata.num_columns
        if n_rows > MAX_ROWS:
            raise UserError(f"{path} has {n_rows} rows, expected at most {MAX_ROWS}: split it into parts")
        if n_columns > MAX_COLUMNS:
            raise UserError(
                f"{path} has {n_columns} columns, expected at most {MAX_COLUMNS}: leave out those that are no labels"
            )
        check_cells(path, n_rows, n_columns)
        n_bytes, batches = 0, []
        for batch in file.iter_batches(BATCH):
            batches.append(batch)
            n_bytes += batch.nbytes
            if n_bytes > MAX_TABLE:
                raise UserError(
                    f"{path} takes more than {shown_bytes(MAX_TABLE)} of memory, expected at most that: split it"
                )
        return pa.Table.from_batches(batches, file.schema_arrow)


def plain_values(column: "pa.ChunkedArray") -> list[Any]:
    """Return the values of a column; as the integers behind them where Python has no such dates."""
    try:
        return column.to_pylist()
    except (ValueError, ArithmeticError):
        return [getattr(scalar, "value", None) for scalar in column]


def write_table(path: Path, table: "pa.Table", *, level: int | None = None) -> None:
    """Write a table, packed by zstd at some level, replacing the file as a whole."""
    import pyarrow.parquet as pq

    with replacing(path) as partial, partial.open("wb") as file:
        pq.write_table(table, file, compression="zstd", compression_level=level)
