from collections import Counter

import numpy as np
import pytest
import torch

from descriptors.symmetry.protostructure import Protostructure
from repdiff.backends import BACKENDS
from repdiff.backends.retrieval import Retrieval
from repdiff.backends.substitutions import count_places, places_of, substitution_probabilities
from repdiff.crystals.symmetry import space_groups
from repdiff.errors import UserError
from repdiff.metrics.charge_balance import check_composition
from repdiff.testing.backend import Trial, small_set
from repdiff.testing.example_crystals import cubic_perovskite, rock_salt

CPU = torch.device("cpu")
SALT = Protostructure.of(225, [(11, "a"), (17, "b")])


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    return Trial(
        name="retrieval", folder=tmp_path_factory.mktemp("retrieval"), options={}, encoded=small_set()
    )


def test_elements_take_the_places_of_their_prototype_and_both_where_settings_exchange_them():
    label = "AB_cF8_225_a_b"
    assert places_of(SALT) == {(z, (label, letter)) for z in (11, 17) for letter in "ab"}
    rutile = Protostructure.of(136, [(22, "a"), (8, "f")])
    assert {place[1] for element, place in places_of(rutile) if element == 8} == {"f"}
    other = Protostructure.of(136, [(22, "b"), (8, "f")])
    assert places_of(rutile) == places_of(other)


def test_probabilities_are_those_of_a_walk_over_places_by_hand():
    counts = {("x", "a"): Counter({11: 3, 19: 1}), ("y", "a"): Counter({11: 1, 3: 1})}
    found = substitution_probabilities(counts, [3, 11, 19, 55])
    expected = [
        [1 / 2, 1 / 2, 0, 0],
        [1 / 4 * 1 / 2, 3 / 4 * 3 / 4 + 1 / 4 * 1 / 2, 3 / 4 * 1 / 4, 0],
        [0, 3 / 4, 1 / 4, 0],
        [0, 0, 0, 1],
    ]
    np.testing.assert_allclose(found, expected)
    walked = substitution_probabilities(count_places([SALT]), [11, 17])
    np.testing.assert_allclose(walked, np.full((2, 2), 0.5))


def test_samples_are_templates_with_other_elements_in_a_scaled_cell(trial):
    backend = trial.load()
    templates = {crystal.id: crystal for crystal in trial.encoded.crystals if crystal.split == "train"}
    made = backend.sample(40, seed=1).crystals
    for one in made:
        template = templates[str(one.labels["template"])]
        assert one.labels["start"] == "template"
        swapped = dict(zip(template.atomic_numbers.tolist(), one.atomic_numbers.tolist(), strict=True))
        assert len(set(swapped.values())) == len(swapped)
        assert all(old != new for old, new in swapped.items() if old != 8)  # all perovskites are oxides
        np.testing.assert_array_equal(one.frac_coords, template.frac_coords)
        stretch = (one.volume / template.volume) ** (1 / 3)
        np.testing.assert_allclose(one.lattice, template.lattice * stretch, atol=1e-12)
    assert space_groups(made) == space_groups([templates[str(one.labels["template"])] for one in made])
    assert len({one.formula for one in made}) > 5
    assert all(check_composition(dict(Counter(one.atomic_numbers.tolist()))).valid for one in made)


def test_the_first_of_the_draws_that_balances_its_charges_is_taken():
    probabilities = np.zeros((4, 4))
    probabilities[0, [2, 3]] = 0.5  # argon or potassium instead of sodium
    probabilities[1, 1] = 1.0
    backend = Retrieval([rock_salt()], [11, 17, 18, 19], probabilities, np.ones(4))
    once = Counter(int(one.atomic_numbers[0]) for one in backend.sample(60, options={"n_tries": 1}).crystals)
    assert 15 < once[18] < 45
    assert once[18] + once[19] == 60
    tried = backend.sample(60).crystals
    assert {tuple(one.atomic_numbers.tolist()) for one in tried} == {(19, 17)}


def test_volumes_follow_the_elements():
    backend = Retrieval(
        [cubic_perovskite(a=4.0)],
        [8, 16, 22, 38],
        np.eye(4)[[1, 0, 2, 3]],
        np.array([10.0, 30.0, 12.0, 30.0]),
    )
    (made,) = backend.sample(1).crystals
    assert sorted(made.atomic_numbers.tolist()) == [16, 16, 16, 22, 38]  # nothing replaces Ti and Sr
    assert made.volume == pytest.approx(64 * (90 + 42) / (30 + 42))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"steps": 5}, "takes no steps"),
        ({"compositions": [{11: 1, 17: 1}]}, "takes no compositions"),
        ({"conditions": {"band_gap": 1.0}}, "takes no properties"),
    ],
)
def test_what_it_cannot_honour_is_refused(trial, asked, message):
    with pytest.raises(UserError, match=message):
        trial.load().check(**asked)


def test_an_unknown_option_is_refused(trial, tmp_path):
    with pytest.raises(UserError, match="min_volume"):
        BACKENDS["retrieval"].prepare(trial.encoded, options={"min_volum": 0.1}, folder=tmp_path)


def test_it_goes_through_the_verbs(run):
    code, model, said = run("train", "--backend", "retrieval")
    assert code == 0, said
    code, path, said = run("generate", "--model", str(model), "--n", "4")
    assert code == 0, said
    code, _, said = run("evaluate", str(path), "--only", "validity,prototypes", "--n-workers", "1")
    assert code == 0, said
    scores = sorted((path.parents[1] / "evaluate").iterdir())[-1]
    assert "prototypes.from_template" in (scores / "table.txt").read_text()
    code, _, said = run("generate", "--model", str(model), "--composition", "NaCl")
    assert (code, "takes no compositions" in said) == (2, True)
