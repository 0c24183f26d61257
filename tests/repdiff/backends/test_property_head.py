"""Heads: what they learn, how honest their uncertainty is, and what they refuse."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from known_crystals import family

import repdiff as rd
from repdiff.backends.goals import Goal, read_goal
from repdiff.backends.property_head import Head, LabelledRows, held_out_report, in_words
from repdiff.backends.steering import HeadObjective, SteeringRequest, head_request
from repdiff.networks.property_ensemble import EnsembleSettings, PropertyEnsemble
from repdiff.representations.blocks import blocks_of, whole_blocks
from repdiff.settings.training import TrainingSettings
from repdiff.training.loop import train
from repdiff.training.property_ensemble import PropertyData, PropertyTraining

QUICK = {
    "max_steps": 150,
    "width": 16,
    "n_members": 2,
    "validate_every": 25,
    "warmup_steps": 0,
    "learning_rate": 1e-2,
    "device": "cpu",
    "progress": False,
}


@pytest.fixture(scope="module")
def labelled():
    encoded = rd.encode(family(), device="cpu", progress=False)
    crystals = [
        one.replace(
            labels={"volume": one.volume / one.n_atoms, "same": 1.0, "colour": "red"},
            split=("train", "train", "val", "test")[(7 * place + place // 5) % 4],
        )
        for place, one in enumerate(encoded.crystals)
    ]
    return replace(encoded, crystals=crystals)


@pytest.fixture(scope="module")
def head(labelled, tmp_path_factory):
    return rd.fit_head(labelled, property="volume", folder=tmp_path_factory.mktemp("h") / "head", **QUICK)


def test_it_learns_and_says_how_well_on_crystals_it_has_not_seen(head, labelled):
    told = head.report
    assert told["split"] == "test"
    assert told["n_test"] + told["n_unknown"] == len(labelled.rows("test"))
    rows = labelled.rows("test")
    found = head.predict([labelled.crystals[row] for row in rows])
    truth = np.array([labelled.crystals[row].labels["volume"] for row in rows])
    known = np.isfinite(found.mean)
    off = np.abs(found.mean - truth)[known]
    assert told["rmse"] == pytest.approx(np.sqrt((off**2).mean()), rel=1e-3)
    assert told["within_1_sigma"] == pytest.approx((off < found.spread[known]).mean())
    assert told["rmse"] < told["std"]  # better than the best constant
    assert "of split test" in in_words(head)


def test_crystals_encoded_sets_and_vectors_are_predicted_alike(head, labelled):
    of_set, of_crystals = head.predict(labelled), head.predict(labelled.crystals)
    np.testing.assert_allclose(of_set.mean, of_crystals.mean, rtol=1e-3)
    np.testing.assert_allclose(head.predict(labelled.to_batch()).spread, of_set.spread)


def test_a_file_holds_all_of_it(head, labelled, tmp_path):
    head.write(tmp_path / "copy.safetensors")
    again = rd.load_head(tmp_path / "copy.safetensors")
    np.testing.assert_array_equal(again.predict(labelled).mean, head.predict(labelled).mean)
    assert (again.label, again.range, again.report) == (head.label, head.range, head.report)
    (tmp_path / "bad.safetensors").write_bytes(b"no head")
    with pytest.raises(rd.UserError, match=r"bad\.safetensors"):
        rd.load_head(tmp_path / "bad.safetensors")


def test_a_training_in_a_folder_resumes_and_refuses_another(labelled, head):
    same = rd.fit_head(labelled, property="volume", folder=head.path, **QUICK)
    np.testing.assert_array_equal(same.predict(labelled).mean, head.predict(labelled).mean)
    with pytest.raises(rd.UserError, match="`width` was 16, now 24"):
        rd.fit_head(labelled, property="volume", folder=head.path, **{**QUICK, "width": 24})


def test_unknown_elements_have_no_prediction(head, labelled):
    gold = labelled.crystals[0].replace(atomic_numbers=np.full(labelled.crystals[0].n_atoms, 79))
    found = head.predict([labelled.crystals[0], gold])
    assert np.isfinite(found.mean[0])
    assert np.isnan([found.mean[1], found.spread[1]]).all()
    assert head.strange([79, 11]) == "Au"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"property": "volum"}, "unknown property 'volum'.*Did you mean 'volume'"),
        ({"property": "same"}, "same is 1.0 for all"),
        ({"property": "colour"}, "colour is 'red' for a crystal, expected finite numbers"),
        ({"property": "space_group"}, "expected the name of a numeric label"),
        ({"property": "volume", "widht": 3}, "widht.*width"),
        ({"property": "volume", "n_members": 1}, "n_members"),
    ],
)
def test_what_does_not_serve_is_one_line(labelled, options, message):
    with pytest.raises(rd.UserError, match=message) as caught:
        rd.fit_head(labelled, **{**QUICK, **options})
    assert "\n" not in str(caught.value)


def test_stated_variances_are_those_of_the_noise(tmp_path):
    """Labels are a linear function of one input plus noise whose width another input decides."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(3000, 2, generator=generator)
    width = torch.where(inputs[:, 1] > 0, 0.6, 0.1)
    targets = 0.7 * inputs[:, 0] + width * torch.randn(3000, generator=generator)
    torch.manual_seed(0)
    network = PropertyEnsemble(
        EnsembleSettings(label="x", elements=(1,), n_descriptor=1, width=24, n_members=2, dropout=0.0)
    )
    n_inputs = network.get_buffer("input_center").shape[0]
    filled = torch.zeros(3000, n_inputs)
    filled[:, :2] = inputs
    settings = TrainingSettings(
        max_steps=300, batch_size=256, warmup_steps=0, learning_rate=5e-3, ema_decay=0.9, device="cpu"
    )
    data = PropertyData(filled[:2500], targets[:2500])
    train(
        PropertyTraining(network), data, PropertyData(filled[:0], targets[:0]), settings, tmp_path / "run",
        metadata={}, tensors={}, progress=False,
    )  # fmt: skip
    network.eval()
    with torch.no_grad():
        means, log_variances = network(filled[2500:])
    off = means.mean(1) - 0.7 * inputs[2500:, 0]
    assert float(off.abs().mean()) < 0.1
    stated = log_variances.exp().mean(1).sqrt()
    assert float(stated[width[2500:] > 0.5].median()) == pytest.approx(0.6, rel=0.2)
    assert 0.07 < float(stated[width[2500:] < 0.5].median()) < 0.25


