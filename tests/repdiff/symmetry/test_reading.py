import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from known_crystals import rocksalt
from moved_crystals import MOVES, shaken
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure
from sample_crystals import crystal, cubic_perovskite

from descriptors.base import make_descriptor
from descriptors.symmetry.labels import write_label
from descriptors.symmetry.protostructure import Protostructure
from descriptors.symmetry.settings import canonical
from repdiff.crystals.crystal import read_crystals, to_batch, to_structure, write_crystals
from repdiff.errors import UserError
from repdiff.symmetry import (
    protostructures_of,
    read_protostructure,
    read_protostructures,
    with_protostructures,
)


@pytest.fixture(scope="module")
def real_crystals(data_dir):
    table = pq.ParquetFile(data_dir / "mp20.parquet").read_row_group(
        0, columns=["numbers", "lattice", "frac"]
    )
    rows = np.random.default_rng(0).choice(table.num_rows, 40, replace=False)
    return [
        crystal(str(n), row["numbers"], np.reshape(row["lattice"], (3, 3)), np.reshape(row["frac"], (-1, 3)))
        for n, row in zip(rows, table.take(rows).to_pylist(), strict=True)
    ]


def test_a_perovskite_is_read_as_the_textbook_has_it():
    found = read_protostructure(cubic_perovskite())
    assert canonical(found.protostructure) == canonical(
        Protostructure.of(221, [(38, "a"), (22, "b"), (8, "c")])
    )
    assert found.cell.tolist() == pytest.approx([3.905, 0, 0, 0, 0, 0])
    assert (len(found.free), found.displacement, found.strain) == pytest.approx((0, 0, 0), abs=1e-6)


def test_pymatgen_structures_are_taken_and_disordered_ones_refused():
    assert write_label(canonical(read_protostructure(rocksalt()).protostructure)) == "AB_cF8_225_b_a:Cl-Na"
    mixed = Structure(np.eye(3) * 4, [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]])
    with pytest.raises(UserError, match=r"Na0\.5 K0\.5|K0\.5 Na0\.5"):
        read_protostructure(mixed)


@pytest.mark.parametrize("canonical_setting", [False, True])
@pytest.mark.parametrize("primitive", [False, True])
def test_real_crystals_come_back_from_their_protostructures(real_crystals, primitive, canonical_setting):
    readings = read_protostructures(real_crystals, canonical=canonical_setting)
    assert not [reading.reason for reading in readings if reading.reason]
    made = [reading.symmetrized.crystal("made", primitive=primitive) for reading in readings]
    matcher = StructureMatcher(stol=0.1, ltol=0.05, angle_tol=2, attempt_supercell=True)
    for reading, given, back in zip(readings, real_crystals, made, strict=True):
        assert reading.symmetrized.displacement <= 0.1
        assert matcher.fit(to_structure(given), to_structure(back)), given.id
    descriptor = make_descriptor("ead:compact")
    with torch.no_grad():
        true, again = descriptor(to_batch(real_crystals)), descriptor(to_batch(made))
    exact = [
        k for k, r in enumerate(readings) if r.symmetrized.displacement < 1e-4 and r.symmetrized.strain < 1e-5
    ]
    assert len(exact) > 20
    torch.testing.assert_close(again[exact], true[exact], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("move", sorted(MOVES))
def test_the_canonical_form_does_not_depend_on_the_description_of_the_crystal(real_crystals, move):
    random = np.random.default_rng(0)
    moved = [MOVES[move](given, random) for given in real_crystals]
    for given, before, after in zip(
        real_crystals,
        read_protostructures(real_crystals, canonical=True, symprec=0.01),
        read_protostructures(moved, canonical=True, symprec=0.01),
        strict=True,
    ):
        assert canonical(after.protostructure) == canonical(before.protostructure), (given.id, after.reason)
        assert after.protostructure == before.protostructure or before.protostructure.number <= 15, given.id


def test_the_displacement_is_what_the_atoms_were_shaken_by():
    ideal = cubic_perovskite()
    rough = shaken(ideal, np.random.default_rng(1), noise=0.02)
    found = read_protostructure(rough)
    assert found.protostructure.number == 221
    moved = (rough.frac_coords - ideal.frac_coords) @ ideal.lattice
    expected = np.linalg.norm(moved - moved.mean(0), axis=1).max()
    assert found.displacement == pytest.approx(expected, rel=0.7)
    assert read_protostructure(rough, symprec=1e-4).protostructure.number == 1


def test_a_strained_cell_is_symmetrised_and_the_strain_is_told():
    stretched = cubic_perovskite()
    stretched = stretched.replace(lattice=stretched.lattice @ np.diag([1.005, 1.0, 1.0]))
    found = read_protostructure(stretched)
    assert found.protostructure.number == 221
    assert 0.002 < found.strain < 0.005
    assert read_protostructure(stretched, symprec=1e-3).protostructure.number == 123


def test_what_cannot_be_read_gets_a_reason_and_stops_nothing():
    close = crystal("close", [6, 6], np.eye(3) * 4, [[0, 0, 0], [0.01, 0, 0]])
    readings = read_protostructures([close, cubic_perovskite()])
    assert readings[0].protostructure is None
    assert "closer than" in readings[0].reason
    assert readings[1].protostructure is not None
    with pytest.raises(UserError, match="close: atoms closer than"):
        read_protostructure(close)


def test_a_tolerance_that_is_none_is_refused():
    with pytest.raises(UserError, match=r"symprec is 0\.0 Å, expected a positive length"):
        read_protostructures([cubic_perovskite()], symprec=0.0)


def test_processes_give_what_one_gives(monkeypatch, pickled_pool):
    monkeypatch.setattr("repdiff.symmetry.reading.CHUNKS_PER_PROCESS", 1)
    monkeypatch.setattr("repdiff.symmetry.reading.CRYSTALS_PER_CHUNK", 1)
    several = [cubic_perovskite(), cubic_perovskite(a_site=56)]
    alone, together = (read_protostructures(several, n_workers=n) for n in (1, 2))
    assert [r.protostructure for r in together] == [r.protostructure for r in alone]
    assert pickled_pool == [2]


def test_protostructures_are_kept_beside_the_crystals(tmp_path):
    bad = crystal("bad", [6, 6], np.eye(3) * 4, [[0, 0, 0], [0.01, 0, 0]])
    several = [cubic_perovskite(), bad]
    readings = read_protostructures(several)
    write_crystals(tmp_path / "crystals.parquet", with_protostructures(several, readings))
    again = read_crystals(tmp_path / "crystals.parquet")
    assert protostructures_of(again) == [reading.protostructure for reading in readings]
    assert again[0].labels["symmetry_displacement"] == pytest.approx(0, abs=1e-9)
    assert "closer than" in again[1].labels["symmetry_reason"]


def test_crystals_without_readable_labels_are_named():
    with pytest.raises(UserError, match="SrTiO3 has no label 'protostructure'"):
        protostructures_of([cubic_perovskite()])
    with pytest.raises(UserError, match="SrTiO3: 'x' is no label"):
        protostructures_of([cubic_perovskite().replace(labels={"protostructure": "x"})])
