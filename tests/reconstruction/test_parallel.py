import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reconstruction import Rung, Search, parallel, prepare, reconstruct

TINY = Search(rungs=(Rung(n_trials=2, n_steps=6),), n_rounds=2, n_kept=2, learning_rate=0.3, n_polish=5)

SCRIPT = """
import torch
from descriptors.base import make_descriptor
from descriptors.batch import CrystalBatch
from descriptors.representation import Representation
from reconstruction import reconstruct

if __name__ == "__main__":
    representation = Representation(descriptor=make_descriptor("ead"), elements=(6,))
    batch = CrystalBatch(
        frac_coords=torch.rand(4 * 30, 3, generator=torch.Generator().manual_seed(0)).double(),
        lattice=torch.eye(3).double().repeat(4, 1, 1) * torch.tensor([6.0, 6.5, 7.0, 7.5])[:, None, None],
        atomic_numbers=torch.full((4 * 30,), 6),
        system_idx=torch.arange(4).repeat_interleave(30),
    )
    reconstruct(representation.encode(batch), representation, search="thorough", exact=True, n_workers=2)
"""


def children(pid: int) -> list[int]:
    """Processes whose parent this is, as Linux lists them."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs the process list of Linux")
def test_workers_end_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    parent = subprocess.Popen([sys.executable, str(script)], env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 60
    workers: list[int] = []
    while len(workers) < 3 and time.monotonic() < deadline:  # two workers, and the tracker of resources
        time.sleep(0.2)
        workers = children(parent.pid)
    assert len(workers) >= 3
    time.sleep(8)  # they have read their task by now
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 20
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.2)
    survivors = [pid for pid in workers if alive(pid)]
    for pid in survivors:
        os.kill(pid, signal.SIGKILL)
    assert not survivors


@pytest.mark.parametrize(("name", "index"), [("cuda", None), ("cuda:1", 1)])
def test_workers_that_share_a_gpu_share_its_memory(name, index, some, representation, monkeypatch):
    limits = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *limit: limits.append(limit))
    monkeypatch.setattr(parallel, "_INVERSION", [])
    inversion = replace(prepare(some, representation, search=TINY, exact=True), device=torch.device(name))
    n_threads = torch.get_num_threads()
    parallel._start_worker(pickle.dumps(inversion), 1 / 4)
    torch.set_num_threads(n_threads)
    assert limits == [(parallel.USABLE / 4, index)]  # torch takes no device without a number here


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_with_several_workers_finds_what_a_processor_finds(some, representation):
    there = reconstruct(some, representation, exact=True, device="cuda", n_workers=2)
    here = reconstruct(some, representation, exact=True)
    assert there.rows == here.rows
    assert there.stopped == here.stopped == ["solved"] * len(here)
