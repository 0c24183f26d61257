import json
from dataclasses import replace

import known_crystals
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import crystals

from descriptors import lattice as cells
from descriptors.base import DESCRIPTORS, make_descriptor
from descriptors.batch import from_structures, join, to_structures
from descriptors.representation import BLOCKS, Representation, chunks_by_cost
from descriptors.testing import MOVES, TOL, random_crystals

ALL_ELEMENTS = tuple(range(1, 95))


@pytest.fixture(scope="module", params=sorted(DESCRIPTORS))
def representation(request):
    return Representation(descriptor=DESCRIPTORS[request.param].example(), elements=ALL_ELEMENTS)


@pytest.fixture(scope="module")
def plain():
    """The one with the compact default descriptor."""
    return Representation(descriptor=make_descriptor("ead"), elements=ALL_ELEMENTS)


@pytest.fixture(scope="module")
def some_crystals():
    return random_crystals([1, 2, 3, 5, 8], generator=torch.Generator().manual_seed(1))


def test_the_blocks_partition_the_vector(representation, some_crystals):
    blocks = list(representation.blocks.values())
    assert tuple(representation.blocks) == BLOCKS
    covered = [column for block in blocks for column in range(block.start, block.stop)]
    assert covered == list(range(representation.n_features))
    assert representation.encode(some_crystals).shape == (5, representation.n_features)


def test_every_column_has_a_name_that_begins_with_its_block(representation):
    names = representation.feature_names()
    assert len(set(names)) == len(names) == representation.n_features
    for block, columns in representation.blocks.items():
        assert all(name.split(":")[0] == block for name in names[columns])


def test_the_composition_columns_are_named_by_their_elements(plain):
    names = plain.feature_names()[plain.blocks["composition"]]
    assert names == [f"composition:{number}" for number in ALL_ELEMENTS]


def test_the_vector_consists_of_its_parts(representation, some_crystals):
    vectors = representation.encode(some_crystals)
    parts = {name: vectors[:, columns] for name, columns in representation.blocks.items()}
    torch.testing.assert_close(parts["descriptor"], representation.descriptor(some_crystals))
    torch.testing.assert_close(parts["composition"], representation.frequencies(some_crystals))
    assert parts["n_atoms"].flatten().tolist() == [1, 2, 3, 5, 8]
    torch.testing.assert_close(parts["lattice"], cells.to_parameters(some_crystals.lattice))


@settings(max_examples=15)
@given(batch=crystals())
def test_the_shortest_distance_agrees_with_pymatgen(plain, batch):
    shortest = plain.encode(batch)[:, plain.blocks["min_distance"]].flatten()
    cutoff = plain.descriptor.cutoff
    for found, structure in zip(shortest.tolist(), to_structures(batch), strict=True):
        neighbors = structure.get_all_neighbors(cutoff)
        expected = min((site.nn_distance for around in neighbors for site in around), default=cutoff)
        assert found == pytest.approx(expected, abs=1e-6)


def test_the_shortest_distance_is_the_cutoff_for_atoms_farther_apart(plain):
    lonely = random_crystals([1], generator=torch.Generator().manual_seed(0))
    lonely = replace(lonely, lattice=100 * torch.eye(3, dtype=lonely.dtype)[None])
    assert plain.encode(lonely)[0, plain.blocks["min_distance"]] == plain.descriptor.cutoff


def test_frequencies_are_shares_of_the_atoms_of_each_crystal():
    known = from_structures([known_crystals.perovskite(), known_crystals.diamond()])
    elements = (6, 8, 14, 22, 38)
    frequencies = Representation(descriptor=DESCRIPTORS["ead"].example(), elements=elements).frequencies(
        known
    )
    expected = torch.tensor([[0, 0.6, 0, 0.2, 0.2], [1, 0, 0, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(frequencies, expected)


@given(batch=crystals())
def test_frequencies_add_up_to_one(plain, batch):
    torch.testing.assert_close(
        plain.frequencies(batch).sum(1), torch.ones(batch.n_systems, dtype=batch.dtype)
    )


def test_an_element_without_a_column_is_named():
    known = from_structures([known_crystals.rocksalt("Na", "Cl")])
    salt = Representation(descriptor=DESCRIPTORS["ead"].example(), elements=(11, 35))
    with pytest.raises(ValueError, match=r"\[17\] have no column"):
        salt.encode(known)


@pytest.mark.parametrize("elements", [(), (8, 6), (6, 6)])
def test_elements_must_ascend(elements):
    with pytest.raises(ValueError, match="expected ascending"):
        Representation(descriptor=DESCRIPTORS["ead"].example(), elements=elements)


def test_a_supercell_changes_the_number_of_atoms_and_the_lattice_alone(representation, some_crystals):
    small = representation.encode(some_crystals)
    large = representation.encode(MOVES["supercell"](some_crystals))
    for name, columns in representation.blocks.items():
        same = torch.allclose(large[:, columns], small[:, columns], **TOL[torch.float64])
        assert same == (name not in ("n_atoms", "lattice")), name
    n_atoms = representation.blocks["n_atoms"]
    torch.testing.assert_close(large[:, n_atoms], 2 * small[:, n_atoms])


def test_the_declared_settings_decide_the_vector(representation):
    settings = json.loads(json.dumps(representation.descriptor.settings()))
    assert settings == representation.descriptor.settings()


@settings(max_examples=20)
@given(sizes=st.lists(st.integers(1, 6), min_size=1, max_size=12), limit=st.sampled_from([1, 50_000, 10**9]))
def test_chunks_cover_every_row_once(plain, sizes, limit):
    batch = random_crystals(sizes, generator=torch.Generator().manual_seed(len(sizes)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("descriptors.representation.SLOT_NUMBERS_PER_CHUNK", limit)
        chunks = chunks_by_cost(batch, plain.descriptor)
    assert sorted(row for chunk in chunks for row in chunk) == list(range(len(sizes)))
    assert all(chunks)
    assert limit != 1 or len(chunks) == len(sizes)
    assert limit != 10**9 or len(chunks) == 1


def test_encoding_in_chunks_equals_one_by_one(plain, some_crystals, monkeypatch):
    batch = join([some_crystals, MOVES["supercell"](some_crystals)])
    monkeypatch.setattr("descriptors.representation.SLOT_NUMBERS_PER_CHUNK", 200_000)
    chunks = chunks_by_cost(batch, plain.descriptor)
    assert 1 < len(chunks) < batch.n_systems
    for chunk in chunks:
        together = plain.encode(batch.select(torch.tensor(chunk)))
        alone = [plain.encode(batch.select(torch.tensor([row]))) for row in chunk]
        torch.testing.assert_close(together, torch.cat(alone))
