import math

import known_crystals
import numpy as np
import pytest
import torch
from pymatgen.core import Structure

from descriptors.base import Descriptor, make_descriptor
from descriptors.batch import from_structures
from repdiff.degeneracy.sensitivity import position_jacobian, probe, rattled


class NearestPair(Descriptor):
    """The distance from the first atom to the second: one number."""

    n_features, cutoff, stages = 1, 1.0, (slice(0, 1),)

    @classmethod
    def from_preset(cls, preset):
        return cls()

    def settings(self):
        return {}

    def feature_names(self):
        return ["distance"]

    def evaluate(self, neighborhood, vectors, *, n_stages=None):
        raise NotImplementedError

    def forward(self, batch):
        carts = batch.cart_coords.view(batch.n_systems, -1, 3)
        return (carts[:, 0] - carts[:, 1]).norm(dim=1, keepdim=True)


def batch_of(structure: Structure):
    return from_structures([structure])


def test_directions_that_one_number_cannot_see_are_all_found():
    soft = probe(NearestPair(), batch_of(known_crystals.perovskite()), displacement=0.01, tolerance=1e-3)
    assert soft.n_directions == 12
    assert soft.n_flat == 11
    assert soft.n_soft == 11
    assert soft.condition > 1e6
    distance = 3**0.5 / 2 * known_crystals.perovskite().lattice.a
    # the two atoms part by √2 Å for 1 Å over all coordinates, which is √5 Å for a mean square of 1 Å over five atoms
    assert soft.stiffest == pytest.approx(math.sqrt(2 * 5) / distance, rel=1e-6)


def test_the_jacobian_agrees_with_back_propagation():
    descriptor = make_descriptor("soap")
    batch = rattled(batch_of(known_crystals.rocksalt()), 0.2, generator=torch.Generator().manual_seed(0))
    found = position_jacobian(descriptor, batch)

    def encode(frac):
        return descriptor(type(batch)(**{**vars(batch), "frac_coords": frac}))[0]

    by_frac = torch.autograd.functional.jacobian(encode, batch.frac_coords)
    expected = (by_frac @ torch.linalg.inv(batch.lattice[0]).T).flatten(1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6 * float(expected.abs().max()))


def test_symmetry_makes_every_direction_flat_and_rattling_none():
    descriptor, batch = make_descriptor("ead"), batch_of(known_crystals.perovskite())
    still = probe(descriptor, batch, displacement=0.1, tolerance=1e-6)
    moved = rattled(batch, 0.1, generator=torch.Generator().manual_seed(0))
    shaken = probe(descriptor, moved, displacement=0.1, tolerance=1e-6)
    assert still.stiffest < 1e-6
    assert shaken.n_flat == shaken.n_soft == 0
    assert shaken.stiffest > 1e-3


def test_more_tolerance_makes_more_directions_soft():
    batch = rattled(batch_of(known_crystals.perovskite()), 0.1, generator=torch.Generator().manual_seed(0))
    softs = [
        probe(make_descriptor("ead"), batch, displacement=0.1, tolerance=tolerance)
        for tolerance in (1e-9, 3e-3, 10.0)
    ]
    counts = [soft.n_soft for soft in softs]
    assert counts[0] == 0 < counts[1] < counts[2] == 12
    assert 0 < softs[0].smallest_change < 3e-3


def test_a_probe_takes_one_crystal_of_several_atoms():
    polonium = batch_of(Structure(3.35 * np.eye(3), ["Po"], [[0, 0, 0]]))
    with pytest.raises(ValueError, match="expected one crystal of at least 2 atoms"):
        probe(NearestPair(), polonium, displacement=0.1, tolerance=0.1)
