"""Faults that no other test would see: streams of random numbers, the noise of a step, shortest ways."""

import itertools

import numpy as np
import pytest
import torch

from descriptors.batch import CrystalBatch
from repdiff.diffusion.cdvae.targets import nearest_paths
from repdiff.diffusion.nearest_image import ImageFinder
from repdiff.diffusion.samplers import step_down
from repdiff.diffusion.torus import centred, path_target
from repdiff.networks.random_streams import FORMULA, NOISE, stream

DOUBLE = torch.float64
SKEWED = torch.tensor([[3.0, 0, 0], [2.6, 1.5, 0], [-4.4, 2.2, 3.5]], dtype=DOUBLE)  # nowhere near reduced


def test_no_two_samples_or_purposes_share_random_numbers():
    first = [
        float(stream(0, number, purpose).random()) for number in range(60) for purpose in (FORMULA, NOISE)
    ]
    assert len(set(first)) == len(first)


def test_a_seed_has_random_numbers_of_its_own():
    assert not np.array_equal(stream(0, 3, NOISE).random(5), stream(1, 3, NOISE).random(5))


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_a_step_down_has_the_variance_of_its_eta(eta):
    """η² β̃ with β̃ = (1 - ᾱ_s) / (1 - ᾱ_t) · (1 - ᾱ_t / ᾱ_s) (arXiv 2010.02502, eq. 16)."""
    clean, noisy = torch.zeros(1, 3, dtype=DOUBLE), torch.full((1, 3), 0.4, dtype=DOUBLE)
    levels = {"signal": 0.3, "signal_next": 0.55, "eta": eta}
    still = step_down(clean, noisy, torch.zeros(1, 3, dtype=DOUBLE), **levels)
    moved = step_down(clean, noisy, torch.ones(1, 3, dtype=DOUBLE), **levels)
    variance = eta**2 * (0.45 / 0.7) * (1 - 0.3 / 0.55)
    torch.testing.assert_close((moved - still).square(), torch.full((1, 3), variance, dtype=DOUBLE))
    part = (0.45 - variance) ** 0.5 * 0.4 / 0.7**0.5
    torch.testing.assert_close(still, torch.full((1, 3), part, dtype=DOUBLE))


def shortest(differences, reach=3):
    """The nearest to zero of (2 · 3 + 1)³ images of each vector in SKEWED, Å."""
    numbers = torch.tensor(list(itertools.product(range(-reach, reach + 1), repeat=3)), dtype=DOUBLE)
    images = ((differences - differences.round())[:, None] + numbers) @ SKEWED
    return images[torch.arange(len(images)), images.norm(dim=2).argmin(1)]


def test_no_path_in_a_skewed_cell_is_longer_than_to_any_image():
    clean, noisy = torch.rand(2, 400, 3, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    index = torch.zeros(400, dtype=torch.long)
    paths = path_target(clean, noisy, ImageFinder.of(SKEWED[None]), index) @ SKEWED
    torch.testing.assert_close(paths, shortest(clean - noisy))


def test_unlike_atoms_go_to_their_nearest_images_in_a_skewed_cell():
    goal, noisy = torch.rand(2, 400, 3, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
    batch = CrystalBatch(
        frac_coords=goal,
        lattice=SKEWED.repeat(200, 1, 1),
        atomic_numbers=torch.tensor([3, 9]).repeat(200),
        system_idx=torch.arange(200).repeat_interleave(2),
    )
    paths = nearest_paths(goal, noisy, batch, ImageFinder.of(batch.lattice)) @ SKEWED
    torch.testing.assert_close(paths, centred(shortest(goal - noisy), batch))
