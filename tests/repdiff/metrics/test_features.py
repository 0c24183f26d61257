import sys
import warnings
from importlib.util import find_spec

import numpy as np
import pytest
from sample_crystals import crystal, cubic_perovskite, invalid_crystals

from repdiff.crystals.crystal import to_structure
from repdiff.energies.relaxed import ForceFieldIdentity
from repdiff.errors import UserError
from repdiff.metrics.features import EXTRACTORS, FeatureExtractor, Features, extract_features, load_extractor

needs_chgnet = pytest.mark.skipif(find_spec("chgnet") is None, reason="chgnet is not installed")
RUTILE = crystal(
    "TiO2",
    [22, 22, 8, 8, 8, 8],
    np.diag([4.59, 4.59, 2.96]),
    [
        [0, 0, 0],
        [0.5, 0.5, 0.5],
        [0.305, 0.305, 0],
        [0.695, 0.695, 0],
        [0.805, 0.195, 0.5],
        [0.195, 0.805, 0.5],
    ],
)
ROTATION = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]


def doubled(one):
    shifts = np.array([[0, 0, 0], [0, 0, 0.5]])
    frac = one.frac_coords * [1, 1, 0.5]
    return one.replace(
        lattice=one.lattice * [[1], [1], [2]],
        atomic_numbers=np.tile(one.atomic_numbers, 2),
        frac_coords=(frac[None] + shifts[:, None]).reshape(-1, 3),
    )


MOVES = {
    "rotation": lambda one: one.replace(lattice=one.lattice @ ROTATION),
    "translation": lambda one: one.replace(frac_coords=one.frac_coords + 0.13),
    "other images": lambda one: one.replace(frac_coords=one.frac_coords + np.arange(3) * np.eye(6, 3)),
    "permutation": lambda one: one.replace(
        atomic_numbers=one.atomic_numbers[::-1].copy(), frac_coords=one.frac_coords[::-1].copy()
    ),
    "supercell": doubled,
    "other cell": lambda one: one.replace(
        lattice=np.array([[1, 0, 0], [2, 1, 0], [0, -1, 1]]) @ one.lattice,
        frac_coords=one.frac_coords @ np.linalg.inv(np.array([[1, 0, 0], [2, 1, 0], [0, -1, 1]])),
    ),
}


class Fussy(FeatureExtractor):
    """Volume and number of atoms; gives up at titanium, for the whole batch."""

    n_features = 2
    layer = "none"
    install = "fussy"
    calls = 0

    def __init__(self):
        pass

    @property
    def identity(self):
        return ForceFieldIdentity(name="fussy", version="1", weights_sha256="0" * 64)

    @property
    def known_elements(self):
        return frozenset(range(1, 119))

    def refusal(self, crystal):
        return ""

    def compute(self, crystals):
        type(self).calls += 1
        if any(22 in one.atomic_numbers for one in crystals):
            raise RuntimeError("titanium")
        return Features(
            values=np.array([[one.volume, one.n_atoms] for one in crystals], dtype=float),
            reasons=[""] * len(crystals),
        )


@pytest.fixture
def fussy(monkeypatch):
    monkeypatch.setitem(EXTRACTORS._classes, "fussy", Fussy)
    monkeypatch.setattr(Fussy, "calls", 0)
    yield Fussy
    load_extractor.cache_clear()


@needs_chgnet
@pytest.mark.parametrize("move", sorted(MOVES))
def test_the_features_of_a_crystal_do_not_depend_on_how_it_is_written(move):
    found = extract_features([RUTILE, MOVES[move](RUTILE)])
    np.testing.assert_allclose(found.values[1], found.values[0], atol=2e-5)


@needs_chgnet
def test_features_equal_those_of_the_package_divided_by_the_number_of_atoms():
    from chgnet.model import CHGNet

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        said = CHGNet.load(use_device="cpu", verbose=False).predict_structure(
            to_structure(RUTILE), task="e", return_crystal_feas=True
        )
    found = extract_features([RUTILE])
    assert found.values.shape == (1, load_extractor("chgnet").n_features) == (1, 64)
    np.testing.assert_allclose(found.values[0], said["crystal_fea"] / RUTILE.n_atoms, atol=2e-5)


@needs_chgnet
def test_an_element_that_the_network_has_not_learned_is_named():
    polonium = crystal("Po", [84], np.eye(3) * 3.35, [[0, 0, 0]])
    found = extract_features([polonium, RUTILE])
    assert "Po" in found.reasons[0]
    assert found.reasons[1] == ""
    assert found.present.tolist() == [False, True]
    assert np.isnan(found.values[0]).all()


@needs_chgnet
def test_every_bad_crystal_has_a_reason_and_leaves_the_others_alone():
    bad = invalid_crystals()
    found = extract_features([*bad, RUTILE])
    assert all(
        bool(reason) == bool(np.isnan(row).all())
        for row, reason in zip(found.values, found.reasons, strict=True)
    )
    assert not found.present[:3].any()
    np.testing.assert_allclose(found.values[-1], extract_features([RUTILE]).values[0], atol=2e-5)


@needs_chgnet
def test_no_crystals_give_no_features():
    assert extract_features([]).values.shape == (0, 64)


@needs_chgnet
def test_order_changes_no_bit_of_the_features():
    crystals = [RUTILE, cubic_perovskite(), cubic_perovskite("BaTiO3", 56, a=4.0), doubled(RUTILE)]
    there, back = extract_features(crystals), extract_features(crystals[::-1])
    assert (there.values == back.values[::-1]).all()


def test_one_failure_in_a_batch_stays_one(fussy):
    found = extract_features([RUTILE, cubic_perovskite("KMgF3", 19, 12, 9)], "fussy")
    assert found.reasons == ["fussy: RuntimeError titanium", ""]
    assert found.values[1].tolist() == pytest.approx([3.905**3, 5])


def test_what_is_cached_is_not_computed_again(fussy, tmp_path):
    crystals = [RUTILE, cubic_perovskite("KMgF3", 19, 12, 9)]
    first = extract_features(crystals, "fussy", cache=tmp_path)
    n_calls = fussy.calls
    again = extract_features(crystals, "fussy", cache=tmp_path)
    assert fussy.calls == n_calls
    np.testing.assert_array_equal(again.values, first.values)
    assert again.reasons == first.reasons


def test_other_weights_do_not_use_the_same_cache(fussy, tmp_path, monkeypatch):
    crystals = [cubic_perovskite("KMgF3", 19, 12, 9)]
    extract_features(crystals, "fussy", cache=tmp_path)
    other = ForceFieldIdentity(name="fussy", version="1", weights_sha256="1" * 64)
    monkeypatch.setattr(Fussy, "identity", other)
    extract_features(crystals, "fussy", cache=tmp_path)
    assert fussy.calls == 2


def test_an_unknown_extractor_is_a_mistake_of_the_user():
    with pytest.raises(UserError, match=r"unknown feature extractor 'chgnt'.*Did you mean 'chgnet'"):
        load_extractor("chgnt")


@pytest.mark.parametrize(("name", "install"), [("chgnet", r"repdiff\[relax\]"), ("alignn", "alignn")])
def test_a_missing_package_is_named_with_what_to_type(name, install, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=rf"pip install {install}$") as raised:
        load_extractor.__wrapped__(name)
    assert "\n" not in str(raised.value)
