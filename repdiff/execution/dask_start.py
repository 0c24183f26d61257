"""Reach a Dask cluster: one that runs already, or one that is started for a command."""

import inspect
import logging
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import dask
import distributed

from reconstruction.jobs import MAX_DEATHS
from repdiff.errors import UserError, unknown
from repdiff.execution.dask_cluster import DaskCluster, in_background
from repdiff.settings.workers import ClusterFile

SECONDS_TO_CONNECT = 10.0
SECONDS_TO_SUBMIT = 5.0  # a first job; later refusals leave the command waiting
SECONDS_BETWEEN_LOOKS = 3.0  # at the workers of a cluster that was started here
SECONDS_LOST = 60.0  # without a sign of a worker or batch job, until another is started in its place
SECONDS_TO_CLOSE, SECONDS_TO_HURRY = 30.0, 0.4
QUEUES = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "lsf": "LSFCluster"}
OF_PROGRAMS = {  # arguments that no file can hold, or that are given here
    "self", "n_workers", "asynchronous", "loop", "kwargs", "job_cls", "job_kwargs", "base_class_kwargs", "scheduler",
    "scheduler_cls", "worker_class", "worker_kwargs", "scheduler_ip", "scheduler_port", "validate", "silence_logs",
}  # fmt: skip
OWN_CLUSTER = {
    "distributed.scheduler.allowed-failures": MAX_DEATHS - 1,
    "distributed.scheduler.worker-saturation": 1.0,  # a piece that waits at a worker would be suspected with its death
}


def at_address(address: str) -> DaskCluster:
    """Return the engine of a scheduler that runs already; Dask's own configuration says what TLS it uses."""

    @contextmanager
    def connect() -> Generator[distributed.Client, None, None]:
        dial = partial(distributed.Client, address, timeout=SECONDS_TO_CONNECT, set_as_default=False)
        try:
            client = _in_a_thread(
                dial, SECONDS_TO_CONNECT + 2
            )  # something else may listen there, and never answer
        except (OSError, ValueError, TypeError) as error:
            raise UserError(
                f"`scheduler` is {address}, where none answers: expected an address such as tcp://10.0.0.5:8786"
            ) from error
        with _closing(client):
            yield client

    return DaskCluster(address, connect)


def started(described: ClusterFile, file: str) -> DaskCluster:
    """Return the engine of a cluster that is started when it is needed, and ends with it.

    Raises:
        UserError: If an option is none of the class that starts such clusters, or dask-jobqueue is not installed.
    """
    make, n_planned = _maker(described, file)
    size = {"n": described.workers} if described.kind == "local" else {"jobs": described.jobs}

    @contextmanager
    def connect() -> Generator[distributed.Client, None, None]:
        with dask.config.set(OWN_CLUSTER):
            try:
                cluster = _in_a_thread(make)
            except (OSError, RuntimeError, TypeError, ValueError, AttributeError) as error:
                raise UserError(
                    f"{file}: the cluster did not start: {' '.join(str(error).split())}"
                ) from error
            with (
                _closing(cluster),
                _closing(distributed.Client(cluster, set_as_default=False)) as client,
                _kept_at_size(cluster, partial(cluster.scale, **size)),
            ):
                if described.kind != "local":
                    _wait_for_refusals(cluster, client, file)
                yield client

    return DaskCluster(file, connect, n_planned)


def _in_a_thread(make: Callable[[], Any], seconds: float | None = None) -> Any:  # noqa: ANN401 (a client or cluster)
    """Make something in a thread that SIGINT does not reach, as then it does not reach its processes either.

    Args:
        make: Makes it.
        seconds: How long to wait for it; None for any time.

    Raises:
        TimeoutError: If it takes longer.
    """
    made: Future[Any] = Future()

    def start() -> None:
        try:
            made.set_result(make())
        except BaseException as error:
            made.set_exception(error)

    blocked = {signal.SIGINT} if sys.platform != "win32" else set()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, blocked) if blocked else set()
    try:
        threading.Thread(target=start, daemon=True).start()
    finally:
        if blocked:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return made.result(seconds)


@contextmanager
def _closing(opened: Any) -> Generator[Any, None, None]:  # noqa: ANN401 (a client or any cluster)
    """Close what is open at the end of a `with` block; where Ctrl-C or an error ends it, this is not waited for."""
    seconds = SECONDS_TO_HURRY
    try:
        yield opened
        seconds = SECONDS_TO_CLOSE
    finally:
        opened.shutdown_on_close = False  # else Dask waits 10 s for a cluster at the end of the process
        in_background(partial(opened.close, timeout=SECONDS_TO_CLOSE), seconds)


