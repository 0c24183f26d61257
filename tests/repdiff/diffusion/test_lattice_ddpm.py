import numpy as np
import pytest
import torch
from hypothesis import given
from strategies import crystals

from descriptors import lattice as cells
from repdiff.diffusion.lattice_ddpm import (
    LatticeSettings,
    ParameterScale,
    lattice_loss,
    lattice_parameters,
    lattice_process,
)
from repdiff.diffusion.lattice_space import ROTATION, VOLUME, LatticeCoordinates, to_lattice

DOUBLE = torch.float64
PUBLISHED = LatticeSettings(volume_noise=0.25, gauge="general", standardize=False, per_atom_volume=False)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def paper_tables():
    betas = np.linspace(1e-5, 1e-1, 100)
    return betas, np.cumprod(1 - betas)


def some_cells(n, seed=0):
    return to_lattice(torch.cat([normal(n, 8, seed=seed) / 3, 2.8 + normal(n, 1, seed=seed + 1) / 4], 1))


@pytest.mark.parametrize("time", [0, 30, 99])
def test_forward_process_has_the_moments_of_the_closed_form(time):
    process = lattice_process(LatticeSettings(rotation_noise=0.5, volume_noise=0.25))
    clean = torch.arange(1, 10, dtype=DOUBLE).expand(100_000, 9)
    noisy = process.add_noise(clean, torch.full((100_000,), time), normal(100_000, 9, seed=time))
    signal = paper_tables()[1][time]
    factors = torch.tensor([0.5] * 3 + [1] * 5 + [0.25], dtype=DOUBLE)
    expected = factors * (1 - signal) ** 0.5
    torch.testing.assert_close(noisy.std(0), expected, rtol=0.01, atol=0)
    assert bool(((noisy.mean(0) - signal**0.5 * clean[0]).abs() < 4 * expected / 100_000**0.5).all())


def test_iterated_steps_have_the_closed_form():
    process = lattice_process(LatticeSettings(volume_noise=0.25))
    vector = torch.full((20_000, 9), 2.0, dtype=DOUBLE)
    generator = torch.Generator().manual_seed(1)
    for time in range(100):
        noise = torch.randn(20_000, 9, generator=generator, dtype=DOUBLE)
        vector = process.add_step(vector, torch.full((20_000,), time), noise)
    signal = paper_tables()[1][-1]
    factors = torch.tensor([0.0] * 3 + [1] * 5 + [0.25], dtype=DOUBLE)
    torch.testing.assert_close(vector.std(0), factors * (1 - signal) ** 0.5, rtol=0.03, atol=1e-9)
    assert bool(((vector.mean(0) - 2 * signal**0.5).abs() <= 4.5 * factors / 20_000**0.5 + 1e-9).all())


@pytest.mark.parametrize("time", [1, 50, 99])
def test_posterior_is_that_of_gaussian_conditioning(time):
    """Condition the joint normal distribution of (v_{t-1}, v_t) given v_0 on v_t."""
    process = lattice_process(LatticeSettings(rotation_noise=1.0))
    betas, signals = paper_tables()
    mean = np.array([signals[time - 1] ** 0.5, signals[time] ** 0.5])
    early, step = 1 - signals[time - 1], (1 - betas[time]) ** 0.5
    covariance = np.array([[early, step * early], [step * early, step**2 * early + betas[time]]])
    gain = covariance[0, 1] / covariance[1, 1]
    clean, noisy = normal(5, 9, seed=2), normal(5, 9, seed=3)
    times = torch.full((5,), time)
    expected = mean[0] * clean + gain * (noisy - mean[1] * clean)
    torch.testing.assert_close(process.posterior_mean(noisy, clean, times), expected)
    variance = torch.full((5, 9), covariance[0, 0] - gain * covariance[0, 1], dtype=DOUBLE)
    torch.testing.assert_close(process.step_variance(times, kind="posterior"), variance)


def test_variances_of_a_step_are_those_of_their_names():
    process = lattice_process(LatticeSettings(volume_noise=0.25))
    betas, times = paper_tables()[0], torch.tensor([0, 1, 70])
    assert torch.equal(process.step_variance(times, kind="beta")[0], torch.zeros(9, dtype=DOUBLE))
    for kind, expected in {"beta": betas[[1, 70]], "beta_before": betas[[0, 69]]}.items():
        variance = process.step_variance(times, kind=kind)
        torch.testing.assert_close(variance[1:, 4], torch.tensor(expected))
        torch.testing.assert_close(variance[:, VOLUME][:, 0], variance[:, 4] / 16)
        assert not bool(variance[:, ROTATION].any())
        assert not bool(variance[0].any())


