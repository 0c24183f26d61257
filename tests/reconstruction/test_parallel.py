import pickle
from dataclasses import replace

import pytest
import torch

from reconstruction import Rung, Search, parallel, prepare, reconstruct

TINY = Search(rungs=(Rung(n_trials=2, n_steps=6),), n_rounds=2, n_kept=2, learning_rate=0.3, n_polish=5)


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
