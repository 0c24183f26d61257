import json

import ase.io
import numpy as np
import pytest
import toy_force_field

from repdiff.cli.main import main
from repdiff.commands.relax import read_relaxed
from repdiff.crystals.crystal import Crystal, read_crystals, write_crystals
from repdiff.crystals.resumable_parts import PARTS
from repdiff.crystals.structure_files import read_structures, write_structures
from repdiff.errors import UserError
from repdiff.runs.manifest import read_manifest


@pytest.fixture(autouse=True)
def toy():
    return toy_force_field.register()


@pytest.fixture
def structures(tmp_path):
    """A reconstruction: eight crystals of silicon and carbon, one of uranium, and one that failed."""
    rng = np.random.default_rng(0)
    frac = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    crystals = [
        Crystal(
            id=f"gen-{row}",
            atomic_numbers=np.array([14, 14, 6, 6]) if row else np.full(4, 92),
            lattice=np.eye(3) * 3.6 + rng.normal(0, 0.03, (3, 3)),
            frac_coords=frac + rng.normal(0, 0.01, (4, 3)),
            labels={"loss": float(row)},
        )
        for row in range(9)
    ]
    folder = tmp_path / "made"
    write_structures(folder, crystals)
    (folder / "failed.jsonl").write_text('{"id": "gen-9", "reason": "no formula"}\n')
    return folder


@pytest.fixture
def relax(structures, tmp_path, capsys):
    def call(*flags, workspace="w"):
        argv = ["relax", str(structures), "--force-field", "toy", "--n-workers", "1", "--part-size", "2"]
        code = main([*argv, "--workspace", str(tmp_path / workspace), *flags])
        return code, tmp_path / workspace / "relax" / "made-toy", capsys.readouterr()

    return call


def test_a_relaxation_keeps_every_structure_with_its_energies_or_its_reason(relax):
    code, folder, told = relax()
    assert code == 0
    assert told.out.strip() == str(folder)
    found = read_relaxed(folder)
    assert found.force_field.name == "toy"
    assert found.protocol["fmax_eV_per_angstrom"] == 0.05
    assert sorted(found.relaxations) == [f"gen-{row}" for row in range(10)]
    assert found.relaxations["gen-0"].reason == "unknown to the force field: U"
    assert found.relaxations["gen-9"].reason == "no formula"
    assert "1: unknown to the force field: U" in told.err
    for row in range(1, 9):
        end = found.relaxations[f"gen-{row}"]
        assert end.converged
        assert end.energy < end.initial_energy
        assert end.rmsd > 0
    table = {crystal.id: crystal.labels for crystal in read_crystals(folder / "table.parquet")}
    assert table["gen-3"]["loss"] == 3.0
    assert table["gen-3"]["energy_change"] == pytest.approx(found.relaxations["gen-3"].energy_change)
    summary = read_manifest(folder).summary
    assert (summary["n_relaxed"], summary["n_failed"]) == (8, 2)
    assert summary["weights_sha256"] == "0" * 64
    assert not (folder / PARTS).exists()


def test_an_interrupted_relaxation_goes_on_and_ends_with_the_same_table(relax, toy):
    _, whole, _ = relax(workspace="whole")
    toy.n_evaluations, toy.stop_after = 0, 40
    code, folder, _ = relax()
    assert code == 130
    kept = list((folder / PARTS).glob("*.parquet"))
    assert 0 < len(kept) < 5
    toy.n_evaluations, toy.stop_after = 0, None
    before = toy.n_evaluations
    assert relax()[0] == 0
    resumed = toy.n_evaluations - before
    for one, other in zip(
        read_crystals(whole / "table.parquet"), read_crystals(folder / "table.parquet"), strict=True
    ):
        assert one.id == other.id
        assert one.labels == other.labels
        np.testing.assert_array_equal(one.frac_coords, other.frac_coords)
    toy.n_evaluations = 0
    relax(workspace="once more")
    assert resumed < toy.n_evaluations


def test_processes_give_what_one_gives(structures, tmp_path, pickled_pool):
    pytest.importorskip("chgnet", reason="chgnet is not installed")
    found = []
    for n_workers in (1, 2):
        argv = ["relax", str(structures), "--n", "4", "--part-size", "2", "--max-steps", "1"]
        argv += ["--n-workers", str(n_workers), "--workspace", str(tmp_path / str(n_workers))]
        assert main(argv) == 0
        found.append(read_relaxed(tmp_path / str(n_workers) / "relax" / "made-n4-chgnet"))
    assert pickled_pool == [2]
    one, two = ({name: (end.energy, end.n_steps) for name, end in part.relaxations.items()} for part in found)
    assert len(one) == 4
    assert one.keys() == two.keys()
    for name, (energy, n_steps) in one.items():
        assert two[name][1] == n_steps
        assert two[name][0] == (None if energy is None else pytest.approx(energy, abs=1e-5))


