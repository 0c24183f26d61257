import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from descriptors.batch import CrystalBatch
from descriptors.neighbors import find_neighborhood
from descriptors.pooling import POOLINGS, check_poolings, pool, pool_all
from descriptors.testing import example_crystals

REDUCE = {"max": lambda x: x.amax(0), "min": lambda x: x.amin(0), "mean": lambda x: x.mean(0)}


def ragged(sizes: list[int]):
    generator = torch.Generator().manual_seed(len(sizes) + sum(sizes))
    features = torch.randn(sum(sizes), 4, generator=generator, dtype=torch.float64)
    counts = torch.tensor(sizes)
    return features, torch.repeat_interleave(torch.arange(len(sizes)), counts), counts


@pytest.mark.parametrize("how", POOLINGS)
@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_pooling_equals_a_loop_over_crystals(how, sizes):
    features, system_idx, counts = ragged(sizes)
    expected = torch.stack([REDUCE[how](part) for part in features.split(sizes)])
    torch.testing.assert_close(pool(features, system_idx, counts, how=how), expected)


@pytest.mark.parametrize("how", POOLINGS)
def test_the_dense_path_equals_the_indexed_path_with_its_gradient(how):
    features, system_idx, counts = ragged([3, 3, 3])
    features[1] = features[0]  # a tie
    features.requires_grad_()
    dense = pool(features, system_idx, counts, how=how, size=3)
    (dense_gradient,) = torch.autograd.grad((dense**2).sum(), features)
    indexed = pool(features, system_idx, counts, how=how)
    (indexed_gradient,) = torch.autograd.grad((indexed**2).sum(), features)
    torch.testing.assert_close(dense, indexed)
    torch.testing.assert_close(dense_gradient, indexed_gradient)


@pytest.mark.parametrize(("sizes", "size"), [([1, 3], None), ([2, 3], None), ([2, 2], 2)])
def test_a_table_knows_whether_its_crystals_have_one_size(sizes, size):
    n_atoms = sum(sizes)
    batch = CrystalBatch(
        frac_coords=torch.rand(n_atoms, 3),
        lattice=torch.eye(3).repeat(len(sizes), 1, 1),
        atomic_numbers=torch.ones(n_atoms, dtype=torch.long),
        system_idx=torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes)),
    )
    assert find_neighborhood(batch, 1.0).size == size


def test_a_weighted_mean_weighs_each_atom_by_its_element():
    batch = example_crystals()
    table = find_neighborhood(batch, 2.0)
    features = torch.arange(12.0, dtype=torch.float64).reshape(6, 2)
    pooled = pool_all(features, table, ["mean:number", "min"])
    weighted = features * batch.atomic_numbers[:, None]
    sizes = batch.n_atoms_per_system.tolist()
    expected = [
        torch.cat([weight.mean(0), plain.amin(0)])
        for weight, plain in zip(weighted.split(sizes), features.split(sizes), strict=True)
    ]
    torch.testing.assert_close(pooled, torch.stack(expected))


def test_an_unknown_pooling_is_refused_with_the_known_ones():
    features, system_idx, counts = ragged([2, 1])
    with pytest.raises(ValueError, match="pooling is 'sum', expected one of max, min, mean"):
        pool(features, system_idx, counts, how="sum")


@pytest.mark.parametrize("name", ["sum", "max:number", "mean:", "mean:charge", ""])
def test_a_bad_name_of_a_pooling_is_refused(name):
    with pytest.raises(ValueError, match="expected"):
        check_poolings(["mean", name])
