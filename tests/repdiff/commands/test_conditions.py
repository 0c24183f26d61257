"""What is asked on the command line, in YAML and in Python is the same, and the table says what became of it."""

import json
import shutil

import pyarrow.parquet as pq
import pytest
import torch
from small_runs import SAMPLING, TRAINING

import repdiff as rd
from descriptors.symmetry.settings import canonical
from repdiff.conditions.files import MISSED
from repdiff.crystals.crystal import read_crystals
from repdiff.crystals.structure_files import TABLE, read_structures
from repdiff.representations.shards import read_generated
from repdiff.runs.failures import read_failed
from repdiff.runs.manifest import read_manifest
from repdiff.runs.workspace import Workspace
from repdiff.symmetry.columns import protostructures_of

INVERT = ["reconstruct", "--preset", "fast", "--n-workers", "1"]
CRYSTALS = ["--network-width=16", "--network-n-blocks=1", "--torus-timesteps=10", "--lattice-timesteps=10"]


@pytest.fixture
def gemsdiff(run):
    """A model of gemsdiff of no worth, the newest of the workspace."""
    code, path, said = run(
        "train", "--backend", "gemsdiff", *CRYSTALS, "--max-epochs", "1", "--batch-size", "8"
    )
    assert code == 0, said
    return path


def test_conditions_travel_to_the_crystals_and_the_rates_are_told(run, capsys):
    code, generated, said = run(
        "generate", "--n", "6", *SAMPLING, "--space-group", "221,225", "--n-atoms", "1-5"
    )
    assert code == 0, said
    assert "space_group-221-225-n_atoms-1-5" in generated.name
    code, path, said = run(*INVERT)
    assert code == 0, said
    crystals, failed = read_structures(path), read_failed(path)
    assert len(crystals) + len(failed) == 6
    for crystal in crystals:
        assert crystal.labels["space_group_asked"] == "221,225"
        assert crystal.labels["space_group_obtained"] in (221, 225)
        assert crystal.labels["n_atoms_obtained"] == crystal.n_atoms <= 5
        assert crystal.labels["n_atoms_within"] is True
    summary = read_manifest(path).summary["conditions"]
    n = summary["space_group"]["n"]
    assert summary["n_atoms"] == {"asked": "1-5", "how": "exactly", "n": n, "n_within": n}
    code, scores, said = run("evaluate", str(path), "--only", "conditions", "--no-baseline")
    assert code == 0, said
    values = json.loads((scores / "metrics.json").read_text())["metrics"]["conditions"]["values"]
    assert values["space_group"]["value"] == values["n_atoms"]["value"] == 1.0
    columns = pq.read_table(scores / "per_structure.parquet").column_names
    assert {"space_group_asked", "space_group_obtained", "space_group_within"} <= set(columns)


def test_samples_are_new_to_a_named_encoded_set(run, workspace):
    encoded = Workspace(root=workspace).newest("encode")
    code, path, said = run("generate", "--n", "6", *SAMPLING, "--new-to", encoded.name)
    assert code == 0, said
    assert path.name.endswith(f"new_to-{encoded.name}-seed0")
    assert read_manifest(path).inputs["new_to"].path == str(encoded.resolve())
    known = {canonical(one) for one in protostructures_of(read_crystals(encoded / "crystals.parquet")) if one}
    drawn = [one for one in read_generated(path).symmetry.protostructures if one is not None]
    assert drawn
    assert not known & {canonical(one) for one in drawn}
    code, _, said = run("generate", "--n", "6", *SAMPLING, "--new-to", "nowhere")
    assert code == 2
    assert "nowhere" in said.splitlines()[-1]


def test_the_rates_stand_on_stdout_before_the_path(workspace, capsys):
    from repdiff.cli.main import main

    for argv in (
        ["generate", "--n", "3", *SAMPLING, "--space-group", "225", "--condition", "density=0.1..90"],
        INVERT,
    ):
        capsys.readouterr()
        assert main([*argv, "--workspace", str(workspace)]) == 0
    *told, path = capsys.readouterr().out.splitlines()
    assert told[0].startswith("space_group 225 (exactly): ")
    assert told[1].startswith("density 0.1..90 (by selection): ")
    assert path.startswith(str(workspace))


