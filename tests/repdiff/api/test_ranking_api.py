"""Ranking from Python: a model that predicts a label, and samples that are kept by it."""

from dataclasses import replace

import pytest
from small_runs import SAMPLING

import repdiff as rd

QUICK = {"max_steps": 3, "width": 8, "n_members": 2, "device": "cpu", "progress": False}


@pytest.fixture(scope="module")
def labelled(encoded):
    crystals = [one.replace(labels={"energy": float(one.atomic_numbers.mean())}) for one in encoded.crystals]
    return replace(encoded, crystals=crystals)


def test_a_sample_says_what_was_predicted_and_how_it_ranked(model, labelled):
    ranker = rd.train_ranker(labelled, by="energy", **QUICK)
    steps = int(SAMPLING[-1])
    kept = model.sample_representations(
        3, keep_best=0.5, ranker=ranker, sampler="ddim", steps=steps, progress=False
    )
    assert all(1 <= rank <= 60 for rank in kept.columns["rank"])
    again = rd.load_ranker(ranker.path, device="cpu").predict(list(kept.symmetry.protostructures))
    assert again.mean.tolist() == pytest.approx(list(kept.columns["predicted_energy"]), rel=1e-4)
    found = model.sample(
        2, keep_best=0.5, ranker=ranker, sampler="ddim", steps=steps, search="fast", progress=False
    )
    frame = found.to_frame()
    assert frame["rank"].tolist() == list(kept.columns["rank"][:2])


def test_a_training_in_a_folder_resumes_and_refuses_another(labelled, tmp_path):
    folder = tmp_path / "ranker"
    first = rd.train_ranker(labelled, by="energy", folder=folder, **QUICK)
    again = rd.train_ranker(labelled, by="energy", folder=folder, **QUICK)
    known = [one for one in labelled.symmetry.protostructures if one][:3]
    assert first.predict(known).mean.tolist() == again.predict(known).mean.tolist()
    with pytest.raises(rd.UserError, match="`width` was 8, now 16"):
        rd.train_ranker(labelled, by="energy", folder=folder, **{**QUICK, "width": 16})
    assert (folder / "model.safetensors").is_file()


def test_without_a_folder_the_files_go_with_the_model(labelled):
    ranker = rd.train_ranker(labelled, by="energy", **QUICK)
    path = ranker.path
    assert path.is_dir()
    del ranker
    assert not path.exists()


def test_crystals_that_were_not_encoded_are_read(labelled):
    crystals = [one.replace(labels={"energy": one.labels["energy"]}) for one in labelled.crystals]
    ranker = rd.train_ranker(rd.CrystalSet(crystals=crystals), by="energy", **QUICK)
    assert ranker.n_training == len(labelled.rows("train"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "energie"}, "'energie'.*Did you mean 'energy'"),
        ({"by": "energy", "widht": 8}, "widht.*width"),
        ({"by": "energy", "n_members": 1}, "n_members"),
        ({"by": "energy", "seed": -1}, "seed"),
    ],
)
def test_what_does_not_serve_is_one_line(labelled, options, message):
    with pytest.raises(rd.UserError, match=message) as caught:
        rd.train_ranker(labelled, **{**QUICK, **options})
    assert "\n" not in str(caught.value)


def test_sampling_without_a_ranking_model_says_how_to_get_one(model):
    with pytest.raises(rd.UserError, match=r"rd\.train_ranker"):
        model.sample(1, keep_best=0.3, progress=False)
