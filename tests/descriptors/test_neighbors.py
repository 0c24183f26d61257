from dataclasses import replace

import matscipy.neighbours
import numpy as np
import pytest
import torch
from ase.neighborlist import neighbor_list
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import crystals

from descriptors import neighbors
from descriptors.batch import CrystalBatch, from_atoms, join, to_atoms
from descriptors.neighbors import find_neighborhood, find_pairs


def one_crystal(lattice, frac_coords=((0.0, 0.0, 0.0),)) -> CrystalBatch:
    frac = torch.tensor(frac_coords, dtype=torch.float64)
    return CrystalBatch(
        frac_coords=frac,
        lattice=torch.tensor(lattice, dtype=torch.float64)[None],
        atomic_numbers=torch.full((len(frac),), 6),
        system_idx=torch.zeros(len(frac), dtype=torch.long),
    )


TWO = ((0.1, 0.2, 0.3), (0.55, 0.6, 0.85))
SPECIAL = {
    "one atom, 20 Å on a 2.5 Å cell": (one_crystal(np.diag([2.5, 2.5, 2.5])), 20.01),
    "thin": (one_crystal(np.diag([2.2, 2.2, 31.0]), TWO), 7.1),
    "long": (one_crystal(np.diag([30.0, 2.4, 2.6]), TWO), 9.1),
    "skewed": (one_crystal([[3, 0, 0], [8.9, 3, 0], [-9.1, 14.8, 3]], TWO), 6.1),
    "left-handed": (one_crystal([[0, 3.1, 0.2], [3.3, 0, 0.4], [0.1, 0.7, 3.9]], TWO), 6.1),
    "atoms outside the cell": (
        one_crystal(np.diag([3.0, 4.0, 5.0]), ((-7.2, 3.4, 0.1), (5.5, -2.5, 9.5))),
        6.1,
    ),
    "rotated": (one_crystal([[0, 0, 4.0], [4.0, 0, 0], [0, 4.0, 0]], TWO), 5.3),
    "no neighbours": (one_crystal(np.diag([9.0, 9.0, 9.0])), 6.0),
}


def as_set(i, j, shifts) -> set[tuple[int, ...]]:
    rows = np.column_stack([np.asarray(i), np.asarray(j), np.round(np.asarray(shifts))]).astype(int)
    found = set(map(tuple, rows))
    assert len(found) == len(rows), "a pair is listed twice"
    return found


def ours(batch: CrystalBatch, cutoff: float) -> set[tuple[int, ...]]:
    pairs = find_pairs(batch, cutoff)
    return as_set(*pairs.pair_idx, pairs.shifts)


@pytest.mark.parametrize("name", SPECIAL)
def test_pairs_of_special_cells_agree_with_ase_and_matscipy(name):
    batch, cutoff = SPECIAL[name]
    (atoms,) = to_atoms(batch)
    found = ours(batch, cutoff)
    assert found == as_set(*neighbor_list("ijS", atoms, cutoff))
    inside = batch.wrapped()  # matscipy wants atoms inside the cell
    assert ours(inside, cutoff) == as_set(
        *matscipy.neighbours.neighbour_list("ijS", to_atoms(inside)[0], cutoff)
    )


@given(batch=crystals(max_systems=1), cutoff=st.floats(1.0, 9.0))
def test_pairs_of_random_crystals_agree_with_ase(batch, cutoff):
    (atoms,) = to_atoms(batch)
    i, j, shifts, distances = neighbor_list("ijSd", atoms, cutoff + 1e-6)
    clear = abs(distances - cutoff) > 1e-7  # on the cutoff itself, rounding decides
    pairs = find_pairs(batch, cutoff)
    near = (pairs.displacements(batch).norm(dim=1) - cutoff).abs() > 1e-7
    inner = clear & (distances < cutoff)
    assert as_set(*pairs.pair_idx[:, near], pairs.shifts[near]) == as_set(i[inner], j[inner], shifts[inner])


