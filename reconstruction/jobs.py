"""Jobs over workers: which engine they belong to, and what becomes of a job whose worker dies."""

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any, TypeVar

from reconstruction.out_of_memory import is_out_of_memory, let_go
from reconstruction.process_pool import Engine, local_processes

Job = TypeVar("Job")
Answer = TypeVar("Answer")
MAX_DEATHS = 3  # workers that may end at a job before it is set aside
MAX_BREAKS = 2 * MAX_DEATHS  # of pools in a row without one answer: then the fault is not that of a job
log = logging.getLogger(__name__)


class WorkersDied(RuntimeError):
    """Jobs were set aside, because every worker that had one of them ended."""


class TooLarge(WorkersDied):
    """Jobs were set aside, because each needs more memory than there is, even alone."""


class Cluster(ABC):
    """An engine whose workers are on other machines, as many as it has: no caller's number of workers counts.

    What it opens answers a job whose workers died `MAX_DEATHS` times with `WorkersDied`.
    """

    @property
    @abstractmethod
    def n_workers(self) -> int:
        """Number of workers that it has or will have."""

    @abstractmethod
    def __call__(
        self, n_workers: int, initializer: Callable[..., None] | None = None, initargs: tuple[Any, ...] = ()
    ) -> AbstractContextManager[Executor]:
        """Open an executor for the length of a `with` block, as every `Engine` does."""


_IN_FORCE: list[Engine] = []  # of this process, the last one counts


@contextmanager
def using(engine: Engine) -> Generator[None, None, None]:
    """Let the jobs of this process go to the workers of an engine, for the length of a `with` block."""
    _IN_FORCE.append(engine)
    try:
        yield
    finally:
        _IN_FORCE.remove(engine)


def engine_in_force() -> Engine:
    """Return the engine of the innermost `using`, or that of local processes."""
    return _IN_FORCE[-1] if _IN_FORCE else local_processes


def workers_to_use(given: int | None, here: int) -> int:
    """Return how many workers to use: those of a cluster, if one is in force; else those given, or those here.

    Args:
        given: Number that the caller asks for, of processes on this machine; None leaves it open.
        here: Number on this machine, if it is left open.

    Returns:
        The number; for a cluster at least 2, since 1 stands for this very process.
    """
    engine = engine_in_force()
    return max(2, engine.n_workers) if isinstance(engine, Cluster) else given or here


def runs_here(engine: Engine, n_workers: int, n_jobs: int) -> bool:
    """Tell whether jobs are done in this very process: with one worker, or of a lone job that no cluster waits for."""
    return n_workers <= 1 or (n_jobs <= 1 and not isinstance(engine, Cluster))


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
    """Yield jobs with their answers as they are finished, or in order; closing the generator cancels the rest.

    With one worker, the task runs in this process, which is left as it is: without `initializer`. So does a lone job,
    unless the engine is a cluster.

    A job whose worker died is run again, elsewhere; one that `MAX_DEATHS` workers died of is set aside. A job for which
    memory was not enough is run again when no other runs, and set aside if it is not enough then.

    Args:
        task: Function of a module, or a `functools.partial` of one, so that another process can import it.
        jobs: Arguments of `task`, of any type that can be sent to a process.
        n_workers: Workers at most.
        initializer: Function that prepares a worker before its first job; None if there is nothing to prepare.
        initargs: Arguments of `initializer`.
        in_order: Yield in the order of `jobs` rather than as they are finished.
        engine: What opens the executor; None takes the one in force, see `using`.
        instead: Answers a job that was set aside, given the reason; None raises once all others are answered.

    Raises:
        WorkersDied: If jobs were set aside, and there is no `instead`; `TooLarge` if memory was not enough.
        BrokenExecutor: If workers end whatever they are given, for example because they cannot be prepared.

    Example:
        >>> dict(run_jobs(abs, [-1, -2], n_workers=1))
        {-1: 1, -2: 2}
    """
    engine = engine or engine_in_force()
    if runs_here(engine, n_workers, len(jobs)):
        yield from _here(task, jobs, instead)
        return

    def open_executor(n: int) -> AbstractContextManager[Executor]:
        return engine(n, initializer, initargs)

    aside: list[WorkersDied] = []
    answers = _answers(open_executor, task, jobs, n_workers)
    with closing(answers):
        for place, answer in _sorted(answers) if in_order else answers:
            if not isinstance(answer, WorkersDied):
                yield jobs[place], answer
            elif instead is not None:
                yield jobs[place], instead(jobs[place], str(answer))
            else:
                aside.append(answer)
    _complain(aside, len(jobs))


