"""Columns of large results in the form of a table: a number takes 8 bytes there, and 40 in a list."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, overload

from repdiff.crystals.stored_crystals import LARGE
from repdiff.metrics.base import CellValue

if TYPE_CHECKING:
    import pyarrow as pa

VALUES_AT_ONCE = 16_384


class StoredColumn(Sequence[CellValue]):
    """One value per structure.

    Args:
        array: The values.

    Example:
        >>> import pyarrow as pa
        >>> list(StoredColumn(pa.array([1.5, None])))
        [1.5, None]
    """

    def __init__(self, array: "pa.Array | pa.ChunkedArray") -> None:
        self.array = array

    def __len__(self) -> int:
        """Count them."""
        return len(self.array)

    @overload
    def __getitem__(self, place: int) -> CellValue: ...
    @overload
    def __getitem__(self, place: slice) -> list[CellValue]: ...
    def __getitem__(self, place: int | slice) -> CellValue | list[CellValue]:
        """Return one, or some."""
        found = self.array[place]
        return found.to_pylist() if isinstance(place, slice) else found.as_py()

    def __iter__(self) -> Iterator[CellValue]:
        """Return one after the other."""
        for start in range(0, len(self.array), VALUES_AT_ONCE):
            yield from self.array.slice(start, VALUES_AT_ONCE).to_pylist()


def stored(columns: Mapping[str, Sequence[CellValue]]) -> Mapping[str, Sequence[CellValue]]:
    """Put long columns into the form of a table, and leave others as they are."""
    import pyarrow as pa

    return {
        name: column
        if isinstance(column, StoredColumn) or len(column) <= LARGE
        else StoredColumn(pa.array(column))
        for name, column in columns.items()
    }