@given(batch=crystals(max_systems=1))
def test_displacements_are_those_of_ase(batch):
    (atoms,) = to_atoms(batch)
    pairs = find_pairs(batch, 5.0)
    i, j, shifts, vectors = neighbor_list("ijSD", atoms, 5.0 + 1e-9)
    expected = {key: vector for key, vector in zip(zip(i, j, *shifts.T, strict=True), vectors, strict=True)}
    for (a, b), shift, vector in zip(
        pairs.pair_idx.T.tolist(), pairs.shifts.tolist(), pairs.displacements(batch), strict=True
    ):
        np.testing.assert_allclose(vector, expected[(a, b, *map(int, shift))], atol=1e-8)


@given(batch=crystals())
def test_a_batch_has_the_pairs_of_its_crystals(batch):
    pairs = find_pairs(batch, 4.0)
    rows, first = [], 0
    for system in range(batch.n_systems):
        single = batch.select(torch.tensor([system]))
        alone = find_pairs(single, 4.0)
        rows.append(torch.cat([alone.pair_idx.T + first, alone.shifts.long()], 1))
        first += single.n_atoms
    assert torch.equal(torch.cat([pairs.pair_idx.T, pairs.shifts.long()], 1), torch.cat(rows))


@pytest.mark.parametrize("size", [1, 7, 100])
def test_chunking_does_not_change_the_pairs(monkeypatch, size):
    batch = join([case for case, cutoff in SPECIAL.values() if cutoff < 20])
    expected = find_pairs(batch, 6.5)
    monkeypatch.setattr(neighbors, "CANDIDATES_PER_CHUNK", size)
    chunked = find_pairs(batch, 6.5)
    assert torch.equal(chunked.pair_idx, expected.pair_idx)
    assert torch.equal(chunked.shifts, expected.shifts)


def test_a_batch_without_crystals_has_no_pairs():
    assert find_pairs(from_atoms([]), 5.0).pair_idx.shape == (2, 0)
    assert find_neighborhood(from_atoms([]), 5.0).present.shape == (0, 1)


@pytest.mark.parametrize("cutoff", [0.0, -1.0, float("nan")])
def test_a_cutoff_that_is_not_positive_is_refused(cutoff):
    with pytest.raises(ValueError, match="expected a positive length"):
        find_pairs(SPECIAL["thin"][0], cutoff)


def test_atoms_at_one_place_see_each_other_but_not_themselves():
    pairs = find_pairs(one_crystal(np.diag([9.0, 9.0, 9.0]), ((0.2, 0.2, 0.2), (0.2, 0.2, 0.2))), 3.0)
    assert pairs.pair_idx.T.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("by", ["frac_coords", "lattice"])
def test_displacements_and_vectors_have_the_right_gradient(by):
    batch = join([SPECIAL["skewed"][0], SPECIAL["left-handed"][0]])
    pairs, table = find_pairs(batch, 4.0), find_neighborhood(batch, 4.0)

    def lengths(value):
        moved = replace(batch, **{by: value})
        vectors = table.vectors(moved.frac_coords, moved.lattice)
        return pairs.displacements(moved).norm(dim=1), vectors.norm(dim=2)

    assert torch.autograd.gradcheck(lengths, getattr(batch, by).clone().requires_grad_(), fast_mode=True)


@given(batch=crystals())
def test_the_table_lists_the_pairs_and_fills_up_with_something_finite(batch):
    pairs, table = find_pairs(batch, 4.0), find_neighborhood(batch, 4.0)
    vectors = table.vectors(batch.frac_coords, batch.lattice)
    torch.testing.assert_close(vectors[table.present], pairs.displacements(batch))
    assert torch.equal(table.present.nonzero()[:, 0], pairs.pair_idx[0])
    assert torch.equal(table.neighbor_idx[table.present], pairs.pair_idx[1])
    assert bool((vectors[~table.present].norm(dim=1) > 0.1).all())
    assert table.n_systems == batch.n_systems


