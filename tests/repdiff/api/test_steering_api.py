"""Steering from Python: heads, functions, all kinds of models of structrepdiff, and walks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_runs import SMALL, TINY_SEARCH

import repdiff as rd
from reconstruction.presets import SEARCHES
from repdiff.backends.goals import read_goal
from repdiff.backends.steering import head_request
from repdiff.backends.structrepdiff_steering import choose_candidates, expected_blocks
from repdiff.representations.blocks import whole_blocks

QUICK = {
    "max_steps": 60,
    "width": 16,
    "n_members": 2,
    "validate_every": 20,
    "device": "cpu",
    "progress": False,
}
SAMPLE = {"sampler": "ddim", "steps": 5, "progress": False}


@pytest.fixture(scope="module")
def labelled(encoded):
    crystals = [one.replace(labels={"volume": one.volume / one.n_atoms}) for one in encoded.crystals]
    return replace(encoded, crystals=crystals)


@pytest.fixture(scope="module")
def head(labelled):
    return rd.fit_head(labelled, property="volume", **QUICK)


@pytest.fixture(scope="module", params=["protostructure", "first", "joint"])
def any_model(request, encoded, model, _tiny_composition_model):
    if request.param == "protostructure":
        return model
    return rd.train(encoded, compositions=request.param, device="cpu", progress=False, **SMALL)


def test_samples_of_every_kind_of_model_move_where_they_are_told_to(any_model, head):
    means = {}
    for goal in ("min", "max"):
        made = any_model.sample_representations(
            12, steer={"volume": goal}, heads=head, steer_strength=5.0, caution=0.0, candidates=8, **SAMPLE
        )
        means[goal] = np.nanmean(head.predict(made).mean)
    assert means["min"] < means["max"]


def test_a_function_steers_and_is_read_off_the_crystals(any_model, monkeypatch):
    monkeypatch.setitem(SEARCHES, "fast", TINY_SEARCH)

    def density(blocks):
        return -blocks["volume_per_atom"][:, 0].log()

    plain, steered = (
        any_model.sample_representations(10, steer=steer, **more, **SAMPLE)
        for steer, more in ((None, {}), (density, {"steer_strength": 20.0, "candidates": 4}))
    )
    volume = [
        np.nanmedian(whole_blocks(one.vectors, one.layout)["volume_per_atom"]) for one in (plain, steered)
    ]
    assert volume[1] < volume[0]
    made = any_model.sample(2, steer=density, steer_strength=5.0, candidates=2, search="fast", **SAMPLE)
    for one in made.crystals:
        assert one.labels["predicted_density"] == pytest.approx(-np.log(one.volume / one.n_atoms), abs=1e-3)


def test_sample_i_is_the_same_whatever_the_number_and_the_model_stays_as_it_is(model, head):
    more = {"steer": {"volume": "20±3"}, "heads": [head], "candidates": 3, **SAMPLE}
    few, many = (model.sample_representations(n, **more) for n in (2, 4))
    torch.testing.assert_close(many.vectors[:2], few.vectors, atol=1e-3, rtol=1e-3, equal_nan=True)
    assert few.symmetry.protostructures == many.symmetry.protostructures[:2]
    assert model.backend.steering is None


def test_what_is_asked_exactly_stays_exact(model, head, encoded):
    formula = encoded.crystals[0].formula
    made = model.sample_representations(
        3, steer={"volume": "max"}, heads=head, composition=formula, candidates=3, **SAMPLE
    )
    counts = encoded.symmetry.protostructures[0].composition()
    assert {tuple(sorted(one.composition().items())) for one in made.symmetry.protostructures if one} == {
        tuple(sorted(counts.items()))
    }
    given = encoded.symmetry.protostructures[1]
    kept = model.sample_representations(
        2, steer={"volume": "max"}, heads=head, protostructure=given, **SAMPLE
    )
    assert len(set(kept.symmetry.protostructures)) == 1


def test_candidates_are_chosen_by_the_likelihood_of_the_goal(model, head, labelled):
    """Over many samples with the same candidates, each is chosen as often as its weight says."""
    known = list(dict.fromkeys(one for one in labelled.symmetry.protostructures if one))[:4]
    request = head_request([read_goal("volume", "max")], [head], caution=0.0)
    inner = model.backend.model
    weights = request.log_weights(expected_blocks(inner, known)).double().softmax(0)
    n = 2000
    chosen = choose_candidates([[None, *known]] * n, request, inner, seed=3, numbers=range(n))
    counts = torch.bincount(torch.tensor(chosen), minlength=5)[1:] / n
    torch.testing.assert_close(counts.double(), weights, atol=0.04, rtol=0)
    assert choose_candidates([[None, None]], request, inner, seed=3, numbers=[0]) == [None]


def test_a_walk_from_python_goes_on_in_its_folder(model, head, encoded, tmp_path, monkeypatch):
    monkeypatch.setitem(SEARCHES, "fast", TINY_SEARCH)
    small = {
        "n_steps": 1,
        "n_variations": 3,
        "n_built": 1,
        "candidates": 2,
        "folder": tmp_path / "walk",
        **SAMPLE,
    }
    found = model.optimize(encoded.crystals[:1], head=head, goal="max", **small)
    frame = found.to_frame()
    assert {"predicted_volume", "predicted_volume_std", "start_predicted_volume", "start_distance"} <= set(
        frame
    )
    again = rd.optimize(model, encoded.crystals[:1], head=head, goal="max", **small)
    assert again.crystals[0].formula == found.crystals[0].formula
    with pytest.raises(rd.UserError, match="`goal` was 'max', now 'min'"):
        model.optimize(encoded.crystals[:1], head=head, goal="min", **small)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"steer": {"volume": "wide"}}, "the goal of volume is 'wide'"),
        ({"steer": {"gap": 1.0}}, "no head predicts gap"),
        ({"steer": {}}, "no goal of it"),
        ({"steer": {"volume": 15}, "heads": None}, "`heads` is missing"),
        ({"steer": {"volume": 15}, "heads": "nowhere"}, "nowhere: no such checkpoint"),
        ({"steer": None}, "heads is given, expected it with `steer`"),
        ({"steer": {"volume": 15}, "candidates": 0}, "candidates is 0, expected a whole number"),
        ({"steer": {"volume": 15}, "keep_best": 0.5}, "`steer` and `keep_best` are given"),
        ({"steer": 3}, "steer is 3, expected"),
        ({"steer": lambda blocks: 3.0, "heads": None}, "returns float for 2 rows"),
        ({"steer": lambda blocks: blocks["descriptor"], "heads": None}, "for 2 rows, expected a tensor of 2"),
        ({"steer": lambda blocks: blocks["gap"], "heads": None}, "fails on a trial (KeyError"),
        ({"steer": lambda blocks: torch.zeros(2), "heads": None}, "without a gradient"),
        ({"steer": lambda blocks: blocks["n_atoms"], "caution": 1.0, "heads": None}, "has no spread"),
    ],
)
def test_mistakes_are_told_in_one_line(model, head, wrong, told):
    with pytest.raises(rd.UserError) as refused:
        model.sample_representations(2, **{"heads": head, **wrong, **SAMPLE})
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_models_without_vectors_and_heads_of_other_descriptors_refuse(encoded, model, head, labelled):
    other = rd.train(encoded, backend="retrieval", device="cpu", progress=False)
    with pytest.raises(rd.UserError, match="makes no vectors"):
        other.sample(1, steer={"volume": 15}, heads=head, progress=False)
    strange = replace(head, descriptor="soap")
    with pytest.raises(rd.UserError, match="from the descriptor soap, the model has ead"):
        model.sample(1, steer={"volume": 15}, heads=strange, progress=False)
    settings = replace(head, descriptor_settings={"cutoff": 1})
    with pytest.raises(rd.UserError, match="other settings of the descriptor ead"):
        model.sample(1, steer={"volume": 15}, heads=settings, progress=False)
