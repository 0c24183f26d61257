import time
from dataclasses import replace
from multiprocessing import active_children

import pytest
import torch

from reconstruction import Rung, Search, prepare, reconstruct, reconstruct_groups
from reconstruction.result import join_results

TINY = Search(rungs=(Rung(n_trials=2, n_steps=6),), n_rounds=2, n_kept=2, learning_rate=0.3, n_polish=5)


@pytest.fixture
def small_groups(monkeypatch):
    monkeypatch.setattr("reconstruction.plan.CPU_ATOMS", 8)


def test_crystals_come_in_the_order_of_their_vectors(some, representation, small_groups):
    found = reconstruct(some, representation, search=TINY, exact=True)
    assert found.rows == [0, 1, 3, 4, 5]
    assert found.batch.n_atoms_per_system.tolist() == [2, 5, 2, 5, 2]
    assert list(found.refused) == [2]
    assert "number of atoms is 0" in found.refused[2]
    for values in (found.losses, found.seconds, found.n_evaluations, found.shortest_distances):
        assert len(values) == len(found)
        assert bool((values > 0).all())
    assert set(found.labels(0)) >= {"loss", "confidence", "seconds", "stopped", "shortest_distance"}


def test_loss_and_coordinates_belong_together(some, representation, small_groups):
    found = reconstruct(some, representation, search=TINY, exact=True)
    targets = some[found.rows][:, representation.blocks["descriptor"]]
    features = representation.descriptor(found.batch).detach()
    losses = (features - targets).abs().sum(1) / targets.abs().sum(1)
    torch.testing.assert_close(losses, found.losses, rtol=1e-3, atol=1e-6)


def test_vectors_of_which_none_makes_a_crystal_give_an_empty_result(some, representation):
    found = reconstruct(some[2:3], representation, search=TINY, exact=True)
    assert len(found) == found.batch.n_systems == 0
    assert list(found.refused) == [0]


def test_the_number_of_workers_does_not_matter(some, representation, small_groups, pickled_pool):
    alone, together = (
        reconstruct(some, representation, search=TINY, exact=True, seed=3, n_workers=n) for n in (1, 2)
    )
    assert pickled_pool == [2]
    assert together.rows == alone.rows
    assert torch.equal(together.batch.frac_coords, alone.batch.frac_coords)
    assert torch.equal(together.losses, alone.losses)


def test_groups_that_are_left_out_do_not_change_the_others(some, representation, small_groups):
    inversion = prepare(some, representation, search=TINY, exact=True)
    assert len(inversion.groups) > 2
    whole = join_results([found for _, found in reconstruct_groups(inversion)]).in_order()
    part = join_results([found for _, found in reconstruct_groups(inversion, inversion.groups[1:])])
    for place, row in enumerate(part.rows):
        assert float(part.losses[place]) == float(whole.losses[whole.rows.index(row)])


def test_largest_cells_come_first_and_as_they_are_finished(some, representation, small_groups, monkeypatch):
    inversion = prepare(some, representation, search=TINY, exact=True)
    started = []
    plain = type(inversion).run
    monkeypatch.setattr(
        type(inversion), "run", lambda self, rows: (started.append(rows), plain(self, rows))[1]
    )
    finished = reconstruct_groups(inversion)
    first, _ = next(finished)
    assert started == [first]
    assert len(inversion.decoded.atomic_numbers[first[0]]) == 5


def test_workers_end_with_the_generator(some, representation, small_groups):
    long = replace(TINY, n_rounds=10**6, solved_below=0.0, max_seconds=1.0)
    inversion = prepare(some, representation, search=long, exact=True)
    before = set(active_children())
    finished = reconstruct_groups(inversion, n_workers=2)
    next(finished)
    workers = set(active_children()) - before
    assert len(workers) == 2
    finished.close()
    deadline = time.monotonic() + 20
    while any(worker.exitcode is None for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)  # the pool's own thread waits for them as well, and only one of two is told
    assert all(worker.exitcode is not None for worker in workers)


def test_a_budget_of_evaluations_ends_a_search(some, representation):
    endless = replace(TINY, n_rounds=1000, max_evaluations=30, solved_below=0.0)
    found = reconstruct(some[:1], representation, search=endless, exact=True)
    assert 30 <= int(found.n_evaluations[0]) < 30 + 2 * TINY.n_proposals * TINY.n_steps


def test_a_bar_is_shown_if_asked_for(some, representation, capsys):
    for progress in (False, True):
        reconstruct(some[:1], representation, search=TINY, exact=True, progress=progress)
        assert ("crystal" in capsys.readouterr().err) == progress


def test_no_vectors_give_no_crystals(vectors, representation):
    found = reconstruct(vectors[:0], representation, search="fast", exact=True)
    assert (found.batch.n_systems, found.rows, found.refused) == (0, [], {})
