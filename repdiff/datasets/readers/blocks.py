"""Sources read in blocks, so that any number of rows fits in memory."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from repdiff.datasets.readers.rows import Row

Block = Callable[[], list[Row]]
"""Makes consecutive rows of a source when it is called; one that is passed over costs little."""
ROWS = 10_000  # of a block
SIZE = 2**28  # bytes of a block, about; one row may be larger
Item = TypeVar("Item")


def in_blocks(items: Iterable[Item], size_of: Callable[[Item], int] = lambda _: 0) -> Iterator[list[Item]]:
    """Cut items into blocks of at most `ROWS` of them and, but for the last of a block, `SIZE` bytes.

    Args:
        items: Any number.
        size_of: Bytes that an item takes, about.

    Example:
        >>> [len(block) for block in in_blocks(range(25_000))]
        [10000, 10000, 5000]
    """
    held: list[Item] = []
    n_bytes = 0
    for item in items:
        held.append(item)
        n_bytes += size_of(item)
        if len(held) >= ROWS or n_bytes >= SIZE:
            yield held
            held, n_bytes = [], 0
    if held:
        yield held