CROWD = one_crystal(
    np.diag([20.0, 20.0, 20.0]), np.stack(np.meshgrid(*[[0.0, 0.06, 0.12]] * 3), -1).reshape(-1, 3) + 0.3
)
TABLES = {
    **{name: case for name, case in SPECIAL.items() if name != "rotated"},
    "crowd in an empty cell": (CROWD, 2.6),
    "one skewed atom, many cells": (one_crystal([[2.4, 0, 0], [9.7, 2.5, 0], [-7.3, 5.2, 2.9]]), 14.03),
    "left-handed and far outside": (
        one_crystal(
            [[0, 3.1, 0.2], [3.3, 0, 0.4], [0.1, 0.7, 3.9]], ((40.25, -31.5, 7.0), (-3.1, 12.2, 0.4))
        ),
        7.3,
    ),
    "different sizes": (join([case for case, cutoff in SPECIAL.values() if cutoff < 20] + [CROWD]), 6.21),
}


def expect_the_table_of_the_pairs(batch, cutoff):
    """The compiled table row by row, each in the order of the pairs, and what fills it up."""
    pairs, table = find_pairs(batch, cutoff), find_neighborhood(batch, cutoff)
    counts = torch.bincount(pairs.pair_idx[0], minlength=batch.n_atoms)
    assert table.present.sum(1).tolist() == counts.tolist()
    assert table.present.shape[1] == max(int(counts.max()), 1)
    assert bool((table.present[:, :-1] >= table.present[:, 1:]).all()), "a gap within a row"
    centre = torch.arange(batch.n_atoms)[:, None].expand_as(table.neighbor_idx)
    found = torch.stack([centre[table.present], table.neighbor_idx[table.present]])
    assert torch.equal(found, pairs.pair_idx)
    assert torch.equal(table.shifts[table.present], pairs.shifts)
    assert torch.equal(table.neighbor_idx[~table.present], centre[~table.present])
    fill = torch.tensor([1, 0, 0], dtype=batch.dtype).expand(int((~table.present).sum()), 3)
    assert torch.equal(table.shifts[~table.present], fill)
    assert table.shifts.dtype == batch.dtype
    assert torch.equal(table.n_atoms_per_system, batch.n_atoms_per_system)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", TABLES)
def test_the_compiled_table_is_that_of_the_pairs(name, dtype):
    batch, cutoff = TABLES[name]
    expect_the_table_of_the_pairs(batch.to(dtype=dtype), cutoff)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(batch=crystals(), cutoff=st.floats(0.5, 9.0))
def test_the_compiled_table_of_random_crystals_is_that_of_the_pairs(dtype, batch, cutoff):
    lengths = find_pairs(batch, cutoff + 0.01).displacements(batch).norm(dim=1)
    assume(not bool(((lengths - cutoff).abs() < 1e-4).any()))  # on the cutoff itself, rounding decides
    expect_the_table_of_the_pairs(batch.to(dtype=dtype), cutoff)


def test_a_crowd_has_more_neighbours_than_its_density_promises(monkeypatch):
    expected = find_neighborhood(CROWD, 3.0)
    assert expected.present.shape[1] > 16
    monkeypatch.setattr(neighbors, "ROOM", 100.0)  # enough at the first attempt
    table = find_neighborhood(CROWD, 3.0)
    assert torch.equal(table.neighbor_idx, expected.neighbor_idx)
    assert torch.equal(table.shifts, expected.shifts)


@pytest.mark.parametrize("cutoff", [0.0, -1.0, float("nan")])
def test_a_table_within_no_distance_is_refused(cutoff):
    with pytest.raises(ValueError, match="expected a positive length"):
        find_neighborhood(SPECIAL["thin"][0], cutoff)


def test_a_table_can_be_made_of_tensors_that_carry_a_gradient():
    batch, cutoff = SPECIAL["skewed"]
    tracked = replace(
        batch,
        frac_coords=batch.frac_coords.clone().requires_grad_(),
        lattice=batch.lattice.clone().requires_grad_(),
    )
    table = find_neighborhood(tracked, cutoff)
    assert not table.shifts.requires_grad
    assert torch.equal(table.shifts, find_neighborhood(batch, cutoff).shifts)
