from itertools import permutations

import pytest
import torch

from descriptors.batch import CrystalBatch
from descriptors.testing import random_crystals
from repdiff.diffusion.cdvae.targets import nearest_paths
from repdiff.diffusion.nearest_image import ImageFinder
from repdiff.diffusion.torus import centred

DOUBLE = torch.float64


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


@pytest.fixture
def clean():
    batch = random_crystals([5, 3, 1], generator=torch.Generator().manual_seed(0))
    kinds = torch.tensor([8, 22, 8, 38, 8, 3, 3, 9, 6])
    return CrystalBatch(
        frac_coords=batch.frac_coords,
        lattice=batch.lattice,
        atomic_numbers=kinds,
        system_idx=batch.system_idx,
    )


def paths(goal, noisy, clean):
    return nearest_paths(goal, noisy, clean, ImageFinder.of(clean.lattice))


def test_no_order_of_like_atoms_has_shorter_paths(clean):
    noisy, finder = uniform(9, 3, seed=1), ImageFinder.of(clean.lattice)
    costs = []
    for oxygen in permutations([0, 2, 4]):
        for lithium in permutations([5, 6]):
            order = torch.arange(9)
            order[[0, 2, 4]], order[[5, 6]] = torch.tensor(oxygen), torch.tensor(lithium)
            way = finder.shortest(clean.frac_coords[order] - noisy, clean.system_idx)
            length = torch.einsum("ai,aij->aj", way, clean.lattice[clean.system_idx]).square().sum()
            costs.append((float(length), way))
    best = min(costs, key=lambda pair: pair[0])[1]
    torch.testing.assert_close(paths(clean.frac_coords, noisy, clean), centred(best, clean))


def test_paths_lead_to_the_same_crystal_somewhere(clean):
    noisy = uniform(9, 3, seed=2)
    reached = noisy + paths(clean.frac_coords, noisy, clean)
    for element, system in ((8, 0), (22, 0), (3, 1)):
        rows = (clean.atomic_numbers == element) & (clean.system_idx == system)
        others = (clean.system_idx == system) & (clean.atomic_numbers == (38 if system == 0 else 9))
        found = (reached[rows] - reached[others]) % 1
        truth = (clean.frac_coords[rows] - clean.frac_coords[others]) % 1
        nearest = (found[:, None] - truth).abs()
        assert float(torch.minimum(nearest, 1 - nearest).amax(2).amin(1).max()) < 1e-9


def test_a_crystal_that_is_only_moved_and_reordered_is_left_alone(clean):
    noisy = clean.frac_coords[torch.tensor([4, 1, 0, 3, 2, 6, 5, 7, 8])] + 0.01 * torch.ones(3, dtype=DOUBLE)
    torch.testing.assert_close(
        paths(clean.frac_coords, noisy, clean), torch.zeros(9, 3, dtype=DOUBLE), rtol=0, atol=1e-12
    )
