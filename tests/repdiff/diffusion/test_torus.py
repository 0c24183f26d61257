import math

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from pymatgen.core import Lattice
from scipy.stats import kstest

from repdiff.diffusion.nearest_image import ImageFinder, shortest_displacement
from repdiff.diffusion.schedules import AddedNoise, linear_schedule
from repdiff.diffusion.torus import (
    TorusSettings,
    add_noise,
    add_step,
    path_loss,
    path_target,
    reverse_step,
    torus_noise,
    uniform_prior,
    wrap,
    wrapped_normal_log_density,
    wrapped_normal_score,
)

DOUBLE = torch.float64


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=DOUBLE)


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=seeded(seed), dtype=DOUBLE)


def brute_force(difference, lattice, reach):
    """Least length over all images up to `reach`, for one vector a cell."""
    numbers = torch.arange(-reach, reach + 1, dtype=DOUBLE)
    images = torch.cartesian_prod(numbers, numbers, numbers)
    cart = (difference - difference.round())[:, None] @ lattice + (images @ lattice)
    return cart.norm(dim=-1).min(1).values


def niggli_cells():
    """Cells reduced by pymatgen: random ones, and the special ones with equal sides and 60°, 90° or 120°."""
    rng = np.random.default_rng(3)
    cells = []
    while len(cells) < 150:
        matrix = np.diag(rng.uniform(0.5, 4, 3)) @ (np.eye(3) + rng.uniform(-0.9, 0.9, (3, 3)))
        if abs(np.linalg.det(matrix)) > 0.5:
            cells.append(Lattice(matrix).get_niggli_reduced_lattice().matrix)
    for angles in [(60, 60, 60), (109.4712, 109.4712, 109.4712), (90, 90, 120), (90, 90, 60), (90, 90, 90)]:
        for c in (3.0, 3.0001, 9.0):
            cells.append(Lattice.from_parameters(3, 3, c, *angles).get_niggli_reduced_lattice().matrix)
    return torch.tensor(np.array(cells), dtype=DOUBLE)


def one_mixture_score(at, std):
    """Score of x_t when x_0 has a narrow peak at 0.1 with weight 0.3 and one at 0.7."""
    peaks = torch.tensor([[0.1, 0.2, 0.9], [0.7, 0.5, 0.95]], dtype=DOUBLE)
    offsets = [at - peak for peak in peaks]
    log_share = torch.stack([wrapped_normal_log_density(offset, std) for offset in offsets])
    share = (log_share + torch.tensor([[0.3], [0.7]], dtype=DOUBLE).log()).softmax(0)
    return sum(s[:, None] * wrapped_normal_score(o, std) for s, o in zip(share, offsets, strict=True))


def test_wrapped_normal_tends_to_the_uniform_distribution():
    distances = []
    for std in (0.1, 0.3, 2.0):
        sample = wrap(0.3 + std * normal(6000, 3, seed=1)).flatten()
        distances.append(kstest(sample.numpy(), "uniform").statistic)
    assert distances[0] > 0.2
    assert distances[0] > distances[1] > distances[2]
    assert distances[2] < 1.63 / math.sqrt(18000)  # not to be told from uniform at the 1 % level


@pytest.mark.parametrize("std", [0.05, 0.2, 0.4, 0.6])
def test_fourier_coefficients_of_the_noise_fall_as_gaussians(std):
    process = AddedNoise(torch.tensor([std], dtype=DOUBLE))
    times = torch.zeros(60_000, dtype=torch.long)
    noisy = add_noise(torch.full((60_000, 3), 0.8, dtype=DOUBLE), times, normal(60_000, 3, seed=2), process)
    for k in (1, 2, 3):
        measured = torch.exp(2j * math.pi * k * (noisy - 0.8)).mean()
        assert abs(complex(measured) - math.exp(-2 * (math.pi * std * k) ** 2)) < 4 / math.sqrt(180_000)