def _here(
    task: Callable[[Job], Answer], jobs: Sequence[Job], instead: Callable[[Job, str], Answer] | None
) -> Iterator[tuple[Job, Answer]]:
    """Do jobs in this process."""
    aside: list[WorkersDied] = []
    for job in jobs:
        try:
            answer = task(job)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if instead is None:
                aside.append(TooLarge(too_large()))
        else:
            yield job, answer
            continue
        let_go()
        if instead is not None:
            yield job, instead(job, too_large())
    _complain(aside, len(jobs))


def _complain(aside: Sequence[WorkersDied], n_jobs: int) -> None:
    """Raise what says why jobs were set aside, if there are any."""
    if aside:
        first = aside[0]
        raise type(first)(f"{len(aside)} of {n_jobs} pieces of work were set aside, as {first}")


def too_large() -> str:
    """Return the reason of a job that was set aside since memory was not enough."""
    return "a piece of work needs more memory than there is, also while no other ran"


def died() -> str:
    """Return the reason of a job that was set aside."""
    return f"{MAX_DEATHS} workers ended one after the other at the same piece, most likely because memory ran out"


def _answers(
    open_executor: Callable[[int], AbstractContextManager[Executor]],
    task: Callable[[Job], Answer],
    jobs: Sequence[Job],
    n_workers: int,
) -> Generator[tuple[int, Answer | WorkersDied], None, None]:
    """Answer jobs by their places; those that a broken pool had begun run alone, so that one is found guilty."""
    waiting = list(range(len(jobs)))
    deaths: Counter[int] = Counter()
    crowded: set[int] = set()  # memory was not enough for them beside others
    n_breaks = 0
    while waiting:
        alone = [place for place in waiting if deaths[place]]
        alone = alone or (waiting if crowded.issuperset(waiting) else [])
        batch = alone or [place for place in waiting if place not in crowded]
        n = 1 if alone else min(n_workers, len(batch))
        left = dict.fromkeys(batch)
        try:
            with open_executor(n) as executor:
                for place, answer in _through(executor, task, jobs, batch):
                    n_breaks = 0
                    if isinstance(answer, TooLarge) and not alone:
                        crowded.add(place)
                        continue
                    del left[place]
                    yield place, answer
        except BrokenExecutor:
            n_breaks += 1
            if n_breaks > MAX_BREAKS:
                raise
            begun = [place for place in left if alone or place not in crowded]
            log.warning("a worker ended before its piece of work was done, which is run again")
            deaths.update(begun[: 1 if alone else n + 1])  # a pool hands one more over than it has workers
        guilty = {place for place in left if deaths[place] >= MAX_DEATHS}
        done = set(batch) - (set(left) - guilty)
        waiting = [place for place in waiting if place not in done]
        yield from ((place, WorkersDied(died())) for place in guilty)


def _through(
    executor: Executor, task: Callable[[Job], Answer], jobs: Sequence[Job], places: Iterable[int]
) -> Iterator[tuple[int, Answer | WorkersDied]]:
    futures: dict[Future[Answer], int] = {executor.submit(task, jobs[place]): place for place in places}
    for future in as_completed(futures):
        place, error = futures.pop(future), future.exception()
        if isinstance(error, WorkersDied):
            yield place, error
        elif is_out_of_memory(error):
            yield place, TooLarge(too_large())
        else:
            yield place, future.result()


def _sorted(found: Iterable[tuple[int, Answer]]) -> Iterator[tuple[int, Answer]]:
    """Hold answers back until those of all places before are there."""
    early: dict[int, Answer] = {}
    n_yielded = 0
    for place, answer in found:
        early[place] = answer
        while n_yielded in early:
            yield n_yielded, early.pop(n_yielded)
            n_yielded += 1
