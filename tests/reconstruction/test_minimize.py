from dataclasses import replace

import known_crystals
import pytest
import torch
from stand_in_gpu import calls, stand_in_gpu

from descriptors.base import make_descriptor
from descriptors.batch import from_structures
from descriptors.neighbors import find_neighborhood
from reconstruction.minimize import Descent, descend
from reconstruction.objective import Objective

N_STARTS = 6


@pytest.fixture(scope="module")
def descriptor():
    return make_descriptor("ead")


@pytest.fixture(scope="module")
def problem(descriptor):
    """Perovskites and rocksalts from random starts, with their targets; float64."""
    known = from_structures([known_crystals.perovskite(), known_crystals.rocksalt("K", "F")])
    known = known.select(torch.arange(2).repeat(N_STARTS // 2))
    objective = Objective(
        descriptor=descriptor,
        targets=descriptor(known),
        shortest=torch.full((N_STARTS,), 1.5, dtype=known.dtype),
        repulsion=1.0,
    )
    frac = torch.rand(known.frac_coords.shape, dtype=known.dtype, generator=torch.Generator().manual_seed(3))
    return replace(known, frac_coords=frac), objective


def loss_at(batch, objective):
    neighborhood = find_neighborhood(batch, objective.descriptor.cutoff)
    return objective(neighborhood, neighborhood.vectors(batch.frac_coords, batch.lattice)).detach()


@pytest.mark.parametrize("n_steps", [1, 40])
def test_no_crystal_ends_above_its_start(problem, n_steps):
    start, objective = problem
    done = descend(start, objective, Descent(n_steps=n_steps, learning_rate=0.3))
    begin, end = loss_at(start, objective), loss_at(done.batch, objective)
    assert bool((done.losses <= begin * (1 + 1e-9)).all())
    assert bool((end <= begin * 1.02).all())


def test_the_reported_loss_is_that_of_the_returned_crystal(problem):
    start, objective = problem
    done = descend(start, objective, Descent(n_steps=40, learning_rate=0.3))
    torch.testing.assert_close(done.losses, loss_at(done.batch, objective), rtol=0.05, atol=1e-3)


def test_a_descent_goes_down(problem):
    start, objective = problem
    done = descend(start, objective, Descent(n_steps=60, learning_rate=0.3))
    assert float((done.losses / loss_at(start, objective)).median()) < 0.7


def test_the_truth_stays_where_it_is(descriptor):
    known = from_structures([known_crystals.perovskite()])
    objective = Objective(
        descriptor=descriptor, targets=descriptor(known), shortest=known.lattice.new_ones(1), repulsion=1.0
    )
    done = descend(known, objective, Descent(n_steps=20, learning_rate=0.1))
    torch.testing.assert_close(done.batch.frac_coords, known.frac_coords, atol=1e-6, rtol=0)


def test_a_crystal_fares_alone_as_it_does_in_company(problem):
    start, objective = problem
    descent = Descent(n_steps=15, learning_rate=0.02)  # so short that the neighbour tables stay
    together = descend(start, objective, descent)
    for row in range(N_STARTS):
        this = torch.tensor([row])
        alone = descend(start.select(this), objective.select(this), descent)
        torch.testing.assert_close(together.losses[this], alone.losses, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(
            together.batch.select(this).frac_coords, alone.batch.frac_coords, rtol=0, atol=1e-6
        )


def test_every_step_counts_as_one_evaluation(problem):
    start, objective = problem
    done = descend(start, objective, Descent(n_steps=7, learning_rate=0.1))
    assert done.n_evaluations.tolist() == [7] * N_STARTS


def test_solved_crystals_leave_and_the_others_go_on(problem, descriptor):
    start, objective = problem
    known = from_structures([known_crystals.perovskite(), known_crystals.rocksalt("K", "F")])
    frac = start.frac_coords.clone()
    first_four = start.system_idx < 4
    frac[first_four] = known.select(torch.tensor([0, 1, 0, 1])).frac_coords
    done = descend(
        replace(start, frac_coords=frac),
        objective,
        Descent(n_steps=60, learning_rate=0.1, solved_below=1e-6, check_every=20),
    )
    assert done.n_evaluations.tolist() == [20] * 4 + [60] * 2
    assert bool((done.losses[:4] < 1e-6).all())
    assert bool((done.losses[4:] < loss_at(start, objective)[4:]).all())


def test_cells_and_elements_are_left_alone(problem):
    start, objective = problem
    done = descend(start, objective, Descent(n_steps=5, learning_rate=0.3))
    assert torch.equal(done.batch.lattice, start.lattice)
    assert torch.equal(done.batch.atomic_numbers, start.atomic_numbers)


def almost_solved(problem):
    """The first two crystals at their solution, the others where they were."""
    start, objective = problem
    known = from_structures([known_crystals.perovskite(), known_crystals.rocksalt("K", "F")])
    frac = start.frac_coords.clone()
    frac[start.system_idx < 2] = known.frac_coords
    return replace(start, frac_coords=frac), objective


@pytest.mark.parametrize(
    ("rivals", "spent"),
    [
        (None, [20, 20, 40, 40, 40, 40]),
        ([7, 8, 7, 8, 7, 8], [20] * 6),
        ([7, 8, 7, 8, 1, 2], [20] * 4 + [40] * 2),
    ],
    ids=["none", "all", "some"],
)
def test_rivals_stop_when_one_of_them_is_solved(problem, rivals, spent):
    done = descend(
        *almost_solved(problem),
        Descent(n_steps=40, learning_rate=0.1, solved_below=1e-6, check_every=20),
        rivals=None if rivals is None else torch.tensor(rivals),
    )
    assert done.n_evaluations.tolist() == spent


def test_rivals_that_stop_keep_the_best_they_have_seen(problem):
    start, objective = almost_solved(problem)
    descent = Descent(n_steps=40, learning_rate=0.1, n_total=40, solved_below=1e-6, check_every=20)
    done = descend(start, objective, descent, rivals=torch.tensor([0, 1] * 3))
    expected = descend(start, objective, replace(descent, n_steps=20))
    assert torch.equal(done.losses, expected.losses)
    assert torch.equal(done.batch.frac_coords, expected.batch.frac_coords)


def test_nobody_stops_while_nobody_is_solved(problem):
    start, objective = problem
    descent = Descent(n_steps=20, learning_rate=0.1, solved_below=1e-6)
    done = descend(start, objective, descent, rivals=torch.zeros(N_STARTS, dtype=torch.long))
    assert done.n_evaluations.tolist() == [20] * N_STARTS


def test_two_descents_joined_have_the_step_lengths_of_one():
    whole = Descent(n_steps=100, learning_rate=0.3)
    first = Descent(n_steps=40, learning_rate=0.3, n_total=100)
    second = Descent(n_steps=60, learning_rate=0.3, n_done=40, n_total=100)
    joined = [first.rate(step) for step in range(40)] + [second.rate(step) for step in range(60)]
    assert joined == pytest.approx([whole.rate(step) for step in range(100)], rel=1e-12)
    assert joined[0] == pytest.approx(0.3)
    assert joined == sorted(joined, reverse=True)
    assert 0 < joined[-1] < 1e-3


@pytest.mark.parametrize(("n_done", "length"), [(0, 0.002), (50, 0.001), (75, 0.002 * (1 - 0.5**0.5) / 2)])
def test_the_first_step_of_a_continued_descent_has_the_length_of_its_place(problem, n_done, length):
    start, objective = problem
    descent = Descent(n_steps=2, learning_rate=0.002, n_done=n_done, n_total=100)
    done = descend(start, objective, descent)
    steps = (done.batch.cart_coords - start.cart_coords).abs()
    went = steps.amax(1) > 0
    assert bool(went.any())
    torch.testing.assert_close(steps[went], torch.full_like(steps[went], length), rtol=1e-4, atol=0)


def test_the_coarse_stage_alone_can_be_matched(problem):
    start, objective = problem
    coarse = objective.descriptor.stages[0]
    wrong = objective.targets.clone()
    wrong[:, coarse.stop :] = 5.0
    descent = Descent(n_steps=10, learning_rate=0.1, n_stages=1)
    done = descend(start, objective, descent)
    other = descend(start, replace(objective, targets=wrong), descent)
    assert torch.equal(done.losses, other.losses)
    assert torch.equal(done.batch.frac_coords, other.batch.frac_coords)


def test_a_step_waits_for_a_gpu_once(problem):
    start, objective = problem
    with stand_in_gpu() as gpu:
        there = replace(
            objective,
            descriptor=make_descriptor("ead").to(gpu),
            targets=objective.targets.to(gpu),
            shortest=objective.shortest.to(gpu),
        )
        waits = []
        for n_steps in (2, 7):  # so short that neighbours are looked for at the start alone
            calls.clear()
            done = descend(start.to(gpu), there, Descent(n_steps=n_steps, learning_rate=0.01))
            waits.append(calls["_local_scalar_dense"] + calls["nonzero"])
        assert waits[1] - waits[0] == 5
        here = descend(start, objective, Descent(n_steps=7, learning_rate=0.01))
        torch.testing.assert_close(done.losses.cpu(), here.losses, rtol=1e-8, atol=1e-8)