def test_the_gradient_is_that_of_the_prediction(head, labelled):
    blocks = {name: block.requires_grad_() for name, block in blocks_of(labelled.crystals[:3], "ead").items()}
    mean = head.network.moments(blocks).mean
    (gradient,) = torch.autograd.grad(mean.sum(), blocks["volume_per_atom"])
    step = 0.05
    with torch.no_grad():
        up, down = (
            head.network.moments({**blocks, "volume_per_atom": blocks["volume_per_atom"] + sign * step}).mean
            for sign in (1, -1)
        )
    torch.testing.assert_close(gradient[:, 0], (up - down) / (2 * step), rtol=0.05, atol=2e-3)


def test_a_report_of_too_few_crystals_has_no_figures(head, labelled):
    none = LabelledRows(vectors=labelled.representations[:0], labels=torch.zeros(0, dtype=torch.float64))
    told = held_out_report(head, none, labelled.layout, "val")
    assert told["rmse"] is None
    assert "too few" in in_words(replace(head, report=told))


@pytest.mark.parametrize(
    ("text", "value", "tolerance"),
    [
        ("1.5", 1.5, None),
        (2, 2.0, None),
        ("1.5±0.1", 1.5, 0.1),
        ("-1e1+-2", -10.0, 2.0),
        ("max", "max", None),
    ],
)
def test_goals_are_read(text, value, tolerance):
    assert read_goal("gap", text) == Goal(name="gap", value=value, tolerance=tolerance)


@pytest.mark.parametrize("text", ["wide", "", True, "nan", "inf", "1.5±0", "1_0", None, [1]])
def test_goals_that_are_none_are_refused(text):
    with pytest.raises(rd.UserError, match="the goal of gap is"):
        read_goal("gap", text)


def test_objectives_say_what_they_want(head, labelled):
    scale = head.scale
    low = HeadObjective(head=head, goal=read_goal("volume", "min"), strength=2.0)
    assert low.aim.strength == pytest.approx(-2 / scale)
    near = HeadObjective(head=head, goal=read_goal("volume", 15))
    assert (near.aim.target, near.aim.tolerance) == (15.0, pytest.approx(0.1 * scale))
    blocks = whole_blocks(labelled.representations, labelled.layout)
    plain = HeadObjective(head=head, goal=read_goal("volume", 15), caution=0.0)
    spread = torch.from_numpy(head.of_blocks(blocks).spread).float()
    beyond = (spread / head.typical_spread - 1).clamp(min=0)
    known = head.network.knows(blocks)
    away = plain.log_weight(blocks) - near.log_weight(blocks)
    torch.testing.assert_close(away[known], beyond[known], rtol=1e-3, atol=1e-3)


def test_goals_and_heads_have_to_fit(head):
    with pytest.raises(rd.UserError, match="no head predicts gap; those given predict: volume"):
        head_request([read_goal("gap", 1)], [head])
    with pytest.raises(rd.UserError, match="`steer` is empty"):
        SteeringRequest(objectives=[])
    with pytest.raises(rd.UserError, match="is given, and no goal of it"):
        head_request([], [head])


def test_a_request_is_kept_in_a_folder(head, tmp_path, labelled):
    assert SteeringRequest.read(tmp_path) is None
    request = head_request([read_goal("volume", "15±2")], [head], strength=3.0, caution=0.5, n_candidates=7)
    request.write(tmp_path)
    again = SteeringRequest.read(tmp_path)
    assert again.n_candidates == 7
    (one,) = again.objectives
    assert (one.goal, one.strength, one.caution) == (request.objectives[0].goal, 3.0, 0.5)
    assert isinstance(one.head, Head)