@pytest.mark.parametrize("settings", [LatticeSettings(), PUBLISHED], ids=["default", "published"])
@pytest.mark.parametrize("step_noise", ["posterior", "beta", "beta_before"])
def test_a_perfect_predictor_leads_back_to_the_data(settings, step_noise):
    lattice, n_atoms = some_cells(20), torch.arange(20) + 1
    if settings.standardize:
        coordinates = LatticeCoordinates.fit(
            lattice,
            n_atoms,
            gauge=settings.gauge,
            per_atom=settings.per_atom_volume,
            min_std=settings.min_std,
        )
    else:
        coordinates = LatticeCoordinates.plain(gauge=settings.gauge, per_atom=settings.per_atom_volume)
    process, generator = lattice_process(settings), torch.Generator().manual_seed(4)
    clean = coordinates.encode(lattice, n_atoms)
    vector = process.prior(20, generator=generator, dtype=DOUBLE)
    for time in reversed(range(process.n_times)):
        noise = torch.randn(20, 9, generator=generator, dtype=DOUBLE)
        times = torch.full((20,), time)
        vector = process.reverse_step(vector, clean, times, noise, target="clean", step_noise=step_noise)
    back = coordinates.decode(vector, n_atoms)
    torch.testing.assert_close(cells.to_parameters(back), cells.to_parameters(lattice))


def test_perfect_posterior_steps_keep_the_forward_marginals():
    process, n = lattice_process(LatticeSettings(rotation_noise=1.0)), 30_000
    clean = torch.full((n, 9), 1.5, dtype=DOUBLE)
    generator = torch.Generator().manual_seed(5)
    vector = process.add_noise(clean, torch.full((n,), 99), normal(n, 9, seed=6))
    for time in reversed(range(41, 100)):
        noise = torch.randn(n, 9, generator=generator, dtype=DOUBLE)
        times = torch.full((n,), time)
        vector = process.reverse_step(vector, clean, times, noise, target="clean", step_noise="posterior")
    signal = paper_tables()[1][40]
    assert float(vector.std()) == pytest.approx((1 - signal) ** 0.5, rel=0.01)
    assert float(vector.mean()) == pytest.approx(1.5 * signal**0.5, abs=0.01)


def test_an_answer_of_the_posterior_mean_is_the_mean_of_the_step():
    process = lattice_process(LatticeSettings(target="posterior_mean"))
    noisy, clean, noise = normal(6, 9, seed=7), normal(6, 9, seed=8), normal(6, 9, seed=9)
    times = torch.tensor([0, 1, 20, 50, 80, 99])
    mean = process.posterior_mean(noisy, clean, times)
    by_mean = process.reverse_step(noisy, mean, times, noise, target="posterior_mean", step_noise="posterior")
    by_clean = process.reverse_step(noisy, clean, times, noise, target="clean", step_noise="posterior")
    torch.testing.assert_close(by_mean, by_clean)


