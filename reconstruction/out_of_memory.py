"""When memory is not enough: how libraries say it, and work that is halved until it fits.

Every worker imports this module early, so it imports nothing heavy.
"""

import gc
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeVar

Answer = TypeVar("Answer")
SIGNS = (
    "can't allocate memory",
    "out of memory",
    "cannot allocate memory",
    "bad_alloc",
    "insufficient memory",
)
log = logging.getLogger(__name__)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Tell whether an error says that memory was not enough, of the machine, of a GPU or up to a limit.

    NumPy, pyarrow and Python raise `MemoryError`, torch an `OutOfMemoryError` on a GPU and a plain `RuntimeError` from
    its allocator on a CPU.

    Example:
        >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
        True
        >>> is_out_of_memory(RuntimeError("shapes do not match"))
        False
    """
    if isinstance(error, MemoryError):
        return True
    if not isinstance(error, RuntimeError | OSError):
        return False
    told = str(error).lower()
    return type(error).__name__ == "OutOfMemoryError" or any(sign in told for sign in SIGNS)


def let_go() -> None:
    """Hand memory that is not used back, after some was not enough."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        with suppress(RuntimeError):
            torch.cuda.empty_cache()


def in_halves(n: int, size: int, work: Callable[[slice], Answer]) -> Iterator[tuple[slice, Answer]]:
    """Yield slices of 0 to `n` with their answers, in order; in smaller ones from where memory was not enough.

    Args:
        n: Number of items.
        size: Items in a slice, at most.
        work: Answers a slice; the answer for an item should not depend on its company.

    Raises:
        MemoryError: Or what `work` raises, if memory is not enough for one item.

    Example:
        >>> def work(part):
        ...     if part.stop - part.start > 2:
        ...         raise MemoryError
        ...     return part.stop
        >>> [answer for _, answer in in_halves(5, 4, work)]
        [2, 4, 5]
    """
    start = 0
    while start < n:
        part = slice(start, min(start + size, n))
        try:
            answer = work(part)
        except Exception as error:
            if part.stop - start <= 1 or not is_out_of_memory(error):
                raise
            size = (part.stop - start) // 2
            log.warning("memory is not enough for %d together: going on with %d", part.stop - start, size)
        else:
            yield part, answer
            start = part.stop
            continue
        let_go()  # here the error no longer holds what it saw
