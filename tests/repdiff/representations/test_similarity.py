"""The distance of two crystals by their vectors, and the search of a set by it."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import braycurtis, cdist

from repdiff.crystals.crystal import from_structure, to_structure
from repdiff.representations.described_sets import compute_descriptors
from repdiff.representations.similarity import DescribedCrystals, distances, find_nearest
from repdiff.testing.example_crystals import cubic_perovskite, family, rock_salt

CPU = torch.device("cpu")


def described(crystals, descriptor="ead"):
    return DescribedCrystals.of(crystals, descriptor, device=CPU, progress=False)


def moved(crystal):
    """The crystal as a supercell, in its conventional cell, turned, shifted and with its atoms in another order."""
    structure = to_structure(crystal)
    wide = structure.copy()
    wide.make_supercell([[1, 1, -1], [0, 2, 1], [0, 0, 1]])
    conventional = structure.copy()
    conventional.make_supercell([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    order = np.random.default_rng(2).permutation(crystal.n_atoms)
    turned = crystal.replace(
        lattice=crystal.lattice @ turn,
        frac_coords=crystal.frac_coords[order] + [0.3, -1.2, 0.7],
        atomic_numbers=crystal.atomic_numbers[order],
    )
    return [from_structure(wide, id="supercell"), from_structure(conventional, id="conventional"), turned]


@pytest.mark.parametrize("crystal", [rock_salt(), cubic_perovskite()], ids=lambda one: one.id)
def test_a_crystal_is_at_no_distance_from_itself_in_another_setting(crystal):
    others = moved(crystal)
    away = distances(described([crystal] * len(others)), described(others))
    torch.testing.assert_close(away, torch.zeros(len(others)), atol=2e-5, rtol=0)


def test_the_distance_is_that_of_bray_and_curtis_plus_the_share_of_other_elements():
    one, other = rock_salt(), rock_salt("KCl", cation=19, a=6.29)
    pair = described([one, other])
    expected = braycurtis(*pair.descriptors.double().numpy()) + 0.5
    assert float(distances(pair.select([0]), pair.select([1]))) == pytest.approx(expected, rel=1e-5)
    assert float(distances(pair.select([1]), pair.select([0]))) == pytest.approx(expected, rel=1e-5)


def test_all_atoms_of_other_elements_are_at_least_one_away_and_nothing_more_than_two():
    crystals = described(family())
    found = find_nearest(crystals, crystals, len(family()), progress=False)
    assert float(found.distances.max()) < 2
    row = [one.id for one in family()].index("halide-3-9")
    far = found.rows[row].tolist().index([one.id for one in family()].index("oxide-56-22"))
    assert float(found.of_composition[row, far]) == 1


def test_the_nearest_are_those_that_a_comparison_with_all_finds():
    known, queries = described(family()), described(family()[3:20])
    found = find_nearest(queries, known, 5, progress=False)
    both = cdist(queries.descriptors.double(), known.descriptors.double(), "braycurtis")
    both += cdist(queries.shares.double(), known.shares.double(), "cityblock") / 2
    np.testing.assert_allclose(found.distances.numpy(), np.sort(both, 1)[:, :5], atol=1e-6)
    assert found.rows[:, 0].tolist() == list(range(3, 20))


def test_of_equals_the_first_comes_first_and_no_more_are_found_than_known():
    twins = described([rock_salt("b"), rock_salt("a"), rock_salt("c")])
    found = find_nearest(twins.select([2]), twins, 10, progress=False)
    assert found.rows.tolist() == [[0, 1, 2]]


def test_crystals_are_nearer_the_less_they_differ():
    stretched = described([rock_salt(a=5.64 * factor) for factor in (1, 1.01, 1.03, 1.1)])
    found = find_nearest(stretched.select([0]), stretched, 4, progress=False)
    assert found.rows.tolist() == [[0, 1, 2, 3]]


def test_descriptors_are_computed_once_and_an_interrupted_call_resumes(tmp_path, monkeypatch):
    monkeypatch.setattr("repdiff.representations.described_sets.CRYSTALS_PER_PART", 5)
    plain, calls = DescribedCrystals.of.__func__, []

    def counted(cls, crystals, *args, **kwargs):
        calls.append(len(crystals))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return plain(cls, crystals, *args, **kwargs)

    monkeypatch.setattr(DescribedCrystals, "of", classmethod(counted))
    with pytest.raises(KeyboardInterrupt):
        compute_descriptors(family()[:12], "ead", tmp_path, device=CPU, progress=False)
    found = compute_descriptors(family()[:12], "ead", tmp_path, device=CPU, progress=False)
    assert calls == [5, 5, 2, 2]
    torch.testing.assert_close(found, plain(DescribedCrystals, family()[:12], "ead", device=CPU).descriptors)
    damaged = sorted(tmp_path.glob("*.safetensors"))[0]
    damaged.write_bytes(b"nothing")
    torch.testing.assert_close(
        compute_descriptors(family()[:12], "ead", tmp_path, device=CPU, progress=False), found
    )
    assert len(calls) == 5
    compute_descriptors(family()[:12], "soap", tmp_path, device=CPU, progress=False)
    assert len(calls) == 8
