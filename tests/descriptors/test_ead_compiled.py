from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from strategies import crystals

from descriptors import compiled_loops, ead_compiled
from descriptors.batch import CrystalBatch
from descriptors.ead import EmbeddedAtomDensity, array_densities
from descriptors.elements import weight_columns
from descriptors.neighbors import find_neighborhood
from descriptors.resolution import COMPACT, PAPER, Resolution, evenly

BASE = Resolution(
    cutoff=5.0,
    etas=(0.5, 4.0, 20.0),
    centers=evenly(0.0, 5.0, 11),
    orders=(0, 1, 2),
    weights=("one", "rank", "number"),
    poolings=("max",),
    unit_vectors=True,
    log=False,
)
ONE = ("relative_number",)
BLOCKS = {
    "several widths": BASE,
    "several widths, lengths": replace(BASE, unit_vectors=False),
    "narrow": replace(BASE, etas=(90.0,), centers=evenly(0.0, 5.0, 51), orders=(1, 3), weights=ONE),
    "narrow, lengths": replace(BASE, etas=(90.0,), orders=(1, 3), weights=ONE, unit_vectors=False),
    "wide": replace(BASE, etas=(0.25,), centers=evenly(0.5, 5.0, 8), orders=(0,), weights=ONE),
    "wide, close centres": replace(BASE, etas=(0.25,), centers=evenly(1.0, 1.2, 21), weights=ONE),
    "centres in a narrow band": replace(BASE, etas=(4.0,), centers=evenly(2.0, 3.0, 6)),
    "narrow and wide in a band": replace(BASE, etas=(90.0, 0.25), centers=evenly(2.0, 3.0, 6), orders=(2,)),
    "centres beyond the cutoff": replace(BASE, etas=(1.0,), centers=evenly(5.5, 9.0, 5), cutoff=4.0),
    "centres below all distances": replace(BASE, etas=(0.25,), centers=evenly(-2.0, 0.0, 3)),
}
RELATIVE = {torch.float64: (1e-9, 1e-8), torch.float32: (1e-5, 1e-4)}  # of values and of gradients
ROUNDING = {torch.float64: 1e-13, torch.float32: 5e-6}  # of a sum, by its largest possible value


def both(block, neighborhood, vectors, *, dtype, seed=0):
    """Densities and their gradients by random numbers, of the arrays in double precision and of the loops."""
    vectors, results = vectors.detach().to(dtype), []
    upstream = torch.rand(len(vectors), block.n_per_atom, generator=torch.Generator().manual_seed(seed))
    for compute, real in ((array_densities, torch.float64), (ead_compiled.densities, dtype)):
        moved = vectors.to(real).requires_grad_()
        weights = weight_columns(block.weights, neighborhood, dtype=real)
        values = compute(block, neighborhood, moved, weights)
        (gradient,) = torch.autograd.grad(values, moved, upstream.to(real))
        results += [values.detach().double(), gradient.double()]
    return results


def largest(block, neighborhood, vectors):
    """No density is larger: that of all neighbours in one direction, at the cutoff."""
    isotropic = replace(block, orders=(0,))
    weights = weight_columns(block.weights, neighborhood, dtype=vectors.dtype)
    reach = 1.0 if block.unit_vectors else block.cutoff ** (2 * max(block.orders))
    return float(array_densities(isotropic, neighborhood, vectors, weights).max()) * reach


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", BLOCKS)
@settings(max_examples=12)
@given(batch=crystals())
def test_loops_agree_with_arrays_in_values_and_gradients(name, dtype, batch):
    block = BLOCKS[name]
    assert ead_compiled.serves(block, batch.lattice.to(dtype))
    neighborhood = find_neighborhood(batch, block.cutoff + 0.4)
    vectors = neighborhood.vectors(batch.frac_coords, batch.lattice)
    values, gradient, found, found_gradient = both(block, neighborhood, vectors, dtype=dtype)
    rounding = ROUNDING[dtype] * largest(block, neighborhood, vectors)
    by_value, by_gradient = RELATIVE[dtype]
    steepest = 2 * (2 * max(block.etas)) ** 0.5 + max(block.orders)  # about, by value
    assert float((found - values).abs().max()) <= by_value * float(values.abs().max()) + rounding
    assert (
        float((found_gradient - gradient).abs().max())
        <= by_gradient * float(gradient.abs().max()) + rounding * steepest
    )


