"""The ensemble that ranks protostructures, and what is kept of ranked draws."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from descriptors.symmetry.protostructure import Protostructure
from descriptors.symmetry.settings import canonical
from repdiff.backends import ranked_draws
from repdiff.backends.ranked_draws import best_of, block_sizes, rank_draws
from repdiff.backends.ranking import Ranker, fit_ranking, prepare_ranking
from repdiff.backends.structrepdiff import StructRepDiff
from repdiff.backends.structrepdiff_draws import warn_of_unpredicted
from repdiff.crystals.crystal import Crystal
from repdiff.errors import UserError
from repdiff.networks.protostructure.ranking import Prediction, ProtostructureRanker, RankerSettings
from repdiff.settings import RankSettings
from repdiff.testing.backend import Trial, small_set

ELEMENTS = (3, 9, 11, 17, 19, 35)
SMALL = {
    "denoiser_options": {"width": 16, "n_blocks": 1},
    "protostructure_options": {"width": 16, "n_blocks": 1},
    "encoder_width": 8,
    "timesteps": 20,
}


def salt(metal, halogen, group=225):
    letters = {225: ("a", "b"), 221: ("a", "b")}[group]
    return Protostructure.of(group, [(metal, letters[0]), (halogen, letters[1])])


def labelled(n_of_each=1):
    """Salts whose label grows with the metal and is larger in the second group."""
    crystals, known = [], []
    for copy in range(n_of_each):
        for group in (225, 221):
            for metal in (3, 11, 19):
                for halogen in (9, 17, 35):
                    known.append(salt(metal, halogen, group))
                    value = metal / 20 + (1.0 if group == 221 else 0.0)
                    crystals.append(
                        Crystal(
                            id=f"{copy}-{group}-{metal}-{halogen}",
                            atomic_numbers=np.array([metal, halogen]),
                            lattice=np.eye(3) * 4,
                            frac_coords=np.zeros((2, 3)),
                            split="val" if halogen == 35 else "train",
                            labels={"energy": value, "name": "salt", "constant": 1.0},
                        )
                    )
    return crystals, known


@pytest.fixture(scope="module")
def ranker(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rank")
    crystals, known = labelled(20)
    settings = RankSettings(
        by="energy", max_steps=80, width=16, n_members=3, batch_size=64, validate_every=20, warmup_steps=10,
        learning_rate=1e-2, device="cpu",
    )  # fmt: skip
    summary = {}
    fit_ranking(crystals, known, settings, folder, summary=summary, resume=True, progress=False)
    assert summary["n_training"] == 20 * 12
    assert summary["n_validation"] == 0  # bromine is in none of the training crystals
    return Ranker.load(folder)


def fixed(values):
    """Predict what is told."""
    known = {canonical(one): value for one, value in values.items()}

    def predict(protostructures):
        found = np.array([known[canonical(one)] for one in protostructures], dtype=float).reshape(-1, 2)
        return Prediction(mean=found[:, 0], spread=found[:, 1])

    return predict


def test_the_ensemble_learns_the_order_of_a_label(ranker):
    known = [salt(metal, 9, group) for group in (225, 221) for metal in (3, 11, 19)]
    found = ranker.predict(known)
    assert found.mean.argsort().tolist() == [0, 1, 2, 3, 4, 5]
    assert (found.spread > 0).all()


def test_predictions_do_not_depend_on_what_else_is_predicted(ranker):
    known = [salt(3, 9), salt(19, 17, 221), Protostructure.of(136, [(3, "a"), (9, "f")])]
    together = ranker.predict(known)
    alone = [ranker.predict([one]) for one in known]
    np.testing.assert_allclose(together.mean, [one.mean[0] for one in alone], rtol=1e-4)


def test_strange_elements_have_no_prediction(ranker):
    found = ranker.predict([salt(3, 9), salt(37, 9)])
    assert np.isfinite(found.mean[0])
    assert np.isnan(found.mean[1])
    assert ranker.describe_strange([3, 37]) == "Rb"


def test_labels_come_back_from_what_members_predict():
    settings = RankerSettings(label="x", elements=(1,), center=0.02, scale=0.05)
    labels = torch.tensor([-1.0, 0.0, 0.02, 5.9], dtype=torch.float64)
    torch.testing.assert_close(settings.restored(settings.compressed(labels)), labels)


def test_the_spread_is_that_of_the_members(ranker):
    network = ranker.network
    one = salt(11, 17)
    with torch.no_grad():
        from descriptors.symmetry.encoding import encode_protostructures

        raw = network(torch.from_numpy(encode_protostructures([one], max_orbits=2)))
    values = network.settings.restored(raw.double())[0].numpy()
    found = network.predict([one])
    assert found.mean[0] == pytest.approx(values.mean())
    assert found.spread[0] == pytest.approx(values.std())


def test_a_file_gives_the_same_predictions(ranker):
    again = Ranker.load(ranker.path)
    assert again.n_training == 240
    known = [salt(3, 9), salt(11, 17, 221)]
    assert ranker.predict(known).mean.tolist() == again.predict(known).mean.tolist()


def test_weights_that_do_not_fit_are_one_line():
    tensors, metadata = ProtostructureRanker(
        RankerSettings(label="x", elements=(3, 9), width=8)
    ).tensors_and_metadata()
    with pytest.raises(UserError, match="train it again"):
        ProtostructureRanker.from_tensors_and_metadata(tensors, {**metadata, "width": 16})


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("enrgy", "no numeric label.*'enrgy'.*Did you mean 'energy'"),
        ("name", "no numeric label"),
        ("constant", "nothing to learn from a constant"),
    ],
)
def test_labels_that_do_not_serve_are_refused(label, message):
    crystals, known = labelled()
    with pytest.raises(UserError, match=message):
        prepare_ranking(label, crystals, known)


def test_crystals_without_label_or_protostructure_are_left_out_and_counted(caplog):
    crystals, known = labelled()
    crystals[0] = crystals[0].replace(labels={})
    known[1] = None
    job = prepare_ranking("energy", crystals, known)
    assert len(job.training) == 10
    assert (
        "2 of 12 crystals of split train left out: 1 have no label energy, 1 no protostructure" in caplog.text
    )


def test_a_tenth_and_a_third_are_kept_as_nearly_as_whole_numbers_can():
    assert block_sizes(0.1, one_each=False) == (30, 300)
    assert block_sizes(1.0, one_each=False) == (30, 30)
    assert block_sizes(0.34, one_each=True) == (1, 3)


def test_the_lowest_of_mean_and_spread_are_kept_and_duplicates_come_last():
    first, second, third = salt(3, 9), salt(11, 9), salt(19, 9)
    predict = fixed({first: (0.1, 0.3), second: (0.2, 0.1), third: (0.0, 0.2)})
    chosen, values, ranks, duplicates = best_of([first, None, second, third, third], predict, 2)
    assert chosen.tolist() == [2, 3]  # 0.3 and 0.2; the first promises 0.1 but is worth 0.4
    assert ranks.tolist() == [3, 0, 2, 1, 4]
    assert duplicates == {4}
    assert np.isnan(values[1]).all()
    chosen, *_ = best_of([third, third], predict, 2)
    assert chosen.tolist() == [0, 1]  # for want of others


def test_the_same_crystal_in_another_setting_is_a_duplicate():
    one, other = Protostructure.of(225, [(3, "a"), (9, "b")]), Protostructure.of(225, [(9, "a"), (3, "b")])
    *_, duplicates = best_of([one, other], fixed({one: (0.0, 0.1)}), 1)
    assert duplicates == {1}


def stream(start, count, refused):
    """Draw all salts of a few elements in turn; every seventh was known."""
    metals, halogens = (3, 11, 19, 37, 55), (9, 17, 35, 53)
    drawn = []
    for number in range(start, start + count):
        metal, halogen = metals[number % 5], halogens[(number // 5) % 4]
        drawn.append(salt(metal, halogen, 225 if number % 3 else 221))
        if number % 7 == 0:
            refused.append(salt(4, 8))
    return drawn


def every_salt():
    rng = np.random.default_rng(0)
    return fixed(
        {
            salt(metal, halogen, group): rng.uniform(size=2)
            for metal in (3, 11, 19, 37, 55)
            for halogen in (9, 17, 35, 53)
            for group in (225, 221)
        }
    )


def test_a_sample_is_the_same_whatever_is_asked_for_beside_it():
    predict = every_salt()
    whole = rank_draws(stream, predict, "energy", keep_best=0.5, first=0, n=100, one_each=False)
    parts = [
        rank_draws(stream, predict, "energy", keep_best=0.5, first=first, n=n, one_each=False)
        for first, n in ((0, 7), (7, 40), (47, 53))
    ]
    assert [one for part in parts for one in part.protostructures] == whole.protostructures
    for name, values in whole.columns.items():
        assert tuple(value for part in parts for value in part.columns[name]) == values


def test_large_blocks_are_drawn_in_pieces(monkeypatch):
    predict = every_salt()
    whole = rank_draws(stream, predict, "energy", keep_best=0.1, first=0, n=30, one_each=False)
    monkeypatch.setattr(ranked_draws, "DRAWN_AT_ONCE", 70)
    sizes = []

    def watched(start, count, refused):
        sizes.append(count)
        return stream(start, count, refused)

    assert rank_draws(watched, predict, "energy", keep_best=0.1, first=0, n=30, one_each=False) == whole
    assert sizes == [70, 70, 70, 70, 20]


def test_records_tell_of_every_draw_once():
    found = rank_draws(stream, every_salt(), "energy", keep_best=0.5, first=0, n=60, one_each=False)
    outcomes = [one.outcome for one in found.records]
    assert outcomes.count("kept") == 60
    assert len(outcomes) - outcomes.count("known") == 120
    assert outcomes.count("known") == len([number for number in range(120) if number % 7 == 0])
    kept = [one for one in found.records if one.outcome == "kept"]
    assert [one.sample for one in kept] == list(range(60))
    assert [one.rank for one in kept] == list(found.columns["rank"])
    assert [one.predicted for one in kept] == list(found.columns["predicted_energy"])
    worst = max(one.predicted + one.predicted_std for one in kept if one.block == 0)
    left = [one for one in found.records if one.outcome == "not kept" and one.block == 0]
    assert all(one.predicted + one.predicted_std >= worst for one in left)


def test_where_each_sample_has_a_wish_its_own_candidates_compete():
    found = rank_draws(stream, every_salt(), "energy", keep_best=0.25, first=2, n=3, one_each=True)
    drawn = stream(8, 12, [])
    for place, one in enumerate(found.protostructures):
        assert one in drawn[4 * place : 4 * place + 4]
    assert found.columns["ranked_among"] == (4, 4, 4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A generator, and a ranking model of the elements that it knows."""
    encoded = small_set()
    crystals = [
        crystal.replace(labels={"energy": float(crystal.atomic_numbers.mean())})
        for crystal in encoded.crystals
    ]
    trial = Trial(
        name="structrepdiff", folder=tmp_path_factory.mktemp("model"), options=SMALL, encoded=encoded
    )
    backend = trial.load()
    assert isinstance(backend, StructRepDiff)
    folder = tmp_path_factory.mktemp("ranker")
    settings = RankSettings(by="energy", max_steps=2, width=8, n_members=2, device="cpu")
    known = encoded.symmetry.protostructures
    fit_ranking(crystals, known, settings, folder, summary={}, resume=True, progress=False)
    return backend, folder


