"""Crystals as arrays: conversions and the parquet file."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from pymatgen.core import Lattice, Structure

from repdiff.crystals.crystal import (
    Crystal,
    from_batch,
    from_structure,
    read_crystals,
    to_batch,
    to_structure,
    write_crystals,
)

ROCK_SALT = Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 1.5]])


def random_crystals(n_crystals: int) -> list[Crystal]:
    rng = np.random.default_rng(3)
    return [
        Crystal(
            id=f"c{number}",
            atomic_numbers=rng.integers(1, 90, n_atoms),
            lattice=rng.normal(size=(3, 3)) + 4 * np.eye(3),
            frac_coords=rng.normal(size=(n_atoms, 3)),
        )
        for number, n_atoms in enumerate(rng.integers(1, 7, n_crystals))
    ]


def same_arrays(one: Crystal, other: Crystal) -> bool:
    return (
        np.array_equal(one.atomic_numbers, other.atomic_numbers)
        and np.array_equal(one.lattice, other.lattice)
        and np.array_equal(one.frac_coords, other.frac_coords)
    )


def test_a_structure_survives_the_way_there_and_back():
    assert to_structure(from_structure(ROCK_SALT, id="nacl")) == ROCK_SALT


def test_oxidation_states_are_dropped():
    charged = ROCK_SALT.copy().add_oxidation_state_by_element({"Na": 1, "Cl": -1})
    assert from_structure(charged, id="nacl").atomic_numbers.tolist() == [11, 17]


def test_a_partially_occupied_site_is_refused_by_its_species():
    half = Structure(Lattice.cubic(4), [{"Na": 0.5}], [[0, 0, 0]])
    with pytest.raises(ValueError, match=r"partial occupancy: a site holds Na 0\.5"):
        from_structure(half, id="half")


def test_a_dummy_species_is_refused():
    with pytest.raises(ValueError, match="unknown element: X"):
        from_structure(Structure(Lattice.cubic(4), ["X"], [[0, 0, 0]]), id="dummy")


def test_a_batch_taken_apart_gives_the_crystals_that_went_in():
    crystals = random_crystals(20)
    again = from_batch(to_batch(crystals), [crystal.id for crystal in crystals])
    assert [crystal.id for crystal in again] == [crystal.id for crystal in crystals]
    assert all(same_arrays(one, other) for one, other in zip(crystals, again, strict=True))


def test_a_batch_has_the_type_that_was_asked_for():
    assert to_batch(random_crystals(2), torch.float32).dtype == torch.float32


def test_no_crystals_make_an_empty_batch_and_back():
    assert from_batch(to_batch([]), []) == []


def test_a_batch_needs_a_name_for_each_crystal():
    with pytest.raises(ValueError, match="1 names for 2 crystals"):
        from_batch(to_batch(random_crystals(2)), ["a"])


def test_a_file_returns_arrays_bit_by_bit_with_names_splits_and_labels(tmp_path):
    crystals = random_crystals(5)
    crystals[0] = crystals[0].replace(split="val", labels={"gap": 1.5, "kind": "oxide", "count": 3})
    crystals[1] = crystals[1].replace(labels={"gap": None})
    write_crystals(tmp_path / "c.parquet", crystals)
    again = read_crystals(tmp_path / "c.parquet")
    assert all(same_arrays(one, other) for one, other in zip(crystals, again, strict=True))
    assert [crystal.split for crystal in again] == ["val", None, None, None, None]
    assert again[0].labels == {"gap": 1.5, "kind": "oxide", "count": 3}
    assert again[1].labels == {"gap": None, "kind": None, "count": None}


def test_an_empty_file_of_crystals_can_be_written_and_read(tmp_path):
    write_crystals(tmp_path / "none.parquet", [])
    assert read_crystals(tmp_path / "none.parquet") == []


def test_the_file_tells_the_formula_by_atomic_number(tmp_path):
    write_crystals(tmp_path / "c.parquet", [from_structure(ROCK_SALT * (2, 1, 1), id="nacl")])
    assert pq.read_table(tmp_path / "c.parquet")["formula"].to_pylist() == ["Na2Cl2"]


def test_a_label_may_not_take_the_place_of_a_column(tmp_path):
    with pytest.raises(ValueError, match="label 'lattice'"):
        write_crystals(tmp_path / "c.parquet", [random_crystals(1)[0].replace(labels={"lattice": 1})])


def test_labels_of_mixed_kinds_become_the_wider_one(tmp_path):
    one, two = random_crystals(2)
    crystals = [one.replace(labels={"e": 1, "s": 1}), two.replace(labels={"e": 0.5, "s": "x"})]
    write_crystals(tmp_path / "c.parquet", crystals)
    assert [crystal.labels for crystal in read_crystals(tmp_path / "c.parquet")] == [
        {"e": 1.0, "s": "1"},
        {"e": 0.5, "s": "x"},
    ]
