import numpy as np
import pytest
import toy_force_field

from repdiff.cli.main import main
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.structure_files import write_structures
from repdiff.energies.hull_table import read_hull_table
from repdiff.runs.failures import FAILED


@pytest.fixture(autouse=True)
def toy():
    return toy_force_field.register()


@pytest.fixture
def dataset(tmp_path):
    """Six crystals of carbon and oxygen, and one of gold."""
    frac = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    crystals = [
        Crystal(
            id=f"x-{row}",
            atomic_numbers=np.array([numbers, numbers, 6, 6]),
            lattice=np.eye(3) * (3.5 + 0.1 * row),
            frac_coords=frac,
        )
        for row, numbers in enumerate([6, 8, 8, 6, 8, 6, 79])
    ]
    write_structures(tmp_path / "known", crystals)
    return tmp_path / "known" / "structures.extxyz"


@pytest.fixture
def build(dataset, tmp_path, capsys):
    def call(*flags, workspace="w", name="t"):
        argv = ["hull", "build", str(dataset), "--force-field", "toy", "--n-workers", "1", "--name", name]
        code = main([*argv, "--workspace", str(tmp_path / workspace), *flags])
        return code, tmp_path / workspace / "hull" / name, capsys.readouterr()

    return call


def test_a_table_holds_formulas_and_energies_of_all_that_could_be_computed(build):
    code, folder, told = build()
    assert code == 0
    assert told.out.strip() == str(folder)
    table = read_hull_table(folder)
    assert table.force_field.name == "toy"
    assert table.geometry == "as given"
    assert sorted(set(table.formulas)) == ["C", "CO"]
    assert len(table) == 6
    assert np.isfinite(table.energies).all()
    assert "unknown to the force field: Au" in (folder / FAILED).read_text()
    assert "Au" in told.err


def test_relaxed_energies_are_lower_and_said_to_be_relaxed(build):
    _, given, _ = build()
    _, relaxed, _ = build("--relax", name="relaxed")
    one, other = read_hull_table(given), read_hull_table(relaxed)
    assert other.geometry == "relaxed to 0.05 eV/Å"
    assert list(one.ids) == list(other.ids)
    assert (other.energies <= one.energies + 1e-6).all()
    assert other.energies.mean() < one.energies.mean() - 0.01


def test_an_interrupted_table_goes_on_and_ends_the_same(build, toy, monkeypatch):
    monkeypatch.setattr("repdiff.commands.hull.PART_SIZE", {"cpu": 2})
    _, whole, _ = build(workspace="whole")
    toy.n_evaluations, toy.stop_after = 0, 2
    assert build()[0] == 130
    toy.n_evaluations, toy.stop_after = 0, None
    code, folder, _ = build()
    assert code == 0
    assert toy.n_evaluations == 1  # of four parts two were done, and gold takes none
    one, other = read_hull_table(whole), read_hull_table(folder)
    assert list(one.ids) == list(other.ids)
    np.testing.assert_array_equal(one.energies, other.energies)


def test_a_data_set_of_unknown_elements_alone_is_one_line(tmp_path, capsys):
    gold = Crystal(
        id="Au", atomic_numbers=np.array([79]), lattice=np.eye(3) * 2.6, frac_coords=np.zeros((1, 3))
    )
    write_structures(tmp_path / "gold", [gold])
    argv = ["hull", "build", str(tmp_path / "gold" / "structures.extxyz"), "--force-field", "toy"]
    assert main([*argv, "--n-workers", "1", "--workspace", str(tmp_path)]) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "none of 1 crystals of structures has an energy; the first: unknown to the force field: Au" in told


def test_an_unknown_action_is_answered_with_the_known_one(capsys):
    assert main(["hull", "make", "mp_20"]) == 2
    assert "expected one of build" in capsys.readouterr().err
