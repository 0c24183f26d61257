from dataclasses import replace

import known_crystals
import pytest
import torch
from pymatgen.core import Structure

from descriptors import lattice as cells
from descriptors.base import make_descriptor
from descriptors.batch import from_structures
from reconstruction import refine as module
from reconstruction.objective import Objective
from reconstruction.refine import refine, smooth_columns

KNOWN = {
    "perovskite": known_crystals.perovskite(),
    "rocksalt": known_crystals.rocksalt(),
    "diamond": known_crystals.diamond(),
}
PEROVSKITES = [known_crystals.perovskite(a, b) for a, b in (("Sr", "Ti"), ("Ba", "Zr"), ("Ca", "Hf"))]


@pytest.fixture(scope="module")
def descriptor():
    return make_descriptor("ead")


def problem(descriptor, structures, *, dtype=torch.float64):
    known = from_structures(list(structures), dtype=dtype)
    return known, Objective(
        descriptor=descriptor,
        targets=descriptor(known),
        shortest=known.lattice.new_ones(known.n_systems),
        repulsion=1.0,
    )


def moved(batch, *, by, seed=0):
    """Every coordinate moved by a uniform random number within `by`, Å."""
    shape, generator = batch.frac_coords.shape, torch.Generator().manual_seed(seed)
    step = by * (2 * torch.rand(shape, dtype=torch.float64, generator=generator) - 1)
    cart = batch.cart_coords + step.to(batch.dtype)
    return replace(batch, frac_coords=cells.cart_to_frac(cart, batch.lattice, batch.system_idx))


