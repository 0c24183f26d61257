"""Descents of crystals of given symmetry: what draws their cells, and losses that are true where they end."""

import pytest
import torch
from textbook_symmetry import textbook

from descriptors.base import make_descriptor
from reconstruction.minimize import Descent
from reconstruction.objective import Objective
from reconstruction.orbit_descent import Aim, Pull, descend
from reconstruction.orbit_space import OrbitSpace


def problem():
    """Three crystals, and an aim whose solution is drawn with seed 1."""
    protostructures, _, cells = textbook("rutile", "quartz", "orthorhombic perovskite")
    space = OrbitSpace.make(
        protostructures, cells, hold_cell=True, device=torch.device("cpu"), dtype=torch.float64
    )
    points = space.drawn(torch.zeros_like(space.lengths), generator=torch.Generator().manual_seed(1))
    descriptor = make_descriptor("ead")
    targets = descriptor(space.crystals(points)).detach()
    aim = Aim(
        objective=Objective(
            descriptor=descriptor, targets=targets, shortest=torch.full((3,), 1.0, dtype=torch.float64),
            repulsion=0.0,
        ),
        pull=Pull(weight=0.0),
    )  # fmt: skip
    return space, aim


def test_the_pull_is_the_square_of_volume_and_shape_over_what_they_may_be():
    generator = torch.Generator().manual_seed(0)
    strains = 0.05 * torch.randn(7, 3, 3, generator=generator, dtype=torch.float64)
    strains = (strains + strains.mT) / 2
    pull = Pull(weight=0.3, volume=0.02, shape=0.05)
    for strain, found in zip(strains, pull(torch.eye(3, dtype=torch.float64) + strains), strict=True):
        growth = float(torch.trace(strain))
        deviator = strain - growth / 3 * torch.eye(3, dtype=torch.float64)
        expected = 0.3 * ((growth / 0.02) ** 2 + float((deviator**2).sum()) / 0.05**2)
        assert float(found) == pytest.approx(expected)


def test_a_solved_crystal_ends_its_own_descent_and_no_other():
    space, aim = problem()
    solved = space.drawn(torch.zeros_like(space.lengths), generator=torch.Generator().manual_seed(1))
    far = space.drawn(torch.zeros_like(space.lengths), generator=torch.Generator().manual_seed(2))
    start = torch.cat([solved[:1], far[1:]])
    descent = Descent(n_steps=12, learning_rate=1e-6, solved_below=1e-2, check_every=4)
    reached = descend(space, start, aim, descent, rivals=torch.arange(3))
    assert reached.n_evaluations.tolist() == [4, 12, 12]


@pytest.mark.parametrize("rate", [0.02, 0.5])
def test_losses_are_those_of_the_points_however_far_atoms_have_gone(rate):
    """With a table of neighbours that is out of date they would be others."""
    space, aim = problem()
    start = space.drawn(torch.zeros_like(space.lengths), generator=torch.Generator().manual_seed(2))
    reached = descend(space, start, aim, Descent(n_steps=12, learning_rate=rate), rivals=torch.arange(3))
    torch.testing.assert_close(reached.losses, aim.measure(space, reached.points), rtol=1e-4, atol=1e-6)
