"""Jobs on the workers of a Dask cluster, behind the interface of `concurrent.futures`."""

import logging
import os
import pickle
import platform
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import cached_property, partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from uuid import uuid4

import cloudpickle
import dask
import distributed
from distributed.comm import CommClosedError
from distributed.diagnostics.plugin import WorkerPlugin

from repdiff.errors import UserError
from repdiff.execution.jobs import Cluster, WorkersDied, died

log = logging.getLogger(__name__)
IN_FLIGHT = 2  # pieces at the scheduler for each worker, at most; the others wait here
SECONDS_BETWEEN_COUNTS = 1.0  # of the workers
MOST_TRIES, SECONDS_BETWEEN_TRIES = 5, 1.0  # of preparing workers, one of which may die at each
SECONDS_TO_FORGET = 30.0  # for workers to forget a pool that ended well
SECONDS_TO_HURRY = 0.2  # for the same after Ctrl-C or an error
SAME, ALIKE = ("python", "repdiff"), ("torch", "numpy")  # what must be of one version, and what should be
NOISY = ("distributed", "tornado")
QUIET = {"distributed.admin.large-graph-warning-threshold": "1GB"}


class DaskCluster(Cluster):
    """An engine on the workers of a Dask cluster, to which it connects when it is first needed.

    Args:
        where: What the user calls the cluster, for messages.
        connect: Opens a client for the length of a `with` block.
        n_planned: Number of workers that will come.
    """

    def __init__(
        self,
        where: str,
        connect: Callable[[], AbstractContextManager[distributed.Client]],
        n_planned: int = 0,
    ) -> None:
        self.where, self.n_planned = where, n_planned
        self._connect, self._open = connect, ExitStack()

    @cached_property
    def client(self) -> distributed.Client:
        """Connect."""
        self._open.enter_context(_quiet())
        client = self._open.enter_context(self._connect())
        _check_versions(client)
        if not client.nthreads():
            log.info("%s has no worker yet: waiting for the first", self.where)
        return client

    @property
    def n_workers(self) -> int:
        """Number of workers that it has or will have."""
        return max(self.n_planned, len(self.client.nthreads()), 1)

    def __enter__(self) -> "DaskCluster":
        """Begin; the connection is made when it is needed."""
        return self

    def __exit__(self, *error: Any) -> None:  # noqa: ANN401 (as every context manager)
        """Disconnect, and end what was started."""
        self._open.__exit__(*error)

    @contextmanager
    def __call__(
        self, n_workers: int, initializer: Callable[..., None] | None = None, initargs: tuple[Any, ...] = ()
    ) -> Generator[Executor, None, None]:
        """Open an executor for the length of a `with` block; see `reconstruction.process_pool.Engine`."""
        key = uuid4().hex
        setup = _Setup(key, cloudpickle.dumps((initializer, initargs)), _versions())
        with self._told():
            self._prepare_workers(setup, key)
        pool = _Pool(self, key)
        seconds = SECONDS_TO_HURRY
        try:
            yield pool
            seconds = SECONDS_TO_FORGET
        finally:
            pool.cancel()
            in_background(partial(self.client.unregister_worker_plugin, key), seconds)

    def _prepare_workers(self, setup: "_Setup", key: str) -> None:
        """Send the preparation to all workers, again where one of them died meanwhile."""
        for left in reversed(range(MOST_TRIES)):
            try:
                self.client.register_plugin(setup, name=key)
                return
            except OSError:  # of a worker, or of the scheduler
                if not left or self.client.status != "running":
                    raise
            time.sleep(SECONDS_BETWEEN_TRIES)

    @contextmanager
    def _told(self) -> Generator[None, None, None]:
        try:
            yield
        except (OSError, TimeoutError, distributed.CancelledError) as error:
            raise self.lost() from error

    def lost(self) -> UserError:
        """Make the error of a scheduler that is gone."""
        return UserError(
            f"the scheduler of {self.where} ended or cannot be reached any more; what is finished is kept: give the "
            "same command again once it is back"
        )


