from dataclasses import replace

import pytest
import torch

from descriptors.testing import random_crystals
from repdiff.diffusion.cdvae.occupation import OccupationReader, OccupationWriter
from repdiff.networks.crystal import CrystalNetwork, CrystalNetworkSettings

SIGNS = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])  # orthogonal rows
SETTINGS = CrystalNetworkSettings(width=4, n_species=4)


@pytest.fixture
def writer():
    """Element vectors of signs, and a site's first channel repeated in all."""
    writer = OccupationWriter(SETTINGS, n_latent=4)
    writer.elements.weight.data.copy_(SIGNS)
    writer.site.weight.data.zero_()[:, 0] = 1
    return writer


def written(writer, kinds, sites, sizes):
    network, numbers = CrystalNetwork(SETTINGS), torch.tensor(kinds)
    batch = random_crystals(sizes, generator=torch.Generator().manual_seed(0)).to(dtype=torch.float32)
    features = network(network.graph(batch), numbers, torch.zeros(len(sizes)))
    scalars = torch.tensor(sites)[:, None] * torch.eye(4)[0]
    return writer(replace(features, scalars=scalars), numbers)


def test_what_is_written_of_an_element_is_read_back(writer):
    reader = OccupationReader(n_latent=4, n_species=4, width=4)
    reader.elements.weight.data.copy_(SIGNS)
    reader.memory.weight.data.copy_(torch.eye(4))
    kinds, sites, sizes = [0, 2, 3, 1, 2], [0.5, -1.0, 2.0, 3.0, 7.0], [3, 2]
    memory = written(writer, kinds, sites, sizes)
    read = reader(memory, torch.tensor(kinds), torch.tensor([0, 0, 0, 1, 1])).mean(1)
    torch.testing.assert_close(read * torch.tensor([3, 3, 3, 2, 2]), torch.tensor(sites))


def test_an_exchange_of_two_elements_is_written(writer):
    one = written(writer, [0, 1, 2], [0.5, -1.0, 2.0], [3])
    other = written(writer, [1, 0, 2], [0.5, -1.0, 2.0], [3])
    torch.testing.assert_close((one - other)[0], 0.5 * (SIGNS[0] - SIGNS[1]))


def test_atoms_of_one_element_may_change_places(writer):
    one = written(writer, [1, 1, 2], [0.5, -1.0, 2.0], [3])
    other = written(writer, [1, 1, 2], [-1.0, 0.5, 2.0], [3])
    torch.testing.assert_close(one, other)