def test_prior_is_uniform():
    sample = uniform_prior(5000, generator=seeded(4), dtype=DOUBLE)
    assert kstest(sample.flatten().numpy(), "uniform").pvalue > 0.01


def test_wrap_never_returns_one():
    values = wrap(torch.tensor([[-1e-9, 1.0, -3.25]], dtype=torch.float32))
    torch.testing.assert_close(values, torch.tensor([[0.0, 0.0, 0.75]]))


@pytest.mark.parametrize(
    "process",
    [torus_noise(TorusSettings()), AddedNoise.geometric(40, first=0.005, last=0.4)],
    ids=["linear", "geometric"],
)
def test_iterated_steps_have_the_closed_form(process):
    n = 30_000
    position = torch.full((n, 3), 0.2, dtype=DOUBLE)
    generator = seeded(5)
    for time in range(process.n_times):
        noise = torch.randn(n, 3, generator=generator, dtype=DOUBLE)
        position = add_step(position, torch.full((n,), time), noise, process)
    std = float(process.stds[-1])
    for k in (1, 2):
        measured = torch.exp(2j * math.pi * k * (position - 0.2)).mean()
        assert abs(complex(measured) - math.exp(-2 * (math.pi * std * k) ** 2)) < 4 / math.sqrt(3 * n)


def test_published_noise_has_variance_one_minus_signal():
    process = torus_noise(TorusSettings())
    betas = torch.linspace(1e-6, 2e-3, 100, dtype=DOUBLE)
    torch.testing.assert_close(process.stds.square(), 1 - (1 - betas).cumprod(0))
    times = torch.arange(100)
    torch.testing.assert_close(process.step_std(times).square().sum().sqrt(), process.stds[-1])


def test_geometric_noise_has_constant_ratio_and_given_ends():
    stds = AddedNoise.geometric(1000, first=0.005, last=5.0).stds
    assert float(stds[0]) == pytest.approx(0.005)
    assert float(stds[-1]) == pytest.approx(5.0)
    torch.testing.assert_close(stds[1:] / stds[:-1], torch.full((999,), 1000 ** (1 / 999), dtype=DOUBLE))


def test_scale_widens_the_noise_of_its_atom():
    process = AddedNoise(torch.tensor([0.01], dtype=DOUBLE))
    clean = torch.full((2, 3), 0.5, dtype=DOUBLE)
    noisy = add_noise(
        clean,
        torch.zeros(2, dtype=torch.long),
        torch.ones(2, 3, dtype=DOUBLE),
        process,
        scale=torch.tensor([1.0, 8 ** (-1 / 3)], dtype=DOUBLE),
    )
    torch.testing.assert_close(noisy[:, 0], torch.tensor([0.51, 0.505], dtype=DOUBLE))


def test_shortest_image_of_reduced_cells_equals_brute_force():
    lattice = niggli_cells()
    for seed in range(5):
        difference = 6 * uniform(len(lattice), 3, seed=seed) - 3
        found = shortest_displacement(difference, lattice, torch.arange(len(lattice)))
        lengths = (found[:, None] @ lattice).norm(dim=-1)[:, 0]
        torch.testing.assert_close(lengths, brute_force(difference, lattice, 3), rtol=1e-12, atol=1e-12)


def test_shortest_image_does_not_depend_on_the_choice_of_cell():
    lattice = niggli_cells()
    rng = np.random.default_rng(6)
    change = np.eye(3)
    for _ in range(6):  # entries up to some tens: far beyond what nearby images would cover
        i, j = rng.permutation(3)[:2]
        change[i] += rng.choice([-2, 2]) * change[j]
    change = torch.tensor(change, dtype=DOUBLE)
    skewed = change @ lattice
    cart = (uniform(len(lattice), 3, seed=7) - 0.5)[:, None] @ lattice
    expected = shortest_displacement(
        (cart @ torch.linalg.inv(lattice))[:, 0], lattice, torch.arange(len(lattice))
    )
    found = shortest_displacement((cart @ torch.linalg.inv(skewed))[:, 0], skewed, torch.arange(len(lattice)))
    torch.testing.assert_close(found[:, None] @ skewed, expected[:, None] @ lattice, rtol=1e-9, atol=1e-9)


