from dataclasses import replace

import pytest
import torch
from scipy.stats import kstest

from descriptors.batch import CrystalBatch
from repdiff.diffusion.cdvae.coordinates import (
    CartesianNoise,
    KeptMean,
    ScaledMean,
    make_process,
)
from repdiff.diffusion.schedules import AddedNoise, schedule_of
from repdiff.diffusion.torus import centred
from repdiff.settings.backends.dpcdvae import CdvaeSampling, CdvaeSettings

DOUBLE = torch.float64
CELL = torch.tensor([[4.0, 0, 0], [0.7, 5.0, 0], [1.1, 0.4, 6.0]], dtype=DOUBLE)
KINDS = {
    "kept": CdvaeSettings(),
    "scaled": CdvaeSettings(mean="scaled"),
    "cartesian": CdvaeSettings(denoiser="langevin"),
}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def copies(frac_coords, n, lattice=CELL):
    """The same crystal n times."""
    n_atoms = len(frac_coords)
    return CrystalBatch(
        frac_coords=torch.tensor(frac_coords, dtype=DOUBLE).repeat(n, 1),
        lattice=lattice.repeat(n, 1, 1),
        atomic_numbers=torch.arange(1, n_atoms + 1).repeat(n),
        system_idx=torch.arange(n).repeat_interleave(n_atoms),
    )


def last(process, batch):
    return torch.full((batch.n_systems,), process.n_times - 1)


def test_the_sigmoid_schedule_is_the_published_one():
    betas = schedule_of("sigmoid", 1000).betas
    ends = torch.sigmoid(torch.tensor([-10.0, 6.0], dtype=DOUBLE)) * (0.01 - 1e-10) + 1e-10
    torch.testing.assert_close(betas[[0, -1]], ends)
    assert float(schedule_of("sigmoid", 1000).signals[-1]) == pytest.approx(0.0234, abs=5e-4)


@pytest.mark.parametrize("name", ["sigmoid", "cosine", "linear"])
def test_fewer_times_end_with_as_much_noise(name):
    few, many = (float(schedule_of(name, n).signals[-1]) for n in (50, 1000))
    assert few == pytest.approx(many, abs=0.015)


@pytest.mark.parametrize("name", ["sigmoid", "cosine", "linear"])
@pytest.mark.parametrize("n_times", [2, 10, 1000])
def test_noise_grows_with_time_in_every_schedule(name, n_times):
    betas = schedule_of(name, n_times).betas
    assert bool((betas > 0).all())
    assert bool((betas < 1).all())
    assert bool((betas.diff() >= 0).all())