def test_samples_carry_prediction_uncertainty_and_rank(trained):
    backend, folder = trained
    options = {"keep_best": 0.5, "ranker": folder}
    backend.check(options=options)
    made = backend.sample(5, steps=2, options=options)
    columns = made.representations.columns
    assert set(columns) == {"predicted_energy", "predicted_energy_std", "rank", "ranked_among"}
    assert all(1 <= rank <= 60 for rank in columns["rank"])
    assert columns["ranked_among"] == (60,) * 5
    assert len([one for one in made.draws if one.outcome == "kept"]) == 30
    later = backend.sample(2, first=3, steps=2, options=options)
    assert later.representations.columns["rank"] == columns["rank"][3:]
    assert later.representations.symmetry.protostructures == made.representations.symmetry.protostructures[3:]


def test_unknown_elements_are_told_only_where_they_are_drawn(trained, caplog):
    folder = trained[1]
    ranker = Ranker.load(folder)
    known = sorted(ranker.elements)
    rare = salt(92, 9)
    assert 92 not in ranker.elements

    def drawn(protostructures):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            ranked = rank_draws(
                lambda first, n, refused: [protostructures[number % len(protostructures)] for number in range(n)],
                ranker.predict, ranker.label, keep_best=0.5, first=0, n=3, one_each=False,
            )  # fmt: skip
            warn_of_unpredicted(ranked, ranker)
        return caplog.text

    assert drawn([salt(*known[:2])]) == ""
    assert f"30 of 60 draws have elements that {folder} does not know (U), and are ranked last" in drawn(
        [salt(*known[:2]), rare]
    )


