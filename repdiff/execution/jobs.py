"""Jobs over workers: every verb runs its parallel work through here.

A job is a call of a function of a module with one argument. The workers belong to the engine in force: processes of
this machine, or those of a cluster, see `repdiff.execution.executors`. Another engine is a function around the executor
of a library, in a module of its own, as `repdiff.execution.dask_cluster` is.
"""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import closing
from functools import partial
from typing import Any, TypeVar

import reconstruction.jobs
from reconstruction.jobs import (
    Cluster,
    TooLarge,
    WorkersDied,
    died,
    engine_in_force,
    runs_here,
    too_large,
    using,
)
from reconstruction.process_pool import Engine, local_processes
from repdiff.errors import UserError
from repdiff.execution.memory import CRYSTAL_WORKER, workers_within
from repdiff.execution.progress import progress_bar

__all__ = [
    "Cluster",
    "Engine",
    "TooLarge",
    "WorkersDied",
    "died",
    "engine_in_force",
    "local_processes",
    "map_jobs",
    "run_jobs",
    "runs_here",
    "too_large",
    "using",
    "workers_to_use",
]

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
    engine: Engine | None = None,
    instead: Callable[[Job, str], Answer] | None = None,
) -> Generator[tuple[Job, Answer], None, None]:
    """Yield jobs with their answers; `reconstruction.jobs.run_jobs`, whose arguments these are.

    Raises:
        UserError: If workers ended at some jobs again and again, and there is no `instead`.
    """
    answers = reconstruction.jobs.run_jobs(
        task,
        jobs,
        n_workers=n_workers,
        initializer=initializer,
        initargs=initargs,
        in_order=in_order,
        engine=engine,
        instead=instead,
    )
    with closing(answers):
        try:
            yield from answers
        except WorkersDied as error:
            way_out = "give more `memory`" if isinstance(error, TooLarge) else "use fewer workers"
            raise UserError(f"{error}: {way_out}, or workers with more memory") from error
        except BrokenExecutor as error:
            raise UserError(
                f"{n_workers} worker processes ended again and again before their jobs, most likely because memory ran "
                "out: use fewer workers"
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
    engine: Engine | None = None,
    instead: Callable[[Job, str], Answer] | None = None,
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
        engine: What opens the executor; None takes the one in force.
        instead: Answers an item that was handed over with one at which several workers ended, given the reason; None
            makes that an error.

    Raises:
        UserError: If workers ended at some items again and again, and there is no `instead`.
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
        instead=None if instead is None else partial(_apply_instead, task, instead),
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


def _apply_instead(
    task: Callable[[Job], Answer], instead: Callable[[Job, str], Answer], items: Sequence[Job], reason: str
) -> list[Answer]:
    """Answer items that were handed over together; if memory was not enough, find out for which, one by one."""
    if reason != too_large() or len(items) == 1:
        return [instead(item, reason) for item in items]
    one_by_one = reconstruction.jobs.run_jobs(task, items, n_workers=1, instead=instead)
    return [answer for _, answer in one_by_one]


def workers_to_use(given: int | None, here: int, *, each: float = CRYSTAL_WORKER) -> int:
    """Return how many workers to use: those of a cluster, if one is in force; else as many as memory has room for.

    Args:
        given: Number that the caller asks for, of processes on this machine; None leaves it open.
        here: Number on this machine, if it is left open.
        each: Bytes that a worker takes.

    Returns:
        The number; for a cluster at least 2, since 1 stands for this very process.
    """
    wanted = reconstruction.jobs.workers_to_use(given, here)
    if isinstance(engine_in_force(), Cluster):
        return wanted
    return workers_within(wanted, each, asked=given is not None)
