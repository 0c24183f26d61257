"""The noise processes: where they begin, where they end, and that the last step is the prior."""

import pytest
import torch
from pydantic import ValidationError
from scipy import stats

from repdiff.diffusion.joint_process import JointProcess, ProcessSettings, State, StateNoise
from repdiff.diffusion.masked_types import MASK
from repdiff.diffusion.symmetric_lattice import Limit

COUNTS = torch.tensor([1, 5, 20]).repeat(400)
PROCESS = JointProcess.of(ProcessSettings(), Limit(0.07))


def crystals(seed=0):
    """Crystals whose atoms sit in one corner of cells far from cubic."""
    index = torch.repeat_interleave(torch.arange(len(COUNTS)), COUNTS)
    edges = PROCESS.limit.edge(COUNTS)[:, None, None]
    cells = edges * torch.diag(torch.tensor([0.5, 1.0, 2.0])) + 0.2
    coords = 0.1 * torch.rand(len(index), 3, generator=torch.Generator().manual_seed(seed))
    return State(
        coords=coords,
        z=PROCESS.limit.encode(cells, COUNTS),
        numbers=1 + index % 80,
        system_idx=index,
    )


def noise(state, seed=1):
    generator = torch.Generator().manual_seed(seed)
    n_atoms = len(state.coords)
    return StateNoise(
        coords=torch.randn(n_atoms, 3, generator=generator),
        lattice=torch.randn(len(state.z), 6, generator=generator),
        chances=torch.rand(n_atoms, generator=generator),
    )


def noised(time):
    clean = crystals()
    return clean, PROCESS.add_noise(clean, torch.full((len(COUNTS),), time), noise(clean))


def test_at_the_last_time_coordinates_are_uniform_for_crystals_of_any_size():
    _, last = noised(PROCESS.n_times - 1)
    for size in (1, 5, 20):
        coords = last.coords[(size == COUNTS)[last.system_idx]]
        assert stats.kstest(coords.flatten().numpy(), "uniform").pvalue > 1e-3
    halfway = noised(PROCESS.n_times // 2)[1].coords
    assert stats.kstest(halfway.flatten().numpy(), "uniform").pvalue < 1e-6


def test_at_the_last_time_cells_have_the_moments_of_the_limit():
    _, last = noised(PROCESS.n_times - 1)
    cells = PROCESS.limit.decode(last.z, COUNTS)
    for size in (1, 5, 20):
        chosen = cells[size == COUNTS]
        mean, spread = (size / 0.07) ** (1 / 3), 0.5 * size ** (1 / 3)
        torch.testing.assert_close(chosen.mean(0), mean * torch.eye(3), rtol=0, atol=0.2 * spread)
        torch.testing.assert_close(chosen.std(0), torch.full((3, 3), spread), rtol=0.15, atol=0)
        torch.testing.assert_close(chosen, chosen.mT)
    assert stats.kstest(last.z[:, [0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]].flatten(), "norm").pvalue > 1e-3


def test_at_the_last_time_all_elements_are_hidden():
    assert bool((noised(PROCESS.n_times - 1)[1].numbers == MASK).all())


def test_at_the_first_time_little_has_changed():
    clean, first = noised(0)
    moved = first.coords - clean.coords
    assert float((moved - moved.round()).abs().max()) < 0.03
    assert float((first.z - clean.z).abs().max()) < 0.1
    assert float((first.numbers != clean.numbers).double().mean()) < 0.01


def test_noise_of_coordinates_is_as_wide_in_angstrom_in_large_crystals_as_in_small_ones():
    clean, noisy = noised(300)
    moved = noisy.coords - clean.coords
    moved = (moved - moved.round()) * PROCESS.limit.edge(COUNTS)[clean.system_idx, None]
    spreads = [float(moved[(size == COUNTS)[clean.system_idx]].std()) for size in (1, 5, 20)]
    assert spreads == pytest.approx([spreads[2]] * 3, rel=0.1)


def test_the_prior_is_made_of_the_random_numbers_it_is_given():
    index = torch.tensor([0, 0, 1])
    coords, lattice = torch.rand(3, 3), torch.randn(2, 6)
    prior = PROCESS.prior(coords, lattice, index)
    assert torch.equal(prior.coords, coords)
    assert torch.equal(prior.z, prior.z.mT)
    assert prior.numbers.tolist() == [MASK] * 3
    assert prior.counts.tolist() == [2, 1]


@pytest.mark.parametrize("wrong", [{"width_last": 0.001}, {"beta_last": 0.01}, {"timesteps": 1}])
def test_a_process_that_does_not_grow_is_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        ProcessSettings(**wrong)
