from dataclasses import replace

import known_crystals
import pytest
import torch
from textbook_symmetry import textbook, textbook_batch

from descriptors.base import make_descriptor
from descriptors.batch import CrystalBatch, from_structures
from descriptors.neighbors import Centres, find_neighborhood
from descriptors.symmetry.orbit_maps import orbit_maps
from reconstruction.objective import Objective, closest_radii


@pytest.fixture(scope="module")
def known() -> CrystalBatch:
    return from_structures([known_crystals.caesium_chloride(), known_crystals.perovskite()])


@pytest.fixture(scope="module")
def descriptor():
    return make_descriptor("ead")


def objective(descriptor, targets, shortest=(1.0, 1.0), repulsion=1.0):
    return Objective(
        descriptor=descriptor,
        targets=targets,
        shortest=torch.tensor(shortest, dtype=targets.dtype),
        repulsion=repulsion,
    )


def at(batch, descriptor):
    neighborhood = find_neighborhood(batch, descriptor.cutoff)
    return neighborhood, neighborhood.vectors(batch.frac_coords, batch.lattice)


def test_the_truth_has_no_loss(known, descriptor):
    losses = objective(descriptor, descriptor(known))(*at(known, descriptor))
    torch.testing.assert_close(losses, torch.zeros(2, dtype=known.dtype), atol=1e-9, rtol=0)


def test_the_loss_is_the_relative_error_whatever_the_scale(known, descriptor):
    targets = descriptor(known) * torch.tensor([[1 / 1.01], [1 / 1.05]])
    losses = objective(descriptor, targets)(*at(known, descriptor))
    torch.testing.assert_close(losses, torch.tensor([0.01, 0.05], dtype=known.dtype))


def test_stages_are_compared_alone(known, descriptor):
    targets = descriptor(known)
    for stage in descriptor.stages[1:]:
        targets[:, stage] = 1e6
    coarse = objective(descriptor, targets)(*at(known, descriptor), n_stages=1)
    torch.testing.assert_close(coarse, torch.zeros(2, dtype=known.dtype), atol=1e-9, rtol=0)


def test_the_last_stage_alone_is_that_part_of_the_vector(known, descriptor):
    targets = descriptor(known)
    targets[:, descriptor.stages[-1]] *= 1 / 1.02
    targets[:, : descriptor.stages[-1].start] = 1e6
    alone = objective(descriptor, targets).last_stage()
    losses = alone(*at(known, alone.descriptor))
    torch.testing.assert_close(losses, torch.full((2,), 0.02, dtype=known.dtype))


def test_a_descriptor_of_one_stage_is_its_last_stage():
    soap = make_descriptor("soap")
    whole = objective(soap, torch.ones(2, soap.n_features))
    assert whole.last_stage() is whole


def test_the_overlap_is_the_mean_over_atoms_of_what_is_missing_squared(known, descriptor):
    structure = known_crystals.caesium_chloride()
    bond = float(structure.get_distance(0, 1))
    found = objective(descriptor, descriptor(known), shortest=(bond + 0.1, 1.0))
    overlap = found.overlap(*at(known, descriptor))
    torch.testing.assert_close(overlap, torch.tensor([8 * 0.1**2, 0.0], dtype=known.dtype))


def test_each_pair_has_the_larger_of_two_floors(known, descriptor):
    structure = known_crystals.caesium_chloride()
    bond = float(structure.get_distance(0, 1))
    radii = torch.zeros(119, dtype=known.dtype)
    radii[55], radii[17] = (bond + 0.1) / 2 + 0.2, (bond + 0.1) / 2 - 0.2
    plain = objective(descriptor, descriptor(known))
    found = replace(plain, radii=radii).overlap(*at(known, descriptor))
    torch.testing.assert_close(found, torch.tensor([8 * 0.1**2, 0.0], dtype=known.dtype))
    alone = (
        replace(plain, radii=radii)
        .select(torch.tensor([0]))
        .overlap(*at(known.select(torch.tensor([0])), descriptor))
    )
    torch.testing.assert_close(alone, found[:1])


