"""Apply a task to many things over processes, in order, with a bar."""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Answer = TypeVar("Answer")
LARGEST_CHUNK = 16  # items handed over at once; more would leave processes idle at the end


def map_over_processes(
    task: Callable[[Item], Answer],
    items: Sequence[Item],
    *,
    n_workers: int,
    progress: bool,
    label: str,
    unit: str = "crystal",
) -> list[Answer]:
    """Apply a task to each item, in order; fresh processes, since forking one with torch's threads may hang.

    Args:
        task: A function of a module, so that another process can import it.
        items: What it takes, one at a time.
        n_workers: Processes; with one or none, the task runs in this one.
        progress: Show a bar on stderr.
        label: Of the bar.
        unit: Of an item.
    """
    if n_workers <= 1 or len(items) < 2:
        return [task(item) for item in tqdm(items, desc=label, unit=unit, disable=not progress)]
    chunk = max(1, min(LARGEST_CHUNK, len(items) // (4 * n_workers)))
    with ProcessPoolExecutor(n_workers, mp_context=get_context("spawn")) as pool:
        answers = pool.map(task, items, chunksize=chunk)
        return list(tqdm(answers, total=len(items), desc=label, unit=unit, disable=not progress))