@pytest.mark.parametrize("unit_vectors", [True, False])
@pytest.mark.parametrize("orders", [(0,), (0, 1, 2), (1, 3)])
@settings(max_examples=5)
@given(batch=crystals(max_systems=2, max_atoms=2))
def test_the_gradient_is_that_of_the_values(orders, unit_vectors, batch):
    block = replace(BASE, etas=(0.5, 2.0), orders=orders, unit_vectors=unit_vectors, cutoff=3.5)
    neighborhood = find_neighborhood(batch, block.cutoff)
    vectors = neighborhood.vectors(batch.frac_coords, batch.lattice).requires_grad_()
    weights = weight_columns(block.weights, neighborhood, dtype=torch.float64)
    weights = weights / weights.amax(0).clamp(min=1)  # gradcheck's tolerance is absolute

    def compute(moved):
        return ead_compiled.densities(block, neighborhood, moved, weights) / block.cutoff ** max(orders)

    assert torch.autograd.gradcheck(compute, vectors, atol=1e-4, rtol=1e-4, fast_mode=True)


def crystal(frac_coords, edge, *, dtype=torch.float64, numbers=None):
    frac = torch.tensor(frac_coords, dtype=dtype)
    return CrystalBatch(
        frac_coords=frac,
        lattice=edge * torch.eye(3, dtype=dtype)[None],
        atomic_numbers=torch.tensor(numbers or [8] * len(frac)),
        system_idx=torch.zeros(len(frac), dtype=torch.long),
    )


TRIPLE = crystal([[0.0, 0.1, 0.2], [0.4, 0.45, 0.6], [0.8, 0.3, 0.9]], 4.0, numbers=[8, 22, 38])


