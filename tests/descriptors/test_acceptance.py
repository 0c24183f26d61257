"""Every registered descriptor passes the acceptance kit: registering it is enough to have it tested."""

from dataclasses import replace

import pytest
import torch
from stand_in_gpu import stand_in_gpu

from descriptors.base import DESCRIPTORS, make_descriptor
from descriptors.representation import Representation
from descriptors.testing import CHECKS, example_crystals

SPECS = [f"{name}:{preset}" for name in DESCRIPTORS for preset in DESCRIPTORS[name].presets]


@pytest.mark.parametrize("check", sorted(CHECKS))
@pytest.mark.parametrize("spec", SPECS)
def test_descriptor_passes_the_acceptance_kit(spec, check):
    CHECKS[check](make_descriptor(spec), example_crystals())


def vectors_and_slopes(spec, batch):
    """Return the representations and the derivatives of their sum, on the device of the crystals."""
    descriptor = make_descriptor(spec).to(batch.device)
    representation = Representation(descriptor=descriptor, elements=tuple(range(1, 104)))
    frac = batch.frac_coords.clone().requires_grad_()
    vectors = representation.encode(replace(batch, frac_coords=frac))
    (slopes,) = torch.autograd.grad(vectors.sum(), frac)
    return vectors.detach(), slopes


@pytest.mark.parametrize("spec", SPECS)
def test_a_gpu_gives_the_vectors_and_slopes_of_the_processor(spec):
    crystals = example_crystals()
    here = vectors_and_slopes(spec, crystals)
    with stand_in_gpu() as gpu:
        there = vectors_and_slopes(spec, crystals.to(gpu))
        assert all(found.device == gpu for found in there)
        for found, expected in zip(there, here, strict=True):
            torch.testing.assert_close(
                found.cpu(), expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max())
            )
