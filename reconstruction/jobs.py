"""Jobs over workers: which engine they belong to, and what becomes of a job whose worker dies."""

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any, TypeVar

from reconstruction.process_pool import Engine, local_processes

Job = TypeVar("Job")
Answer = TypeVar("Answer")
MAX_DEATHS = 3  # workers that may end at a job before it is set aside
MAX_BREAKS = 2 * MAX_DEATHS  # of pools in a row without one answer: then the fault is not that of a job
log = logging.getLogger(__name__)


class WorkersDied(RuntimeError):
    """Jobs were set aside, because every worker that had one of them ended."""


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

    A job whose worker died is run again, elsewhere; one that `MAX_DEATHS` workers died of is set aside.

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
        WorkersDied: If jobs were set aside, and there is no `instead`.
        BrokenExecutor: If workers end whatever they are given, for example because they cannot be prepared.

    Example:
        >>> dict(run_jobs(abs, [-1, -2], n_workers=1))
        {-1: 1, -2: 2}
    """
    engine = engine or engine_in_force()
    if runs_here(engine, n_workers, len(jobs)):
        for job in jobs:
            yield job, task(job)
        return

    def open_executor(n: int) -> AbstractContextManager[Executor]:
        return engine(n, initializer, initargs)

    n_aside = 0
    answers = _answers(open_executor, task, jobs, n_workers)
    with closing(answers):
        for place, answer in _sorted(answers) if in_order else answers:
            if not isinstance(answer, WorkersDied):
                yield jobs[place], answer
            elif instead is not None:
                yield jobs[place], instead(jobs[place], str(answer))
            else:
                n_aside += 1
    if n_aside:
        raise WorkersDied(f"{n_aside} of {len(jobs)} pieces of work were set aside, as {died()}")


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
    n_breaks = 0
    while waiting:
        suspects = [place for place in waiting if deaths[place]]
        batch, n = (suspects, 1) if suspects else (waiting, min(n_workers, len(waiting)))
        left = dict.fromkeys(batch)
        try:
            with open_executor(n) as executor:
                for place, answer in _through(executor, task, jobs, batch):
                    del left[place]
                    n_breaks = 0
                    yield place, answer
        except BrokenExecutor:
            n_breaks += 1
            if n_breaks > MAX_BREAKS:
                raise
            begun = list(left)[: 1 if suspects else n + 1]  # a pool hands one more over than it has workers
            log.warning("a worker ended before its piece of work was done, which is run again")
            deaths.update(begun)
        guilty = {place for place in left if deaths[place] >= MAX_DEATHS}
        done = set(batch) - (set(left) - guilty)
        waiting = [place for place in waiting if place not in done]
        yield from ((place, WorkersDied(died())) for place in guilty)


def _through(
    executor: Executor, task: Callable[[Job], Answer], jobs: Sequence[Job], places: Iterable[int]
) -> Iterator[tuple[int, Answer | WorkersDied]]:
    futures: dict[Future[Answer], int] = {executor.submit(task, jobs[place]): place for place in places}
    for future in as_completed(futures):
        place = futures.pop(future)
        yield place, death if isinstance(death := future.exception(), WorkersDied) else future.result()


def _sorted(found: Iterable[tuple[int, Answer]]) -> Iterator[tuple[int, Answer]]:
    """Hold answers back until those of all places before are there."""
    early: dict[int, Answer] = {}
    n_yielded = 0
    for place, answer in found:
        early[place] = answer
        while n_yielded in early:
            yield n_yielded, early.pop(n_yielded)
            n_yielded += 1
