"""What the tests of the API share: crystals that are encoded, and a model of a few steps."""

import pytest
from known_crystals import family
from small_runs import SMALL

import repdiff as rd


@pytest.fixture(scope="module")
def encoded():
    return rd.encode(family(), device="cpu", progress=False)


@pytest.fixture(scope="module")
def model(encoded, _tiny_composition_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "run"
    return rd.train(encoded, folder=folder, device="cpu", progress=False, **SMALL)