def test_command_line_yaml_and_python_ask_for_the_same(run, workspace, tmp_path):
    asked = {"crystal_system": "cubic", "elements_excluded": "Na-K", "n_atoms": "2-5"}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in asked.items()]
    by_flags = run("generate", "--n", "5", *SAMPLING, *flags, "--name", "flags")
    file = tmp_path / "asked.yaml"
    file.write_text(
        "generate: {crystal_system: [cubic], elements_excluded: [Na, K], n_atoms: 2-5, sampler: ddim, steps: 5}\n"
    )
    by_file = run("generate", "--n", "5", "--config", str(file), "--name", "file")
    by_name = run(
        "generate", "--n", "5", *SAMPLING, "--name", "by-name",
        *[f"--condition={name}={value}" for name, value in asked.items()],
    )  # fmt: skip
    model = rd.load_model(next((workspace / "train").iterdir()), device="cpu")
    how = {"sampler": "ddim", "steps": 5, "progress": False}
    vectors = [read_generated(path).vectors for code, path, _ in (by_flags, by_file, by_name)]
    vectors += [
        model.sample_representations(5, **asked, **how).vectors,
        model.sample_representations(5, conditions=asked, **how).vectors,
    ]
    assert all(torch.equal(one, vectors[0]) for one in vectors)
    assert not torch.equal(vectors[0], model.sample_representations(5, **how).vectors)


def test_a_system_of_crystals_obeys_and_counts_what_does_not(run, gemsdiff):
    code, path, said = run(
        "generate", "--backend", "gemsdiff", "--n", "12", "--steps", "3", "--elements-excluded", "O-F",
        "--condition", "mass_per_atom=20..", "--volume-per-atom", "10-30",
    )  # fmt: skip
    assert code == 0, said
    crystals, failed = read_structures(path), read_failed(path)
    assert len(crystals) + len(failed) == 12
    for crystal in crystals:
        assert not {8, 9} & set(crystal.atomic_numbers.tolist())
        assert crystal.labels["mass_per_atom_obtained"] >= 20
        assert 10 <= crystal.volume / crystal.n_atoms <= 30
    rates = read_manifest(path).summary["conditions"]
    assert rates["elements_excluded"]["n_within"] == rates["mass_per_atom"]["n_within"] == 12
    assert rates["volume_per_atom"]["how"] == "by selection"
    missed = [] if not failed else read_structures(path / MISSED)
    assert len(missed) == len(failed) == read_manifest(path).summary["n_not_as_asked"]
    assert all("volume_per_atom is" in reason for reason in failed.values())
    assert (path / TABLE).is_file()


