"""Crystals of a large file, made one by one as they are asked for: a million take as much room as their numbers.

A `Crystal` takes about 1.5 kB and more with its labels, mostly of Python's own; its row in a table takes a quarter.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from jaxtyping import Float, Int

from repdiff.crystals.crystal import RESERVED_COLUMNS, Crystal, Label, check_columns
from repdiff.runs.checksums import check_parquet

if TYPE_CHECKING:
    import pyarrow as pa

LARGE = 50_000  # crystals; larger sets are worked through in batches of as many, and stay in tables
ROWS_PER_BLOCK = 16_384
ARRAYS = ("atomic_numbers", "lattice", "frac_coords")


class CrystalRows(Sequence[Crystal]):
    """Some crystals of a sequence, by their places; sent to another process it becomes a list.

    Args:
        crystals: The sequence.
        rows: Places in it.

    Example:
        >>> from repdiff.testing.example_crystals import cubic_perovskite, rock_salt
        >>> [one.id for one in CrystalRows([rock_salt("a"), cubic_perovskite("b")], [1])]
        ['b']
    """

    def __init__(self, crystals: Sequence[Crystal], rows: Sequence[int] | Int[np.ndarray, " n"]) -> None:
        self._crystals = crystals
        self._rows = np.asarray(rows, dtype=np.int64)

    def __len__(self) -> int:
        """Count them."""
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> Crystal: ...
    @overload
    def __getitem__(self, place: slice) -> "CrystalRows": ...
    def __getitem__(self, place: int | slice) -> "Crystal | CrystalRows":
        """Return one, or some as a sequence like this."""
        if isinstance(place, slice):
            return CrystalRows(self._crystals, self._rows[place])
        return self._crystals[int(self._rows[place])]

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        """Send the crystals, not the file behind them."""
        return list, (list(self),)


class StoredLabels(Mapping[str, Label]):
    """The labels of one crystal, read from the table when they are asked for.

    Args:
        columns: Columns by name.
        row: Place in them.
    """

    __slots__ = ("_columns", "_row")

    def __init__(self, columns: "Mapping[str, pa.Array]", row: int) -> None:
        self._columns = columns
        self._row = row

    def __getitem__(self, name: str) -> Label:
        """Return a label."""
        return self._columns[name][self._row].as_py()

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._columns)

    def __len__(self) -> int:
        """Count the names."""
        return len(self._columns)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        """Send what they are."""
        return dict, (dict(self),)


@dataclass(frozen=True, kw_only=True)
class _Block:
    """Consecutive crystals; those of row k have the numbers from starts[k] to starts[k + 1]."""

    ids: "pa.Array"
    splits: "pa.Array"
    starts: Int[np.ndarray, " n_plus_1"]
    numbers: Int[np.ndarray, " n_atoms"]
    coords: Float[np.ndarray, "n_atoms 3"]
    lattices: Float[np.ndarray, "n 3 3"]
    labels: "Mapping[str, pa.Array]"

    def crystal(self, row: int) -> Crystal:
        """Make one crystal."""
        atoms = slice(self.starts[row], self.starts[row + 1])
        return Crystal(
            id=self.ids[row].as_py(),
            atomic_numbers=self.numbers[atoms],
            lattice=self.lattices[row],
            frac_coords=self.coords[atoms],
            split=self.splits[row].as_py(),
            labels=StoredLabels(self.labels, row),
        )


class StoredCrystals(Sequence[Crystal]):
    """The crystals of a file of `write_crystals`, equal to those of `read_crystals`; their arrays cannot be written.

    Args:
        path: The file.

    Raises:
        OSError: If there is none.
        ValueError: If it is none of `write_crystals` or, as DamagedError, lacks a column or is not what was written.
    """

    def __init__(self, path: Path) -> None:
        self._blocks = list(_read_blocks(path))

    def __len__(self) -> int:
        """Count them."""
        return ROWS_PER_BLOCK * max(0, len(self._blocks) - 1) + (
            len(self._blocks[-1].lattices) if self._blocks else 0
        )

    @overload
    def __getitem__(self, place: int) -> Crystal: ...
    @overload
    def __getitem__(self, place: slice) -> CrystalRows: ...
    def __getitem__(self, place: int | slice) -> Crystal | CrystalRows:
        """Make one crystal, or return some as a sequence."""
        if isinstance(place, slice):
            return CrystalRows(self, range(len(self))[place])
        row = range(len(self))[place]
        return self._blocks[row // ROWS_PER_BLOCK].crystal(row % ROWS_PER_BLOCK)

    def __iter__(self) -> Iterator[Crystal]:
        """Make one after the other."""
        for block in self._blocks:
            yield from map(block.crystal, range(len(block.lattices)))


def _read_blocks(path: Path) -> Iterator[_Block]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_parquet(path)
    with path.open("rb") as file:
        source = pq.ParquetFile(file, pre_buffer=False)
        names = source.schema_arrow.names
        check_columns(path, names)
        wanted = [name for name in names if name != "formula"]
        rows: list[Any] = []
        for batch in source.iter_batches(ROWS_PER_BLOCK, columns=wanted):
            rows.append(batch)
            if (n := sum(map(len, rows))) >= ROWS_PER_BLOCK:  # batches may end with a row group
                whole = pa.Table.from_batches(rows)
                yield _block(whole.slice(0, ROWS_PER_BLOCK), path)
                rows = whole.slice(ROWS_PER_BLOCK).to_batches() if n > ROWS_PER_BLOCK else []
        if rows:
            yield _block(pa.Table.from_batches(rows), path)


def _block(table: "pa.Table", path: Path) -> _Block:
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    if any(columns[name].null_count for name in ARRAYS):
        raise ValueError(
            f"{path} lacks atoms or cells of some rows, expected a file written by write_crystals"
        )
    get = partial(_numbers, columns)
    ends = np.cumsum(columns["atomic_numbers"].value_lengths().to_numpy(zero_copy_only=False))
    return _Block(
        ids=columns["id"],
        splits=columns["split"],
        starts=np.concatenate([[0], ends]).astype(np.int64),
        numbers=get("atomic_numbers", np.int64),
        coords=get("frac_coords", np.float64).reshape(-1, 3),
        lattices=get("lattice", np.float64).reshape(-1, 3, 3),
        labels={name: column for name, column in columns.items() if name not in RESERVED_COLUMNS},
    )


def _numbers(columns: Mapping[str, Any], name: str, kind: type) -> np.ndarray:
    return columns[name].flatten().to_numpy(zero_copy_only=False).astype(kind, copy=False)
