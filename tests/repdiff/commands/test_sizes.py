"""Cells and data sets of the smallest and of a large size go through the verbs."""

from pathlib import Path

import pytest
from ase import Atoms
from ase.io import write

from repdiff.cli.main import main
from repdiff.crystals.structure_files import read_structures
from repdiff.representations.encoded_set import EncodedSet
from repdiff.runs.manifest import read_manifest


def frames(path, *atoms):
    write(path, list(atoms), format="extxyz")
    return path


def salt(a=4.0, second=(0.5, 0.5, 0.5)):
    return Atoms("CsCl", scaled_positions=[(0, 0, 0), second], cell=[a] * 3, pbc=True)


@pytest.fixture
def sizes(tmp_path):
    """A file of a crystal of one atom and one of 300."""
    large = Atoms(
        "Cu4", scaled_positions=[(0, 0, 0), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)], cell=[3.6] * 3
    )
    large.pbc = True
    large = large.repeat((5, 5, 3))
    large.rattle(0.05, seed=0)
    return frames(tmp_path / "sizes.extxyz", Atoms("Po", cell=[3.35] * 3, pbc=True), large)


def test_cells_of_one_and_of_300_atoms_are_encoded(sizes, tmp_path, capsys):
    assert main(["encode", str(sizes), "--workspace", str(tmp_path)]) == 0
    encoded = EncodedSet.read(Path(capsys.readouterr().out.strip()))
    n_atoms = encoded.representations[:, encoded.layout.representation().blocks["n_atoms"]]
    assert n_atoms.flatten().tolist() == [1, 300]
    assert bool(encoded.representations.isfinite().all())


def test_a_cell_of_one_atom_is_reconstructed(sizes, tmp_path, capsys):
    (tmp_path / "one").mkdir()
    single = frames(tmp_path / "one.extxyz", Atoms("Po", cell=[3.35] * 3, pbc=True))
    flags = ["--dataset", str(single), "--split", "all", "--n-workers", "1", "--workspace", str(tmp_path)]
    assert main(["reconstruct", *flags]) == 0
    (crystal,) = read_structures(Path(capsys.readouterr().out.strip()))
    assert crystal.atomic_numbers.tolist() == [84]
    assert crystal.volume == pytest.approx(3.35**3, rel=1e-4)
    assert crystal.labels["stopped"] == "solved"


def test_cells_above_max_atoms_are_left_out_and_named(sizes, tmp_path, capsys):
    assert main(["encode", str(sizes), "--max-atoms", "20", "--workspace", str(tmp_path)]) == 0
    folder = Path(capsys.readouterr().out.strip())
    assert len(EncodedSet.read(folder).crystals) == 1
    assert "300 atoms, expected at most 20" in (folder / "rejected.jsonl").read_text()


@pytest.mark.usefixtures("_tiny_composition_model")
@pytest.mark.parametrize("compositions", ["protostructure", "first"])
def test_a_data_set_of_one_crystal_is_learnt_and_sampled(compositions, tmp_path, capsys):
    """It has no validation crystals."""
    one = frames(tmp_path / "one.extxyz", salt())
    place = ["--workspace", str(tmp_path / "w")]
    assert main(["encode", str(one), *place]) == 0
    small = [
        "--compositions",
        compositions,
        "--max-steps",
        "2",
        "--timesteps",
        "5",
        "--denoiser-options",
        "width=16",
    ]
    capsys.readouterr()
    assert main(["train", *small, *place]) == 0
    trained = Path(capsys.readouterr().out.strip())
    summary = read_manifest(trained).summary
    (first,) = (summary[name] for name in ("protostructures", "compositions") if name in summary)
    assert (first["steps"], summary["steps"]) == (2, 2)  # the budget is that of each model
    assert main(["generate", "--n", "2", *place]) == 0