def test_formula_units_are_drawn_by_a_system_of_crystals(run, gemsdiff):
    code, path, said = run(
        "generate", "--backend", "gemsdiff", "--n", "12", "--steps", "2", "--composition", "NaCl",
        "--formula-units", "1-2",
    )  # fmt: skip
    assert code == 0, said
    crystals = read_structures(path)
    assert {crystal.n_atoms for crystal in crystals} == {2, 4}
    assert {crystal.labels["composition_asked"] for crystal in crystals} == {"1-2 x NaCl"}
    assert all(crystal.labels["composition_within"] for crystal in crystals)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--space-group", "225"],
            "gemsdiff does not honour --space-group, expected one that does: mattergen, struct",
        ),
        (
            ["--crystal-system", "cubic"],
            "does not honour --crystal-system, expected one that does: structrepdiff",
        ),
        (["--condition", "band_gap=1.5", "--backend", "gemsdiff"], "takes no properties, expected mattergen"),
        (["--condition", "densty=5-7", "--backend", "gemsdiff"], "Did you mean 'density'"),
        (["--chemical-system", "Og-Ts"], "none of 25 training formulas obeys --chemical-system Og-Ts"),
        (["--composition", "NaCl", "--n-atoms", "3"], "NaCl is asked for, which --n-atoms 3 rules out"),
        (
            ["--composition", "NaCl", "--condition", "hhi_production=..1"],
            "which `hhi_production` ..1 rules out",
        ),
        (["--formula-units", "2"], "--formula-units is 2, expected it beside a composition only"),
        (["--lattice", "a=4.1"], "`lattice_a` is 4.1, which no crystal has to the last digit"),
        (["--lattice", "4.1"], "--lattice is '4.1', expected NAME=VALUE"),
        (["--volume-per-atom", "large"], "--volume-per-atom is 'large', expected a range such as"),
        (["--n-atoms", "many"], "--n-atoms is 'many', expected numbers from 1 to 1000"),
        (["--chemical-system", ""], "empty"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(run, gemsdiff, flags, message):
    model = ["--model", str(gemsdiff)]
    code, _, said = run("generate", "--n", "2", *model, *flags)
    assert code == 2
    assert message in said.splitlines()[-1]
    assert "Traceback" not in said


def test_values_that_no_training_crystal_has_are_warned_of(run):
    code, _, said = run("generate", "--n", "2", *SAMPLING, "--condition", "density=80-90")
    assert code == 0
    assert "density is asked to be 80..90, and the training data lie about" in said


def test_the_old_meaning_of_lattice_is_still_read(run, gemsdiff, tmp_path):
    code, path, said = run(
        "generate", "--model", str(gemsdiff), "--n", "2", "--steps", "2", "--lattice", "beta"
    )
    assert code == 0, said
    assert read_manifest(path).config["lattice_noise"] == "beta"
    file = tmp_path / "old.yaml"
    file.write_text("generate: {backend: gemsdiff, lattice: beta, steps: 2}\n")
    code, again, said = run("generate", "--config", str(file), "--n", "2")
    assert (code, again) == (0, path), said
    made = rd.load_model(gemsdiff, device="cpu").sample(2, steps=2, lattice="beta", progress=False)
    assert [crystal.formula for crystal in made] == [crystal.formula for crystal in read_structures(path)]


def test_a_model_without_protostructures_refuses_what_needs_them(run):
    code, _, said = run("train", *TRAINING, "--compositions", "first", "--name", "first")
    assert code == 0, said
    code, _, said = run("generate", "--n", "2", *SAMPLING, "--space-group", "225")
    assert code == 2
    assert "--space-group is given, which a model needs protostructures for" in said.splitlines()[-1]
    code, _, said = run("generate", "--n", "2", *SAMPLING, "--condition", "hhi_production=..9999")
    assert code == 0, said


def test_samples_without_a_vector_are_no_representations(run):
    code, path, said = run("generate", "--n", "6", *SAMPLING, "--condition", "formula_mass=..45")
    assert code == 0, said
    n_bare = int(read_generated(path).vectors.isnan().any(1).sum())
    assert 0 < n_bare < 6
    assert f"{6 - n_bare} representations, and {n_bare} samples without" in said
    assert read_manifest(path).summary["n_without_vector"] == n_bare


def test_a_model_that_learns_labels_has_a_name_of_its_own(run, workspace):
    name = f"{Workspace(root=workspace).newest('train').name}-symmetry_strain"
    code, path, said = run("train", *TRAINING, "--condition-on", "symmetry_strain", "--max-steps", "1")
    assert code == 0, said
    assert path.name == name
    shutil.rmtree(path)
    code, _, said = run("train", *TRAINING, "--condition-on", "symmetry_strian")
    assert code == 2
    told = said.splitlines()[-1]
    assert "Did you mean" in told
    assert "chemical_system" not in told


def test_a_setting_that_was_empty_is_told_as_nothing(run, workspace):
    name = Workspace(root=workspace).newest("train").name
    code, _, said = run("train", *TRAINING, "--condition-on", "gap", "--name", name)
    assert code == 2
    assert "--condition-on was nothing, now gap" in said.splitlines()[-1]