def test_shortest_image_differs_from_the_vector_by_whole_cells_and_keeps_its_gradient():
    lattice = niggli_cells()[:20]
    difference = (4 * uniform(20, 3, seed=8) - 2).requires_grad_()
    found = ImageFinder.of(lattice).shortest(difference, torch.arange(20))
    shift = difference - found
    torch.testing.assert_close(shift, shift.round(), rtol=0, atol=1e-12)
    (gradient,) = torch.autograd.grad(found.sum(), difference)
    torch.testing.assert_close(gradient, torch.ones(20, 3, dtype=DOUBLE))


def test_rounding_alone_would_not_find_the_shortest_image():
    lattice = niggli_cells()
    difference = uniform(len(lattice), 3, seed=9) - 0.5
    found = shortest_displacement(difference, lattice, torch.arange(len(lattice)))
    assert int((found - difference).abs().amax(1).gt(0.5).sum()) > 10


def test_a_finder_of_selected_cells_is_that_of_those_cells():
    lattice = niggli_cells()[:5]
    finder = ImageFinder.of(lattice).select(torch.tensor([3, 1]))
    difference = uniform(2, 3, seed=10)
    expected = shortest_displacement(difference, lattice[[3, 1]], torch.arange(2))
    torch.testing.assert_close(finder.shortest(difference, torch.arange(2)), expected)


@pytest.mark.parametrize("length", [0.0, 2.0, 2**0.5])
def test_cells_without_volume_are_refused(length):
    flat = torch.tensor([[[1.0, 0, 0], [length, 0, 0], [0, 0, 1]]], dtype=DOUBLE)
    with pytest.raises(ValueError, match=r"lattice\[0\] is flat"):
        ImageFinder.of(flat)


def test_shortest_image_is_exact_for_every_published_cell(data_dir):
    for name in ("perov_5", "carbon_24", "mp20"):
        column = pq.read_table(data_dir / f"{name}.parquet", columns=["lattice"])["lattice"]
        lattice = torch.tensor(np.stack(column.to_numpy()), dtype=DOUBLE).reshape(-1, 3, 3)[::7]
        difference = uniform(len(lattice), 3, seed=11) - 0.5
        found = shortest_displacement(difference, lattice, torch.arange(len(lattice)))
        lengths = (found[:, None] @ lattice).norm(dim=-1)[:, 0]
        for part in range(0, len(lattice), 2000):
            rows = slice(part, part + 2000)
            near = brute_force(difference[rows], lattice[rows], 2)
            assert bool((lengths[rows] <= near * (1 + 1e-12)).all())


@pytest.mark.parametrize("kind", ["l1", "l2"])
def test_loss_is_periodic_in_clean_and_noisy_positions(kind):
    lattice, system_idx = niggli_cells()[:30], torch.arange(30)
    finder = ImageFinder.of(lattice)
    clean, noisy, predicted = uniform(30, 3, seed=12), uniform(30, 3, seed=13), normal(30, 3, seed=14) / 5
    shift = torch.randint(-3, 4, (30, 3), generator=seeded(15)).to(DOUBLE)

    def loss(clean, noisy):
        target = path_target(clean, noisy, finder, system_idx)
        return path_loss(predicted, target, lattice, system_idx, kind=kind)

    torch.testing.assert_close(loss(clean + shift, noisy), loss(clean, noisy))
    torch.testing.assert_close(loss(clean, noisy + shift), loss(clean, noisy))