@pytest.mark.parametrize("kept", [(0, 1, 3), (2,), (3, 2, 1, 0)], ids=["uneven", "single", "descending"])
def test_centres_that_are_not_evenly_ascending_are_left_to_arrays_with_the_same_values(kept):
    even = replace(BASE, etas=(0.5,), centers=evenly(1.0, 4.0, 4), orders=(1,), weights=("one",))
    other = replace(even, centers=tuple(even.centers[k] for k in kept))
    assert ead_compiled.serves(even, TRIPLE.lattice)
    assert not ead_compiled.serves(other, TRIPLE.lattice)
    expected = EmbeddedAtomDensity((even,))(TRIPLE)[:, list(kept)]
    torch.testing.assert_close(EmbeddedAtomDensity((other,))(TRIPLE), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_left_to_arrays(dtype):
    block = replace(BASE, etas=(0.5,), orders=(0, 1), log=True, weights=("one",))
    descriptor = EmbeddedAtomDensity((block,))
    neighborhood = find_neighborhood(TRIPLE, descriptor.cutoff)
    vectors = neighborhood.vectors(TRIPLE.frac_coords, TRIPLE.lattice)
    assert not ead_compiled.serves(block, vectors.to(dtype))
    features = descriptor.evaluate(neighborhood, vectors.to(dtype))
    assert features.dtype == dtype
    expected = descriptor.evaluate(neighborhood, vectors)
    torch.testing.assert_close(features.double(), expected, rtol=0.1, atol=0.1)


def test_the_presets_are_served():
    for block in (*COMPACT, *PAPER):
        assert ead_compiled.serves(block, torch.zeros(1))
        assert ead_compiled.serves(block, torch.zeros(1, dtype=torch.float64))


def test_the_layout_in_memory_does_not_matter():
    neighborhood = find_neighborhood(TRIPLE, BASE.cutoff)
    vectors = neighborhood.vectors(TRIPLE.frac_coords, TRIPLE.lattice)
    weights = weight_columns(BASE.weights, neighborhood, dtype=torch.float64)

    def strided(tensor):
        result = tensor.transpose(0, 1).contiguous().transpose(0, 1)
        assert not result.is_contiguous()
        return result

    def run(change, upstream):
        moved = change(vectors).detach().requires_grad_()
        table = replace(
            neighborhood,
            present=change(neighborhood.present),
            neighbor_idx=change(neighborhood.neighbor_idx),
        )
        values = ead_compiled.densities(BASE, table, moved, change(weights))
        return values, torch.autograd.grad(values, moved, upstream(values))[0]

    plain = run(lambda tensor: tensor, torch.ones_like)
    other = run(strided, lambda values: values.new_ones(1, 1).expand_as(values))
    for one, same in zip(plain, other, strict=True):
        assert torch.equal(one, same)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("unit_vectors", [True, False])
@pytest.mark.parametrize("apart", [0.0, 1e-9])
def test_atoms_at_one_place_give_finite_values_and_gradients(apart, unit_vectors, dtype):
    batch = crystal([[0.0, 0, 0], [apart, 0, 0], [0.4, 0.4, 0.3]], 4.0, dtype=dtype)
    block = replace(BASE, unit_vectors=unit_vectors, orders=(0, 1, 3))
    neighborhood = find_neighborhood(batch, block.cutoff)
    vectors = neighborhood.vectors(batch.frac_coords, batch.lattice)
    assert float(vectors.norm(dim=2).min()) < 1e-7
    values, _, found, gradient = both(block, neighborhood, vectors, dtype=dtype)
    assert bool(torch.isfinite(found).all())
    assert bool(torch.isfinite(gradient).all())
    torch.testing.assert_close(found, values, rtol=1e-4, atol=1e-4 * float(values.max()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_an_atom_without_neighbours_has_no_density_and_no_gradient(dtype):
    batch = crystal([[0.3, 0.3, 0.3]], 30.0, dtype=dtype)
    neighborhood = find_neighborhood(batch, BASE.cutoff)
    assert not bool(neighborhood.present.any())
    _, _, found, gradient = both(
        BASE, neighborhood, neighborhood.vectors(batch.frac_coords, batch.lattice), dtype=dtype
    )
    assert found.shape == (1, BASE.n_per_atom)
    assert not bool(found.any())
    assert not bool(gradient.any())


def test_absent_and_far_neighbours_do_not_count():
    near, far = (find_neighborhood(TRIPLE, cutoff) for cutoff in (BASE.cutoff, BASE.cutoff + 2))
    assert far.present.sum() > near.present.sum()
    results = []
    for table in (near, far):
        vectors = table.vectors(TRIPLE.frac_coords, TRIPLE.lattice)
        vectors[~table.present] = 1.0  # a vector within the cutoff, but of nobody
        _, _, found, gradient = both(BASE, table, vectors, dtype=torch.float64)
        assert not bool(gradient[~table.present].any())
        assert not bool(gradient[vectors.norm(dim=2) >= BASE.cutoff].any())
        results.append(found)
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


def test_no_atoms_have_no_densities():
    nobody = CrystalBatch(
        frac_coords=torch.zeros(0, 3),
        lattice=torch.zeros(0, 3, 3),
        atomic_numbers=torch.zeros(0, dtype=torch.long),
        system_idx=torch.zeros(0, dtype=torch.long),
    )
    table = find_neighborhood(nobody, BASE.cutoff)
    vectors = table.vectors(nobody.frac_coords, nobody.lattice)
    found = ead_compiled.densities(BASE, table, vectors, torch.zeros(0, 3))
    assert found.shape == (0, BASE.n_per_atom)


def test_a_position_that_is_no_number_harms_its_own_densities_alone(monkeypatch):
    block = replace(BASE, etas=(0.5,), orders=(0, 1), cutoff=3.0, centers=evenly(0.0, 3.0, 4))
    neighborhood = find_neighborhood(TRIPLE, block.cutoff)
    vectors = neighborhood.vectors(TRIPLE.frac_coords, TRIPLE.lattice)
    weights = weight_columns(block.weights, neighborhood, dtype=torch.float64)
    expected = ead_compiled.densities(block, neighborhood, vectors, weights)
    vectors[0, 0] = torch.nan
    for interpreted in (True, False):  # interpreted first: compiled, an index out of range is not noticed
        with monkeypatch.context() as patch:
            if interpreted:
                patch.setattr(compiled_loops, "forward", compiled_loops.forward.function.py_func)
                patch.setattr(compiled_loops, "backward", compiled_loops.backward.function.py_func)
            moved = vectors.clone().requires_grad_()
            found = ead_compiled.densities(block, neighborhood, moved, weights)
            (gradient,) = torch.autograd.grad(found.sum(), moved)
        torch.testing.assert_close(found[1:], expected[1:])
        assert bool(torch.isfinite(gradient[1:]).all())
