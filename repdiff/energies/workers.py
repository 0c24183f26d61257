"""Jobs for a force field one after another, or side by side in processes that each hold it."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import active_children, get_context, parent_process
from typing import Any, TypeVar

import torch

from repdiff.energies.base import ForceField
from repdiff.energies.registered import load_force_field

Job = TypeVar("Job")
Answer = TypeVar("Answer")


def work_through(
    jobs: Sequence[Job],
    work: Callable[[ForceField, Job], Answer],
    *,
    force_field: str,
    device: torch.device,
    n_workers: int = 1,
) -> Iterator[tuple[Job, Answer]]:
    """Yield jobs with their answers as they are finished; closing the generator drops those that are not.

    Args:
        jobs: Of any type that can be sent to a process.
        work: What answers a job; a function of a module, the same whatever came before.
        force_field: Name of a registered one.
        device: Where to compute; more than one process only on a CPU.
        n_workers: Processes, each on one core; one means this process, on as many cores as torch may use.

    Raises:
        UserError: If the force field cannot be loaded.
    """
    if n_workers == 1 or len(jobs) <= 1 or device.type != "cpu":
        model = load_force_field(force_field, device)
        for job in jobs:
            yield job, work(model, job)
        return
    load_force_field(force_field, device)  # so that what is wrong with it is said here, not in a worker
    others = active_children()
    with ProcessPoolExecutor(
        min(n_workers, len(jobs)),
        mp_context=get_context("spawn"),  # a fork after torch has started its threads may hang
        initializer=_start_worker,
        initargs=(force_field,),
    ) as pool:
        futures = {pool.submit(_answer, work, job): job for job in jobs}
        workers = [process for process in active_children() if process not in others]
        try:
            for future in as_completed(futures):
                yield futures.pop(future), future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in workers:  # which would finish their jobs first, and others that they have fetched
                worker.terminate()
            raise


_MODEL: list[ForceField] = []  # the one of this worker process


def _start_worker(force_field: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers itself
    torch.set_num_threads(1)
    threading.Thread(target=_follow_parent, daemon=True).start()
    _MODEL.append(load_force_field(force_field, torch.device("cpu")))


def _follow_parent() -> None:
    """End this worker when its parent has been killed; otherwise it would compute on for nobody."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _answer(work: Callable[[ForceField, Any], Any], job: object) -> Any:  # noqa: ANN401 (of the caller's types)
    return work(_MODEL[0], job)
