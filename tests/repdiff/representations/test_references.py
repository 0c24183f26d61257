import pytest
import torch

from descriptors.symmetry.protostructure import Protostructure
from repdiff.representations.references import FAR, References, find_references
from repdiff.representations.symmetric_vectors import to_symmetric_vectors
from repdiff.symmetry.templates import TemplateLibrary
from repdiff.testing.backend import small_set

STRANGE = Protostructure.of(136, [(22, "a"), (8, "f")])


@pytest.fixture(scope="module")
def encoded():
    return small_set()


@pytest.fixture(scope="module")
def library(encoded):
    return TemplateLibrary.of([crystal.id for crystal in encoded.crystals], encoded.symmetry)


@pytest.fixture(scope="module")
def vectors(encoded):
    representation = encoded.layout.representation()
    return to_symmetric_vectors(encoded.representations, encoded.symmetry, representation)


def test_the_reference_of_a_known_crystal_is_its_own_vector(encoded, library, vectors):
    found = find_references(library, encoded.symmetry.protostructures, encoded.layout, progress=False)
    assert bool(found.present.all())
    torch.testing.assert_close(found.vectors, vectors, rtol=1e-4, atol=1e-4)
    assert not found.distances.any()
    torch.testing.assert_close(found.draw(torch.zeros_like(vectors)), found.vectors)


def test_where_there_is_none_it_is_said_and_vectors_stay_as_they_are(encoded, library, vectors):
    wanted = [encoded.symmetry.protostructures[0], None, STRANGE]
    found = find_references(library, wanted, encoded.layout, progress=False)
    assert found.present.tolist() == [True, False, False]
    assert not found.vectors[1:].any()
    assert found.templates[1:] == (None, None)
    assert torch.equal(found.draw(vectors[:3])[1:], vectors[1:3])


def test_vectors_are_drawn_the_less_the_more_the_elements_differ():
    distances = torch.tensor([0.0, FAR, 3 * FAR, torch.nan])
    references = References(vectors=torch.zeros(4, 2), distances=distances, templates=(None,) * 4)
    drawn = references.draw(torch.ones(4, 2))
    torch.testing.assert_close(drawn[:, 0], torch.tensor([0.0, 0.5, 0.75, 1.0]))