def _maker(described: ClusterFile, file: str) -> tuple[Callable[[], Any], int]:
    """Return what starts a cluster, and its number of workers."""
    options = dict(described.options)
    if described.kind == "local":
        _check_options(options, (distributed.LocalCluster, distributed.Nanny, distributed.Worker), file)
        given = {
            "threads_per_worker": 1,
            "dashboard_address": ":0",  # any free port: None would take 8787, which one cluster can have
            "silence_logs": logging.CRITICAL,
        } | options
        n = described.workers or 1
        return partial(distributed.LocalCluster, n_workers=n, **given), n
    import dask_jobqueue

    kind = getattr(dask_jobqueue, QUEUES[described.kind])
    _check_options(options, (kind, kind.job_cls, *kind.job_cls.__mro__[1:2]), file)
    submit = kind.job_cls.submit_command.split()[0]
    if shutil.which(submit) is None:
        raise UserError(
            f"{file}: {submit} is not found, expected a machine from which jobs of {described.kind} are submitted"
        )
    n = options.setdefault("processes", options.get("cores", 1))  # workers of one thread
    if type(n) is not int or n < 1:
        raise UserError(f"{file}: processes (by default cores) is {n!r}, expected a whole number from 1 on")
    of_scheduler = options.setdefault("scheduler_options", {})
    if not isinstance(of_scheduler, dict):
        raise UserError(f"{file}: scheduler_options is {of_scheduler!r}, expected options by name")
    options["scheduler_options"] = {"dashboard_address": ":0"} | of_scheduler
    return partial(_noting_refusals(kind), **options), (described.jobs or 1) * n


def _noting_refusals(kind: Any) -> Any:  # noqa: ANN401 (a class of dask-jobqueue)
    """Return the class of a queue, whose clusters keep why jobs could not be submitted in `refusals`."""
    refusals: list[str] = []

    class Job(kind.job_cls):
        async def start(self) -> None:
            try:
                await super().start()
            except Exception as error:
                refusals.append(str(error))
                raise

    return type(kind.__name__, (kind,), {"job_cls": Job, "refusals": refusals})


def _wait_for_refusals(cluster: Any, client: distributed.Client, file: str) -> None:  # noqa: ANN401 (of any queue)
    """Wait a little for the queue to take the first job.

    Raises:
        UserError: If it refuses it.
    """
    until = time.monotonic() + SECONDS_TO_SUBMIT
    while time.monotonic() < until and not cluster.refusals and not client.nthreads():
        time.sleep(0.1)
    if cluster.refusals and not client.nthreads():
        said = [line.strip() for line in cluster.refusals[0].splitlines() if line.strip()]
        raise UserError(f"{file}: the queue refused the job: {' '.join(said)[:400]}")


@contextmanager
def _kept_at_size(cluster: Any, scale: Callable[[], object]) -> Generator[None, None, None]:  # noqa: ANN401 (of any kind)
    """Replace workers and batch jobs that are gone for good, which Dask itself does only for some."""
    ended, last_seen = threading.Event(), dict[object, float]()

    def keep() -> None:
        while True:
            with suppress(Exception):  # the next time will do
                _forget_lost(cluster, last_seen)
                scale()
            if ended.wait(SECONDS_BETWEEN_LOOKS):
                return

    threading.Thread(target=keep, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _forget_lost(cluster: Any, last_seen: dict[object, float]) -> None:  # noqa: ANN401 (of any kind)
    """Take workers and batch jobs off the list of a cluster whose processes have not been seen for a while."""
    now = time.monotonic()
    present = [str(worker.name) for worker in list(cluster.scheduler.workers.values())]
    for name in list(cluster.workers):
        if any(one == str(name) or one.startswith(f"{name}-") for one in present):
            last_seen[name] = now
        elif now - last_seen.get(name, now) > SECONDS_LOST:  # it had begun
            cluster.loop.add_callback(cluster.workers.pop(name).close)
            del last_seen[name]


def _check_options(options: dict[str, Any], classes: tuple[type, ...], file: str) -> None:
    """Refuse options that none of the classes takes.

    Raises:
        UserError: If there is one.
    """
    names = {name for one in classes for name in inspect.signature(one.__init__).parameters}
    known = sorted(names - OF_PROGRAMS)
    for name in options:
        if name not in known:
            raise UserError(f"{file}: {unknown('option', str(name), known)}")