def test_a_formula_of_each_sample_is_kept(trained):
    backend, folder = trained
    wanted = [one.composition() for one in backend.model.library.known.protostructures[:2]]
    made = backend.sample(2, compositions=wanted, steps=2, options={"keep_best": 0.5, "ranker": folder})
    found = made.representations.symmetry.protostructures
    assert [one.composition() for one in found] == wanted


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep_best": 0.3}, "no model to rank by.*repdiff rank"),
        ({"keep_best": 0.0}, "keep_best"),
        ({"ranker": "somewhere"}, "with `keep_best` only"),
        ({"keep_best": 0.3, "ranker": "nowhere"}, "nowhere: no such checkpoint"),
    ],
)
def test_what_cannot_be_ranked_is_refused(trained, options, message):
    with pytest.raises(UserError, match=message):
        trained[0].check(options=options)


def test_given_protostructures_are_not_ranked(trained):
    backend, folder = trained
    given = [one for one in backend.model.library.known.protostructures[:1] if one]
    with pytest.raises(UserError, match="nothing is drawn that could be ranked"):
        backend.check(protostructures=given, options={"keep_best": 0.3, "ranker": folder})


def test_a_model_without_protostructures_cannot_rank(tmp_path):
    options = {**{key: SMALL[key] for key in ("denoiser_options", "timesteps")}, "compositions": "joint"}
    trial = Trial(name="structrepdiff", folder=tmp_path, options=options, encoded=replace(small_set()))
    with pytest.raises(UserError, match="`keep_best` is given, which a model needs protostructures for"):
        trial.load().check(options={"keep_best": 0.3})
