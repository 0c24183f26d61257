import pytest
import torch

from descriptors.radial import cosine_cutoff, gaussians, smoothstep_cutoff

CUTOFFS = [cosine_cutoff, smoothstep_cutoff]


@pytest.mark.parametrize("function", CUTOFFS)
def test_a_cutoff_is_one_at_zero_half_midway_and_zero_beyond(function):
    distances = torch.tensor([0.0, 3.0, 6.0, 7.0, 100.0], dtype=torch.float64)
    expected = torch.tensor([1.0, 0.5, 0.0, 0.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(function(distances, cutoff=6.0), expected)


@pytest.mark.parametrize("function", CUTOFFS)
def test_a_cutoff_has_no_slope_at_either_end_and_falls_between(function):
    distances = torch.linspace(0, 6, 61, dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(function(distances, cutoff=6.0).sum(), distances)
    torch.testing.assert_close(slope[[0, -1]], torch.zeros(2, dtype=torch.float64), atol=1e-12, rtol=0)
    assert bool((slope[1:-1] < 0).all())


def test_the_cosine_cutoff_takes_its_textbook_values():
    quarter = torch.tensor([1.0, 2.0], dtype=torch.float64)
    expected = torch.tensor([0.5 * (1 + 0.5**0.5), 0.5], dtype=torch.float64)
    torch.testing.assert_close(cosine_cutoff(quarter, cutoff=4.0), expected)


def test_a_gaussian_is_one_at_its_centre_and_falls_with_eta():
    values = gaussians(torch.tensor([2.0, 3.0]), torch.tensor([2.0, 4.0]), eta=0.5)
    expected = torch.exp(-0.5 * torch.tensor([[0.0, 4.0], [1.0, 1.0]]))
    torch.testing.assert_close(values, expected)
