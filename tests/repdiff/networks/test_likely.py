"""The likeliest protostructures of a formula: all of them, each once, in the order of an independent calculation."""

from itertools import permutations
from math import log

import pytest

from descriptors.symmetry.labels import prototype_label
from descriptors.symmetry.protostructure import Protostructure
from descriptors.symmetry.settings import canonical, equivalent_settings
from repdiff.networks.protostructure import ProtostructureRequest, likely_protostructures
from tests.repdiff.networks.test_protostructure_model import ELEMENTS, KNOWN, random_model

SPINEL = Protostructure.of(227, [(3, "a"), (22, "d"), (8, "e")])
OLIVINE = Protostructure.of(62, [(3, "a"), (22, "c"), (8, "c"), (8, "c"), (8, "d")])
OTHERS = [SPINEL, OLIVINE, Protostructure.of(194, [(38, "a"), (22, "c"), (8, "k"), (8, "h")])]


@pytest.fixture(scope="module")
def model():
    return random_model([*KNOWN, *OTHERS])


def exhaustive(model, formula, units):
    """Put all elements on all prototypes in every way, and keep what has the formula."""
    known = [*KNOWN, *OTHERS]
    wanted = [{element: n * unit for element, n in formula.items()} for unit in units]
    found = set()
    for one in known:
        old = one.elements
        for new in permutations(ELEMENTS, len(old)):
            named = dict(zip(old, new, strict=True))
            swapped = Protostructure.of(
                one.number, [(named[orbit.element], orbit.letter) for orbit in one.orbits]
            )
            if swapped.composition() in wanted:
                found.add(canonical(swapped))
    return found


@pytest.mark.parametrize(
    ("formula", "units"),
    [
        ({38: 1, 22: 1, 8: 3}, (1, 2, 4)),
        ({3: 1, 22: 2, 8: 4}, (1, 2, 4)),
        ({3: 1, 8: 1}, (1,)),
        ({22: 2, 8: 1}, (1, 2)),
    ],
)
def test_all_protostructures_on_known_prototypes_are_found_the_likeliest_first(model, formula, units):
    request = ProtostructureRequest.of_formula(formula, formula_units=units)
    found = likely_protostructures(model, request)
    assert {canonical(one) for one in found} == exhaustive(model, formula, units)
    assert len(found) == len({canonical(one) for one in found})
    for one in found:  # each alone, in another of its settings
        assert one.composition() in [{e: n * unit for e, n in formula.items()} for unit in units]
    scores = [
        float(model.log_prob(model.coder.encode([equivalent_settings(one, sheared=False)[-1][0]]))[0])
        for one in found
    ]
    assert scores == sorted(scores, reverse=True)
    assert found


def test_what_known_crystals_tell_is_multiplied_with_what_the_model_says(model):
    request = ProtostructureRequest.of_formula({38: 1, 22: 1, 8: 3}, formula_units=(1, 2, 4))
    plain = likely_protostructures(model, request)
    unlikely = prototype_label(plain[-1])
    assert unlikely != prototype_label(plain[0])

    def n_alike(one):
        return 1e6 if prototype_label(one) == unlikely else 1e-6

    found = likely_protostructures(model, request, n_alike=n_alike)
    assert found != plain
    scores = [
        float(model.log_prob(model.coder.encode([one]))[0]) + log(n_alike(one) + 1e-12) for one in found
    ]
    assert scores == sorted(scores, reverse=True)


def test_what_is_unwanted_and_other_groups_are_left_out(model):
    wanted = ProtostructureRequest.of_formula({3: 1, 22: 2, 8: 4}, formula_units=(1, 2, 4), groups=[227])
    (spinel, *others) = likely_protostructures(model, wanted)
    assert {one.number for one in (spinel, *others)} == {227}
    left = likely_protostructures(model, wanted, unwanted=lambda one: one == spinel)
    assert left == others
    nothing = ProtostructureRequest.of_formula({3: 7, 8: 6})
    assert likely_protostructures(model, nothing) == []
