"""Arguments of another kind: one line that names the argument, without a type checker too."""

import inspect
import math
import subprocess
import sys
from typing import get_type_hints

import numpy as np
import pytest
from ase.build import bulk

import repdiff as rd
from repdiff.metrics import METRICS

COPPER = bulk("Cu", cubic=True)
pytestmark = pytest.mark.usefixtures("_quick_search")


WRONG_KINDS = """
import sys
from typing import get_type_hints
import repdiff as rd
from ase.build import bulk
copper, model = bulk("Cu"), rd.load_model(sys.argv[1], device="cpu")
for call in (
    lambda: rd.train(copper),
    lambda: model.sample(2.5),
    lambda: rd.reconstruct([1.0, 2.0]),
    lambda: rd.evaluate(copper, relaxed=copper),
    lambda: rd.load_model(3),
    lambda: rd.read(3),
    lambda: rd.encode(copper, descriptor=3),
    lambda: rd.encode(copper, seed=-1),
    lambda: rd.evaluate(copper, metrics=[3]),
    lambda: rd.evaluate(copper, metrics="validty"),
    lambda: rd.evaluate(copper, benchmark="mp20"),
    lambda: rd.evaluate(copper, seed="a"),
    lambda: rd.relax(copper, fmax="a"),
    lambda: model.sample(1, composition=5),
    lambda: model.sample(1, protostructure=225),
    lambda: model.sample(1, protostructure=["AB_cF8_225_a_b:Cl-Na", copper]),
    lambda: rd.load_dataset(None),
):
    try:
        call()
    except rd.UserError as error:
        print(error)
"""


def test_objects_of_the_wrong_kind_are_refused_in_one_line_without_a_type_checker_too(model):
    command = [sys.executable, "-c", WRONG_KINDS, str(model.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "encoded is of the type Atoms, expected what rd.encode returned",
        "n is 2.5, expected a whole number",
        "representations is [1.0, 2.0], expected what Model.sample_representations returned or what rd.encode returned",
        "relaxed is of the type Atoms, expected what rd.relax returned or None",
        "model is 3, expected text or a path",
        "path is 3, expected text or a path",
        "descriptor is 3, expected text",
        "seed is -1, expected a whole number from 0 to 4294967295",
        f"metrics holds 3, expected names or registered metrics; known: {', '.join(METRICS)}",
        f"unknown metric 'validty'; known: {', '.join(METRICS)}. Did you mean 'validity'?",
        "unknown benchmark 'mp20'; known: perov_5, carbon_24, mp_20. Did you mean 'mp_20'?",
        "seed is 'a', expected a whole number",
        "fmax is 'a', expected a number",
        "composition is 5, expected text, a list or None",
        "protostructure is 225, expected text, Protostructure, a list or None",
        "protostructure[1] is of the type Atoms, expected labels such as 'AB_cF8_225_a_b:Cl-Na', or Protostructures",
        "source is None, expected text or a path",
    ]


FUNCTIONS = (
    "load_dataset",
    "encode",
    "train",
    "load_model",
    "reconstruct",
    "relax",
    "evaluate",
    "read",
    "write",
)
METHODS = ("sample", "sample_representations", "save")


@pytest.mark.parametrize("name", [*FUNCTIONS, *METHODS])
def test_every_argument_of_another_kind_is_refused_by_its_name(name, model, encoded):
    function = getattr(rd if name in FUNCTIONS else model, name)
    fit = {
        "encoded": encoded,
        "representations": encoded,
        "crystals": COPPER,
        "n": 1,
        "path": "a",
        "source": "a",
    }
    needed = {
        one.name: fit.get(one.name, "a")
        for one in inspect.signature(function).parameters.values()
        if one.default is one.empty and one.kind is not one.VAR_KEYWORD
    }
    tried = [key for key, kind in get_type_hints(function).items() if kind is not object and key != "return"]
    tried = [
        key for key in tried if key not in ("crystals", "reference", "training", "novelty")
    ]  # of any kind
    assert tried
    for key in tried:
        with pytest.raises(rd.UserError, match=f"^{key} is <object object at .*, expected "):
            function(**{**needed, key: object()})


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_numbers_that_are_not_finite_are_refused(value, model, encoded):
    for call in (
        lambda: rd.relax(COPPER, fmax=value),
        lambda: rd.encode(COPPER, symprec=value),
        lambda: rd.train(encoded, max_minutes=value),
        lambda: rd.train(encoded, learning_rate=value),
        lambda: model.sample(1, guidance=value),
    ):
        with pytest.raises(rd.UserError, match="finite number"):
            call()


def test_numbers_of_numpy_are_numbers(model):
    found = model.sample_representations(
        np.int64(2), seed=np.int32(0), sampler="ddim", steps=np.int64(5), progress=False
    )
    assert len(found) == 2