class _Pool(Executor):
    """Hands pieces over to the scheduler as earlier ones are finished, so that few wait there."""

    def __init__(self, cluster: DaskCluster, key: str) -> None:
        self._cluster, self._key = cluster, key
        self._waiting: deque[tuple[Future[Any], tuple[Any, ...]]] = deque()
        self._begun: dict[Any, tuple[distributed.Future, Future[Any]]] = {}
        self._room, self._counted = 0, 0.0
        self._lock = threading.RLock()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:  # noqa: ANN401 (as Executor)
        """Hand a piece over, now or later."""
        future: Future[Any] = Future()
        with self._lock:
            self._waiting.append((future, (fn, args, kwargs)))
            self._feed()
        return future

    def cancel(self) -> None:
        """Drop what is not finished; a worker ends the piece that it is at."""
        with self._lock:
            self._waiting.clear()
            begun = [remote for remote, _ in self._begun.values()]
            self._begun.clear()
        if begun:
            in_background(partial(self._cluster.client.cancel, begun, force=True), SECONDS_TO_HURRY)

    def _feed(self) -> None:
        """Hand over as many pieces as there is room for, which grows with the number of workers."""
        if time.monotonic() > self._counted + SECONDS_BETWEEN_COUNTS:
            self._room, self._counted = IN_FLIGHT * self._cluster.n_workers, time.monotonic()
        while self._waiting and len(self._begun) < self._room:
            future, piece = self._waiting.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            packed = cloudpickle.dumps(piece)
            remote = self._cluster.client.submit(_work, self._key, packed, pure=False)
            self._begun[remote.key] = remote, future
            remote.add_done_callback(self._finish)

    def _finish(self, remote: distributed.Future) -> None:
        """Take an answer; called in a thread of Dask's."""
        with self._lock:
            known = self._begun.pop(remote.key, None)
        if known is None:  # cancelled here
            return
        _, future = known
        try:
            future.set_result(pickle.loads(remote.result()))
        except distributed.KilledWorker:
            future.set_exception(WorkersDied(died()))
        except (distributed.CancelledError, CommClosedError):
            future.set_exception(self._cluster.lost())
        except BaseException as error:
            future.set_exception(error)
        with self._lock:
            try:
                self._feed()
            except (OSError, RuntimeError, ValueError, TimeoutError):  # the scheduler is gone
                left, self._waiting = self._waiting, deque()
                for one, _ in left:
                    one.set_exception(self._cluster.lost())


class _Setup(WorkerPlugin):
    """Takes the initializer of a pool to every worker, also to one that comes later."""

    def __init__(self, key: str, packed: bytes, versions: dict[str, str]) -> None:
        self.key, self.packed, self.versions = key, packed, versions

    def setup(self, worker: distributed.Worker) -> None:
        """Keep the initializer until the first piece comes, since loading a model would block the worker."""
        _SETUPS[self.key] = self

    def teardown(self, worker: distributed.Worker) -> None:
        """Forget it."""
        _SETUPS.pop(self.key, None)


_SETUPS: dict[str, _Setup] = {}  # of this worker process
_PREPARED: list[str] = []  # key of the pool that it is prepared for
_ALONE = threading.RLock()  # one piece at a time in a process, whatever its number of threads


def _work(key: str, piece: bytes) -> bytes:
    """Do a piece of work in a worker."""
    with _ALONE:
        if [key] != _PREPARED:
            _prepare(_SETUPS[key])
            _PREPARED[:] = [key]
        task, args, kwargs = cloudpickle.loads(piece)
        return pickle.dumps(task(*args, **kwargs))


def _prepare(setup: _Setup) -> None:
    _PREPARED.clear()
    if told := _unlike(setup.versions, _versions(), SAME):
        raise UserError(f"a worker on {platform.node()} has {told}")
    os.environ["OMP_NUM_THREADS"] = "1"  # for torch, if it is not loaded yet
    initializer, initargs = cloudpickle.loads(setup.packed)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    if initializer is not None:
        initializer(*initargs)


def _versions() -> dict[str, str]:
    found = {"python": ".".join(map(str, sys.version_info[:2]))}
    for name in (*SAME[1:], *ALIKE):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _unlike(here: dict[str, str], there: dict[str, str], names: tuple[str, ...]) -> str:
    """Say which versions of a worker differ from those here."""
    found = [name for name in names if here.get(name) != there.get(name)]
    return ", ".join(f"{name} {there.get(name)}, expected {here.get(name)} as here" for name in found)


def _check_versions(client: distributed.Client) -> None:
    here, warned = _versions(), False
    try:
        client.run_on_scheduler(_versions)
    except Exception as error:  # whatever it meets when it imports repdiff
        why = " ".join(str(error).split())[:200]
        raise UserError(
            f"the scheduler cannot use repdiff {here.get('repdiff')}: {why}: start it in the environment of the workers"
        ) from error
    for worker, there in client.run(_versions, on_error="return").items():
        if isinstance(there, BaseException):
            raise UserError(
                f"the worker {worker} cannot use repdiff {here.get('repdiff')}: {there}: install it there"
            )
        if told := _unlike(here, there, SAME):
            raise UserError(f"the worker {worker} has {told}")
        if (told := _unlike(here, there, ALIKE)) and not warned:
            log.warning("the worker %s has %s: results may differ by rounding", worker, told)
            warned = True


def in_background(call: Callable[[], object], seconds: float) -> None:
    """Call what may hang, or fail, when a scheduler is gone, and wait for it no longer than some seconds."""

    def attempt() -> None:
        with suppress(Exception):
            call()

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)


@contextmanager
def _quiet() -> Generator[None, None, None]:
    """Keep Dask from logging what is told here in one line."""
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in NOISY]
    before = {logger: logger.level for logger in map(logging.getLogger, {*names, *NOISY})}
    for logger in before:  # some have levels and handlers of their own
        logger.setLevel(logging.CRITICAL)
    try:
        with dask.config.set(QUIET):
            yield
    finally:
        for logger, level in before.items():
            logger.setLevel(level)