def test_a_random_part_counts_the_missing_too(relax, tmp_path):
    relax("--n", "6", "--seed", "3", "--name", "made-toy")
    found = read_relaxed(tmp_path / "w" / "relax" / "made-toy")
    assert len(found.relaxations) == 6


def test_a_rattle_is_recorded_and_a_run_of_its_own(relax, tmp_path):
    code, _, told = relax("--rattle", "0.05", "--seed", "7")
    folder = tmp_path / "w" / "relax" / "made-toy-rattle0.05"
    assert code == 0
    assert told.out.strip() == str(folder)
    found = read_relaxed(folder)
    assert (found.protocol["rattle_angstrom"], found.protocol["rattle_seed"]) == (0.05, 7)
    plain = read_relaxed(relax()[1])
    assert plain.protocol["rattle_angstrom"] == 0
    for row in range(1, 9):
        one, other = (part.relaxations[f"gen-{row}"] for part in (found, plain))
        assert one.initial_energy == pytest.approx(other.initial_energy)
        assert one.n_steps != other.n_steps or one.energy != other.energy
    code, _, told = relax("--rattle", "-1")
    assert code == 2


def test_another_limit_is_another_run(relax):
    relax()
    code, _, told = relax("--fmax", "0.1")
    assert code == 2
    assert "fmax was 0.05" in told.err


def test_an_unknown_force_field_is_one_line(structures, tmp_path, capsys):
    argv = ["relax", str(structures), "--force-field", "mace", "--workspace", str(tmp_path / "w")]
    assert main(argv) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith("repdiff relax: unknown force field 'mace'; known: chgnet, ")
    assert not (tmp_path / "w" / "relax" / "made-mace").exists()


def test_relaxed_crystals_are_judged_with_those_that_were_relaxed_not_the_newest(relax, tmp_path):
    relax()
    write_structures(tmp_path / "newer", read_structures(tmp_path / "made")[:2])
    assert relax("--n", "2", "--name", "newer")[0] == 0
    words = ["evaluate", "--relaxed", "made-toy", "--only", "validity", "--n-workers", "1"]
    assert main([*words, "--workspace", str(tmp_path / "w")]) == 0
    judged = read_manifest(tmp_path / "w" / "evaluate" / "made")
    assert judged.config["structures"] == str(tmp_path / "made")


def test_a_folder_that_is_no_relaxation_is_refused(structures):
    with pytest.raises(UserError, match="repdiff relax"):
        read_relaxed(structures)


def test_a_damaged_relaxation_is_refused_in_one_line(relax):
    _, folder, _ = relax()
    (folder / "force_field.json").write_text(json.dumps({"protocol": {}}))
    with pytest.raises(UserError, match="damaged"):
        read_relaxed(folder)


def test_a_relaxed_crystal_carries_the_energy_of_the_force_field_and_no_other(toy, tmp_path):
    labels = {
        "energy": -999.0,
        "free_energy": -999.0,
        "magmom": 3.0,
        "stress": 1.25,
        "virial": 2.0,
        "Lattice": "fcc",
    }
    silicon = Crystal(
        id="a",
        atomic_numbers=np.array([14, 14, 6, 6]),
        lattice=np.eye(3) * 3.6,
        frac_coords=np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]),
        labels=labels,
    )
    write_crystals(tmp_path / "in.parquet", [silicon])
    words = ["relax", str(tmp_path / "in.parquet"), "--force-field", "toy", "--n-workers", "1"]
    assert main([*words, "--workspace", str(tmp_path / "w")]) == 0
    folder = tmp_path / "w" / "relax" / "in.parquet-toy"
    (crystal,) = read_structures(folder)
    assert crystal.labels["energy"] == pytest.approx(4 * crystal.labels["energy_per_atom"])
    assert crystal.labels["input_energy"] == -999
    assert (crystal.labels["stress"], crystal.labels["virial"], crystal.labels["Lattice"]) == (
        1.25,
        2.0,
        "fcc",
    )
    assert not {"free_energy", "magmom"} & set(crystal.labels)
    frame = ase.io.read(folder / "structures.extxyz")
    assert frame.get_potential_energy() == pytest.approx(crystal.labels["energy"])
    assert frame.info["stress_label"] == 1.25
    np.testing.assert_allclose(frame.cell.array, crystal.lattice, atol=1e-7)


def test_what_the_limit_of_time_stops_is_counted_and_said(relax):
    code, folder, told = relax("--max-seconds", "1e-9", "--fmax", "1e-9")
    assert code == 0
    assert "8 stopped by the limit of time" in told.err
    assert read_manifest(folder).summary["n_out_of_time"] == 8
    found = read_relaxed(folder)
    assert found.protocol["max_seconds"] == 1e-9
    assert {end.stopped for end in found.relaxations.values() if end.crystal} == {"max_seconds"}
