import json
import warnings
from functools import cache

import numpy as np
import pytest
from ordinary_crystals import GENERATED, REFERENCE, ordinary
from sample_crystals import crystal, cubic_perovskite, invalid_crystals
from scipy.spatial.distance import cdist

from repdiff.crystals.crystal import to_structure
from repdiff.errors import UserError
from repdiff.metrics import Context, CrystalSet, coverage
from repdiff.metrics.coverage import CUTOFFS, Coverage, find_nearest
from repdiff.metrics.fingerprints import SCALER, Fingerprints
from repdiff.metrics.validity import NOT_MADE

PEROVSKITES = [cubic_perovskite(), cubic_perovskite("BaTiO3", 56, a=4.0)]


def score(generated, reference, *, failed=None, benchmark="mp_20"):
    context = Context(reference=CrystalSet(crystals=reference), benchmark=benchmark)
    return Coverage().compute(CrystalSet(crystals=generated, failed=failed or {}), context)


def plain_fingerprints(crystals):
    """Mean site fingerprints and scaled Magpie features with nothing but matminer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from matminer.featurizers.composition import ElementProperty
        from matminer.featurizers.site import CrystalNNFingerprint

        sites, elements = (
            CrystalNNFingerprint.from_preset("ops"),
            ElementProperty.from_preset("magpie", impute_nan=False),
        )
        found = [to_structure(one) for one in crystals]
        structure = [np.mean([sites.featurize(s, i) for i in range(len(s))], axis=0) for s in found]
        features = np.array([elements.featurize(s.composition) for s in found], dtype=float)
    constants = json.loads(SCALER.read_text())
    return np.array(structure), (features - constants["mean"]) / constants["std"]


@cache
def plain_fingerprints_of_both():
    return plain_fingerprints(ordinary(GENERATED, 1)), plain_fingerprints(ordinary(REFERENCE, 0))


def random_fingerprints(rng, n, missing=()):
    structure, composition = rng.random((n, 61)), rng.random((n, 132))
    structure[list(missing)] = composition[list(missing)] = np.nan
    return Fingerprints(
        structure=structure, composition=composition, reasons=["no" if i in missing else "" for i in range(n)]
    )


@pytest.mark.parametrize("benchmark", ["perov_5", "carbon_24", "mp_20"])
def test_the_values_are_those_of_a_plain_computation(benchmark):
    generated, reference = ordinary(GENERATED, 1), ordinary(REFERENCE, 0)
    values = {
        name: value.value for name, value in score(generated, reference, benchmark=benchmark).values.items()
    }
    (structure, composition), (structure_0, composition_0) = plain_fingerprints_of_both()
    ds, dc = cdist(structure, structure_0), cdist(composition, composition_0)
    expected = {}
    for side, axis in (("recall", 0), ("precision", 1)):
        expected[f"amsd_{side}"], expected[f"amcd_{side}"] = ds.min(axis).mean(), dc.min(axis).mean()
        for protocol, suffix in (("cdvae", ""), ("structrepdiff", "_structrepdiff")):
            cut = CUTOFFS[protocol][benchmark]
            near = (ds.min(axis) <= cut.structure) & (dc.min(axis) <= cut.composition)
            expected[f"cov_{side}{suffix}"] = near.mean()
    values.pop("valid")
    assert values == pytest.approx(expected, abs=1e-6)
    assert values["cov_recall_structrepdiff"] > 0


def test_a_crystal_without_fingerprint_is_not_valid_as_published(monkeypatch):
    good = cubic_perovskite("a")
    found = random_fingerprints(np.random.default_rng(0), 3, missing=[1])
    monkeypatch.setattr(coverage, "compute_fingerprints", lambda crystals, **_: found)
    three = [good, good.replace(id="b"), cubic_perovskite("uncharged", 11, 19, 9)]
    value = score(three, three, failed={"c": "no cell"}).values["valid"]
    assert (value.value, value.n) == (1 / 4, 4)
    assert value.protocol == "cdvae-smact14-fingerprint"


def test_the_published_cutoffs_are_kept():
    shown = {
        name: {key: (c.composition, c.structure) for key, c in by.items()} for name, by in CUTOFFS.items()
    }
    assert shown == {
        "cdvae": {"perov_5": (4, 0.2), "carbon_24": (4, 0.2), "mp_20": (10, 0.4)},
        "structrepdiff": {"perov_5": (6, 0.8), "carbon_24": (4, 1.0), "mp_20": (12, 0.6)},
    }


def test_a_set_covers_itself_at_no_distance():
    values = score(PEROVSKITES, PEROVSKITES).values
    assert {value.value for name, value in values.items() if name.startswith("cov")} == {1.0}
    assert {value.value for name, value in values.items() if name.startswith("am")} == {0.0}


def test_what_was_not_made_lowers_precision_and_leaves_recall():
    values = score(PEROVSKITES, PEROVSKITES, failed={"a": "no lattice", "b": "no formula"}).values
    assert values["cov_precision"].value == 0.5
    assert values["cov_precision"].n == 4
    assert values["cov_recall"].value == 1.0
    assert values["amsd_precision"].n == 2


def test_a_crystal_without_fingerprint_is_not_covered_and_says_why():
    bad = next(one for one in invalid_crystals() if one.id == "flat")
    result = score([bad, PEROVSKITES[0]], PEROVSKITES, failed={"a": "no lattice"})
    assert result.columns["covered"] == [False, True, False]
    assert result.columns["fingerprint_reason"] == ["volume below 0.1 Å³", "", NOT_MADE]
    assert result.columns["nearest_reference"] == [None, "SrTiO3", None]
    assert result.details["reasons"] == {"volume below 0.1 Å³": 1}


def test_a_reference_without_fingerprint_is_named_and_left_out():
    result = score(PEROVSKITES, [*PEROVSKITES, *invalid_crystals()[:2]])
    assert sorted(result.details["reference_without_fingerprint"]) == ["infinite cell", "nan"]
    assert result.values["cov_recall"].n == result.details["n_reference"] == 2


def test_other_elements_are_too_far_in_composition_alone():
    carbon = [crystal("diamond", [6, 6], 1.785 * (1 - np.eye(3)), [[0] * 3, [0.25] * 3])]
    lead = [crystal("lead", [82, 82], 2.6 * (1 - np.eye(3)), [[0] * 3, [0.25] * 3])]
    values = score(lead, carbon, benchmark="carbon_24").values
    assert values["cov_recall"].value == values["cov_precision"].value == 0
    assert values["amsd_recall"].value < 0.2
    assert values["amcd_recall"].value > 4


def test_the_nearest_structure_and_the_nearest_composition_may_be_two_crystals():
    one, other = (np.zeros((n, 61)) for n in (1, 2))
    z_one, z_other = (np.zeros((n, 132)) for n in (1, 2))
    other[0, 0], z_other[1, 0] = 5.0, 50.0  # the first has another structure, the second another composition
    nearest, covering = find_nearest(
        Fingerprints(structure=one, composition=z_one, reasons=[""]),
        Fingerprints(structure=other, composition=z_other, reasons=["", ""]),
    )
    assert nearest.within(CUTOFFS["cdvae"]["mp_20"]).tolist() == [True]
    assert covering.within(CUTOFFS["cdvae"]["mp_20"]).tolist() == [False, False]
    assert nearest.index.tolist() == [1]


@pytest.mark.parametrize("block", [1, 40, 10_000])
def test_blocks_of_any_size_find_the_nearest(block, monkeypatch):
    monkeypatch.setattr(coverage, "DISTANCES_AT_ONCE", block)
    rng = np.random.default_rng(3)
    one, other = random_fingerprints(rng, 17, missing=(0, 5)), random_fingerprints(rng, 11, missing=(10,))
    nearest, covering = find_nearest(one, other)
    distances = cdist(one.structure, other.structure)
    for row in (1, 16):
        assert nearest.index[row] == np.nanargmin(distances[row])
        assert nearest.structure[row] == np.nanmin(distances[row])
        assert nearest.composition[row] == np.nanmin(cdist(one.composition, other.composition)[row])
    for column in range(10):
        assert covering.index[column] == np.nanargmin(distances[:, column])
        assert covering.structure[column] == np.nanmin(distances[:, column])
    assert nearest.index[[0, 5]].tolist() == [-1, -1]
    assert np.isnan(covering.structure[10])


def test_of_equal_references_the_first_name_is_the_nearest():
    same = [PEROVSKITES[0].replace(id=name) for name in ("b", "a", "c")]
    assert score(PEROVSKITES[:1], same).columns["nearest_reference"] == ["a"]


def test_a_benchmark_without_cutoffs_is_refused():
    with pytest.raises(UserError, match=r"'mine'.*perov_5, carbon_24, mp_20.*`benchmark`"):
        score(PEROVSKITES, PEROVSKITES, benchmark="mine")


def test_the_protocols_name_the_benchmark():
    values = score(PEROVSKITES, PEROVSKITES, benchmark="carbon_24").values
    assert values["cov_recall"].protocol == "cdvae-carbon_24"
    assert values["cov_recall_structrepdiff"].protocol == "structrepdiff-carbon_24"


def test_shares_have_intervals_over_their_own_side():
    values = score(ordinary(GENERATED, 1)[:6], ordinary(REFERENCE, 0)).values
    assert (values["cov_recall"].n, values["cov_precision"].n) == (12, 6)
    for value in values.values():
        low, high = value.interval
        assert low <= value.value <= high
