"""Jobs over workers: every verb runs its parallel work through here.

A job is a call of a function of a module with one argument. The workers belong to an engine, `local_processes` unless
another is given; one for a cluster is a function around the executor of a library, such as dask's or executorlib's.
"""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import closing
from functools import partial
from typing import Any, TypeVar

from reconstruction import process_pool
from reconstruction.process_pool import Engine, local_processes
from repdiff.errors import UserError
from repdiff.execution.progress import progress_bar

__all__ = ["Engine", "local_processes", "map_jobs", "run_jobs"]

Job = TypeVar("Job")
Answer = TypeVar("Answer")
LARGEST_CHUNK = 16  # items handed over at once; more would leave workers idle at the end


def run_jobs(
    task: Callable[[Job], Answer],
    jobs: Sequence[Job],
    *,
    n_workers: int,
    initializer: Callable[..., None] | None = None,
    initargs: tuple[Any, ...] = (),
    in_order: bool = False,
    engine: Engine = local_processes,
) -> Generator[tuple[Job, Answer], None, None]:
    """Yield jobs with their answers; `reconstruction.process_pool.run_jobs`, whose arguments these are.

    Raises:
        UserError: If a worker ended before its job.
    """
    answers = process_pool.run_jobs(
        task,
        jobs,
        n_workers=n_workers,
        initializer=initializer,
        initargs=initargs,
        in_order=in_order,
        engine=engine,
    )
    with closing(answers):
        try:
            yield from answers
        except BrokenExecutor as error:
            raise UserError(
                f"one of {n_workers} worker processes ended before its job, most likely because memory ran out: "
                "use fewer workers"
            ) from error


def map_jobs(
    task: Callable[[Job], Answer],
    items: Sequence[Job],
    *,
    n_workers: int,
    progress: bool,
    label: str,
    unit: str = "crystal",
    initializer: Callable[..., None] | None = None,
    initargs: tuple[Any, ...] = (),
    largest_chunk: int = LARGEST_CHUNK,
    engine: Engine = local_processes,
) -> list[Answer]:
    """Apply a task to each item, with a bar, and return the answers in the order of the items.

    Args:
        task: Function of a module, so that another process can import it.
        items: Arguments of `task`.
        n_workers: Workers at most; with one or none, the task runs in this process.
        progress: Show a bar on stderr.
        label: Text before the bar.
        unit: What an item is called beside the bar.
        initializer: Function that prepares a worker before its first job; None if there is nothing to prepare.
        initargs: Arguments of `initializer`.
        largest_chunk: Items handed over at once, at most; fewer where that would leave workers idle.
        engine: What opens the executor.

    Raises:
        UserError: If a worker ended before its job.
    """
    size = max(1, min(largest_chunk, len(items) // (4 * n_workers))) if n_workers > 1 else 1
    chunks = [items[start : start + size] for start in range(0, len(items), size)]
    finished = run_jobs(
        partial(_apply, task),
        chunks,
        n_workers=n_workers,
        initializer=initializer,
        initargs=initargs,
        in_order=True,
        engine=engine,
    )
    answers: list[Answer] = []
    bar = progress_bar(total=len(items), desc=label, unit=unit, disable=not progress)
    with closing(finished), bar:
        for _, found in finished:
            answers.extend(found)
            bar.update(len(found))
    return answers


def _apply(task: Callable[[Job], Answer], items: Sequence[Job]) -> list[Answer]:
    return [task(item) for item in items]
