import json
from dataclasses import asdict, replace

import known_crystals
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from descriptors.base import make_descriptor
from descriptors.batch import from_structures
from reconstruction.confidence import (
    DEFAULT_FEATURES,
    FEATURES,
    SHIPPED,
    Confidence,
    Evidence,
    digest_of,
    expected_calibration_error,
    find_confidence,
    fit_confidence,
    reliability,
)
from reconstruction.presets import SEARCHES

STEP = Confidence(
    drops=(2.0, 4.0),
    knots=(-3.0, -2.0, -1.0),
    intercept=3.0,
    coefficients={"elemental": -1.0, "log2_atoms": 0.5},
)


def evidence(losses, n_atoms=8, n_elements=3, n_agreeing=1):
    losses = torch.as_tensor(losses, dtype=torch.float64)
    counts = {"n_atoms": n_atoms, "n_elements": n_elements, "n_agreeing": n_agreeing}
    return Evidence(
        losses=losses, **{name: torch.as_tensor(n).expand(len(losses)).clone() for name, n in counts.items()}
    )


def simulated(n, seed=0):
    """Draw crystals whose chance to come back is known: it falls with the loss, faster for elements."""
    generator = torch.Generator().manual_seed(seed)
    height = -5 + 4.5 * torch.rand(n, generator=generator, dtype=torch.float64)
    n_elements = torch.randint(1, 6, (n,), generator=generator)
    n_atoms = torch.randint(1, 21, (n,), generator=generator)
    truth = torch.sigmoid(-3 * (height + 2.0) - 2.5 * (n_elements == 1))
    matched = torch.bernoulli(truth, generator=generator) > 0
    return evidence(10**height, n_atoms, n_elements), matched, truth


def test_confidence_is_the_sigmoid_of_ramps_and_features():
    known = evidence([1e-3, 10**-2.5, 1e-2, 1e-1], n_atoms=4, n_elements=1)
    odds = torch.tensor([3.0, 2.0, 1.0, -3.0], dtype=torch.float64) - 1 + 0.5 * 2
    torch.testing.assert_close(STEP.predict(known), torch.sigmoid(odds))


@pytest.mark.parametrize(("loss", "same_as"), [(0.0, 1e-3), (1e-9, 1e-3), (7.0, 0.1), (torch.inf, 0.1)])
def test_confidence_stays_where_nothing_was_measured(loss, same_as):
    here, there = STEP.predict(evidence([loss, same_as])).tolist()
    assert here == pytest.approx(there)


def test_confidence_keeps_within_its_bounds():
    bounded = replace(STEP, bounds=(0.2, 0.9))
    assert bounded.predict(evidence([1e-4, 1.0])).tolist() == pytest.approx([0.9, 0.2])


def test_a_loss_that_is_no_number_has_no_confidence():
    assert STEP.predict(evidence([torch.nan, 1e-3])).isnan().tolist() == [True, False]


@settings(max_examples=25)  # each fits
@given(pair=st.lists(st.floats(1e-9, 10.0), min_size=2, max_size=2), seed=st.integers(0, 9))
def test_a_fitted_confidence_never_rises_with_the_loss(pair, seed):
    known, _, _ = simulated(200, seed)
    matched = torch.rand(200, generator=torch.Generator().manual_seed(seed)) < 0.5  # whatever the outcome
    low, high = fit_confidence(known, matched).predict(evidence(sorted(pair))).tolist()
    assert low >= high


def test_a_fit_finds_the_probabilities_that_made_the_sample():
    known, matched, truth = simulated(6000)
    assert float((fit_confidence(known, matched).predict(known) - truth).abs().mean()) < 0.03


def test_a_fit_is_calibrated_on_crystals_that_it_has_not_seen():
    confidence = fit_confidence(*simulated(900, seed=1)[:2])
    known, matched, _ = simulated(20_000, seed=2)
    assert expected_calibration_error(confidence.predict(known), matched) < 0.03


def test_a_feature_that_matters_and_is_left_out_costs_likelihood():
    known, matched, _ = simulated(2000)
    cost = {
        names: float(
            torch.nn.functional.binary_cross_entropy(
                fit_confidence(known, matched, features=names).predict(known), matched.double()
            )
        )
        for names in ((), ("elemental",))
    }
    assert cost["elemental",] < cost[()] - 0.01


@pytest.mark.parametrize("n", [50, 2000])
def test_a_sample_without_failures_promises_no_more_than_its_size_supports(n):
    known = evidence(torch.logspace(-6, -4, n))
    confidence = fit_confidence(known, torch.ones(n, dtype=torch.bool)).predict(known)
    assert float((1 - confidence).min()) > 0.5 / n
    assert float((1 - confidence).max()) < 2 / n


