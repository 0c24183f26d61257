import gzip
import io
import json
import zipfile
from contextlib import contextmanager

import ase.io
import numpy as np
import pandas as pd
import pytest
from monty.serialization import loadfn
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

import repdiff as rd
from repdiff.crystals import structure_files
from repdiff.crystals.crystal import Crystal, to_structure
from repdiff.crystals.structure_files import read_structures, write_structures
from repdiff.errors import UserError

NAMES = ["structures.extxyz", "cif.zip", "structures.json.gz", "structures.csv", "table.parquet"]


def random_crystals(n=4, seed=0):
    rng = np.random.default_rng(seed)
    return [
        Crystal(
            id=f"crystal {i}",
            atomic_numbers=rng.permutation([38, 22, 8, 8, 8 + i % 3]),
            lattice=np.diag(rng.uniform(4, 6, 3)) + np.tril(rng.uniform(-1, 1, (3, 3)), -1),
            frac_coords=np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
            + rng.uniform(-0.05, 0.05, (5, 3)),
            labels={"heat_all": float(i)},
        )
        for i in range(n)
    ]


@pytest.fixture
def crystals():
    return random_crystals()


@pytest.fixture
def folder(tmp_path, crystals):
    write_structures(
        tmp_path / "out", crystals, {"loss": [0.5, 0.25, None, 0.125], "note": ["a b", "", "c", "d"]}
    )
    return tmp_path / "out"


def same(structure, crystal, tolerance=1e-5):
    """Tell whether a structure is the crystal; readers of CIF may sort the atoms."""
    known = to_structure(crystal)
    assert np.allclose(structure.lattice.parameters, known.lattice.parameters, atol=tolerance)
    difference = structure.frac_coords[:, None] - known.frac_coords
    near = np.abs(difference - np.round(difference)).max(-1) < tolerance
    equal = np.array(structure.atomic_numbers)[:, None] == crystal.atomic_numbers
    return structure.composition == known.composition and (near & equal).any(0).all()


def test_our_own_reader_returns_the_same_bits_and_the_table(folder, crystals):
    back = read_structures(folder)
    for index, (one, other) in enumerate(zip(back, crystals, strict=True)):
        assert one.id == other.id
        assert np.array_equal(one.lattice, other.lattice)
        assert np.array_equal(one.frac_coords, other.frac_coords)
        assert np.array_equal(one.atomic_numbers, other.atomic_numbers)
        assert one.labels["index"] == index
        assert one.labels["heat_all"] == float(index)
    assert [one.labels["loss"] for one in back] == [0.5, 0.25, None, 0.125]
    assert back[0].labels["reduced_formula"] == "SrTiO3"
    assert [read_structures(folder / "table.parquet")[i].id for i in range(4)] == [c.id for c in crystals]


def test_extxyz_holds_all_frames_in_order_with_name_and_loss(folder, crystals):
    frames = ase.io.read(folder / "structures.extxyz", ":")
    assert [frame.info["id"] for frame in frames] == [crystal.id for crystal in crystals]
    assert [frame.info["index"] for frame in frames] == [0, 1, 2, 3]
    assert [frame.info.get("loss") for frame in frames] == [0.5, 0.25, None, 0.125]
    adapted = [AseAtomsAdaptor.get_structure(frame) for frame in frames]
    assert all(same(one, other) for one, other in zip(adapted, crystals, strict=True))


def test_cif_archive_is_flat_sorted_and_reads_in_p1(folder, crystals, tmp_path):
    with zipfile.ZipFile(folder / "cif.zip") as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "cifs")
    assert names == sorted(names)
    assert names[0] == "00000_SrTiO3.cif"
    assert [name[:6] for name in names] == [f"0000{index}_" for index in range(4)]
    structures = [Structure.from_file(tmp_path / "cifs" / name) for name in names]
    assert all(same(one, other) for one, other in zip(structures, crystals, strict=True))
    assert "'P 1'" in (tmp_path / "cifs" / names[0]).read_text()


def test_json_loads_as_pymatgen_structures(folder, crystals):
    structures = loadfn(folder / "structures.json.gz")
    assert all(same(one, other, 1e-12) for one, other in zip(structures, crystals, strict=True))
    with gzip.open(folder / "structures.json.gz", "rt") as file:
        assert isinstance(json.load(file), list)


def test_csv_has_the_columns_of_other_evaluators(folder, crystals):
    table = pd.read_csv(folder / "structures.csv")
    assert table["material_id"].tolist() == [crystal.id for crystal in crystals]
    structures = [Structure.from_str(text, fmt="cif") for text in table["cif_string"]]
    assert all(same(one, other) for one, other in zip(structures, crystals, strict=True))


def test_equal_crystals_give_equal_bytes(folder, crystals, tmp_path):
    table = {"loss": [0.5, 0.25, None, 0.125], "note": ["a b", "", "c", "d"]}
    paths = write_structures(tmp_path / "again", crystals, table)
    assert [path.name for path in paths] == NAMES
    assert all(path.read_bytes() == (folder / path.name).read_bytes() for path in paths)


def test_written_structures_can_be_written_again(folder, tmp_path):
    write_structures(tmp_path / "again", read_structures(folder)[::-1])
    assert [crystal.labels["index"] for crystal in read_structures(tmp_path / "again")] == [0, 1, 2, 3]


