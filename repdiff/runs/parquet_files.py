"""Parquet tables by open files: the library takes no path whose bytes are no UTF-8."""

from pathlib import Path
from typing import TYPE_CHECKING

from repdiff.runs.atomic_files import replacing
from repdiff.runs.checksums import check_parquet, seal_parquet

if TYPE_CHECKING:
    import pyarrow as pa


def read_table(path: Path) -> "pa.Table":
    """Read a table.

    Raises:
        OSError: If there is no such file.
        pyarrow.ArrowException: If it is no parquet.
        UserError: If it is not what was written.
    """
    import pyarrow.parquet as pq

    check_parquet(path)
    with path.open("rb") as file:
        return pq.ParquetFile(file).read()  # which takes columns of one name


def write_table(
    path: Path, table: "pa.Table", *, level: int | None = None, rows_per_group: int | None = None
) -> None:
    """Write a table, packed by zstd at some level, with its checksum, replacing the file as a whole.

    Args:
        path: The file.
        table: What it shall hold.
        level: Level of zstd; None for its default.
        rows_per_group: Rows that are packed, and can be read, at once; None for a million.
    """
    import pyarrow.parquet as pq

    with replacing(path) as partial:
        with partial.open("wb") as file:
            pq.write_table(
                table, file, compression="zstd", compression_level=level, row_group_size=rows_per_group
            )
        seal_parquet(partial)
