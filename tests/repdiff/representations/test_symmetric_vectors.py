import pytest
import torch

from repdiff.representations.encoded_set import EncodedSet
from repdiff.representations.symmetric_vectors import (
    from_symmetric_vectors,
    symmetric_blocks,
    to_symmetric_vectors,
)
from repdiff.testing.backend import small_set


@pytest.fixture(scope="module")
def encoded() -> EncodedSet:
    return small_set()


def test_vectors_come_back_from_what_is_left_of_them(encoded):
    representation = encoded.layout.representation()
    symmetric = to_symmetric_vectors(encoded.representations, encoded.symmetry, representation)
    assert symmetric.shape[1] == symmetric_blocks(representation)["cell"].stop
    back = from_symmetric_vectors(symmetric, encoded.symmetry.protostructures, encoded.layout)
    primitive = torch.tensor([one.n_atoms() for one in encoded.symmetry.protostructures])
    whole = primitive == torch.tensor([crystal.n_atoms for crystal in encoded.crystals])
    assert int(whole.sum()) >= 20
    torch.testing.assert_close(back.vectors[whole], encoded.representations[whole], atol=2e-3, rtol=1e-4)
    torch.testing.assert_close(back.symmetry.cells, encoded.symmetry.cells, atol=1e-4, rtol=1e-5)


def test_a_missing_protostructure_makes_a_vector_of_nan_and_is_refused_on_the_way_there(encoded):
    representation = encoded.layout.representation()
    symmetric = to_symmetric_vectors(encoded.representations, encoded.symmetry, representation)
    protostructures = [None, *encoded.symmetry.protostructures[1:]]
    made = from_symmetric_vectors(symmetric, protostructures, encoded.layout)
    assert bool(made.vectors[0].isnan().all()) and bool(made.vectors[1:].isfinite().all())
    with pytest.raises(ValueError, match="1 rows have no protostructure"):
        to_symmetric_vectors(made.vectors, made.symmetry, representation)
