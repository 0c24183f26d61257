"""What becomes of worker processes when the one that started them is killed or interrupted."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import endless_pools
import pytest
from process_tree import alive, descendants, wait_until

QUICK = ("jobs", "reconstruction")  # the others start through the same function, but import more
pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="needs the process list of Linux"
)


@pytest.fixture
def start():
    """Start a pool of a kind, and wait until it works; whatever is left of it is killed after the test."""
    running: list[tuple[subprocess.Popen[str], list[int]]] = []

    def call(kind: str) -> tuple[subprocess.Popen[str], list[int]]:
        process = subprocess.Popen(
            [sys.executable, endless_pools.__file__, kind],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert process.stdout is not None
        assert process.stdout.readline().strip() == endless_pools.STARTED
        workers = descendants(process.pid)
        running.append((process, workers))
        return process, workers

    yield call
    for process, workers in running:
        process.kill()
        process.communicate()
        for pid in filter(alive, workers):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    "kind",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in endless_pools.KINDS],
)
def test_nothing_is_left_five_seconds_after_the_parent_was_killed(start, kind):
    process, workers = start(kind)
    assert len(workers) >= 2  # a worker, and the tracker of resources
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not any(map(alive, workers)), 5)
    assert [pid for pid in workers if alive(pid)] == []


@pytest.mark.usefixtures("_heeds_interrupts")
def test_ctrl_c_ends_a_pool_at_work_within_two_seconds_and_no_worker_complains(start):
    process, workers = start("jobs")
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, told = process.communicate(timeout=60)
    assert time.monotonic() - began < 2
    assert process.returncode in (130, -signal.SIGINT)
    assert told.count("Traceback") == 1  # of the parent, which is a bare script here
    assert wait_until(lambda: not any(map(alive, workers)), 2)


def test_workers_do_not_see_ctrl_c_while_they_start(start):
    process, _ = start("jobs")
    masks = []
    for pid in descendants(process.pid):
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        masks.append(int(status["SigBlk"], 16) & 1 << (signal.SIGINT - 1))
    assert any(masks)


def test_semaphores_left_behind_are_removed_without_a_word(tmp_path):
    """A process that ends at once leaves semaphores to the tracker, which tells of them by a warning if it may."""
    script = tmp_path / "leave.py"
    script.write_text(
        "import os\n"
        "from multiprocessing import get_context\n"
        "from reconstruction import process_pool\n"
        "process_pool._start_tracker()\n"
        "lock = get_context('spawn').Lock()\n"
        "os._exit(0)\n"
    )
    ended = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=60
    )
    assert ended.stderr == ""