def test_a_fit_averages_to_the_share_that_came_back():
    known, matched, _ = simulated(1000)
    confidence = fit_confidence(known, matched, features=tuple(FEATURES)).predict(known)
    assert float(confidence.mean()) == pytest.approx(float(matched.double().mean()), abs=0.005)


def test_a_fit_to_few_crystals_or_to_losses_that_are_no_numbers_is_refused():
    with pytest.raises(ValueError, match="19 crystals to fit, expected at least 20"):
        fit_confidence(evidence([0.1] * 19), torch.ones(19, dtype=torch.bool))
    with pytest.raises(ValueError, match="all with finite losses"):
        fit_confidence(evidence([0.1] * 29 + [torch.nan]), torch.ones(30, dtype=torch.bool))


def test_evidence_counts_atoms_and_different_elements_of_the_crystals():
    structures = known_crystals.family()
    batch = from_structures(structures, dtype=torch.float32)
    n = len(structures)
    known = Evidence.of(batch, torch.zeros(n), torch.ones(n, dtype=torch.int64))
    assert known.n_atoms.tolist() == [len(s) for s in structures]
    assert known.n_elements.tolist() == [len(s.composition) for s in structures]


def test_numbers_survive_the_file(tmp_path):
    known, matched, _ = simulated(100)
    fitted = replace(
        fit_confidence(known, matched),
        descriptor="ead",
        presets=("default", "fast"),
        n_crystals={"x:val": 100},
    )
    fitted.write(tmp_path / "fitted.json")
    assert Confidence.read(tmp_path / "fitted.json") == fitted


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("drops", [1.0, -0.1], "none negative"),
        ("drops", [1.0], "expected 2"),
        ("knots", [-1.0, -2.0, -3.0], "ascending"),
        ("intercept", float("nan"), "finite"),
        ("coefficients", {"colour": 1.0}, "elemental"),
        ("bounds", [0.9, 0.1], "ascending probabilities"),
        ("flavour", 1, "flavour"),
    ],
)
def test_a_damaged_file_is_refused_by_name_and_reason(name, value, complaint, tmp_path):
    file = tmp_path / "fitted.json"
    file.write_text(json.dumps({**asdict(STEP), name: value}), encoding="utf-8")
    with pytest.raises(ValueError, match=f"fitted.json: damaged.*{complaint}"):
        Confidence.read(file)


def test_numbers_are_found_for_their_own_descriptor_and_presets_alone(tmp_path):
    descriptor = make_descriptor("ead")
    mine = replace(STEP, digest=digest_of(descriptor), presets=("default", "fast"))
    replace(STEP, digest="another", presets=("fast",)).write(tmp_path / "another.json")
    mine.write(tmp_path / "mine.json")
    of_given = replace(mine, given_symmetry=True, intercept=2.0)
    of_given.write(tmp_path / "a.json")
    assert find_confidence(descriptor, "default", folder=tmp_path) == mine
    assert find_confidence(descriptor, "fast", folder=tmp_path) == mine
    assert find_confidence(descriptor, "fast", given_symmetry=True, folder=tmp_path) == of_given
    assert find_confidence(descriptor, "thorough", folder=tmp_path) is None


def test_the_digest_of_a_descriptor_changes_with_its_settings():
    descriptor = make_descriptor("ead")
    assert digest_of(descriptor) == digest_of(make_descriptor("ead"))
    others = [make_descriptor(f"ead:{preset}") for preset in descriptor.presets[1:]]
    assert digest_of(descriptor) not in {digest_of(other) for other in others}


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.json")), ids=lambda path: path.stem)
def test_shipped_numbers_can_be_read_and_say_what_they_were_fitted_on(path):
    shipped = Confidence.read(path)
    assert shipped.digest
    assert shipped.presets
    assert set(shipped.presets) <= set(SEARCHES)
    assert sum(shipped.n_crystals.values()) >= shipped.n_matched > 0


def test_reliability_counts_every_crystal_once_and_the_ends_too():
    confidence = torch.tensor([0.0, 0.05, 0.1, 0.99, 1.0])
    bins = reliability(confidence, torch.tensor([False, True, False, True, True]))
    assert [(b.low, b.n, b.matched) for b in bins] == [(0.0, 2, 0.5), (0.1, 1, 0.0), (0.9, 2, 1.0)]


def test_calibration_error_is_the_weighted_gap_of_the_bins():
    confidence = torch.tensor([0.8, 0.8, 0.8, 0.8, 0.3, 0.3], dtype=torch.float64)
    matched = torch.tensor([True, True, False, False, True, False])
    assert expected_calibration_error(confidence, matched) == pytest.approx((4 * 0.3 + 2 * 0.2) / 6)


def test_calibration_error_of_confidences_outside_the_unit_interval_is_refused():
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        expected_calibration_error(torch.tensor([1.2]), torch.tensor([True]))


def test_default_features_are_known():
    assert set(DEFAULT_FEATURES) <= set(FEATURES)