def test_no_crystals_give_files_that_hold_none(tmp_path):
    write_structures(tmp_path, [])
    assert read_structures(tmp_path) == []
    assert loadfn(tmp_path / "structures.json.gz") == []
    assert zipfile.ZipFile(io.BytesIO((tmp_path / "cif.zip").read_bytes())).namelist() == []


def test_noble_gases_are_written_without_warnings(tmp_path):
    argon = Crystal(
        id="Ar", atomic_numbers=np.array([18, 8]), lattice=np.eye(3) * 5, frac_coords=np.eye(3)[:2] / 2
    )
    write_structures(tmp_path, [argon])
    assert read_structures(tmp_path)[0].id == "Ar"


def test_a_full_disk_is_one_line_and_leaves_the_old_files_whole(folder, crystals, monkeypatch):
    before = {name: (folder / name).read_bytes() for name in NAMES}

    @contextmanager
    def full(path, labels):
        path.write_bytes(b"half a fi")
        yield lambda crystal, cif: None
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(structure_files.FILES, "structures.csv", full)
    with pytest.raises(UserError, match=r"cannot write the structures \(No space left on device\)"):
        write_structures(folder, crystals, {"loss": [0.5, 0.25, None, 0.125], "note": ["a b", "", "c", "d"]})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_folder_that_cannot_be_made_is_a_users_mistake(tmp_path, crystals):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="expected a writable folder"):
        write_structures(tmp_path / "file" / "out", crystals)


def test_a_column_of_another_length_is_refused(tmp_path, crystals):
    with pytest.raises(ValueError, match="'loss' has 1 entries for 4 crystals"):
        write_structures(tmp_path, crystals, {"loss": [1.0]})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"frac_coords": np.full((5, 3), np.nan)}, "not finite"),
        ({"lattice": np.zeros((3, 3))}, "volume"),
        ({"atomic_numbers": np.array([0, 1, 1, 1, 1])}, "no known element"),
        ({"atomic_numbers": np.zeros(0, int), "frac_coords": np.zeros((0, 3))}, "no atoms"),
    ],
)
def test_what_no_format_can_hold_is_refused_by_name(tmp_path, crystals, changes, reason):
    crystals[2] = crystals[2].replace(**changes)
    with pytest.raises(ValueError, match=rf"crystal 2 \(crystal 2\) .*{reason}"):
        write_structures(tmp_path, crystals)


def test_a_folder_without_structures_is_a_users_mistake(tmp_path):
    with pytest.raises(UserError, match=r"holds no table\.parquet"):
        read_structures(tmp_path)


def test_a_truncated_table_is_a_users_mistake(folder):
    (folder / "table.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match="cannot be read"):
        read_structures(folder)


RESERVED = [
    "stress",
    "virial",
    "Lattice",
    "Properties",
    "pbc",
    "forces",
    "occupancy",
    "dipole",
    "species",
    "positions",
]


@pytest.mark.parametrize("label", RESERVED)
def test_a_label_whose_name_extxyz_reserves_breaks_no_file(tmp_path, label):
    crystal = Crystal(
        id="a",
        atomic_numbers=np.array([11, 17]),
        lattice=np.eye(3) * 4,
        frac_coords=np.array([[0, 0, 0], [0.5, 0.5, 0.5]]),
        labels={label: 1.25},
    )
    write_structures(tmp_path / "s", [crystal])
    frame = ase.io.read(tmp_path / "s" / "structures.extxyz")
    np.testing.assert_allclose(frame.cell.array, crystal.lattice)
    assert frame.info[f"{label}_label"] == 1.25
    assert read_structures(tmp_path / "s")[0].labels[label] == 1.25


@pytest.mark.parametrize("ending", ["extxyz", "json.gz", "csv", "parquet"])
def test_labels_and_splits_survive_every_format_that_has_room_for_them(ending, crystals, tmp_path):
    labels = {"gap": 1.5, "stable": True, "code": "0012", "n": 3, "note": 'a "b", c=d'}
    one, other = (
        crystals[0].replace(split="val", labels=labels),
        crystals[1].replace(split=None, labels={"gap": 0.1 + 0.2, "code": "1_2"}),
    )
    rd.write(tmp_path / f"some.{ending}", [one, other])
    back = rd.read(tmp_path / f"some.{ending}").crystals
    assert [crystal.split for crystal in back] == ["val", None]
    assert {name: back[0].labels[name] for name in labels} == labels
    assert (back[1].labels["gap"], back[1].labels["code"]) == (0.1 + 0.2, "1_2")


NAMES_OF_LABELS = ["U=4", "two\nlines", "a\tb", "b\\s", "\u00a0x", "=", "cif", "pretty_formula", "natoms"]


@pytest.mark.parametrize("ending", ["extxyz", "json.gz", "csv"])
@pytest.mark.parametrize("name", NAMES_OF_LABELS)
def test_a_label_of_any_name_is_there_when_read_again(name, ending, crystals, tmp_path):
    rd.write(
        tmp_path / f"some.{ending}",
        [crystals[0].replace(labels={name: 1.25}), crystals[1].replace(labels={})],
    )
    back = rd.read(tmp_path / f"some.{ending}")
    assert not back.failed
    assert [value for value in back.crystals[0].labels.values() if value == 1.25] == [1.25]