def test_inexact_vectors_keep_atoms_apart_by_their_radii():
    assert closest_radii(exact=True, device=torch.device("cpu")) is None
    radii = closest_radii(exact=False, device=torch.device("cpu"))
    torch.testing.assert_close(radii[26] * 2, torch.tensor(0.75 * 2 * 1.32))


def test_the_overlap_enters_the_loss_with_its_weight(known, descriptor):
    for weight in (0.0, 3.0):
        found = objective(descriptor, descriptor(known), shortest=(4.0, 1.0), repulsion=weight)
        losses, overlap = found(*at(known, descriptor)), found.overlap(*at(known, descriptor))
        assert float(overlap[0]) > 0.1
        torch.testing.assert_close(losses, weight * overlap, atol=1e-9, rtol=1e-6)


def test_the_hinge_pushes_atoms_apart(known, descriptor):
    close = known.select(torch.tensor([0]))
    cart = close.cart_coords + torch.tensor([[0.9, 0.9, 0.9], [0, 0, 0]], dtype=close.dtype)
    frac = (cart @ torch.linalg.inv(close.lattice[0])).requires_grad_()
    neighborhood = find_neighborhood(close, descriptor.cutoff)
    found = objective(descriptor, descriptor(close), shortest=(2.5,))
    (gradient,) = torch.autograd.grad(
        found.overlap(neighborhood, neighborhood.vectors(frac, close.lattice)).sum(), frac
    )
    toward = (frac[1] - frac[0]).detach()
    assert float(gradient[0] @ toward) > 0
    assert float(gradient[1] @ toward) < 0


def test_atoms_on_top_of_each_other_have_finite_gradients(known, descriptor):
    frac = known.frac_coords * 0
    frac.requires_grad_()
    neighborhood = find_neighborhood(known, descriptor.cutoff)
    losses = objective(descriptor, descriptor(known))(neighborhood, neighborhood.vectors(frac, known.lattice))
    (gradient,) = torch.autograd.grad(losses.sum(), frac)
    assert bool(torch.isfinite(losses).all())
    assert bool(torch.isfinite(gradient).all())


def test_a_selection_has_the_losses_of_its_crystals(known, descriptor):
    rows = torch.tensor([1, 0, 1])
    found = objective(descriptor, 1.1 * descriptor(known), shortest=(3.0, 2.5))
    losses = found(*at(known, descriptor))
    picked = found.select(rows)(*at(known.select(rows), descriptor))
    torch.testing.assert_close(picked, losses[rows])


def test_the_overlap_of_one_atom_of_each_orbit_is_that_of_all_with_its_gradient(descriptor):
    batch = textbook_batch("quartz", "orthorhombic perovskite")
    maps = orbit_maps(textbook("quartz", "orthorhombic perovskite")[0])
    targets = descriptor(batch)
    goal = objective(descriptor, targets, shortest=(2.7, 2.9))
    whole = goal.overlap(*at(batch, descriptor))
    centres = Centres(atoms=maps.representative, multiplicity=maps.multiplicity)
    neighborhood = find_neighborhood(batch, 4.0, centres=centres)
    vectors = neighborhood.vectors(batch.frac_coords, batch.lattice).requires_grad_()
    assert bool((whole > 0.1).all())
    torch.testing.assert_close(goal.overlap(neighborhood, vectors), whole)
    (gradient,) = torch.autograd.grad((goal.overlap(neighborhood, vectors) ** 2).sum(), vectors)
    step = 1e-5 * torch.randn(vectors.shape, dtype=vectors.dtype, generator=torch.Generator().manual_seed(0))
    higher, lower = ((goal.overlap(neighborhood, vectors + n * step) ** 2).sum() for n in (1, -1))
    torch.testing.assert_close((higher - lower) / 2, (gradient * step).sum(), rtol=1e-4, atol=1e-12)
