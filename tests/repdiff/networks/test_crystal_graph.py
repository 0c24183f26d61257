import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from descriptors import lattice as cells
from descriptors.batch import CrystalBatch, join
from descriptors.neighbors import find_pairs
from descriptors.reduction import reduced_cells
from descriptors.testing import MOVES, random_crystals
from repdiff.networks.crystal import graph as graphs
from repdiff.networks.crystal.graph import build_graph

MOVES_OF_THE_SAME_CELL = sorted(set(MOVES) - {"supercell"})
SHEAR = torch.tensor([[1, 1, 0], [1, 2, 0], [0, 0, 1]], dtype=torch.float64)  # determinant 1
TURN = torch.tensor([[0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype=torch.float64)


def crystal(lattice, frac_coords):
    frac_coords = torch.tensor(frac_coords, dtype=torch.float64)
    return CrystalBatch(
        frac_coords=frac_coords,
        lattice=torch.as_tensor(lattice, dtype=torch.float64)[None],
        atomic_numbers=torch.arange(1, len(frac_coords) + 1),
        system_idx=torch.zeros(len(frac_coords), dtype=torch.long),
    )


def perovskite():
    half = [[0.0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return crystal(3.9 * torch.eye(3), half)


def skewed(batch, times=3):
    change = torch.linalg.matrix_power(SHEAR @ TURN, times)
    inverse = torch.linalg.inv(change)
    return replace(batch, frac_coords=batch.frac_coords @ inverse, lattice=change @ batch.lattice)


def random_batch(sizes=(1, 2, 5, 8), seed=0):
    return random_crystals(sizes, generator=torch.Generator().manual_seed(seed))


def sorted_edges(graph):
    """Centre, distance and weight of all edges that weigh anything, in an order that no numbering changes."""
    centre = graph.system_idx[graph.pair_idx[0][graph.edge_pair]].double()
    rows = torch.stack([centre, graph.distances, graph.weights], 1)[graph.weights > 1e-9]
    for column in (2, 1, 0):
        rows = rows[torch.argsort(rows[:, column].round(decimals=7), stable=True)]
    return rows


def test_edges_are_all_images_within_the_radius():
    for batch in (random_batch([4]), random_batch([1], seed=1), perovskite()):
        graph = build_graph(batch, 20, 1000)
        cutoff = float((cells.volume(batch.lattice) / batch.n_atoms * 20 * 3 / (4 * math.pi)) ** (1 / 3))
        pairs = find_pairs(batch, cutoff)
        expected = pairs.displacements(batch).norm(dim=1).sort().values
        soft = (graph.distances**2 - (graphs.SOFTNESS * graph.spacing) ** 2).sqrt()
        torch.testing.assert_close(soft.sort().values, expected)
        torch.testing.assert_close(graph.directions.norm(dim=1) * graph.distances, soft)


def test_atoms_have_the_asked_number_of_neighbors_on_average():
    batch = random_batch([8] * 40)
    graph = build_graph(batch, 30, 1000)
    assert len(graph.distances) / batch.n_atoms == pytest.approx(29, abs=1.0)  # the centre counts


def test_no_atom_has_more_than_the_most_neighbors():
    batch = random_batch([8] * 10)
    graph = build_graph(batch, 20, 22)
    counts = torch.bincount(graph.pair_idx[0][graph.edge_pair])
    assert 15 < int(counts.max()) < 22


@pytest.mark.parametrize("max_neighbors", [10, 12, 16, 100])
@pytest.mark.parametrize("move", MOVES_OF_THE_SAME_CELL)
def test_edges_and_weights_do_not_depend_on_the_description(move, max_neighbors):
    batch = join([random_batch(), perovskite(), crystal(torch.ones(3, 3) - torch.eye(3), [[0.1, 0, 0]])])
    before = build_graph(batch, 10, max_neighbors)
    after = build_graph(MOVES[move](batch), 10, max_neighbors)
    torch.testing.assert_close(sorted_edges(after), sorted_edges(before), rtol=1e-9, atol=1e-9)


def test_equal_distances_at_the_limit_are_not_chosen_among():
    face_centred = crystal(2 * (torch.ones(3, 3) - torch.eye(3)), [[0.0, 0, 0]])  # 12 neighbours, then 6
    nearest = build_graph(face_centred, 40, 15)
    assert len(nearest.distances) == 12
    assert bool((nearest.weights > 0.1).all())


@pytest.mark.parametrize("max_neighbors", [12, 100])
def test_weights_are_continuous_where_neighbors_come_and_go(max_neighbors):
    batch = perovskite()
    step = torch.tensor([[0.0, 0, 0], [0.31, 0.17, 0.05], [0, 0, 0], [0, 0, 0], [0, 0, 0]]).double()

    def total(share):
        graph = build_graph(replace(batch, frac_coords=batch.frac_coords + share * step), 16, max_neighbors)
        centre = graph.pair_idx[0][graph.edge_pair]
        return torch.zeros(5).double().index_add(0, centre, graph.weights), len(graph.weights)

    totals = [total(share) for share in torch.linspace(0, 1, 201).tolist()]
    largest = max(float((b - a).abs().max()) for (a, _), (b, _) in pairwise(totals))
    assert len({n for _, n in totals}) > 2
    assert largest < 0.1


def test_reduction_returns_the_shortest_basis_of_the_same_lattice():
    lattice = random_batch([1] * 60).lattice
    lattice = lattice * torch.logspace(-1, 1, 3)[torch.randperm(3)][None, :, None].double()
    change = torch.linalg.matrix_power(SHEAR @ TURN, 6)
    basis, whole = reduced_cells(change @ lattice)
    torch.testing.assert_close(whole @ change @ lattice, basis)
    assert torch.equal(whole, whole.round())
    torch.testing.assert_close(torch.linalg.det(whole).abs(), torch.ones(60).double())
    steps = torch.cartesian_prod(*[torch.arange(-3.0, 4)] * 3).double()
    steps = steps[steps.abs().sum(1) > 0]
    lengths = basis.norm(dim=2)
    combined = (steps @ basis).norm(dim=2)
    for last in range(3):  # no lattice point outside the span of the shorter ones is nearer
        beyond = (steps[:, last:] != 0).any(1)
        assert bool((combined[:, beyond].min(1).values >= lengths[:, last] * (1 - 1e-9)).all())


def test_reduction_survives_batches_of_none():
    basis, whole = reduced_cells(torch.zeros(0, 3, 3))
    assert basis.shape == whole.shape == (0, 3, 3)


FLAT = {
    "needle": torch.diag(torch.tensor([0.02, 20.0, 20.0])),
    "sheet": torch.diag(torch.tensor([0.05, 0.05, 200.0])),
    "tiny": 0.1 * torch.eye(3),
    "huge": 500.0 * torch.eye(3),
}


@pytest.mark.parametrize("times", [0, 8])
@pytest.mark.parametrize("name", sorted(FLAT))
def test_work_is_bounded_in_flat_and_skewed_cells(name, times, monkeypatch):
    searches = []

    def recorded(batch, cutoff):
        table = graphs_search(batch, cutoff)
        boxes = (2 * cutoff / cells.plane_heights(batch.lattice) + 1).prod(1)
        searches.append((table.neighbor_idx.shape[1], float(boxes.max())))
        return table

    graphs_search = graphs.find_neighborhood
    monkeypatch.setattr(graphs, "find_neighborhood", recorded)
    atoms = torch.rand(4, 3, generator=torch.Generator().manual_seed(0)).tolist()
    graph = build_graph(skewed(crystal(FLAT[name], atoms), times), 20, 40)
    ((n_slots, n_boxes),) = searches
    assert 1 <= len(graph.distances) <= 4 * 40
    assert n_slots <= 4 * 100
    assert n_boxes <= 1000
    assert bool(torch.isfinite(graph.directions).all())


def test_atoms_at_one_point_stay_finite_and_capped():
    batch = crystal(4 * torch.eye(3), [[0.1, 0.2, 0.3]] * 20)
    batch = replace(batch, frac_coords=batch.frac_coords.requires_grad_())
    graph = build_graph(batch, 20, 30)
    (graph.directions.sum() + graph.distances.log().sum() + graph.weights.sum()).backward()
    assert bool(torch.isfinite(batch.frac_coords.grad).all())
    assert len(graph.distances) <= 20 * 30


def test_gathered_atoms_see_no_more_than_the_most():
    generator = torch.Generator().manual_seed(0)
    batch = crystal(6 * torch.eye(3), (0.05 * torch.rand(20, 3, generator=generator)).tolist())
    graph = build_graph(batch, 16, 16)
    assert int(torch.bincount(graph.pair_idx[0][graph.edge_pair]).max()) < 16


@pytest.mark.parametrize("numbers", [(0, 10), (10, 0)])
def test_numbers_of_neighbors_that_are_not_positive_are_errors(numbers):
    with pytest.raises(ValueError, match="expected 1 or more of each"):
        build_graph(perovskite(), *numbers)
