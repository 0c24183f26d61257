"""A package of somebody else, really installed, is found by the command line and by Python, and held to the kits."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import write

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that the example package is installed into."""
    folder = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source") / "plugin_example"  # building leaves files beside the source
    shutil.copytree(REPOSITORY / "tests" / "plugin_example", source)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*command, "--target", str(folder), str(source)], capture_output=True, text=True)
    if "No module named pip" in done.stderr:
        pytest.skip("this environment has no pip")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def python(installed, tmp_path):
    """Run Python where the package is installed; returns exit code, output and messages."""

    def call(*arguments):
        paths = os.pathsep.join([str(installed), str(REPOSITORY)])
        done = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        )
        return done.returncode, done.stdout, done.stderr

    return call


def test_the_command_line_finds_a_plugin_of_each_kind(python, tmp_path):
    frames = [bulk("Cu", a=3.5 + 0.01 * number, cubic=True) for number in range(8)]
    write(tmp_path / "copper.extxyz", frames)
    commands = [
        ["encode", "copper.extxyz", "--descriptor", "gaussian_pairs"],
        ["train", "--backend", "memory", "--max-steps", "2", "--batch-size", "2"],
        ["generate", "--n", "2"],
        ["relax", "--force-field", "springs", "--max-steps", "1", "--n-workers", "1"],
        ["evaluate", "--only", "packing"],
    ]
    run = f"from repdiff.cli.main import main\nfor words in {commands}:\n    assert main(words) == 0, words"
    code, out, said = python("-c", run)  # one process, since each takes seconds to start
    assert code == 0, said
    assert "packing.volume_per_atom" in out


def test_python_finds_a_plugin_of_each_kind(python):
    code, out, said = python(
        "-c",
        """
import repdiff as rd
from ase.build import bulk
atoms = [bulk("Cu", a=3.5 + 0.01 * number) for number in range(8)]
encoded = rd.encode(atoms, descriptor="gaussian_pairs", progress=False)
model = rd.train(encoded, backend="memory", max_steps=2, batch_size=2, progress=False)
crystals = model.sample(3, progress=False)
relaxed = rd.relax(crystals, force_field="springs", max_steps=1, device="cpu", progress=False)
print(rd.evaluate(relaxed, metrics=["packing"], progress=False).to_frame().index.tolist())
""",
    )
    assert code == 0, said
    assert "['packing.volume_per_atom']" in out


def test_a_broken_plugin_and_a_taken_name_are_told_in_a_line_each_and_do_no_harm(python):
    code, out, said = python(
        "-c", "from repdiff.energies.registered import FORCE_FIELDS; print(sorted(FORCE_FIELDS))"
    )
    assert code == 0, said
    assert "['chgnet', 'sevennet', 'springs']" in out
    assert "plugin force field 'broken' of repdiff-plugin-example is left out (ModuleNotFoundError" in said
    assert "'chgnet' is registered already, by repdiff.energies.chgnet.Chgnet" in said.replace(
        "CHGNet", "Chgnet"
    )
    assert "refused from repdiff_plugin_example.force_field.Springs" in said


def test_the_kits_take_what_an_outsider_made(python):
    code, _, said = python(
        "-c",
        """
import torch
from repdiff.testing import check_backend, check_descriptor, check_force_field, check_metric
from repdiff_plugin_example.descriptor import GaussianPairs
from repdiff_plugin_example.force_field import Springs
from repdiff_plugin_example.metric import Packing
torch.set_num_threads(1)
check_descriptor(GaussianPairs())
check_metric(Packing())
check_force_field(Springs(torch.device("cpu")))
check_backend("memory")
""",
    )
    assert code == 0, said
