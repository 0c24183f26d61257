"""How much memory a command may take, and what follows: how many workers there are, and what each of them may take.

The limit is the one that is given, or else that of the container or the machine. One that is given is enforced too:
this process and its workers get a limit of their data segment, so that too much is a `MemoryError` of one piece of work
and not a machine that stands still.
"""

import logging
import os
import sys
from collections.abc import Callable, Generator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any

from reconstruction.jobs import using
from reconstruction.process_pool import Engine, local_processes
from repdiff.errors import UserError
from repdiff.hardware import data_segment, private_memory, usable_memory
from repdiff.settings.memory import GIGABYTE, parse_memory

# Private memory of processes, rounded up: read from processes at work (benchmarks/worker_memory.json), and in the last
# two twice what was read of cells of up to 64 atoms and more, since the largest batches take more than that.
COMMAND = 1.0 * GIGABYTE  # of the command itself, without its data
CRYSTAL_WORKER = 0.6 * GIGABYTE  # of a worker that reads, compares or evaluates crystals
SEARCH_WORKER = 1.2 * GIGABYTE  # of one that inverts vectors: `reconstruction.plan.CPU_BYTES` and more
FORCE_FIELD_WORKER = 1.5 * GIGABYTE
RESERVED = (
    0.6 * GIGABYTE
)  # what libraries reserve and never touch, which counts against a limit of the data segment
LEAST = COMMAND
ROOM = 0.25 * GIGABYTE  # for new work beside what a process holds already
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limit:
    """What a command and its workers may take together.

    Attributes:
        n_bytes: Bytes.
        given: Whether it was asked for, and is enforced; else it was found.
        whose: What it is called in messages.
    """

    n_bytes: int
    given: bool
    whose: str


_GIVEN: list[Limit] = []  # of this process, the last one counts
_TOLD: set[tuple[int, int]] = set()


@contextmanager
def use_memory(memory: str | int | None) -> Generator[None, None, None]:
    """Keep what is done within an amount of memory, for the length of a `with` block.

    There are as many workers as there is room for, and batches for which memory is not enough are halved. What needs
    more than that even alone is set aside and named, and the rest goes on. On Linux the limit is enforced for this
    process and for each worker of this machine; see docs/how-to/memory.md. The results of a piece do not depend on it,
    apart from those of a search whose batch had to be halved.

    Args:
        memory: Such as "4GB" or "512MiB", or a number of bytes; None for that of the container or the machine, which is
            taken even without the block and is not enforced.

    Raises:
        UserError: If it cannot be understood, is less than starting takes or than this process holds already, or is
            more than there is.

    Example:
        >>> import repdiff as rd
        >>> from ase.build import bulk
        >>> with rd.use_memory("2GB"):
        ...     encoded = rd.encode([bulk("Cu"), bulk("Fe")], device="cpu", progress=False)
        >>> len(encoded)
        2
    """
    if memory is None:
        yield
        return
    n_bytes = parse_memory(memory)
    _check(memory, n_bytes)
    limit = Limit(n_bytes, True, f"`memory` {memory}")
    _GIVEN.append(limit)
    try:
        with _at_most(n_bytes), using(partial(_limited_processes, n_bytes)):
            yield
    finally:
        _GIVEN.remove(limit)


def memory_in_force() -> Limit | None:
    """Return the limit that is given, or that of the container or the machine; None if nobody knows any."""
    if _GIVEN:
        return _GIVEN[-1]
    found = usable_memory()
    return None if found is None else Limit(found.n_bytes, False, found.whose)


def local_engine() -> Engine:
    """Return what opens processes of this machine, within the limit that is given, if one is."""
    return partial(_limited_processes, _GIVEN[-1].n_bytes) if _GIVEN else local_processes


def workers_within(wanted: int, each: float, *, asked: bool = False) -> int:
    """Return how many of some workers there is memory for, at least 1, which stands for this very process.

    Args:
        wanted: Number that would be of use.
        each: Bytes that each takes.
        asked: Whether the user asks for this number: then only a limit that is given makes it smaller.
    """
    limit = memory_in_force()
    if limit is None or wanted <= 1 or (asked and not limit.given):
        return wanted
    room = int((limit.n_bytes - _own_bytes()) // each)
    n = max(1, min(wanted, room))
    if n < wanted and (wanted, n) not in _TOLD:
        _TOLD.add((wanted, n))
        log.info(
            "%s has room for %d of %d workers of about %.1f GB each", limit.whose, n, wanted, each / GIGABYTE
        )
    return n


def _own_bytes() -> int:
    """Return what this process takes or will soon."""
    return max(int(COMMAND), private_memory() or 0)


def _check(memory: str | int, n_bytes: int) -> None:
    """Refuse what starting does not fit into, what this process holds already, and what there is not."""
    if n_bytes < LEAST:
        raise UserError(
            f"`memory` is {memory}, expected at least {LEAST / GIGABYTE:g}GB: starting alone takes about that"
        )
    held = private_memory() or 0
    if n_bytes < held + ROOM:  # else a library's next allocation fails, and some end the process then
        raise UserError(
            f"`memory` is {memory}, but this process holds {held / GIGABYTE:.1f}GB already: expected at least "
            f"{ceil(10 * (held + ROOM) / GIGABYTE) / 10}GB, or a fresh process"
        )
    most = usable_memory()
    if most is not None and n_bytes > most.n_bytes:
        raise UserError(
            f"`memory` is {memory}, but {most.whose} has {most.n_bytes / GIGABYTE:.1f}GB: expected at most that"
        )


@contextmanager
def _limited_processes(
    n_bytes: int,
    n_workers: int,
    initializer: Callable[..., None] | None = None,
    initargs: tuple[Any, ...] = (),
) -> Generator[Executor, None, None]:
    """Open a pool of processes on this machine that share what is left of a limit."""
    share = max(n_bytes - _own_bytes(), LEAST / 2) / n_workers
    with local_processes(n_workers, _begin_within, (int(share), initializer, initargs)) as executor:
        yield executor


def _begin_within(n_bytes: int, initializer: Callable[..., None] | None, initargs: tuple[Any, ...]) -> None:
    """Limit this worker, and prepare it."""
    _set_soft_limit(int(n_bytes + RESERVED))
    if initializer is not None:
        initializer(*initargs)


@contextmanager
def _at_most(n_bytes: int) -> Generator[None, None, None]:
    """Limit this process for the length of a `with` block."""
    _let_arrow_reserve_nothing()
    reserved = max(RESERVED, (data_segment() or 0) - (private_memory() or 0))
    before = _set_soft_limit(int(n_bytes + reserved))
    try:
        yield
    finally:
        if before is not None:
            _set_soft_limit(before)


def _let_arrow_reserve_nothing() -> None:
    """Let arrow take its memory from the system: its own allocator reserves 1 GiB, which would count."""
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # workers begin with it
    if "pyarrow" in sys.modules:
        arrow = sys.modules["pyarrow"]
        arrow.set_memory_pool(arrow.system_memory_pool())


def _set_soft_limit(n_bytes: int) -> int | None:
    """Limit the data segment of this process, which is all memory that it alone can write to; Linux alone counts it so.

    The limit of the whole address space would not do: torch and numba map many times what they use.

    Returns:
        The limit before, or None where there is no such limit.
    """
    if sys.platform != "linux":
        return None
    import resource

    before, hard = resource.getrlimit(resource.RLIMIT_DATA)
    least = n_bytes if hard == resource.RLIM_INFINITY else min(n_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (least, hard))
    return before
