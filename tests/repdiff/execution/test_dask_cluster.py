"""A real Dask cluster on this machine: the answers are those of local workers, whatever dies."""

import logging
import os
import random
import signal
import socket
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
    monkeypatch.setattr(dask_start, "SECONDS_TO_CONNECT", 1.0)
    with use_executor(scheduler="tcp://127.0.0.1:1"), pytest.raises(UserError, match="where none answers"):
        workers_to_use(None, 1)


def test_something_else_that_listens_at_the_address_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(dask_start, "SECONDS_TO_CONNECT", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as mute:  # accepts, and says nothing
        address = f"tcp://127.0.0.1:{mute.getsockname()[1]}"
        begun = time.monotonic()
        with use_executor(scheduler=address), pytest.raises(UserError, match="where none answers") as told:
            workers_to_use(None, 1)
        assert isinstance(told.value.__cause__, OSError)
        assert time.monotonic() - begun < 30


def test_a_scheduler_without_repdiff_is_told_in_one_line(engine, monkeypatch):
    def refuse(*_):
        raise RuntimeError("Error during deserialization\nof the task graph")

    monkeypatch.setattr(engine.client, "run_on_scheduler", refuse)
    with pytest.raises(
        UserError, match=r"the scheduler cannot use repdiff .* in the environment of the workers"
    ) as told:
        dask_cluster._check_versions(engine.client)
    assert "\n" not in str(told.value)


def test_nothing_of_dask_is_logged_while_a_cluster_is_used():
    logger = logging.getLogger("distributed.client")
    before = logger.level
    with dask_cluster._quiet():
        assert not logger.isEnabledFor(logging.ERROR)
        assert not logging.getLogger("tornado.application").isEnabledFor(logging.ERROR)
    assert logger.level == before


def queue(folder, monkeypatch, script):
    """Let a program stand in for sbatch."""
    program = folder / "sbatch"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    (folder / "slurm.yaml").write_text("kind: slurm\njobs: 2\noptions: {cores: 1, memory: 1GB}")
    return folder / "slurm.yaml"


def test_a_queue_that_refuses_the_job_is_told_in_one_line(tmp_path, monkeypatch):
    """In a process of its own, as Dask warns of a cluster without jobs long after it ended."""
    pytest.importorskip("dask_jobqueue", reason="needs repdiff[cluster]")
    file = queue(tmp_path, monkeypatch, "echo 'invalid partition specified: nope' >&2; exit 1")
    script = (
        "import repdiff as rd, sys\n"
        "from repdiff.errors import UserError\n"
        "from repdiff.execution.jobs import workers_to_use\n"
        "try:\n"
        "    with rd.use_executor(cluster=sys.argv[1]):\n"
        "        workers_to_use(None, 1)\n"
        "except UserError as error:\n"
        "    print(error)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(file)], capture_output=True, text=True, check=False, timeout=120
    )
    assert "slurm.yaml: the queue refused the job: " in ended.stdout, ended.stderr
    assert "invalid partition specified" in ended.stdout
    assert ended.stdout.count("\n") == 1
    assert "Traceback" not in ended.stderr


def test_a_queue_whose_program_is_absent_is_told_in_one_line(tmp_path, monkeypatch):
    pytest.importorskip("dask_jobqueue", reason="needs repdiff[cluster]")
    file = queue(tmp_path, monkeypatch, "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="sbatch is not found, expected a machine from which jobs of slurm"):
        use_executor(cluster=file).__enter__()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("{cores: x, memory: lots}", "is 'x', expected a whole number from 1 on"),
        ("{cores: 2, processes: null}", "is None, expected a whole number"),
        ("{cores: 2, processes: 0}", "is 0, expected a whole number"),
        ("{cores: 2, scheduler_options: 3}", "scheduler_options is 3, expected options by name"),
    ],
)
def test_options_of_a_queue_of_the_wrong_kind_are_told_in_one_line(options, told, tmp_path, monkeypatch):
    pytest.importorskip("dask_jobqueue", reason="needs repdiff[cluster]")
    file = queue(tmp_path, monkeypatch, "exit 0")
    file.write_text(f"kind: slurm\njobs: 2\noptions: {options}")
    with pytest.raises(UserError, match=told):
        use_executor(cluster=file).__enter__()


def test_pieces_that_wait_when_the_scheduler_is_gone_are_told_too(engine, monkeypatch):
    """Dask's thread cannot ask for the number of workers any more: what waits has an answer nonetheless."""
    with engine(2) as pool:
        monkeypatch.setattr(dask_cluster, "SECONDS_BETWEEN_COUNTS", 0.0)
        pool._room, pool._counted = 1, time.monotonic() + 1e6
        futures = [pool.submit(piece_of_work.square, n) for n in range(6)]
        pool._counted = 0.0
        monkeypatch.setattr(type(engine), "n_workers", property(_fail))
        with pytest.raises(UserError, match="ended or cannot be reached"):
            [future.result(timeout=60) for future in futures]


def _fail(_):
    raise OSError("gone")


def test_workers_of_another_version_are_refused(engine, monkeypatch):
    there = dask_cluster._versions()
    monkeypatch.setattr(dask_cluster, "_versions", lambda: there | {"repdiff": "0.0.1"})
    with pytest.raises(UserError, match=r"has repdiff .*, expected 0\.0\.1 as here"):
        list(run_jobs(piece_of_work.square, range(4), n_workers=2))
