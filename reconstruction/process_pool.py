"""Worker processes of this machine, behind the interface of `concurrent.futures`.

Every worker imports this module before anything else, so it imports nothing heavy: a worker watches its parent before
it loads torch.

The executor is the one of the standard library. loky was the other candidate: it replaces workers that crash and sends
functions that have no name, neither of which is needed here (`reconstruction.jobs` opens another pool when one broke),
and it would be one dependency more; what is needed, workers that end with their parent and that Ctrl-C does not reach,
neither has.
"""

import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from multiprocessing import parent_process, resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

SILENT = "ignore::UserWarning:multiprocessing.resource_tracker"  # as an option -W of Python
SECONDS_TO_END = 1.0  # for workers that were asked to end; then they are killed


Engine = Callable[[int, Callable[..., None] | None, tuple[Any, ...]], AbstractContextManager[Executor]]
"""What opens an executor for the length of a `with` block: `local_processes`, or a function around that of a cluster.

It is given the number of workers, the function that prepares a worker before its first job (or None), and the arguments
of that. A block that is left normally has all its answers. One that is left by an exception, Ctrl-C among them, must
drop the jobs that are not finished, and not wait for those that are running.
"""


@contextmanager
def local_processes(
    n_workers: int, initializer: Callable[..., None] | None = None, initargs: tuple[Any, ...] = ()
) -> Generator[Executor, None, None]:
    """Open a pool of fresh processes on this machine, the engine that is used unless another is given.

    The processes end when the block is left, and within seconds of a parent that was killed. They never see Ctrl-C:
    it reaches the parent alone, which ends them. A process that was forked after torch has started its threads may
    hang, hence fresh ones; the calling script must guard its main part by `if __name__ == "__main__":`.

    Args:
        n_workers: Processes at most; they are started as jobs are submitted.
        initializer: Function that prepares a worker before its first job; None if there is nothing to prepare.
        initargs: Arguments of `initializer`.
    """
    _start_tracker()
    context = _WorkerContext()
    executor = ProcessPoolExecutor(
        n_workers,
        mp_context=context,
        initializer=_begin,
        initargs=(pickle.dumps((initializer, initargs)),),
    )
    try:
        yield executor
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        _end(context.workers)
        raise
    executor.shutdown()


def follow_parent() -> None:
    """End this process when the one that started it is gone; otherwise it would compute on for nobody."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _start_tracker() -> None:
    """Start the process that removes what others leave behind, without its warnings.

    After Ctrl-C it and the end of this process may remove the same semaphores: it then warns of each, behind the one
    line that an interruption is told in.
    """
    if sys.platform == "win32":
        return
    sys.warnoptions.append(SILENT)
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions.remove(SILENT)


class _Worker(SpawnProcess):
    """A process that is born with SIGINT blocked, since one that dies while it imports prints a traceback."""

    def start(self) -> None:
        """Start the process; Ctrl-C meanwhile reaches this one as soon as that is done."""
        if sys.platform == "win32":
            super().start()
            return
        _start_tracker()  # if starting a worker started it, that would lift the block
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _WorkerContext(SpawnContext):
    """Makes workers, and keeps them: the executor tells nobody which processes are its own."""

    def __init__(self) -> None:
        super().__init__()
        self.workers: list[_Worker] = []

    def Process(self, *args: Any, **kwargs: Any) -> _Worker:  # ty: ignore  # noqa: ANN401 (the standard library's)
        """Make a worker."""
        worker = _Worker(*args, **kwargs)
        self.workers.append(worker)
        return worker


def _begin(setup: bytes) -> None:
    """Prepare a worker: from here on it follows its parent, also while it unpacks the rest, which may import a lot."""
    follow_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    initializer, initargs = pickle.loads(setup)
    if initializer is not None:
        initializer(*initargs)


def _end(workers: Sequence[_Worker]) -> None:
    """End workers in the middle of their jobs, which the executor would let them finish, and the next ones too."""
    running = [worker for worker in workers if worker.pid is not None]
    for worker in running:
        worker.terminate()
    deadline = time.monotonic() + SECONDS_TO_END
    while running and (left := deadline - time.monotonic()) > 0:
        ended = wait([worker.sentinel for worker in running], timeout=left)
        running = [worker for worker in running if worker.sentinel not in ended]
    for worker in running:
        worker.kill()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
