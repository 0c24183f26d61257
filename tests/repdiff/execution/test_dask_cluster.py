"""A real Dask cluster on this machine: the answers are those of local workers, whatever dies."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import piece_of_work
import pytest

distributed = pytest.importorskip("distributed", reason="needs repdiff[cluster]")

from repdiff.errors import UserError  # noqa: E402
from repdiff.execution import dask_cluster, dask_start  # noqa: E402
from repdiff.execution.dask_start import started  # noqa: E402
from repdiff.execution.executors import use_executor  # noqa: E402
from repdiff.execution.jobs import map_jobs, run_jobs, using, workers_to_use  # noqa: E402
from repdiff.settings.workers import ClusterFile  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # sockets of workers that were killed
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def engine():
    """A cluster of two workers, whose processes tests may kill."""
    with started(ClusterFile(kind="local", workers=2), "two.yaml") as engine, using(engine):
        yield engine


def test_every_job_has_its_answer_and_lone_jobs_go_to_the_cluster_too(engine):
    assert workers_to_use(1, 1) == 2
    assert dict(run_jobs(piece_of_work.square, range(30), n_workers=2)) == {n: n * n for n in range(30)}
    assert list(run_jobs(piece_of_work.square, [], n_workers=2)) == []
    assert list(run_jobs(piece_of_work.threads, [0], n_workers=2)) == [(0, 1)]


def test_mapped_items_keep_their_order(engine):
    found = map_jobs(piece_of_work.square, range(40), n_workers=2, progress=False, label="squares")
    assert found == [n * n for n in range(40)]


def test_a_worker_is_prepared_anew_for_every_pool(engine):
    for word in ("first", "second"):
        jobs = run_jobs(
            piece_of_work.prepared,
            range(6),
            n_workers=2,
            initializer=piece_of_work.prepare,
            initargs=(word,),
        )
        assert {tuple(found) for _, found in jobs} == {(word,)}


def test_a_failure_reaches_the_caller_with_its_type(engine):
    with pytest.raises(ArithmeticError, match="no answer for"):
        list(run_jobs(piece_of_work.fail, range(4), n_workers=2))


def test_few_pieces_are_with_the_scheduler_at_a_time(engine):
    most, done = 0, threading.Event()

    def watch():
        nonlocal most
        while not done.wait(0.02):
            waiting = [one for one in list(engine.client.futures.values()) if one.status == "pending"]
            most = max(most, len(waiting))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        assert len(list(run_jobs(piece_of_work.slow_square, range(40), n_workers=2))) == 40
    finally:
        done.set()
        watcher.join()
    assert 2 <= most <= dask_cluster.IN_FLIGHT * 2


def test_a_piece_that_ends_three_workers_is_set_aside_and_the_rest_goes_on(engine):
    jobs = run_jobs(piece_of_work.deadly, range(6), n_workers=2, instead=lambda job, reason: reason)
    found = dict(jobs)
    assert "3 workers ended" in found.pop(3)
    assert found == {n: n * n for n in (0, 1, 2, 4, 5)}
    finished = []
    with pytest.raises(UserError, match="1 of 4 pieces of work were set aside"):
        finished.extend(run_jobs(piece_of_work.deadly, range(4), n_workers=2))


def _working(engine):
    """Return the processes of workers, once there are any: those that were killed take their time to come back."""
    for _ in range(600):
        if pids := list(engine.client.run(os.getpid, on_error="ignore").values()):
            return pids
        time.sleep(0.1)
    raise AssertionError("no worker came back within a minute")


def test_nothing_is_lost_when_workers_are_killed_at_random(engine):
    rng = random.Random(0)
    kill_after = sorted(rng.sample(range(10, 300), 3))
    found, n_killed = {}, 0
    for job, answer in run_jobs(piece_of_work.slow_square, range(400), n_workers=2):
        found[job] = answer
        if n_killed < len(kill_after) and len(found) >= kill_after[n_killed]:
            os.kill(rng.choice(_working(engine)), signal.SIGKILL)
            n_killed += 1
    assert n_killed == len(kill_after)
    assert found == {n: n * n for n in range(400)}


def test_a_worker_that_is_killed_while_it_is_prepared_is_not_the_end(engine):
    victim = _working(engine)[0]
    os.kill(victim, signal.SIGSTOP)  # it does not answer, and is killed while that is waited for
    timer = threading.Timer(1.0, os.kill, (victim, signal.SIGKILL))
    timer.start()
    with engine(2, piece_of_work.prepare, ("after all",)) as pool:
        answers = list(pool.map(piece_of_work.prepared, range(6)))
    timer.join()
    assert answers == 6 * [["after all"]]
    assert victim not in _working(engine)


def test_closing_cancels_what_has_not_begun(engine, tmp_path):
    jobs = run_jobs(piece_of_work.mark_and_wait, [str(tmp_path / str(n)) for n in range(12)], n_workers=2)
    next(jobs)
    began = time.monotonic()
    jobs.close()
    assert time.monotonic() - began < 2
    time.sleep(2.5)
    assert len(list(tmp_path.iterdir())) <= 6  # two done, two begun at most by each worker when it was told


@contextmanager
def scheduler_apart():
    """A scheduler that is a process of its own, with one worker."""
    words = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard"]
    with subprocess.Popen([*words, "--host", "127.0.0.1"], stderr=subprocess.PIPE, text=True) as scheduler:
        address = next(line.split()[-1] for line in scheduler.stderr or () if "Scheduler at:" in line)
        words = [
            sys.executable,
            "-m",
            "distributed.cli.dask_worker",
            address,
            "--no-dashboard",
            "--nthreads",
            "1",
        ]
        path = os.pathsep.join(filter(None, sys.path))
        worker = subprocess.Popen(words, stderr=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": path})
        try:
            yield scheduler, address
        finally:
            scheduler.kill()
            worker.kill()
            worker.wait()


def test_a_scheduler_that_dies_is_told_in_one_line():
    def work():
        for number, _ in run_jobs(piece_of_work.slow_square, range(2000), n_workers=2):
            if number > 5:
                scheduler.kill()

    with (
        scheduler_apart() as (scheduler, address),
        use_executor(scheduler=address),
        pytest.raises(UserError, match="give the same command again"),
    ):
        work()


def test_an_address_where_nobody_answers_is_told_in_one_line(monkeypatch):
    monkeypatch.setattr(dask_start, "SECONDS_TO_CONNECT", 1)
    with use_executor(scheduler="tcp://127.0.0.1:1"), pytest.raises(UserError, match="where none answers"):
        workers_to_use(None, 1)


def test_workers_of_another_version_are_refused(engine, monkeypatch):
    there = dask_cluster._versions()
    monkeypatch.setattr(dask_cluster, "_versions", lambda: there | {"repdiff": "0.0.1"})
    with pytest.raises(UserError, match=r"has repdiff .*, expected 0\.0\.1 as here"):
        list(run_jobs(piece_of_work.square, range(4), n_workers=2))