def test_loss_is_measured_in_angstrom_of_the_true_cell():
    lattice = torch.tensor([[[2.0, 0, 0], [0, 4, 0], [1, 0, 3]]], dtype=DOUBLE)
    error = torch.tensor([[0.1, 0.0, -0.1]], dtype=DOUBLE)
    idx = torch.zeros(1, dtype=torch.long)
    zero = torch.zeros(1, 3, dtype=DOUBLE)
    assert float(path_loss(error, zero, lattice, idx, kind="l1")) == pytest.approx(0.1 + 0.3)
    assert float(path_loss(error, zero, lattice, idx, kind="l2")) == pytest.approx(0.01 + 0.09)


@pytest.mark.parametrize("std", [0.005, 0.05, 0.3, 0.49, 0.51, 0.8, 2.0])
def test_log_density_agrees_with_a_long_sum_over_images(std):
    offset = 2 * uniform(200, 1, seed=16) - 1
    images = offset + torch.arange(-200, 201, dtype=DOUBLE)
    expected = (-(images**2) / (2 * std**2)).logsumexp(1) - math.log(std * math.sqrt(2 * math.pi))
    found = wrapped_normal_log_density(offset, torch.full((200,), std, dtype=DOUBLE))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("std", [0.005, 0.05, 0.3, 0.49, 0.51, 0.8, 2.0, 5.0])
def test_score_is_the_gradient_of_the_log_density(std):
    offset = (2 * uniform(50, 3, seed=17) - 1).requires_grad_()
    width = torch.full((50,), std, dtype=DOUBLE)
    (expected,) = torch.autograd.grad(wrapped_normal_log_density(offset, width).sum(), offset)
    torch.testing.assert_close(
        wrapped_normal_score(offset.detach(), width), expected, rtol=1e-9, atol=1e-12 / std**2
    )