def loss_at(batch, objective):
    features = objective.descriptor(batch)
    return (features - objective.targets).abs().sum(1) / objective.targets.abs().sum(1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", KNOWN)
def test_a_crystal_that_is_nearly_right_becomes_right_in_ten_steps(descriptor, name, seed):
    known, objective = problem(descriptor, [KNOWN[name]])
    start = moved(known, by=0.05, seed=seed)
    assert float(loss_at(start, objective)) > 5e-5
    found = refine(start, objective, n_steps=10)
    assert float(found.losses) < 1e-7
    off = found.batch.cart_coords - known.cart_coords
    assert float((off - off.mean(0)).abs().max()) < 1e-4


@pytest.mark.parametrize("by", [0.02, 0.3, 3.0])
@pytest.mark.parametrize("n_steps", [1, 3, 8])
def test_no_crystal_is_made_worse(descriptor, by, n_steps):
    known, objective = problem(descriptor, PEROVSKITES * 3)
    start = moved(known, by=by, seed=n_steps)
    found = refine(start, objective, n_steps=n_steps)
    begin, end = loss_at(start, objective), loss_at(found.batch, objective)
    assert bool((found.losses <= begin * (1 + 1e-9)).all())
    assert bool((end <= begin * (1 + 1e-9)).all())


def test_what_lowers_the_squared_error_alone_is_not_kept(descriptor):
    known, objective = problem(descriptor, PEROVSKITES * 3)
    noise = torch.rand(objective.targets.shape, dtype=known.dtype, generator=torch.Generator().manual_seed(0))
    inexact = replace(objective, targets=objective.targets * (1 + 0.2 * (noise - 0.5) ** 3 * 8))
    start = moved(known, by=0.05)
    begin = loss_at(start, inexact)
    for n_steps in (1, 2, 4):
        assert bool((refine(start, inexact, n_steps=n_steps).losses <= begin * (1 + 1e-9)).all())


def test_the_truth_stays_where_it_is(descriptor):
    known, objective = problem(descriptor, PEROVSKITES)
    found = refine(known, objective, n_steps=3)
    torch.testing.assert_close(found.batch.frac_coords, known.frac_coords, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_loss_is_that_of_the_returned_crystal_without_the_overlap_term(descriptor, dtype):
    known, objective = problem(descriptor, PEROVSKITES, dtype=dtype)
    touching = replace(objective, shortest=torch.full_like(objective.shortest, 4.0), repulsion=100.0)
    found = refine(moved(known, by=0.4), touching, n_steps=1)
    assert found.losses.dtype == found.batch.dtype == dtype
    assert float(found.losses.min()) > 1e-4
    torch.testing.assert_close(found.losses, loss_at(found.batch, objective), rtol=1e-4, atol=1e-6)


def test_a_crystal_fares_alone_as_it_does_in_company(descriptor):
    known, objective = problem(descriptor, PEROVSKITES)
    start = moved(known, by=0.05)
    together = refine(start, objective, n_steps=3)
    for row in range(len(PEROVSKITES)):
        this = torch.tensor([row])
        alone = refine(start.select(this), objective.select(this), n_steps=3)
        torch.testing.assert_close(together.losses[this], alone.losses, rtol=1e-5, atol=1e-9)
        torch.testing.assert_close(
            together.batch.select(this).frac_coords, alone.batch.frac_coords, rtol=0, atol=1e-7
        )


def test_the_bound_on_memory_does_not_change_the_result(descriptor, monkeypatch):
    known, objective = problem(descriptor, PEROVSKITES)
    start = moved(known, by=0.05)
    expected = refine(start, objective, n_steps=2)
    monkeypatch.setattr(module, "CPU_ATOMS", 1)
    found = refine(start, objective, n_steps=2)
    torch.testing.assert_close(found.batch.frac_coords, expected.batch.frac_coords, rtol=0, atol=1e-9)


def test_every_coordinate_and_every_trial_step_counts_as_an_evaluation(descriptor):
    known, objective = problem(descriptor, PEROVSKITES)
    found = refine(moved(known, by=0.3), objective, n_steps=1)
    assert found.n_evaluations.tolist() == [3 * 5 + 2 + 1] * 3


def test_what_has_converged_costs_nothing_more(descriptor):
    known, objective = problem(descriptor, PEROVSKITES)
    assert refine(known, objective, n_steps=8).n_evaluations.tolist() == [1] * 3
    few, many = (refine(moved(known, by=0.03), objective, n_steps=n) for n in (8, 80))
    assert torch.equal(few.n_evaluations, many.n_evaluations)


def test_what_stalls_at_a_kink_goes_on_with_means_alone(descriptor, monkeypatch):
    known, objective = problem(descriptor, [known_crystals.diamond()] * 2)
    start = moved(known, by=0.2, seed=1)
    monkeypatch.setattr("reconstruction.least_squares.STUCK", 0.0)
    monkeypatch.setattr("reconstruction.least_squares.NEAR", 0.0)
    once = refine(start, objective, n_steps=1)
    monkeypatch.setattr("reconstruction.least_squares.NEAR", float(once.losses.max()) * 1.01)
    again = refine(start, objective, n_steps=1)
    assert bool((again.n_evaluations > once.n_evaluations).all())
    assert bool((again.losses < once.losses).all())


def test_means_are_smooth_and_extremes_are_not(descriptor):
    smooth = smooth_columns(descriptor).tolist()
    assert smooth == [name.startswith("mean") for name in descriptor.feature_names()]
    assert bool(smooth_columns(make_descriptor("soap")).all())


def test_cells_and_elements_are_left_alone(descriptor):
    known, objective = problem(descriptor, PEROVSKITES)
    found = refine(moved(known, by=0.1), objective, n_steps=1)
    assert torch.equal(found.batch.lattice, known.lattice)
    assert torch.equal(found.batch.atomic_numbers, known.atomic_numbers)


def test_atoms_that_see_nobody_stay_where_they_are(descriptor):
    far = Structure([[25.0, 0, 0], [0, 25.0, 0], [0, 0, 25.0]], ["Fe", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    known, objective = problem(descriptor, [far, known_crystals.caesium_chloride()])
    start = moved(known, by=0.05)
    found = refine(start, objective, n_steps=8)
    assert float(found.losses[1]) < 1e-7
    torch.testing.assert_close(found.batch.frac_coords[:2], start.frac_coords[:2], rtol=0, atol=1e-9)
