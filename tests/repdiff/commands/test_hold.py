"""Held parts on the command line, in YAML and in Python are the same, and the table says what became of them."""

import pytest
import torch
from known_crystals import rocksalt

import repdiff as rd
from repdiff.crystals.structure_files import read_structures
from repdiff.representations.shards import read_generated
from repdiff.runs.failures import read_failed
from repdiff.runs.manifest import read_manifest

INVERT = ["reconstruct", "--preset", "fast", "--n-workers", "1"]
STEPS = ["--steps", "4", "--resamplings", "2"]

pytestmark = pytest.mark.usefixtures("_quick_search")


@pytest.fixture
def salt(tmp_path):
    return rd.write(tmp_path / "salt.cif", rocksalt())


def test_held_parts_travel_to_the_crystals_and_the_rates_are_told(run, salt, capsys):
    code, generated, said = run(
        "generate", "--n", "6", *STEPS, "--hold", f"cell={salt}", "--hold", "composition.O=0,min_distance=2.8"
    )
    assert code == 0, said
    assert "hold-cell-salt.cif" in generated.name
    assert read_manifest(generated).inputs["held_cell"].path.endswith("salt.cif")
    code, path, said = run(*INVERT)
    assert code == 0, said
    crystals, failed = read_structures(path), read_failed(path)
    assert len(crystals) + len(failed) == 6
    assert crystals
    for crystal in crystals:
        assert crystal.labels["held_cell_asked"].startswith("cubic 5.66 5.66 5.66 90 90 90 primitive 4.0")
        assert crystal.labels["held_cell_within"] is True
        assert crystal.labels["held_composition.O_obtained"] == 0.0
        assert crystal.labels["held_composition.O_within"] is True
        assert crystal.labels["held_min_distance_asked"] == "2.8±0.1"
    rates = read_manifest(path).summary["conditions"]
    assert rates["held_cell"]["how"] == "held"
    assert rates["held_cell"]["n_within"] == len(crystals)
    assert read_manifest(path).summary["n_not_as_asked"] == 0


def test_what_was_held_and_is_missed_stays_among_the_crystals(run):
    assert run("generate", "--n", "5", *STEPS, "--hold", "min_distance=3.9±0.001")[0] == 0
    code, path, said = run(*INVERT)
    assert code == 0, said
    crystals = read_structures(path)
    missed = [one for one in crystals if not one.labels["held_min_distance_within"]]
    assert missed
    assert read_manifest(path).summary["conditions"]["held_min_distance"]["n_within"] == len(crystals) - len(
        missed
    )


def test_a_held_volume_is_that_of_the_finished_crystals(run):
    assert run("generate", "--n", "6", *STEPS, "--hold", "volume=20")[0] == 0
    code, path, said = run(*INVERT)
    assert code == 0, said
    crystals = read_structures(path)
    assert crystals
    assert [one.volume / one.n_atoms for one in crystals] == pytest.approx([20] * len(crystals), rel=5e-3)


def test_command_line_yaml_and_python_hold_the_same(run, workspace, salt, tmp_path):
    flags = run(
        "generate",
        "--n",
        "4",
        *STEPS,
        "--hold",
        f"shape={salt},composition.O=0,volume=20.5",
        "--name",
        "flags",
    )
    file = tmp_path / "held.yaml"
    file.write_text(
        f"generate: {{steps: 4, resamplings: 2, hold: {{shape: {salt}, composition.O: 0, volume: 20.5}}}}\n"
    )
    of_file = run("generate", "--n", "4", "--config", str(file), "--name", "file")
    assert flags[0] == of_file[0] == 0, (flags[2], of_file[2])
    model = rd.load_model(next((workspace / "train").iterdir()), device="cpu")
    how = {"steps": 4, "resamplings": 2, "progress": False}
    held = {"shape": rocksalt(), "composition.O": 0, "volume": 20.5}
    found = [read_generated(path).vectors for _, path, _ in (flags, of_file)]
    found.append(model.sample_representations(4, hold=held, **how).vectors)
    found.append(model.sample_representations(4, hold={**held, "shape": str(salt)}, **how).vectors)
    for one in found:
        torch.testing.assert_close(one, found[0], equal_nan=True, atol=1e-4, rtol=1e-4)


def test_variations_hold_the_cell_and_say_so(run, salt):
    code, path, said = run(
        "vary", str(salt), "--strength", "1", "--n", "3", "--hold", "cell,min_distance", *STEPS,
        "--preset", "fast", "--n-workers", "1",
    )  # fmt: skip
    assert code == 0, said
    assert "hold-cell" in path.name
    crystals = read_structures(path)
    assert crystals
    for crystal in crystals:
        assert crystal.labels["held_cell_within"] is True
        assert crystal.labels["held_min_distance_asked"] == "2.83±0.1"
    assert read_manifest(path).summary["conditions"]["held_cell"]["n_within"] == len(crystals)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["generate", "--hold", "cel=x.cif"], "unknown part to hold 'cel'; known: "),
        (["generate", "--hold", "volume"], "--hold is 'volume', expected NAME=VALUE"),
        (["generate", "--hold", "volume=small"], "small"),
        (["generate", "--hold", "composition.O=2"], "--hold gives composition.O=2, expected a share from 0 to 1"),
        (["generate", "--hold", "volume=20", "--sampler", "ddim"], "--sampler is 'ddim', which cannot hold"),
        (
            ["generate", "--hold", "composition.O=0.6", "--composition", "SrTiO3"],
            "--hold gives composition.O beside a composition, which decides it",
        ),
        (["generate", "--hold", "volume=20", "--volume-per-atom", "30-40"], "rules out"),
        (["vary", "{salt}", "--hold", "cell", "--keep", "composition"], "--hold gives cell and --keep is composition"),
        (["vary", "{salt}", "--hold", "colour"], "unknown part to hold 'colour'"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_with_code_2(run, salt, argv, message):
    code, _, said = run(*[word.format(salt=salt) for word in argv])
    assert code == 2
    lines = [line for line in said.splitlines() if line.startswith("repdiff")]
    assert message in lines[-1]
    assert "Traceback" not in said


def test_systems_of_crystals_refuse_on_the_command_line(run, salt):
    code, _, said = run("train", "--backend", "retrieval")
    assert code == 0, said
    code, _, said = run("generate", "--backend", "retrieval", "--hold", "volume=20")
    assert code == 2
    assert "the backend retrieval draws no vectors, parts of which could be held" in said
