from dataclasses import replace

import pytest
import torch
from hypothesis import given
from pymatgen.analysis.structure_matcher import StructureMatcher
from stand_in_gpu import stand_in_gpu
from strategies import crystals

from descriptors.batch import to_structures
from descriptors.neighbors import find_pairs
from reconstruction import SEARCHES, Rung, Search, inversion, prepare
from reconstruction.basin_hopping import search
from reconstruction.confidence import Confidence
from reconstruction.inversion import shortest_distances
from reconstruction.result import AGREED

TINY = Search(rungs=(Rung(n_trials=3, n_steps=10),), n_rounds=2, n_kept=2, learning_rate=0.3, n_polish=5)


@pytest.fixture
def prepared(vectors, representation):
    """Prepare the inversion of all true vectors."""

    def call(**options):
        return prepare(vectors, representation, **{"search": TINY, "exact": True, **options})

    return call


def test_true_vectors_give_their_crystals_back(prepared, family):
    rows = [2, 20]
    found = prepared(search="fast").run(rows)
    matcher = StructureMatcher(stol=0.2)
    for row, guess in zip(rows, to_structures(found.batch), strict=True):
        assert matcher.fit(family[row], guess)


def test_a_gpu_finds_the_crystals_too(prepared, family):
    short = (Rung(n_trials=6, n_steps=15, n_stages=1), Rung(n_trials=2, n_steps=15))
    every_step = replace(SEARCHES["default"], rungs=short, n_rounds=2, n_polish=10)
    with stand_in_gpu() as gpu:
        found = prepared(search=every_step, device=gpu).run([35])
        assert (found.batch.device.type, found.stopped) == ("cpu", ["solved"])
    assert StructureMatcher(stol=0.2).fit(family[35], to_structures(found.batch)[0])


def test_the_result_depends_on_rows_and_seed_alone(prepared):
    one, same, other_seed = (prepared(seed=seed).run([3, 4]) for seed in (5, 5, 6))
    other_rows = prepared(seed=5).run([4, 3])
    assert torch.equal(one.batch.frac_coords, same.batch.frac_coords)
    assert not torch.equal(one.batch.frac_coords, other_seed.batch.frac_coords)
    assert not torch.equal(one.batch.frac_coords, other_rows.batch.frac_coords.roll(2, 0))


def test_the_number_of_threads_does_not_matter_and_is_put_back(prepared):
    before = torch.get_num_threads()
    results = []
    try:
        for n_threads in (1, 3):
            torch.set_num_threads(n_threads)
            results.append(prepared().run([3, 4]))
            assert torch.get_num_threads() == n_threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0].losses, results[1].losses)


def test_seconds_are_shared_by_evaluations(prepared):
    found = prepared().run([0, 1, 2])
    each = found.seconds / found.n_evaluations
    torch.testing.assert_close(each, each[:1].expand(3))
    assert 0 < float(found.seconds.sum()) < 60


def too_large_above(k, tried):
    """Let the search of more than `k` crystals at once run out of memory."""

    def attempt(start, objective, settings, *, generator):
        tried.append(start.n_systems)
        if start.n_systems > k:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return search(start, objective, settings, generator=generator)

    return attempt


def test_a_group_too_large_for_the_memory_is_halved_until_it_fits(prepared, monkeypatch):
    job, tried = prepared(), []
    alone = [job.run(rows) for rows in ([4, 5], [6], [7, 8])]
    monkeypatch.setattr(inversion, "search", too_large_above(2, tried))
    found = job.run([4, 5, 6, 7, 8])
    assert tried == [5, 3, 2, 1, 2]
    assert found.rows == [4, 5, 6, 7, 8]
    assert torch.equal(found.batch.frac_coords, torch.cat([part.batch.frac_coords for part in alone]))
    assert torch.equal(found.losses, torch.cat([part.losses for part in alone]))