def test_score_of_a_wide_distribution_keeps_its_relative_precision():
    offset = torch.tensor([[0.25]], dtype=DOUBLE)
    for std in (1.0, 2.0, 3.0):
        score = float(wrapped_normal_score(offset, torch.tensor([std], dtype=DOUBLE)))
        leading = -4 * math.pi * math.exp(-2 * (math.pi * std) ** 2)
        assert score == pytest.approx(leading, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_score_and_log_density_are_finite_and_periodic_at_all_widths(dtype):
    std = torch.logspace(-4, 2, 200, dtype=dtype)
    offset = uniform(200, 3, seed=18).to(dtype)
    for function in (wrapped_normal_log_density, wrapped_normal_score):
        value = function(offset, std)
        assert value.dtype == dtype
        assert bool(torch.isfinite(value).all())
    double = uniform(200, 3, seed=18)
    torch.testing.assert_close(
        wrapped_normal_score(double + 1, std.double()),
        wrapped_normal_score(double, std.double()),
        rtol=1e-4,
        atol=1e-6,
    )


def test_reverse_process_with_the_true_score_recovers_two_peaks():
    process = AddedNoise.geometric(120, first=0.005, last=1.0)
    n, generator = 3000, seeded(19)
    position = uniform_prior(n, generator=generator, dtype=DOUBLE)
    for time in reversed(range(process.n_times)):
        times = torch.full((n,), time)
        std = process.std(times)
        path = std[:, None].square() * one_mixture_score(position, std)
        noise = torch.randn(n, 3, generator=generator, dtype=DOUBLE)
        position = reverse_step(position, path, times, noise, process, rule="posterior")
    at_first = (position[:, 0] - 0.1).abs() < 0.05
    at_second = (position[:, 0] - 0.7).abs() < 0.05
    assert float((at_first | at_second).double().mean()) > 0.999
    assert float(at_first.double().mean()) == pytest.approx(0.3, abs=0.03)
    assert float(position[at_first, 2].mean()) == pytest.approx(0.9, abs=2e-3)
    assert float(position[at_second, 1].mean()) == pytest.approx(0.5, abs=2e-3)


def test_posterior_steps_with_the_true_path_keep_the_forward_marginals():
    process = AddedNoise.geometric(30, first=0.005, last=0.1)  # no wider: none goes round
    n, generator = 20_000, seeded(20)
    clean = torch.full((n, 3), 0.5, dtype=DOUBLE)
    position = clean + process.stds[-1] * torch.randn(n, 3, generator=generator, dtype=DOUBLE)
    for time in reversed(range(10, 30)):
        times = torch.full((n,), time)
        noise = torch.randn(n, 3, generator=generator, dtype=DOUBLE)
        position = reverse_step(position, clean - position, times, noise, process, rule="posterior")
    assert float(position.std()) == pytest.approx(float(process.stds[9]), rel=0.02)


@pytest.mark.parametrize("rule", ["paper", "code", "renoise"])
def test_noise_of_a_step_back_is_that_of_its_rule(rule):
    process = torus_noise(TorusSettings())
    assert process.betas is not None
    betas, stds, time = process.betas, process.stds, 60
    expected = {
        "paper": (betas[time] * stds[time - 1] ** 2 / stds[time] ** 2).sqrt(),
        "code": betas[time - 1].sqrt(),
        "renoise": stds[time - 1],
    }[rule]
    ones = torch.ones(1, 3, dtype=DOUBLE)
    moved = reverse_step(0.2 * ones, 0.1 * ones, torch.tensor([time]), ones, process, rule=rule)
    torch.testing.assert_close(moved, 0.3 * ones + expected)


@pytest.mark.parametrize("rule", ["paper", "code", "renoise", "posterior"])
def test_last_step_goes_to_the_predicted_position_without_noise(rule):
    ones = torch.ones(4, 3, dtype=DOUBLE)
    times = torch.zeros(4, dtype=torch.long)
    moved = reverse_step(0.9 * ones, 0.2 * ones, times, 50.37 * ones, torus_noise(TorusSettings()), rule=rule)
    torch.testing.assert_close(moved, 0.1 * ones)


def test_rules_made_for_betas_refuse_a_process_without():
    ones, times = torch.ones(1, 3, dtype=DOUBLE), torch.zeros(1, dtype=torch.long)
    with pytest.raises(ValueError, match="needs a process made from β"):
        reverse_step(ones, ones, times, ones, AddedNoise.geometric(5, first=0.1, last=1.0), rule="paper")


@pytest.mark.parametrize(("first", "last"), [(0.0, 0.1), (0.2, 0.1), (0.1, 1.0)])
def test_impossible_betas_are_refused(first, last):
    with pytest.raises(ValueError, match="expected 0 < first"):
        linear_schedule(10, first=first, last=last)


def test_noise_must_increase():
    with pytest.raises(ValueError, match="increase with time"):
        AddedNoise(torch.tensor([0.2, 0.1], dtype=DOUBLE))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("rule", ["paper", "posterior"])
def test_a_gpu_gives_what_the_cpu_gives(rule):
    lattice, system_idx = niggli_cells()[:40], torch.arange(40)
    clean, noise, times = uniform(40, 3, seed=21), normal(40, 3, seed=22), torch.arange(40) * 2
    results = []
    for device in ("cpu", "cuda"):
        process = torus_noise(TorusSettings()).to(device)
        inputs = [part.to(device) for part in (clean, times, noise)]
        noisy = add_noise(*inputs, process)
        idx = system_idx.to(device)
        path = path_target(inputs[0], noisy, ImageFinder.of(lattice.to(device)), idx)
        score = wrapped_normal_score(noisy - inputs[0], process.std(inputs[1]))
        back = reverse_step(noisy, path, inputs[1], inputs[2], process, rule=rule)
        results.append([part.cpu() for part in (noisy, path, score, back)])
    for of_cpu, of_gpu in zip(*results, strict=True):
        torch.testing.assert_close(of_gpu, of_cpu, rtol=1e-9, atol=1e-9)
