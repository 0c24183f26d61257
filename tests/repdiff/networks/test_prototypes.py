"""Prototypes of the training set: counted, and drawn as often as they occur, with elements as the model has them."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from descriptors.symmetry.labels import prototype_label
from descriptors.symmetry.protostructure import Protostructure
from descriptors.symmetry.settings import equivalent_settings
from repdiff.errors import UserError
from repdiff.networks.protostructure import ProtostructureRequest, sample_protostructures
from repdiff.networks.protostructure.prototype_walk import ANY, PrototypeWalk
from repdiff.networks.protostructure.prototypes import Prototype, PrototypeTable
from tests.repdiff.networks.test_protostructure_model import ELEMENTS, KNOWN, all_of, random_model

ROCK_SALT = Protostructure.of(225, [(3, "a"), (8, "b")])
PEROVSKITE = Protostructure.of(221, [(38, "a"), (22, "b"), (8, "c")])
RUTILE = Protostructure.of(136, [(22, "a"), (8, "f")])


def draws(model, n, *, seed=0, **options):
    return sample_protostructures(model, n, generator=torch.Generator().manual_seed(seed), **options)


@given(st.lists(st.sampled_from(KNOWN[:4]), min_size=1, max_size=12), st.randoms())
def test_equivalent_settings_and_elements_count_as_one_prototype(known, random):
    described = [random.choice(equivalent_settings(one))[0] for one in known]
    table = PrototypeTable.of(described)
    expected = Counter(map(prototype_label, known))
    assert sorted(table.counts.tolist()) == sorted(expected.values())
    assert int(table.counts.sum()) == len(known)


def test_prototypes_are_drawn_as_often_as_they_occur():
    known = [ROCK_SALT] * 1 + [PEROVSKITE] * 3 + [RUTILE] * 6
    model = random_model(known)
    found = [draw.protostructure for draw in draws(model, 1500, prototype_share=1.0)]
    counts = Counter(prototype_label(one) for one in found if one is not None)
    expected = {ROCK_SALT: 150, PEROVSKITE: 450, RUTILE: 900}
    observed = [counts[prototype_label(one)] for one in expected]
    assert sum(observed) == 1500
    assert chisquare(observed, list(expected.values())).pvalue > 1e-3


def test_elements_on_a_prototype_come_as_the_model_has_them_there():
    model = random_model([RUTILE])
    n = 3000
    found = [draw.protostructure for draw in draws(model, n, prototype_share=1.0, n_candidates=40)]
    counts = Counter(found)
    letters = Prototype.of(RUTILE).parts
    possible = [
        one
        for one in all_of(136, 6, 2, ELEMENTS)
        if tuple(sorted(one.letters_by_element().values())) == letters
    ]
    assert set(counts) <= set(possible)
    scores = model.step_log_prob(model.coder.encode(possible, all_settings=False)).sum(1)
    expected = scores.softmax(0).detach().numpy()
    observed = np.array([counts[one] for one in possible]) / n
    assert abs(observed - expected).sum() < 0.1
    assert abs(expected - expected.mean()).sum() > 0.3  # the model has preferences that are to be met


def test_a_share_of_the_samples_gets_a_prototype_and_none_is_the_plain_model():
    known = [*KNOWN, *[ROCK_SALT] * 200]
    model = random_model(known)
    plain, none, half = (draws(model, 600, **options) for options in (
        {}, {"prototype_share": 0.0}, {"prototype_share": 0.5},
    ))  # fmt: skip
    assert plain == none
    rock_salt = prototype_label(ROCK_SALT)
    share_free, share_half = (
        np.mean([one.protostructure is not None and prototype_label(one.protostructure) == rock_salt
                 for one in some])
        for some in (plain, half)
    )  # fmt: skip
    held = 200 / len(known)
    assert share_half == pytest.approx(0.5 * share_free + 0.5 * held, abs=0.07)


@given(seed=st.integers(0, 1000))
def test_no_draw_on_a_prototype_comes_to_a_dead_end(seed):
    model = random_model()
    prototypes = set(model.prototypes.prototypes)
    for draw in draws(model, 12, seed=seed, prototype_share=1.0, n_candidates=3):
        assert draw.n_dead_ends == 0
        assert draw.protostructure is not None
        assert Prototype.of(draw.protostructure) in prototypes


@pytest.mark.parametrize(
    ("request_", "holds"),
    [
        (ProtostructureRequest.of_formula({22: 1, 8: 2}, formula_units=[1, 2]),
         lambda one: dict(one.composition()) in ({22: 1, 8: 2}, {22: 2, 8: 4})),
        (ProtostructureRequest.of_system([3, 8]), lambda one: set(one.elements) == {3, 8}),
        (ProtostructureRequest(groups=frozenset({221})), lambda one: one.number == 221),
        (ProtostructureRequest(n_atoms=frozenset({5})), lambda one: one.n_atoms() == 5),
    ],
)  # fmt: skip
def test_what_is_asked_holds_on_prototypes(request_, holds):
    model = random_model()
    found = [draw.protostructure for draw in draws(model, 20, requests=[request_] * 20, prototype_share=1.0)]
    assert all(one is not None and holds(one) for one in found)


def test_the_formula_of_a_known_prototype_gets_it_and_another_one_is_drawn_freely():
    model = random_model([PEROVSKITE, RUTILE, *KNOWN])
    asked = ProtostructureRequest.of_formula({3: 2, 38: 4})
    found = [draw.protostructure for draw in draws(model, 10, requests=[asked] * 10, prototype_share=1.0)]
    assert {prototype_label(one) for one in found if one is not None} == {prototype_label(RUTILE)}
    unheard_of = ProtostructureRequest.of_formula({3: 1, 8: 5})  # no training crystal has parts of 1 and 5
    found = [draw.protostructure for draw in draws(model, 4, requests=[unheard_of] * 4, prototype_share=1.0)]
    assert all(one is not None and dict(one.composition()) == {3: 1, 8: 5} for one in found)


def test_a_walk_follows_the_letters_of_its_prototype():
    def bits(letters: str) -> int:
        return sum(1 << "abcdefg".index(letter) for letter in letters)

    walk = PrototypeWalk(Prototype(62, ("c", "cc", "d")))
    assert walk.letters(is_new=True) == bits("cd")
    walk.add("c", is_new=True)  # the first of two, or all of the one
    assert (walk.letters(is_new=False), walk.letters(is_new=True)) == (bits("c"), bits("cd"))
    walk.add("d", is_new=True)
    assert (walk.letters(is_new=False), walk.letters(is_new=True)) == (0, bits("c"))
    walk.add("c", is_new=True)
    assert walk.letters(is_new=True) == 0  # it has to take the second
    assert walk.letters(is_new=False) == bits("c")
    assert PrototypeWalk().letters(is_new=True) == ANY


@pytest.mark.parametrize("text", ["", "225", "225_", "0_a", "225_a_?", "x_a", "1_b"])
def test_what_is_no_prototype_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011  (whatever says so first)
        Prototype.parse(text)


def test_what_is_no_share_is_refused():
    with pytest.raises(UserError, match="prototype_share"):
        draws(random_model(), 1, prototype_share=1.5)
