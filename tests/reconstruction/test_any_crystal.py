"""Every size from 1 to 52 atoms, every element from 1 to 103, and vectors that no crystal has."""

from dataclasses import replace

import pytest
import torch

from descriptors.base import make_descriptor
from descriptors.batch import CrystalBatch, join
from descriptors.representation import Representation
from reconstruction import Rung, Search, prepare, reconstruct

TINY = Search(
    rungs=(Rung(n_trials=3, n_steps=15, n_stages=1), Rung(n_trials=1, n_steps=20)),
    n_rounds=2,
    n_kept=2,
    learning_rate=0.3,
    fresh=0.5,
    symmetric=0.5,
    moves={"swap": 0.5, "relocate": 0.5},
    n_polish=30,
)
ELEMENTS = tuple(range(1, 104))
TOLERANCE = 0.05  # of the distance that atoms should keep


@pytest.fixture(scope="module")
def wide():
    return Representation(descriptor=make_descriptor("ead"), elements=ELEMENTS)


def random_crystal(n_atoms, elements, *, seed):
    """Put atoms near different points of a grid in a skewed cell of 14 Å³ an atom."""
    generator = torch.Generator().manual_seed(seed)
    side = next(k for k in range(1, 9) if k**3 >= n_atoms)
    points = torch.cartesian_prod(*[torch.arange(side)] * 3)
    points = points[torch.randperm(len(points), generator=generator)[:n_atoms]]
    cell = torch.eye(3) + 0.3 * (torch.rand(3, 3, generator=generator) - 0.5)
    cell *= (n_atoms * 14 / torch.linalg.det(cell)) ** (1 / 3)
    return CrystalBatch(
        frac_coords=(points + 0.3 * torch.rand(n_atoms, 3, generator=generator)) / side,
        lattice=cell[None],
        atomic_numbers=torch.tensor([elements[k % len(elements)] for k in range(n_atoms)]),
        system_idx=torch.zeros(n_atoms, dtype=torch.long),
    )


@pytest.mark.parametrize("n_atoms", [1, 2, 7, 24, 52])
@pytest.mark.parametrize("elements", [(1,), (103,), (8, 1, 103, 26)], ids=["H", "Lr", "four"])
def test_a_cell_of_any_size_gives_a_physical_crystal_of_its_formula(n_atoms, elements, wide):
    true = random_crystal(n_atoms, elements, seed=n_atoms)
    vectors = wide.encode(true).detach()
    keep = float(prepare(vectors, wide, search=TINY, exact=True).decoded.shortest[0])
    found = reconstruct(vectors, wide, search=TINY, exact=True)
    assert found.batch.atomic_numbers.tolist() == true.atomic_numbers.sort().values.tolist()
    assert float(torch.linalg.det(found.batch.lattice[0])) == pytest.approx(14 * n_atoms, rel=1e-3)
    assert 0 <= float(found.losses[0]) < 0.1
    assert float(found.shortest_distances[0]) > (1 - TOLERANCE) * keep


def test_every_element_is_reconstructed(wide):
    true = join([random_crystal(2, (z, 104 - z), seed=z) for z in range(1, 53)])
    vectors = torch.cat([wide.encode(true.select(torch.tensor([k]))).detach() for k in range(true.n_systems)])
    quick = Search(rungs=(Rung(n_trials=2, n_steps=10),), n_rounds=1, n_kept=1, learning_rate=0.3, n_polish=5)
    found = reconstruct(vectors, wide, search=quick, exact=True)
    assert set(found.batch.atomic_numbers.tolist()) == set(ELEMENTS)
    assert bool(found.losses.isfinite().all())
    assert float(found.losses.median()) < 0.1


@pytest.mark.parametrize("noise", [0.05, 0.3])
def test_a_noisy_vector_gives_a_crystal_that_keeps_its_shortest_distance(noise, wide):
    true = join([random_crystal(6, (22, 38, 8, 8), seed=seed) for seed in range(6)])
    vectors = torch.cat([wide.encode(true.select(torch.tensor([k]))).detach() for k in range(6)])
    columns = vectors[:, wide.blocks["descriptor"]]
    columns *= 1 + noise * torch.randn(columns.shape, generator=torch.Generator().manual_seed(1))
    job = prepare(vectors, wide, search=TINY, exact=False)
    found = reconstruct(vectors, wide, search=TINY, exact=False)
    kept = found.shortest_distances / job.decoded.shortest
    assert float(kept.min()) > 1 - TOLERANCE
    assert float(found.losses.max()) < 2 * noise


def test_repulsion_trades_fidelity_for_physics(wide):
    """A distance that the crystal does not have: the more it weighs, the better it is kept and the higher the loss."""
    true = join([random_crystal(4, (22, 8), seed=seed) for seed in range(6)])
    vectors = torch.cat([wide.encode(true.select(torch.tensor([k]))).detach() for k in range(6)])
    vectors[:, wide.blocks["min_distance"]] *= 1.25
    kept, losses = [], []
    for repulsion in (0.0, 0.3, 10.0):
        found = reconstruct(vectors, wide, search=replace(TINY, repulsion=repulsion), exact=False)
        kept.append(float(found.shortest_distances.mean()))
        losses.append(float(found.losses.mean()))
    assert kept == sorted(kept)
    assert kept[2] > 1.05 * kept[0]
    assert losses[2] > 1.5 * losses[0]
