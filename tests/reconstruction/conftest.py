"""Known crystals and their vectors, shared by the tests of the layers above the search."""

import known_crystals
import pytest
import torch

from descriptors.base import make_descriptor
from descriptors.batch import from_structures
from descriptors.representation import Representation

ELEMENTS = tuple(sorted({site.specie.Z for structure in known_crystals.family() for site in structure}))


@pytest.fixture(scope="session")
def representation():
    return Representation(descriptor=make_descriptor("ead"), elements=ELEMENTS)


@pytest.fixture(scope="session")
def family():
    return known_crystals.family()


@pytest.fixture(scope="session")
def vectors(representation, family):
    return representation.encode(from_structures(family, dtype=torch.float32)).detach()


@pytest.fixture
def some(vectors, representation):
    """Six vectors, the third of which has no atoms."""
    some = vectors[[0, 40, 1, 20, 35, 2]].clone()
    some[2, representation.blocks["n_atoms"]] = 0.0
    return some


@pytest.fixture(scope="session")
def changed(vectors, representation):
    """Replace some blocks of the vectors."""

    def change(**blocks):
        result = vectors.clone()
        for block, value in blocks.items():
            result[:, representation.blocks[block]] = value
        return result

    return change
