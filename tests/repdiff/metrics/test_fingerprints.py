import json
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ordinary_crystals import REFERENCE, ordinary
from sample_crystals import crystal, cubic_perovskite, invalid_crystals

from repdiff.crystals.crystal import to_structure
from repdiff.metrics import fingerprints
from repdiff.metrics.feature_cache import one_at_a_time
from repdiff.metrics.fingerprints import (
    SCALER,
    cache_name,
    compute_fingerprints,
    fingerprint_crystal,
    scale_composition,
    structure_features,
)

PEROVSKITES = [
    cubic_perovskite(),
    cubic_perovskite("BaTiO3", 56, a=4.0),
    cubic_perovskite("CaTiO3", 20, a=3.85),
]


def plain_sites(one):
    """The site fingerprints of matminer, all atoms of the cell."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from matminer.featurizers.site import CrystalNNFingerprint

        featurizer = CrystalNNFingerprint.from_preset("ops")
        structure = to_structure(one)
        return np.array([featurizer.featurize(structure, site) for site in range(len(structure))])


@pytest.fixture
def computed(monkeypatch):
    """Names of the crystals whose fingerprints were computed, in that order."""
    names = []

    def spy(one):
        names.append(one.id)
        return fingerprint_crystal(one)

    monkeypatch.setattr(fingerprints, "fingerprint_crystal", spy)
    return names


def test_the_mean_over_symmetry_unique_sites_is_that_over_all_sites():
    unstrained = crystal("fluorite", [20, 9, 9], 2.73 * (1 - np.eye(3)), [[0] * 3, [0.25] * 3, [0.75] * 3])
    for one in [*PEROVSKITES[:1], unstrained, *ordinary(REFERENCE, 0)[:4]]:
        np.testing.assert_allclose(structure_features(one), plain_sites(one).mean(0), atol=1e-6)


def test_symmetry_changes_real_crystals_by_less_than_the_stated_tolerance(benchmark):
    some = benchmark("mp20", "test", 8)
    deviations = [np.abs(structure_features(one) - plain_sites(one).mean(0)).max() for one in some]
    assert max(deviations) < 1e-3
    assert np.median(deviations) < 1e-6


def test_the_composition_is_matminers_and_does_not_depend_on_the_cell():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from matminer.featurizers.composition import ElementProperty
    from pymatgen.core import Composition

    expected = ElementProperty.from_preset("magpie", impute_nan=False).featurize(Composition("SrTiO3"))
    found = fingerprint_crystal(PEROVSKITES[0]).composition
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_scaler_is_consistent_with_itself():
    constants = json.loads(SCALER.read_text())
    mean = np.array(constants["mean"]).reshape(22, 6)
    np.testing.assert_allclose(mean[:, 2], mean[:, 1] - mean[:, 0], atol=1e-9)  # range, maximum, minimum
    assert len(constants["std"]) == 132
    assert min(constants["std"]) > 0


def test_real_compositions_are_near_zero_and_one_after_scaling(benchmark):
    some = benchmark("mp20", "val", 1500)
    scaled = scale_composition(np.array([fingerprints.composition_features(one) for one in some]))
    assert np.abs(scaled.mean(0)).max() < 0.6
    assert 0.6 < scaled.std(0).min() < scaled.std(0).max() < 1.7


def test_a_property_that_an_element_lacks_becomes_zero():
    lacking = crystal("He", [2], np.eye(3) * 3, [[0, 0, 0]])
    raw = fingerprint_crystal(lacking).composition
    assert np.isnan(raw).any()
    np.testing.assert_array_equal(scale_composition(raw[None])[0][np.isnan(raw)], 0)


@pytest.mark.parametrize("bad", invalid_crystals(), ids=lambda one: one.id)
def test_an_impossible_crystal_gets_a_reason_or_a_finite_fingerprint(bad):
    found = compute_fingerprints([bad, PEROVSKITES[0]])
    assert found.reasons[1] == ""
    assert (
        found.present[0] == np.isfinite(found.structure[0]).all() == np.isfinite(found.composition[0]).all()
    )
    assert found.present[0] == (found.reasons[0] == "")
    assert found.present[0] == (bad.id == "overlap")  # as in the published evaluation


@pytest.mark.parametrize("n_wrong", [1, 61])
def test_a_fingerprint_with_any_number_that_is_not_finite_is_none(n_wrong, monkeypatch):
    broken = np.where(np.arange(61) < n_wrong, np.nan, 1.0)
    monkeypatch.setattr(fingerprints, "structure_features", lambda one: broken)
    found = compute_fingerprints(PEROVSKITES[:1])
    assert (found.present.tolist(), found.reasons) == ([False], ["no fingerprint: not finite"])


def test_a_cell_too_dense_to_search_gets_a_reason_at_once():
    dense = crystal(
        "dense", [11] * 4, np.eye(3) * 1.2, [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    )
    assert "per atom" in compute_fingerprints([dense]).reasons[0]


def test_no_crystals_give_no_fingerprints():
    found = compute_fingerprints([])
    assert found.structure.shape == (0, 61)
    assert found.composition.shape == (0, 132)


def test_a_second_computation_reads_the_cache(tmp_path, computed):
    first = compute_fingerprints(PEROVSKITES, cache=tmp_path)
    again = compute_fingerprints([one.replace(id="renamed") for one in PEROVSKITES[::-1]], cache=tmp_path)
    assert computed == [one.id for one in PEROVSKITES]
    np.testing.assert_array_equal(again.structure[::-1], first.structure)
    np.testing.assert_array_equal(again.composition[::-1], first.composition)


def test_reasons_are_cached_too(tmp_path, computed, monkeypatch):
    def fail(one):
        raise ValueError("no\nneighbours")

    monkeypatch.setattr(fingerprints, "structure_features", fail)
    for _ in range(2):
        found = compute_fingerprints(PEROVSKITES[:1], cache=tmp_path)
        assert found.reasons == ["no fingerprint: ValueError no neighbours"]
    assert len(computed) == 1


def test_only_what_changed_is_computed_again(tmp_path, computed):
    compute_fingerprints(PEROVSKITES, cache=tmp_path)
    moved = PEROVSKITES[1].replace(frac_coords=PEROVSKITES[1].frac_coords + 1e-9)
    compute_fingerprints([PEROVSKITES[0], moved], cache=tmp_path)
    assert Counter(computed) == {"SrTiO3": 1, "BaTiO3": 2, "CaTiO3": 1}


def test_other_versions_do_not_share_fingerprints(tmp_path, computed, monkeypatch):
    compute_fingerprints(PEROVSKITES[:1], cache=tmp_path)
    monkeypatch.setattr(fingerprints, "version", lambda package: "0.0.1")
    compute_fingerprints(PEROVSKITES[:1], cache=tmp_path)
    assert len(computed) == 2


def test_equal_crystals_are_computed_once(computed):
    compute_fingerprints([PEROVSKITES[0], PEROVSKITES[0].replace(id="copy")])
    assert computed == ["copy"] or computed == ["SrTiO3"]


def test_a_damaged_shard_is_removed_with_a_warning_and_computed_again(tmp_path, computed):
    first = compute_fingerprints(PEROVSKITES, cache=tmp_path)
    (shard,) = tmp_path.rglob("*.parquet")
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="damaged"):
        again = compute_fingerprints(PEROVSKITES, cache=tmp_path)
    assert len(computed) == 6
    np.testing.assert_array_equal(again.structure, first.structure)


def test_an_interrupt_keeps_what_was_computed(tmp_path, monkeypatch):
    def interrupted(one):
        if one.id == "CaTiO3":
            raise KeyboardInterrupt
        return fingerprint_crystal(one)

    with monkeypatch.context() as patch:
        patch.setattr(fingerprints, "fingerprint_crystal", interrupted)
        with pytest.raises(KeyboardInterrupt):
            compute_fingerprints(PEROVSKITES, cache=tmp_path)
    left = []
    monkeypatch.setattr(
        fingerprints, "fingerprint_crystal", lambda one: left.append(one.id) or fingerprint_crystal(one)
    )
    assert compute_fingerprints(PEROVSKITES, cache=tmp_path).present.all()
    assert left == ["CaTiO3"]


def test_two_processes_share_the_work(tmp_path, computed, monkeypatch, caplog):
    """One that begins while another computes waits for it, and computes only what is still missing."""
    monkeypatch.setattr(fingerprints, "WORTH_A_WORD", 1)
    caplog.set_level("INFO")
    with ThreadPoolExecutor(1) as pool, one_at_a_time(tmp_path / cache_name()) as waited:
        assert not waited
        other = pool.submit(compute_fingerprints, PEROVSKITES, cache=tmp_path)
        while "waiting" not in caplog.text:
            assert not other.done()
            time.sleep(0.01)
        monkeypatch.setattr(fingerprints, "WORTH_A_WORD", 1000)  # so that this one does not wait
        compute_fingerprints(PEROVSKITES[:2], cache=tmp_path)
    assert other.result().present.all()
    assert len(computed) == len(PEROVSKITES)


def test_a_cache_that_cannot_be_written_costs_a_warning_only(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="not kept"):
        assert compute_fingerprints(PEROVSKITES[:1], cache=tmp_path / "file").present.all()


def test_processes_give_what_one_gives(tmp_path, monkeypatch, pickled_pool):
    monkeypatch.setattr(fingerprints, "PER_PROCESS", 1)
    monkeypatch.setattr(fingerprints, "PER_TASK", 2)
    together = compute_fingerprints(PEROVSKITES, cache=tmp_path, n_workers=2)
    alone = compute_fingerprints(PEROVSKITES)
    np.testing.assert_array_equal(together.structure, alone.structure)
    np.testing.assert_array_equal(together.composition, alone.composition)
    assert pickled_pool == [2]
