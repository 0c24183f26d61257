from dataclasses import replace

import known_crystals
import pytest
import torch
from pymatgen.analysis.structure_matcher import StructureMatcher

from descriptors.base import make_descriptor
from descriptors.batch import from_structures, to_structures
from descriptors.neighbors import find_pairs
from descriptors.representation import Representation
from reconstruction import reconstruct
from reconstruction.basin_hopping import SEARCHES, Search
from reconstruction.reconstruct import decode, plan, reconstruct_rows
from reconstruction.result import AGREED

CPU = torch.device("cpu")
ELEMENTS = tuple(sorted({site.specie.Z for structure in known_crystals.family() for site in structure}))
SHORT = Search(n_trials=3, n_hops=1, n_steps=10, learning_rate=0.3)


@pytest.fixture(scope="module")
def representation():
    return Representation(descriptor=make_descriptor("ead"), elements=ELEMENTS)


@pytest.fixture(scope="module")
def family():
    return known_crystals.family()


@pytest.fixture(scope="module")
def vectors(representation, family):
    return representation.encode(from_structures(family, dtype=torch.float32)).detach()


def read(vectors, representation, **changes):
    """Decode vectors some of whose blocks are replaced."""
    changed = vectors.clone()
    for block, value in changes.items():
        changed[:, representation.blocks[block]] = value
    return decode(changed, representation, max_atoms=20)


def test_formula_and_cell_of_true_vectors_come_back(vectors, representation, family):
    decoded = read(vectors, representation)
    assert decoded.reasons == [None] * len(family)
    for structure, numbers, volume in zip(
        family, decoded.atomic_numbers, torch.linalg.det(decoded.lattice).tolist(), strict=True
    ):
        assert numbers.tolist() == sorted(site.specie.Z for site in structure)
        assert volume == pytest.approx(structure.volume, rel=1e-4)
    assert float(decoded.residuals.max()) < 1e-4


@pytest.mark.parametrize(
    ("block", "value", "reason"),
    [
        ("n_atoms", 0.2, "number of atoms"),
        ("n_atoms", 21.0, "expected 1 to 20"),
        ("n_atoms", torch.nan, "number of atoms"),
        ("composition", 0.0, "element frequencies"),
        ("composition", torch.inf, "element frequencies"),
        ("lattice", 0.5, "an edge is 0.5"),
        ("lattice", torch.nan, "expected finite numbers"),
        ("descriptor", torch.nan, "the descriptor is not finite"),
    ],
)
def test_a_vector_that_makes_no_crystal_is_refused_with_the_reason(
    block, value, reason, vectors, representation
):
    decoded = read(vectors[:2], representation, **{block: value})
    assert all(reason in text for text in decoded.reasons)
    assert plan(decoded, representation.descriptor, SHORT, device=CPU) == []


def test_atoms_repel_below_the_distance_in_the_vector_and_never_less_than_a_floor(vectors, representation):
    shortest = [
        float(read(vectors[:1], representation, min_distance=d).shortest[0]) for d in (2.0, 0.1, -1.0)
    ]
    assert shortest == pytest.approx([1.9, 0.6, 0.6])


def test_a_plan_covers_every_good_row_once_and_no_other(vectors, representation):
    n_atoms = vectors[:, representation.blocks["n_atoms"]].clone()
    n_atoms[::7] = 0.0
    decoded = read(vectors, representation, n_atoms=n_atoms)
    groups = plan(decoded, representation.descriptor, SEARCHES["default"], device=CPU)
    good = [row for row in range(len(vectors)) if row % 7]
    assert sorted(row for group in groups for row in group) == good


@pytest.mark.parametrize("limit", [1, 60, 10**6])
def test_a_plan_keeps_to_one_size_and_within_its_bounds(limit, vectors, representation, monkeypatch):
    monkeypatch.setattr(reconstruct, "CPU_ATOMS", limit)
    decoded = read(vectors, representation)
    groups = plan(decoded, representation.descriptor, SHORT, device=CPU)
    for group in groups:
        sizes = {len(decoded.atomic_numbers[row]) for row in group}
        assert len(sizes) == 1
        assert len(group) == 1 or len(group) * sizes.pop() * SHORT.n_trials <= limit
    assert limit != 1 or len(groups) == len(vectors)


def test_a_plan_bounds_the_memory(vectors, representation, monkeypatch):
    monkeypatch.setattr(reconstruct, "BATCH_NUMBERS", 1)
    groups = plan(read(vectors, representation), representation.descriptor, SHORT, device=CPU)
    assert [len(group) for group in groups] == [1] * len(vectors)


def search_rows(decoded, rows, representation, settings, *, exact, seed=0):
    return reconstruct_rows(
        decoded, rows, representation.descriptor, settings, exact=exact, seed=seed, device=CPU
    )


def test_true_vectors_give_their_crystals_back(vectors, representation, family):
    rows = [2, 20]
    found = search_rows(read(vectors, representation), rows, representation, SEARCHES["fast"], exact=True)
    matcher = StructureMatcher(stol=0.2)
    for row, guess in zip(rows, to_structures(found.batch), strict=True):
        assert matcher.fit(family[row], guess)


def test_the_result_depends_on_rows_and_seed_alone(vectors, representation):
    decoded = read(vectors, representation)
    one, same, other_seed = (
        search_rows(decoded, [3, 4], representation, SHORT, exact=True, seed=seed) for seed in (5, 5, 6)
    )
    other_rows = search_rows(decoded, [4, 3], representation, SHORT, exact=True, seed=5)
    assert torch.equal(one.batch.frac_coords, same.batch.frac_coords)
    assert not torch.equal(one.batch.frac_coords, other_seed.batch.frac_coords)
    assert not torch.equal(one.batch.frac_coords, other_rows.batch.frac_coords.roll(2, 0))


def test_an_inexact_vector_keeps_its_shortest_distance_and_ends_by_agreement(vectors, representation):
    blurred = vectors[-2:].clone()  # perovskites
    columns = representation.blocks["descriptor"]
    noise = torch.rand(blurred[:, columns].shape, generator=torch.Generator().manual_seed(0))
    blurred[:, columns] *= 0.9 + 0.2 * noise
    decoded = read(blurred, representation)
    settings = replace(SEARCHES["fast"], n_hops=6)
    found = search_rows(decoded, [0, 1], representation, settings, exact=False)
    pairs = find_pairs(found.batch, 3.0)
    lengths = pairs.displacements(found.batch).norm(dim=1)
    for row in range(2):
        nearest = lengths[found.batch.system_idx[pairs.pair_idx[0]] == row].min()
        assert float(nearest) > 0.95 * float(decoded.shortest[row])
    assert AGREED in found.stopped
    assert float(found.losses.max()) < 0.2
