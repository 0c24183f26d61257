"""Rounds of the search for crystals of given symmetry, all crystals of a batch at once."""

from dataclasses import replace

import pytest
import torch
from textbook_symmetry import textbook

from descriptors.base import make_descriptor
from reconstruction.objective import Objective
from reconstruction.orbit_descent import Aim, Pull, Reached
from reconstruction.orbit_search import Effort, _State
from reconstruction.orbit_space import OrbitSpace
from reconstruction.population import Population
from reconstruction.presets import SEARCHES, Rung

WIDTH = 4


@pytest.fixture
def state():
    protostructures, free, cells = textbook("rutile", "quartz", "orthorhombic perovskite")
    space = OrbitSpace.make(
        protostructures, cells, hold_cell=True, device=torch.device("cpu"), dtype=torch.float64
    )
    descriptor = make_descriptor("ead")
    aim = Aim(
        objective=Objective(
            descriptor=descriptor,
            targets=descriptor(space.crystals(space.points_of(free, cells))).detach(),
            shortest=torch.full((3,), 1.0, dtype=torch.float64),
            repulsion=0.0,
        ),
        pull=Pull(weight=0.0),
    )
    settings = replace(SEARCHES["default"], n_refine=0, n_polish=5)
    effort = Effort(n_drawn=2, rungs=(Rung(n_trials=WIDTH, n_steps=3),))
    return _State.begin(space, aim, settings, effort, torch.Generator().manual_seed(0))


def test_a_rival_that_is_lower_when_polished_is_found(state, monkeypatch):
    state.settings = replace(state.settings, n_refine=8)
    state.population = Population.of_points(torch.zeros_like(state.space.lengths), 3, same=0.003)
    everywhere, parents = torch.arange(3), torch.full((3,), -1)
    for loss in (0.10, 0.101, 0.2):
        points = torch.full_like(state.space.lengths, loss)
        state.population.add(everywhere, points, torch.full((3,), loss, dtype=points.dtype), parents)
    polished = []

    def polish(space, points, aim):
        polished.append(points[:, 0, 0].tolist())
        lower = torch.where(points[:, 0, 0] > 0.1005, 0.05, 0.09).to(points)
        return Reached(points=points, losses=lower, n_evaluations=torch.ones_like(lower))

    monkeypatch.setattr(state, "_polish", polish)
    state.finish()
    points, losses = state.population.lowest_points()
    assert losses.tolist() == pytest.approx([0.05] * 3)
    assert points[:, 0, 0].tolist() == pytest.approx([0.101] * 3)
    assert sorted({one for part in polished for one in part}) == pytest.approx([0.10, 0.101])  # 0.2 is none


def test_the_best_trial_of_each_crystal_is_refined_and_no_other(state):
    systems = torch.arange(3).repeat_interleave(WIDTH)
    points = state.space.select(systems).drawn(
        torch.zeros_like(state.space.lengths[systems]), generator=torch.Generator().manual_seed(5)
    )
    losses = state.aim.select(systems).measure(state.space.select(systems), points)
    best = losses.reshape(3, WIDTH).argmin(1)
    rows = {k * WIDTH + int(place) for k, place in enumerate(best)}
    before, lower = points.clone(), losses.clone()
    state._refine(points, losses, systems, WIDTH)
    changed = {row for row in range(3 * WIDTH) if not torch.equal(points[row], before[row])}
    assert changed == rows
    assert all(float(losses[row]) < float(lower[row]) for row in rows)
