"""The compiled overlap is what a line of arrays says, and so is its gradient."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from descriptors.neighbors import Neighborhood
from reconstruction.compiled_overlap import missing_squares


def table(present):
    n_centres, n_slots = present.shape
    return Neighborhood(
        neighbor_idx=torch.zeros(n_centres, n_slots, dtype=torch.long),
        shifts=torch.zeros(n_centres, n_slots, 3),
        present=present,
        atomic_numbers=torch.ones(n_centres, dtype=torch.long),
        system_idx=torch.zeros(n_centres, dtype=torch.long),
        n_atoms_per_system=torch.tensor([n_centres]),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(seed=st.integers(0, 999), n_slots=st.integers(1, 7))
def test_loops_agree_with_arrays_in_values_and_gradients(dtype, seed, n_slots):
    generator = torch.Generator().manual_seed(seed)
    vectors = (3 * torch.randn(5, n_slots, 3, generator=generator)).to(dtype)
    present = torch.rand(5, n_slots, generator=generator) < 0.7
    floor = 6 * torch.rand(5, n_slots, generator=generator).to(dtype)
    upstream = torch.rand(5, generator=generator).to(dtype)
    found = []
    for compiled in (True, False):
        moved = vectors.clone().requires_grad_()
        if compiled:
            sums = missing_squares(table(present), moved, floor)
        else:
            missing = (floor - moved.norm(dim=2)).clamp(min=0)
            sums = torch.where(present, missing.square(), 0.0).sum(1)
        found.append((sums.detach(), *torch.autograd.grad(sums, moved, upstream)))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)
