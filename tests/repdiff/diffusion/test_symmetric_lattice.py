import math

import pytest
import torch

from repdiff.diffusion.symmetric_lattice import (
    GREATEST,
    LEAST,
    Limit,
    Scales,
    as_matrices,
    bounded_cells,
    symmetric_cells,
    variance_preserving,
)

CELLS = torch.randn(
    20, 3, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64
) + 3 * torch.eye(3)


def turn(seed):
    matrix = torch.randn(3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.linalg.qr(matrix)[0]


def test_a_symmetric_cell_has_the_lengths_and_angles_of_the_one_it_comes_from():
    turned = symmetric_cells(CELLS)
    torch.testing.assert_close(turned, turned.mT)
    torch.testing.assert_close(turned @ turned.mT, CELLS @ CELLS.mT)
    assert bool((torch.linalg.eigvalsh(turned) > 0).all())


def test_a_symmetric_cell_does_not_depend_on_how_the_crystal_is_turned():
    torch.testing.assert_close(symmetric_cells(CELLS @ turn(1)), symmetric_cells(CELLS))


@pytest.mark.parametrize("n_times", [10, 1000])
def test_the_process_of_cells_has_the_published_signal_however_many_times_it_has(n_times):
    schedule = variance_preserving(n_times, first=0.1, last=20.0)
    assert schedule.signal(n_times - 1) == pytest.approx(math.exp(-10.05), rel=1e-9)
    assert schedule.signal(n_times // 2 - 1) == pytest.approx(math.exp(-0.05 - 19.9 / 8), rel=1e-9)
    assert bool((schedule.betas < 1).all())


def test_the_limit_has_the_published_mean_and_variance():
    limit, counts = Limit(0.05), torch.full((40_000,), 8)
    noise = torch.randn(40_000, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    cells = limit.decode(as_matrices(noise), counts)
    torch.testing.assert_close(cells.mean(0), 160 ** (1 / 3) * torch.eye(3).double(), rtol=0, atol=0.02)
    torch.testing.assert_close(cells.var(0), torch.ones(3, 3).double(), rtol=0.03, atol=0)


def test_the_fitted_density_is_the_mean_of_the_training_set():
    lattice = torch.stack([4.0 * torch.eye(3), 2.0 * torch.eye(3)])
    assert Limit.fit(lattice, torch.tensor([5, 1])).density == pytest.approx((5 / 64 + 1 / 8) / 2)


def test_coordinates_of_cells_come_back():
    limit, counts = Limit(0.07), torch.randint(1, 20, (20,))
    cells = symmetric_cells(CELLS)
    torch.testing.assert_close(limit.decode(limit.encode(cells, counts), counts), cells)


def test_cells_within_the_bounds_are_left_alone_and_all_others_made_proper():
    matrices = torch.stack(
        [torch.diag(torch.tensor(row)) for row in ([3.0, 4, 5], [0.0, 4, 5], [-2.0, 4, 1e4], [-1.0, -1, -1])]
    )
    cells, eigenvalues = bounded_cells(matrices, torch.full((4,), 4.0))
    assert torch.equal(cells[0], matrices[0])
    spectrum = torch.linalg.eigvalsh(cells) / 4
    assert bool((spectrum > LEAST * 0.999).all())
    assert bool((spectrum < GREATEST * 1.001).all())
    torch.testing.assert_close(eigenvalues[2], torch.tensor([-0.5, 1.0, 2500.0]))


def test_bounded_cells_are_continuous_and_turn_with_the_matrix():
    matrices = as_matrices(3 * torch.randn(200, 6, generator=torch.Generator().manual_seed(5)).double())
    edges, rotation = torch.full((200,), 4.0), turn(2)
    cells, _ = bounded_cells(matrices, edges)
    assert int((cells != matrices).any(2).any(1).sum()) > 50
    turned, _ = bounded_cells(rotation.T @ matrices @ rotation, edges)
    torch.testing.assert_close(turned, rotation.T @ cells @ rotation)
    nudge = 1e-6 * as_matrices(torch.randn(200, 6, generator=torch.Generator().manual_seed(6)).double())
    nudged, _ = bounded_cells(matrices + nudge, edges)
    assert float((nudged - cells).abs().max()) < 1e-4


def test_noised_cells_of_the_limit_are_seldom_flat_or_left_handed():
    noise = torch.randn(20_000, 6, generator=torch.Generator().manual_seed(0))
    counts = torch.randint(1, 21, (20_000,))
    limit = Limit(0.07)
    matrices = limit.decode(as_matrices(noise), counts)
    cells, _ = bounded_cells(matrices, limit.edge(counts))
    assert float((cells != matrices).any(2).any(1).double().mean()) < 0.05


def test_the_scales_make_the_best_linear_guess_and_leave_an_error_of_order_one():
    generator = torch.Generator().manual_seed(0)
    clean = 0.3 * torch.randn(200_000, generator=generator, dtype=torch.float64)
    for signal in (0.999, 0.5, 1e-4):
        scales = Scales.at(torch.tensor([signal], dtype=torch.float64), 0.3)
        noise = torch.randn(len(clean), generator=generator, dtype=torch.float64)
        noisy = signal**0.5 * clean + (1 - signal) ** 0.5 * noise
        assert float((scales.into * noisy).std()) == pytest.approx(1, abs=0.01)
        assert float(((clean - scales.skip * noisy) / scales.out).std()) == pytest.approx(1, abs=0.01)
