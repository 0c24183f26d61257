"""Jobs for a force field one after another, or side by side in processes that each hold it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any, TypeVar

import torch

from repdiff.energies.base import ForceField
from repdiff.energies.registered import load_force_field
from repdiff.execution.jobs import Cluster, Engine, engine_in_force, run_jobs, runs_here

Job = TypeVar("Job")
Answer = TypeVar("Answer")


def work_through(
    jobs: Sequence[Job],
    work: Callable[[ForceField, Job], Answer],
    *,
    force_field: str,
    device: torch.device,
    n_workers: int = 1,
    engine: Engine | None = None,
    instead: Callable[[Job, str], Answer] | None = None,
) -> Iterator[tuple[Job, Answer]]:
    """Yield jobs with their answers as they are finished; closing the generator drops those that are not.

    Args:
        jobs: Jobs, of any type that can be sent to a process.
        work: What answers a job; a function of a module, the same whatever came before.
        force_field: Name of a registered one.
        device: Where to compute; more than one process only on a CPU, or on the workers of a cluster.
        n_workers: Processes, each on one core; one means this process, on as many cores as torch may use.
        engine: What opens the executor of the workers, if there are several; None takes the one in force.
        instead: Answers a job at which several workers ended, given the reason; None makes that an error.

    Raises:
        UserError: If the force field cannot be loaded.
    """
    engine = engine or engine_in_force()
    shares_gpu = device.type != "cpu" and not isinstance(engine, Cluster)
    if shares_gpu or runs_here(engine, n_workers, len(jobs)):
        model = load_force_field(force_field, device)
        for job in jobs:
            yield job, work(model, job)
        return
    load_force_field(force_field, device)  # so that what is wrong with it is said here, not in a worker
    finished = run_jobs(
        partial(_answer, work),
        jobs,
        n_workers=n_workers,
        initializer=_start_worker,
        initargs=(force_field, device.type),
        engine=engine,
        instead=instead,
    )
    with closing(finished):
        yield from finished


_MODEL: list[ForceField] = []  # the one of this worker process


def _start_worker(force_field: str, device: str) -> None:
    torch.set_num_threads(1)
    _MODEL[:] = [load_force_field(force_field, torch.device(device))]


def _answer(work: Callable[[ForceField, Any], Any], job: object) -> Any:  # noqa: ANN401 (of the caller's types)
    return work(_MODEL[0], job)