def test_one_crystal_too_large_for_the_memory_is_refused_and_the_others_are_found(prepared, monkeypatch):
    def attempt(start, objective, settings, *, generator):
        if start.n_systems > 1 or len(tried) == 1:
            tried.append(start.n_systems)
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")
        tried.append(start.n_systems)
        return search(start, objective, settings, generator=generator)

    tried = []
    monkeypatch.setattr(inversion, "search", attempt)
    found = prepared().run([39, 40])
    assert tried == [2, 1, 1]
    assert found.rows == [40]
    assert list(found.refused) == [39]
    assert "a cell of 5 atoms with 3 trials does not fit into the memory of cpu: use a" in found.refused[39]


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory")])
def test_whatever_says_that_memory_is_not_enough_halves_a_group(error, prepared, monkeypatch):
    def attempt(start, objective, settings, *, generator):
        if start.n_systems > 1:
            raise error
        return search(start, objective, settings, generator=generator)

    monkeypatch.setattr(inversion, "search", attempt)
    assert prepared().run([39, 40]).rows == [39, 40]


def test_another_error_of_a_search_is_not_taken_for_too_little_memory(prepared, monkeypatch):
    def attempt(*_, **__):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(inversion, "search", attempt)
    with pytest.raises(RuntimeError, match="shapes"):
        prepared().run([39, 40])


def test_an_unknown_search_is_refused_with_the_nearest_name(prepared):
    with pytest.raises(ValueError, match="Did you mean 'thorough'"):
        prepared(search="through")


def test_a_descriptor_alone_stands_for_all_elements_from_hydrogen_on(prepared, representation, family):
    from descriptors.batch import from_structures
    from descriptors.representation import Representation

    wide = Representation(descriptor=representation.descriptor, elements=tuple(range(1, 104)))
    vectors = wide.encode(from_structures(family[:3], dtype=torch.float32)).detach()
    job = prepare(vectors, representation.descriptor, search=TINY, exact=True)
    for structure, numbers in zip(family, job.decoded.atomic_numbers, strict=False):
        assert numbers.tolist() == sorted(site.specie.Z for site in structure)


SURE = Confidence(drops=(1.0,), knots=(-3.0, -1.0), intercept=3.0, coefficients={})


def test_a_confidence_is_given_for_exact_vectors_of_a_fitted_search_alone(prepared, monkeypatch):
    monkeypatch.setattr(
        inversion, "find_confidence", lambda _, preset, **_kw: SURE if preset == "fast" else None
    )
    monkeypatch.setitem(SEARCHES, "fast", TINY)
    assert 0.5 < float(prepared(search="fast").run([0]).confidence[0]) < 1
    for limits in ({}, {"max_evaluations": 10_000}, {"max_seconds": 60.0}):  # it is the preset
        assert 0.5 < float(prepared(search=replace(TINY, **limits)).run([0]).confidence[0]) < 1
    for options in ({"search": replace(TINY, repulsion=2.0)}, {"search": "fast", "exact": False}):
        assert bool(prepared(**options).run([0]).confidence.isnan().all())


@pytest.mark.parametrize(("exact", "given", "taken"), [(True, 0, 0), (False, 0, 3), (False, 5, 5)])
def test_the_search_for_an_inexact_vector_ends_by_agreement(exact, given, taken, prepared):
    job = prepared(search=replace(TINY, n_agreeing=given), exact=exact)
    assert job.search.n_agreeing == taken


@given(batch=crystals())
def test_the_shortest_distance_is_that_of_any_pair(batch):
    pairs = find_pairs(batch, 12.0)
    lengths = pairs.displacements(batch).norm(dim=1)
    owner = batch.system_idx[pairs.pair_idx[0]]
    expected = torch.stack([lengths[owner == system].min() for system in range(batch.n_systems)])
    torch.testing.assert_close(shortest_distances(batch), expected)


def test_an_inexact_vector_keeps_its_shortest_distance_and_ends_by_agreement(changed, representation):
    columns = representation.blocks["descriptor"]
    true = changed()[-2:]  # perovskites
    noise = torch.rand(true[:, columns].shape, generator=torch.Generator().manual_seed(0))
    true[:, columns] *= 0.9 + 0.2 * noise
    job = prepare(true, representation, search="fast", exact=False)
    found = job.run([0, 1])
    assert bool((found.shortest_distances > 0.95 * job.decoded.shortest).all())
    assert AGREED in found.stopped
    assert float(found.losses.max()) < 0.2
