"""Jobs side by side in processes of their own, which end with whoever started them."""

import os
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import active_children, get_context, parent_process
from typing import Any, TypeVar

Job = TypeVar("Job")
Answer = TypeVar("Answer")


def work_side_by_side(
    task: Callable[[Job], Answer],
    jobs: Sequence[Job],
    *,
    n_workers: int,
    start: Callable[..., None],
    given: tuple[Any, ...],
) -> Generator[tuple[Job, Answer], None, None]:
    """Yield jobs with their answers as they are finished; closing the generator drops those that are not.

    Args:
        task: What answers a job; a function of a module, so that another process can import it.
        jobs: Of any type that can be sent to a process.
        n_workers: Processes at most. They are started afresh, so the calling script must guard its main part by
            `if __name__ == "__main__":`.
        start: Called once in each process before its first job, with `given`.
        given: Arguments of `start`.
    """
    context = get_context("spawn")  # a fork after torch has started its threads may hang
    others = active_children()
    with ProcessPoolExecutor(
        min(n_workers, len(jobs)), mp_context=context, initializer=_start, initargs=(start, given)
    ) as pool:
        futures = {pool.submit(task, job): job for job in jobs}
        workers = [process for process in active_children() if process not in others]
        try:
            for future in as_completed(futures):
                yield futures.pop(future), future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in workers:  # which would finish their jobs first, and others that they have fetched
                worker.terminate()
            raise


def follow_parent() -> None:
    """End this process when the one that started it has been killed; otherwise it would compute on for nobody."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _start(start: Callable[..., None], given: tuple[Any, ...]) -> None:
    follow_parent()
    start(*given)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