def test_prior_has_the_factors_of_the_noise():
    prior = lattice_process(PUBLISHED).prior(20_000, generator=torch.Generator().manual_seed(10))
    expected = torch.tensor([0.0] * 3 + [1.0] * 5 + [0.25])
    torch.testing.assert_close(prior.std(0), expected, rtol=0.03, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_types_are_kept(dtype):
    process, times = lattice_process(LatticeSettings()), torch.tensor([0, 5])
    vector = normal(2, 9).to(dtype)
    assert process.add_noise(vector, times, vector).dtype == dtype
    stepped = process.reverse_step(vector, vector, times, vector, target="clean", step_noise="beta")
    assert stepped.dtype == dtype


@given(batch=crystals())
def test_parameters_agree_with_the_plain_formula(batch):
    expected = cells.to_parameters(batch.lattice)
    found = lattice_parameters(batch.lattice)
    torch.testing.assert_close(found[:, :3], expected[:, :3])
    torch.testing.assert_close(torch.rad2deg(found[:, 3:]), expected[:, 3:], rtol=1e-6, atol=1e-6)


def test_parameters_have_right_gradients_for_orthogonal_and_skewed_cells():
    lattice = torch.cat([torch.diag(torch.tensor([3.0, 4, 5], dtype=DOUBLE))[None], some_cells(3, seed=11)])
    assert torch.autograd.gradcheck(lattice_parameters, lattice.requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["l1", "l2"])
def test_gradients_of_the_loss_are_finite_for_all_cells(dtype, kind):
    lattice = torch.eye(3, dtype=dtype).repeat(6, 1, 1) * 4
    lattice[1, 1] = torch.tensor([4.0, 1e-6, 0])  # nearly along a
    lattice[2, 1] = lattice[2, 0]  # along a
    lattice[3, 1] = -lattice[3, 0]  # against a
    lattice[4, 2] = 0  # no length at all
    lattice[5] *= 1e4
    lattice.requires_grad_()
    scale = ParameterScale.fit(some_cells(50), min_length_std=0.1, min_angle_std=0.02)
    target = torch.cat([lattice[:1].detach(), some_cells(5).to(dtype)])  # the first is met exactly
    (gradient,) = torch.autograd.grad(lattice_loss(lattice, target, scale, kind=kind).sum(), lattice)
    assert bool(torch.isfinite(gradient).all())


def test_loss_compares_scores_and_does_not_see_orientation_or_handedness():
    target = some_cells(10, seed=12)
    scale = ParameterScale.fit(target, min_length_std=1e-3, min_angle_std=1e-3)
    turn, _ = torch.linalg.qr(normal(3, 3, seed=13))
    torch.testing.assert_close(
        lattice_loss(target @ turn, target, scale, kind="l1"),
        torch.zeros(10, dtype=DOUBLE),
        rtol=0,
        atol=1e-9,
    )
    longer = target.clone()
    longer[:, 0] *= 1.1
    step = 0.1 * target[:, 0].norm(dim=1) / scale.std[0]
    torch.testing.assert_close(lattice_loss(longer, target, scale, kind="l1"), step / 6)
    torch.testing.assert_close(
        lattice_loss(longer, target, scale, kind="l2"), step / 6**0.5, rtol=1e-6, atol=1e-6
    )


def test_scores_of_the_training_set_have_mean_zero_and_spread_one():
    lattice = some_cells(200, seed=14)
    scores = ParameterScale.fit(lattice, min_length_std=1e-3, min_angle_std=1e-3).scores(lattice)
    torch.testing.assert_close(scores.mean(0), torch.zeros(6, dtype=DOUBLE), rtol=0, atol=1e-9)
    torch.testing.assert_close(scores.std(0, correction=0), torch.ones(6, dtype=DOUBLE))


def test_a_set_of_cubic_cells_has_the_least_spread_of_angles():
    cubes = torch.eye(3, dtype=DOUBLE) * torch.linspace(3, 5, 9, dtype=DOUBLE)[:, None, None]
    scale = ParameterScale.fit(cubes, min_length_std=0.1, min_angle_std=0.02)
    torch.testing.assert_close(scale.std[3:], torch.full((3,), 0.02, dtype=DOUBLE))
    assert float(scale.std[0]) > 0.5


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("settings", [LatticeSettings(), PUBLISHED], ids=["default", "published"])
def test_a_gpu_gives_what_the_cpu_gives(settings):
    lattice, n_atoms, times = some_cells(30), torch.arange(30) % 5 + 1, torch.arange(30) * 3
    noise, results = normal(30, 9, seed=15), []
    scale = ParameterScale.fit(lattice, min_length_std=0.1, min_angle_std=0.02)
    coordinates = LatticeCoordinates.fit(
        lattice, n_atoms, gauge=settings.gauge, per_atom=True, min_std=settings.min_std
    )
    for device in ("cpu", "cuda"):
        process = lattice_process(settings).to(device)
        moved = [part.to(device) for part in (lattice, n_atoms, times, noise)]
        clean = coordinates.to(device).encode(moved[0], moved[1])
        noisy = process.add_noise(clean, moved[2], moved[3])
        back = process.reverse_step(noisy, clean, moved[2], moved[3], target="clean", step_noise="posterior")
        cell = coordinates.to(device).decode(back, moved[1])
        loss = lattice_loss(cell, moved[0], scale.to(device), kind="l1")
        results.append([part.cpu() for part in (clean, noisy, cell, loss)])
    for of_cpu, of_gpu in zip(*results, strict=True):
        torch.testing.assert_close(of_gpu, of_cpu, rtol=1e-9, atol=1e-9)
