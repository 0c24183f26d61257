"""`repdiff export`: files that the evaluators of others read."""

import csv

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

import repdiff as rd
from repdiff.crystals import exports
from repdiff.crystals.crystal import to_structure, write_crystals
from repdiff.errors import UserError
from repdiff.runs.manifest import read_manifest
from repdiff.testing.example_crystals import family, rock_salt


@pytest.fixture
def made(tmp_path):
    """A table of crystals with labels, one of which no file can hold."""
    sound = [one.replace(labels={"energy": row / 7, "note": "a b"}) for row, one in enumerate(family())]
    flat = rock_salt("flat").replace(lattice=np.zeros((3, 3)))
    write_crystals(tmp_path / "made.parquet", [*sound, flat])
    return tmp_path / "made.parquet", sound


def same(found, expected):
    """Say whether structures are the crystals, in their order."""
    matcher = StructureMatcher(scale=False, attempt_supercell=False, primitive_cell=False)
    structures = [to_structure(one) for one in expected]
    return len(found) == len(structures) and all(
        len(one) == len(other) and matcher.fit(one, other)
        for one, other in zip(found, structures, strict=True)
    )


def test_the_file_for_mattergen_is_read_as_its_evaluator_reads_it(made, run):
    path, sound = made
    code, folder, said = run("export", str(path), "--mattergen")
    assert code == 0, said
    atoms = ase.io.read(folder / "generated_crystals.extxyz", ":")
    assert same([AseAtomsAdaptor.get_structure(one) for one in atoms], sound)
    assert not any(one.calc or "note" in one.info for one in atoms)
    assert folder.name.startswith("made")
    assert folder.name.endswith("-mattergen")
    assert "1 of 25 crystals left out" in said
    assert '"flat"' in (folder / "failed.jsonl").read_text()
    assert read_manifest(folder).summary["n_crystals"] == len(sound)
    assert not (folder / "cifs").exists()


def test_cifs_for_lemat_are_as_many_as_it_takes_and_named(made, run, monkeypatch):
    path, sound = made
    monkeypatch.setattr(exports, "N_LEMAT", 20)
    code, folder, said = run("export", str(path), "--lemat")
    assert code == 0, said
    files = sorted((folder / "cifs").iterdir())
    with (folder / "cifs.csv").open(newline="") as file:
        names = {row["file"]: row["id"] for row in csv.DictReader(file)}
    assert [file.name for file in files] == [f"{row:05d}.cif" for row in range(20)] == list(names)
    by_id = {one.id: one for one in sound}
    chosen = [by_id[names[file.name]] for file in files]
    assert len({one.id for one in chosen}) == 20
    assert [one.id for one in chosen] == [one.id for one in sound if one.id in set(names.values())]
    assert same([Structure.from_file(file) for file in files], chosen)


def test_the_choice_depends_on_the_seed(monkeypatch):
    monkeypatch.setattr(exports, "N_LEMAT", 10)
    chosen = [[one.id for one in exports.chosen_for_lemat(family(), seed=seed)] for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_too_few_crystals_and_no_reader_are_one_line(made, run):
    path, sound = made
    code, _, said = run("export", str(path), "--lemat", "--mattergen")
    assert code == 2
    assert f"{len(sound)} crystals can be written, expected at least 2500" in said
    code, _, said = run("export", str(path))
    assert code == 2
    assert "nothing to write for: give --lemat, --mattergen or both" in said


def test_python_writes_the_same_files(made, run, tmp_path, monkeypatch, caplog):
    path, _ = made
    monkeypatch.setattr(exports, "N_LEMAT", 24)
    code, folder, said = run("export", str(path), "--lemat", "--mattergen")
    assert code == 0, said
    caplog.clear()
    written = rd.export(rd.read(path), tmp_path / "own", lemat=True, mattergen=True, progress=False)
    assert "1 of 25 crystals left out" in caplog.text
    assert [one.name for one in written] == ["cifs", "cifs.csv", "generated_crystals.extxyz"]
    for file in written[1:]:
        assert file.read_bytes() == (folder / file.name).read_bytes()
    for file in written[0].iterdir():
        assert file.read_bytes() == (folder / "cifs" / file.name).read_bytes()


def test_python_refuses_what_the_command_refuses(tmp_path):
    with pytest.raises(UserError, match="nothing to write for"):
        rd.export(bulk("Cu"), tmp_path)
    with pytest.raises(UserError, match="1 crystals can be written, expected at least 2500"):
        rd.export(bulk("Cu"), tmp_path, lemat=True)
    with pytest.raises(UserError, match="none of 1 can be written"):
        rd.export(rock_salt().replace(lattice=np.zeros((3, 3))), tmp_path, mattergen=True)


def test_python_leaves_other_files_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(exports, "N_LEMAT", 2)
    metals = [bulk("Cu"), bulk("Fe")]
    folder = tmp_path / "mine"
    (folder / "cifs").mkdir(parents=True)
    (folder / "cifs" / "precious.cif").write_text("data_x")
    for wanted in ({"lemat": True}, {"mattergen": True}):
        with pytest.raises(UserError, match=r"cifs holds precious\.cif, expected an empty folder"):
            rd.export(metals, folder, **wanted)
    assert [one.name for one in folder.rglob("*.cif")] == ["precious.cif"]
    (folder / "cifs" / "precious.cif").rename(folder / "notes.txt")
    with pytest.raises(UserError, match=r"mine holds notes\.txt"):
        rd.export(metals, folder, mattergen=True)
    (folder / "notes.txt").unlink()
    for metal in ("Cu", "Ag"):  # an export may be replaced
        rd.export([bulk(metal), bulk("Fe")], folder, lemat=True, mattergen=True, progress=False)
    assert metal in (folder / "cifs" / "00000.cif").read_text()


@pytest.mark.parametrize(
    ("place", "said"),
    [("cifs", "a part of this path is a file"), ("generated_crystals.extxyz", "Is a directory")],
)
def test_python_says_in_one_line_what_stands_in_the_way(tmp_path, place, said, monkeypatch):
    monkeypatch.setattr(exports, "N_LEMAT", 1)
    if place == "cifs":
        (tmp_path / place).write_text("no folder")
    else:
        (tmp_path / place).mkdir()
    with pytest.raises(UserError, match=said) as found:
        rd.export([bulk("Cu")], tmp_path, lemat=True, mattergen=True, progress=False)
    assert "\n" not in str(found.value)
