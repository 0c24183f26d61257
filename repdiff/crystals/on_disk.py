"""Crystals that lie in tables on the disk and are read table by table, so that any number of them fits in memory."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import overload

from repdiff.crystals.crystal import Crystal, read_crystals
from repdiff.runs.parquet_files import count_rows


class CrystalsOnDisk(Sequence[Crystal]):
    """The crystals of several tables of `repdiff.crystals.crystal.write_crystals`, in the order of the tables.

    Going through them holds one table in memory at a time. Tables must not change meanwhile.

    Args:
        files: The tables.

    Raises:
        OSError: If a file is missing.
        pyarrow.ArrowException: If one is no parquet.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = list(files)
        self._ends = list(accumulate(count_rows(file) for file in self.files))
        self._held: tuple[int, list[Crystal]] = (-1, [])

    def __len__(self) -> int:
        """Count the crystals."""
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[Crystal]:
        """Go through the crystals, table by table."""
        for file in self.files:
            yield from read_crystals(file)

    @overload
    def __getitem__(self, place: int) -> Crystal: ...
    @overload
    def __getitem__(self, place: slice) -> list[Crystal]: ...
    def __getitem__(self, place: int | slice) -> Crystal | list[Crystal]:
        """Return one crystal, or those of a slice as a list; the table read last is kept."""
        if isinstance(place, slice):
            return [self._at(number) for number in range(*place.indices(len(self)))]
        number = place + len(self) if place < 0 else place
        if not 0 <= number < len(self):
            raise IndexError(f"crystal {place} of {len(self)}")
        return self._at(number)

    def _at(self, number: int) -> Crystal:
        table = bisect_right(self._ends, number)
        if self._held[0] != table:
            self._held = (table, read_crystals(self.files[table]))
        return self._held[1][number - (self._ends[table - 1] if table else 0)]
