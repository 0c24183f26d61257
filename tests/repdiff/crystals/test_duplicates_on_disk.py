"""Duplicates among crystals on the disk, and names of their own for them: as if all were in memory."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repdiff.crystals import duplicates_on_disk
from repdiff.crystals.convert import distinct_names
from repdiff.crystals.crystal import write_crystals
from repdiff.crystals.duplicates import group_duplicates
from repdiff.crystals.duplicates_on_disk import group_duplicates_on_disk
from repdiff.crystals.on_disk import CrystalsOnDisk
from repdiff.crystals.packed_labels import with_packed_labels, with_unpacked_labels
from repdiff.crystals.renaming import renamed
from repdiff.testing.example_crystals import cubic_perovskite, rock_salt


@pytest.fixture
def many():
    """Crystals of five formulas, one of which occurs once; every third is another image of the one before."""
    rng = np.random.default_rng(0)
    found = []
    for n in range(40):
        crystal = (cubic_perovskite, rock_salt)[n % 2](f"c{n}")
        numbers = np.where(crystal.atomic_numbers == 8, 8 if n % 4 < 2 else 16, crystal.atomic_numbers)
        lattice = crystal.lattice * (1 + n / 50)
        moved = crystal.frac_coords + rng.normal(0, 0.03, crystal.frac_coords.shape)
        found.append(crystal.replace(atomic_numbers=numbers, lattice=lattice, frac_coords=moved))
        if n % 3 == 2:
            found.append(found[-1].replace(id=f"again{n}", frac_coords=moved + 0.3))
    alone = rock_salt("alone")
    return [*found, alone.replace(atomic_numbers=np.full_like(alone.atomic_numbers, 13))]


def on_disk(crystals, folder):
    files = []
    for first in range(0, len(crystals), 7):
        files.append(folder / f"{first:03d}.parquet")
        write_crystals(files[-1], crystals[first : first + 7])
    return CrystalsOnDisk(files)


@pytest.mark.parametrize("part", [5, 1000])
def test_groups_on_disk_are_those_in_memory(many, part, tmp_path, monkeypatch):
    monkeypatch.setattr(duplicates_on_disk, "PART", part)
    found = group_duplicates_on_disk(on_disk(many, tmp_path), tmp_path / "groups", progress=False)
    expected = group_duplicates(many, progress=False)
    assert found.tolist() == expected.tolist()
    assert len(set(expected.tolist())) < len(many)
    assert (len(list((tmp_path / "groups").glob("*.parquet"))) > 1) == (part == 5)


def test_an_interrupted_search_goes_on_where_it_was(many, tmp_path, monkeypatch):
    monkeypatch.setattr(duplicates_on_disk, "PART", 5)
    stored, compared = on_disk(many, tmp_path), []

    def stopped(crystals, **more):
        if len(compared) == 2:
            raise KeyboardInterrupt
        compared.append(len(crystals))
        return group_duplicates(crystals, **more)

    monkeypatch.setattr(duplicates_on_disk, "group_duplicates", stopped)
    with pytest.raises(KeyboardInterrupt):
        group_duplicates_on_disk(stored, tmp_path / "groups", progress=False)
    again = []

    def counted(crystals, **more):
        again.append(len(crystals))
        return group_duplicates(crystals, **more)

    monkeypatch.setattr(duplicates_on_disk, "group_duplicates", counted)
    found = group_duplicates_on_disk(stored, tmp_path / "groups", progress=False)
    assert found.tolist() == group_duplicates(many, progress=False).tolist()
    n_parts = len(list((tmp_path / "groups").glob("*.parquet")))
    assert len(again) == n_parts - 2


def test_no_crystals_have_no_groups(tmp_path):
    assert group_duplicates_on_disk(CrystalsOnDisk([]), tmp_path / "groups").tolist() == []


@given(st.lists(st.sampled_from(["a", "b", "a#2", "a#3", "", "#2", "c"]), max_size=20))
def test_names_are_changed_as_those_of_a_list_are(names):
    changed = renamed(lambda: names)
    found = [changed.get(place, name) for place, name in enumerate(names)]
    assert found == distinct_names(names)
    assert all(names[place] != own for place, own in changed.items())


def test_labels_keep_their_types_in_a_table_of_others(tmp_path):
    labels = [{"x": 1, "flag": True}, {"x": 0.1}, {"x": "T"}, {"x": None, "text": "Å\t'"}]
    crystals = [rock_salt(f"r{n}").replace(labels=one) for n, one in enumerate(labels)]
    write_crystals(tmp_path / "x.parquet", [with_packed_labels(crystal) for crystal in crystals])
    found = [dict(with_unpacked_labels(one).labels) for one in CrystalsOnDisk([tmp_path / "x.parquet"])]
    assert found == labels
    assert [list(map(type, one.values())) for one in found] == [
        list(map(type, one.values())) for one in labels
    ]
