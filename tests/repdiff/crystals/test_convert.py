"""What a Python user holds goes in, comes out as it was, and is refused in one line where it does not fit."""

import math

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from pymatgen.core import Lattice, Structure
from sample_crystals import cubic_perovskite

from repdiff.crystals.convert import as_crystal_set
from repdiff.crystals.crystal import to_batch
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.errors import UserError

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
COPPER = bulk("Cu", cubic=True)


def test_structures_come_back_as_they_went_in():
    back = as_crystal_set([SALT]).to_structures()[0]
    assert back.species == SALT.species
    np.testing.assert_allclose(back.lattice.matrix, SALT.lattice.matrix)
    np.testing.assert_allclose(back.frac_coords, SALT.frac_coords)


def test_atoms_come_back_as_they_went_in():
    back = as_crystal_set(COPPER).to_atoms()[0]
    assert back.pbc.all()
    np.testing.assert_array_equal(back.numbers, COPPER.numbers)
    np.testing.assert_allclose(back.positions, COPPER.positions, atol=1e-12)
    np.testing.assert_allclose(back.cell.array, COPPER.cell.array)


def test_kinds_can_be_mixed_and_keep_their_order():
    found = as_crystal_set([SALT, COPPER, cubic_perovskite()])
    assert [crystal.formula for crystal in found] == ["Na4Cl4", "Cu4", "O3TiSr"]


@pytest.mark.filterwarnings("error")
def test_infinite_labels_and_volumes_are_shown_without_a_warning():
    vast = cubic_perovskite().replace(lattice=np.eye(3) * 1e200, labels={"energy": math.inf})
    frame = CrystalSet(crystals=[cubic_perovskite("b").replace(labels={"energy": 1.0}), vast]).to_frame()
    assert frame["energy"].tolist() == [1.0, math.inf]
    assert frame["volume"].iloc[1] == math.inf


def test_a_batch_is_taken_as_its_crystals():
    batch = to_batch(list(as_crystal_set([SALT, COPPER])))
    assert [crystal.n_atoms for crystal in as_crystal_set(batch)] == [8, 4]


def test_names_and_labels_come_along_and_repeated_names_are_told_apart():
    first, second = COPPER.copy(), COPPER.copy()
    first.info = {"id": "mp-30", "band_gap": np.float64(0.5), "note": "x" * 300}
    second.info = {"material_id": "mp-30"}
    crystals = as_crystal_set([first, second])
    assert crystals.ids == ["mp-30", "mp-30#2"]
    assert crystals.crystals[0].labels == {"band_gap": 0.5}


def test_a_set_goes_through_with_its_failures():
    given = CrystalSet(crystals=[cubic_perovskite()], failed={"a": "no formula"})
    assert as_crystal_set(given) is given


def disordered():
    mixed = [{"Na": 0.5, "K": 0.5}, "Cl"]
    return Structure(Lattice.cubic(5.6), mixed, [[0, 0, 0], [0.5, 0.5, 0.5]])


def slab():
    atoms = COPPER.copy()
    atoms.pbc = [True, True, False]
    return atoms


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "crystals holds nothing, expected at least one crystal"),
        (7, r"crystals is int 7, expected a pymatgen Structure"),
        ("POSCAR text", "crystals is str 'POSCAR text', expected"),
        ({"a": SALT}, "crystals is a dict, expected"),
        ([SALT, 3.5], r"crystals\[1\] is float 3.5, expected .* \(1 of 2 do not fit\)"),
        ([COPPER, slab()], r"crystals\[1\] has pbc \[True, True, False\], expected .* set pbc = True"),
        (disordered(), r"crystals\[0\] cannot be taken: partial occupancy.*expected an ordered"),
        (Atoms("Cu", pbc=True), r"crystals\[0\] has a cell of no volume"),
        (Atoms(cell=[3, 3, 3], pbc=True), r"crystals\[0\] holds no atoms"),
    ],
)
def test_what_is_no_crystal_is_refused_in_one_line(given, message):
    with pytest.raises(UserError, match=message) as caught:
        as_crystal_set(given)
    assert "\n" not in str(caught.value)


def test_the_table_has_a_row_for_each_and_the_failed_last():
    given = CrystalSet(
        crystals=[cubic_perovskite().replace(labels={"loss": 0.1})], failed={"a": "no formula"}
    )
    frame = given.to_frame()
    assert frame.index.tolist() == ["SrTiO3", "a"]
    assert frame.loc["SrTiO3", ["formula", "n_atoms", "loss"]].tolist() == ["O3TiSr", 5, 0.1]
    assert frame.loc["a", "failure"] == "no formula"


def test_a_notebook_shows_the_table_and_names_the_failed_without_running_their_text():
    shown = CrystalSet(crystals=[cubic_perovskite()], failed={"<b>": "<script>"})._repr_html_()
    assert "CrystalSet: 1 crystal, 1 failed" in shown
    assert "SrTiO3" in shown
    assert "<script>" not in shown
