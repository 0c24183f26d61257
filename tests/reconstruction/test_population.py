import pytest
import torch

from descriptors.batch import CrystalBatch
from reconstruction.population import Population

N_SYSTEMS, N_KEPT, SIZE = 2, 3, 2
FRESH = -1


def empty(n_kept=N_KEPT):
    start = CrystalBatch(
        frac_coords=torch.zeros(N_SYSTEMS * SIZE, 3),
        lattice=4 * torch.eye(3).repeat(N_SYSTEMS, 1, 1),
        atomic_numbers=torch.tensor([11, 17] * N_SYSTEMS),
        system_idx=torch.arange(N_SYSTEMS).repeat_interleave(SIZE),
    )
    return Population.empty(start, n_kept)


def offer(population, loss, parent=FRESH, row=0):
    """Offer a minimum whose positions tell its loss."""
    population.add(
        torch.tensor([row]), torch.full((1, SIZE, 3), loss), torch.tensor([loss]), torch.tensor([parent])
    )


@pytest.fixture
def filled():
    """Minima 0.3, 0.5 and 0.4, in this order, of the first crystal."""
    population = empty()
    for loss in (0.3, 0.5, 0.4):
        offer(population, loss)
    assert population.losses[0].tolist() == pytest.approx([0.3, 0.5, 0.4])
    return population


def holds(population, losses, row=0):
    assert population.losses[row].tolist() == pytest.approx(losses)
    positions = population.frac_coords[row]
    assert positions[..., 0].amax(1).tolist() == pytest.approx(losses), "positions of another minimum"


@pytest.mark.parametrize(("loss", "left"), [(0.2, [0.3, 0.2, 0.4]), (0.45, [0.3, 0.45, 0.4])])
def test_a_lower_hop_replaces_its_parent(filled, loss, left):
    offer(filled, loss, parent=1)
    holds(filled, left)


@pytest.mark.parametrize("parent", [0, 1, 2])
def test_a_higher_hop_replaces_nobody(filled, parent):
    offer(filled, 0.6, parent=parent)
    holds(filled, [0.3, 0.5, 0.4])


def test_a_hop_that_is_lower_than_others_but_not_than_its_parent_is_dropped(filled):
    offer(filled, 0.35, parent=0)
    holds(filled, [0.3, 0.5, 0.4])


@pytest.mark.parametrize(("loss", "left"), [(0.2, [0.3, 0.2, 0.4]), (0.45, [0.3, 0.45, 0.4])])
def test_a_lower_new_start_replaces_the_highest(filled, loss, left):
    offer(filled, loss)
    holds(filled, left)


def test_a_new_start_above_all_is_dropped(filled):
    offer(filled, 0.7)
    holds(filled, [0.3, 0.5, 0.4])


@pytest.mark.parametrize("parent", [FRESH, 1])
@pytest.mark.parametrize("loss", [0.3 * 0.995, 0.3 * 1.005, 0.4 * 0.995])
def test_a_minimum_within_one_per_cent_of_another_is_not_remembered_twice(filled, parent, loss):
    offer(filled, loss, parent=parent)
    holds(filled, [0.3, 0.5, 0.4])


def test_a_hop_may_improve_its_parent_by_less_than_one_per_cent(filled):
    offer(filled, 0.398, parent=2)
    holds(filled, [0.3, 0.5, 0.398])


def test_the_same_minimum_found_twice_takes_one_of_the_empty_places():
    population = empty()
    for loss in (0.3, 0.301, 0.299, 0.3):
        offer(population, loss)
    assert int(torch.isfinite(population.losses[0]).sum()) == 1


def test_crystals_do_not_see_each_other(filled):
    offer(filled, 0.1, row=1)
    holds(filled, [0.3, 0.5, 0.4])
    assert filled.losses[1].min() == pytest.approx(0.1)
    assert filled.n_agreeing.tolist() == [1, 1]
    filled.add(torch.tensor([1, 0]), torch.rand(2, SIZE, 3), torch.tensor([0.05, 0.2]), torch.tensor([-1, 0]))
    assert filled.losses.amin(1).tolist() == pytest.approx([0.2, 0.05])


def test_independent_trials_that_find_the_lowest_minimum_are_counted():
    population = empty()
    for number, loss in enumerate((0.3, 0.301, 0.299), start=1):
        offer(population, loss)
        assert population.n_agreeing.tolist() == [number, 0]


def test_minima_whose_losses_differ_by_more_than_is_given_are_two():
    population = Population.of_points(torch.zeros(1, SIZE, 3), 2, same=0.003)
    for loss in (0.3, 0.301):
        offer(population, loss)
    assert population.losses[0].tolist() == pytest.approx([0.3, 0.301])
    assert int(population.n_agreeing[0]) == 1
    offer(population, 0.3005)
    assert int(population.n_agreeing[0]) == 2


def test_a_hop_back_into_the_minimum_it_left_is_no_agreement(filled):
    offer(filled, 0.3, parent=0)
    assert int(filled.n_agreeing[0]) == 1
    offer(filled, 0.3, parent=1)
    assert int(filled.n_agreeing[0]) == 2


@pytest.mark.parametrize("loss", [0.4, 0.5, 0.32, 0.9])
def test_other_minima_do_not_agree(filled, loss):
    offer(filled, loss)
    assert int(filled.n_agreeing[0]) == 1


@pytest.mark.parametrize("parent", [FRESH, 0, 1])
def test_agreement_begins_anew_at_a_lower_minimum(filled, parent):
    offer(filled, 0.3)
    offer(filled, 0.3)
    assert int(filled.n_agreeing[0]) == 3
    offer(filled, 0.2, parent=parent)
    assert int(filled.n_agreeing[0]) == 1
    offer(filled, 0.2)
    assert int(filled.n_agreeing[0]) == 2


def test_the_lowest_is_given_with_its_own_positions(filled):
    offer(filled, 0.25, parent=2)
    offer(filled, 0.6, row=1)
    batch, losses = filled.lowest()
    assert losses.tolist() == pytest.approx([0.25, 0.6])
    assert batch.frac_coords[:, 0].tolist() == pytest.approx([0.25] * SIZE + [0.6] * SIZE)
    assert torch.equal(batch.atomic_numbers, filled.start.atomic_numbers)
    assert torch.equal(batch.lattice, filled.start.lattice)


@pytest.mark.parametrize("n_filled", [1, 2, 3])
def test_filled_places_alone_are_drawn_and_all_in_turn(n_filled):
    population = empty()
    for loss in (0.3, 0.5, 0.4)[:n_filled]:
        offer(population, loss)
    offer(population, 0.7, row=1)
    rows, n_turns = torch.tensor([1, 0]), 4
    first = set()
    for seed in range(20):
        drawn = population.draw(rows, n_turns * n_filled, generator=torch.Generator().manual_seed(seed))
        assert bool(torch.isfinite(population.losses[rows[:, None], drawn]).all())
        counts = torch.bincount(drawn[1], minlength=N_KEPT)
        assert sorted(counts.tolist(), reverse=True) == [n_turns] * n_filled + [0] * (N_KEPT - n_filled)
        assert len(set(drawn[1, :n_filled].tolist())) == n_filled
        first.add(int(drawn[1, 0]))
    assert len(first) == n_filled, "the same place is always first"