@pytest.mark.parametrize("kind", ["kept", "cartesian"])
def test_the_last_time_is_uniform_on_the_torus(kind):
    process = make_process(KINDS[kind])
    batch = copies([[0.1, 0.2, 0.3], [0.6, 0.7, 0.3]], 2000)
    noisy = process.add_noise(batch, last(process, batch), centred(normal(4000, 3), batch))
    for axis in range(3):
        assert kstest(noisy[::2, axis].numpy(), "uniform").pvalue > 1e-3
        between = (noisy[::2, axis] - noisy[1::2, axis]) % 1
        assert kstest(between.numpy(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("kind", ["kept", "cartesian"])
def test_the_prior_is_what_the_last_time_makes_of_atoms_at_the_origin(kind):
    process, batch = make_process(KINDS[kind]), copies([[0.0, 0, 0], [0.0, 0, 0]], 3)
    noise = centred(normal(6, 3), batch)
    off = process.add_noise(batch, last(process, batch), noise) - process.prior(batch, noise)
    torch.testing.assert_close(off, off.round(), rtol=0, atol=1e-9)


def test_the_last_time_about_a_scaled_mean_is_nearly_the_prior():
    process = make_process(KINDS["scaled"])
    batch = copies([[0.1, 0.2, 0.3], [0.6, 0.7, 0.3]], 4000)
    noise = centred(normal(8000, 3), batch)
    noisy = process.add_noise(batch, last(process, batch), noise)
    shift = 0.153 * torch.tensor([-0.25, -0.25, 0.0], dtype=DOUBLE)
    torch.testing.assert_close(noisy[::2].mean(0), shift, rtol=0, atol=0.03)
    torch.testing.assert_close(noisy.var(0), process.prior(batch, noise).var(0), rtol=0.05, atol=0)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_noise_moves_no_centre_of_mass(kind):
    process = make_process(KINDS[kind])
    batch = copies([[0.1, 0.2, 0.3], [0.6, 0.7, 0.3], [0.4, 0.1, 0.9]], 5)
    times = torch.full((5,), process.n_times // 2)
    moved = process.add_noise(batch, times, centred(normal(15, 3), batch)) - process.goal(batch, times)
    means = moved.view(5, 3, 3).sum(1)
    torch.testing.assert_close(means, means.round(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", ["kept", "scaled"])
def test_noise_is_as_wide_as_the_process_says(kind):
    process = make_process(KINDS[kind])
    batch = copies([[0.1, 0.2, 0.3], [0.6, 0.7, 0.3]], 3000, lattice=4 * torch.eye(3, dtype=DOUBLE))
    times = torch.full((3000,), 300)
    moved = process.add_noise(batch, times, normal(6000, 3)) - process.goal(batch, times)
    width = 4 * (moved - moved.round()).std()
    torch.testing.assert_close(width, process.width(times, batch.lattice)[0], rtol=0.02, atol=0)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_process_that_visits_some_times_has_their_marginals(kind):
    process = make_process(KINDS[kind])
    times = torch.tensor([0, 7, 20, 49])
    batch = copies([[0.1, 0.2, 0.3], [0.6, 0.7, 0.3]], 4)
    noise = centred(normal(8, 3), batch)
    torch.testing.assert_close(
        process.at(times).add_noise(batch, torch.arange(4), noise), process.add_noise(batch, times, noise)
    )


@pytest.mark.parametrize("kind", ["kept", "scaled"])
def test_the_last_step_back_goes_to_the_predicted_place(kind):
    process = make_process(KINDS[kind])
    batch = copies([[0.1, 0.2, 0.3], [0.6, 0.7, 0.3]], 3)
    times = torch.zeros(3, dtype=torch.long)
    noisy = replace(batch, frac_coords=process.add_noise(batch, times, centred(normal(6, 3), batch)))
    path = process.goal(batch, times) - noisy.frac_coords
    back = process.step_back(noisy, path, 0, normal(6, 3, seed=1), CdvaeSampling())
    off = back - batch.frac_coords
    off = off - off[::2].repeat_interleave(2, 0)  # the place of the crystal as a whole does not count
    torch.testing.assert_close(off, off.round(), rtol=0, atol=1e-9)


def test_wrapping_matters_only_where_the_mean_is_scaled():
    batch = copies([[0.1, 0.2, 0.3], [0.6, 0.7, 1.3]], 3)
    noise = centred(normal(6, 3), batch)
    for kind, same in (("kept", True), ("scaled", False)):
        process = make_process(KINDS[kind])
        steps = [
            process.step_back(batch, 0.1 * normal(6, 3, seed=2), 700, noise, CdvaeSampling(wrap=wrap))
            for wrap in ("every", "never")
        ]
        off = steps[0] - steps[1]
        assert torch.allclose(off, off.round(), atol=1e-9) is same


def test_each_process_belongs_to_its_settings():
    kinds = {name: type(make_process(settings)) for name, settings in KINDS.items()}
    assert kinds == {"kept": KeptMean, "scaled": ScaledMean, "cartesian": CartesianNoise}


def test_langevin_steps_use_the_score_and_twice_its_step_as_variance():
    process = CartesianNoise(AddedNoise.geometric(5, first=0.01, last=10.0))
    batch = copies([[0.1, 0.2, 0.3], [0.6, 0.7, 0.3]], 3000, lattice=50 * torch.eye(3, dtype=DOUBLE))
    path = torch.full((6000, 3), 0.001, dtype=DOUBLE)
    moved = process.step_back(batch, path, 0, normal(6000, 3), CdvaeSampling(langevin_rate=0.5))
    step = 50 * (moved - batch.frac_coords)
    assert float(step.mean()) == pytest.approx(50 * 0.5 * 0.001, abs=5e-4)
    assert float(step.std()) == pytest.approx((2 * 0.5) ** 0.5 * 0.01, rel=0.03)
