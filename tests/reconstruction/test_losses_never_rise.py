"""A search keeps what is lower, and nothing else: no minimum that it remembers ever gets worse."""

from dataclasses import replace
from itertools import pairwise

import known_crystals
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from descriptors.base import make_descriptor
from descriptors.batch import CrystalBatch, from_structures
from reconstruction import basin_hopping
from reconstruction.basin_hopping import _State
from reconstruction.minimize import Descended
from reconstruction.objective import Objective
from reconstruction.population import Population
from reconstruction.presets import Rung, Search

N_KEPT, SIZE = 3, 2
SHORT = Search(
    rungs=(Rung(n_trials=4, n_steps=6),), n_rounds=4, n_kept=N_KEPT, learning_rate=0.3, solved_below=0.0,
    n_polish=4, n_refine=1, refined_below=1.0, fresh=0.5,
)  # fmt: skip
OFFERS = st.lists(
    st.tuples(st.integers(50, 64).map(lambda n: n / 64), st.integers(-1, N_KEPT - 1)), max_size=30
)


@given(offers=OFFERS)
def test_no_place_of_a_population_gets_worse_and_each_keeps_the_positions_of_its_loss(offers):
    start = CrystalBatch(
        frac_coords=torch.zeros(SIZE, 3),
        lattice=4 * torch.eye(3)[None],
        atomic_numbers=torch.tensor([11, 17]),
        system_idx=torch.zeros(SIZE, dtype=torch.long),
    )
    population = Population.empty(start, N_KEPT)
    for loss, parent in offers:
        before = population.losses.clone()
        population.add(
            torch.tensor([0]), torch.full((1, SIZE, 3), loss), torch.tensor([loss]), torch.tensor([parent])
        )
        assert bool((population.losses <= before).all())
        kept = torch.isfinite(population.losses)
        assert torch.equal(population.frac_coords[kept][:, 0, 0], population.losses[kept])
        if parent == -1 or before[0, parent] == before.min():  # where nothing but its loss can keep it out
            assert float(population.losses.min()) <= 1.0101 * loss


@pytest.fixture(scope="module")
def problem():
    descriptor = make_descriptor("ead")
    known = from_structures([known_crystals.perovskite()] * 2, dtype=torch.float32)
    objective = Objective(
        descriptor=descriptor,
        targets=descriptor(known) * torch.tensor([[1.0], [1.1]]),
        shortest=torch.full((2,), 1.2),
        repulsion=1.0,
    )
    return replace(known, frac_coords=torch.zeros_like(known.frac_coords)), objective


def begin(problem, settings=SHORT):
    return _State.begin(*problem, settings, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("factor", [0.5, 0.999, 1.0, 1.0001, 1.04, 2.0])
def test_the_lowest_minimum_gives_way_to_a_lower_one_alone(problem, factor):
    state, rows = begin(problem), torch.arange(2)
    state.round(rows)
    best, losses = state.population.lowest()
    moved = replace(best, frac_coords=best.frac_coords + 0.01)
    state._replace_lowest(rows, Descended(batch=moved, losses=factor * losses, n_evaluations=torch.ones(2)))
    after, lower = state.population.lowest()
    torch.testing.assert_close(lower, min(factor, 1.0) * losses, rtol=0, atol=0)
    expected = moved if factor < 1 else best
    assert torch.equal(after.frac_coords, expected.frac_coords)


def test_no_minimum_rises_while_a_search_goes_on_even_if_a_descent_ends_higher(problem, monkeypatch):
    plain = basin_hopping.descend

    def descend(batch, objective, descent, *, rivals=None):
        """End 4 % above what was found, where a minimum is polished."""
        outcome = plain(batch, objective, descent, rivals=rivals)
        return replace(outcome, losses=outcome.losses * 1.04) if rivals is None else outcome

    monkeypatch.setattr(basin_hopping, "descend", descend)
    state, rows = begin(problem), torch.arange(2)
    seen = [state.population.losses.clone()]
    monkeypatch.setattr(Population, "add", _noting(Population.add, seen))
    for _ in range(SHORT.n_rounds):
        state.round(rows)
        seen.append(state.population.losses.clone())
    assert all(bool((after <= before).all()) for before, after in pairwise(seen))
    assert bool((seen[-1].amin(1) < seen[SHORT.n_proposals].amin(1)).any()), "nothing was ever improved"


def _noting(add, seen):
    def noted(population, *offer):
        add(population, *offer)
        seen.append(population.losses.clone())

    return noted
