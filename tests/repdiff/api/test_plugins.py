"""A package of somebody else, really installed, is found by the command line and by Python, and held to the kits."""

import json
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


def run_python(installed, folder, *arguments):
    """Run Python in a folder where the package is installed; returns exit code, output and messages."""
    paths = os.pathsep.join([str(installed), str(REPOSITORY)])
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )
    return done.returncode, done.stdout, done.stderr


PARTS = {
    "python": """
import repdiff as rd
from ase.build import bulk
atoms = [bulk("Cu", a=3.5 + 0.01 * number) for number in range(8)]
encoded = rd.encode(atoms, descriptor="gaussian_pairs", progress=False)
model = rd.train(encoded, backend="memory", max_steps=2, batch_size=2, progress=False)
crystals = model.sample(3, progress=False)
relaxed = rd.relax(crystals, force_field="springs", max_steps=1, device="cpu", progress=False)
print(rd.evaluate(relaxed, metrics=["packing"], progress=False).to_frame().index.tolist())
""",
    "command line": """
from repdiff.cli.main import main
for words in (
    "encode copper.extxyz --descriptor gaussian_pairs",
    "train --backend memory --max-steps 2 --batch-size 2",
    "generate --n 2",
    "relax --force-field springs --max-steps 1 --n-workers 1",
    "evaluate --only packing",
):
    assert main(words.split()) == 0, words
""",
    "kits": """
import torch
from repdiff.testing import check_backend, check_descriptor, check_force_field, check_metric
from repdiff_plugin_example.descriptor import GaussianPairs
from repdiff_plugin_example.force_field import Springs
from repdiff_plugin_example.metric import Packing
check_descriptor(GaussianPairs())
check_metric(Packing())
check_force_field(Springs(torch.device("cpu")))
check_backend("memory")
""",
}
ONE_AFTER_THE_OTHER = f"""
import contextlib, io, json, torch, traceback
torch.set_num_threads(1)
for name, part in {PARTS!r}.items():
    said, error = io.StringIO(), ""
    with contextlib.redirect_stdout(said):
        try:
            exec(part, {{}})
        except BaseException:
            error = traceback.format_exc()
    print(json.dumps([name, said.getvalue(), error]))
"""


@pytest.fixture(scope="module")
def outcomes(installed, tmp_path_factory):
    """What each part printed, and how it failed: in one process, since each takes seconds to start."""
    folder = tmp_path_factory.mktemp("outsider")
    write(folder / "copper.extxyz", [bulk("Cu", a=3.5 + 0.01 * number, cubic=True) for number in range(8)])
    code, out, said = run_python(installed, folder, "-c", ONE_AFTER_THE_OTHER)
    assert code == 0, said
    return {name: (printed, error) for name, printed, error in map(json.loads, out.splitlines())}


@pytest.mark.parametrize("part", ["python", "command line"])
def test_a_plugin_of_each_kind_is_found(part, outcomes):
    printed, error = outcomes[part]
    assert not error
    assert "packing.volume_per_atom" in printed


def test_the_kits_take_what_an_outsider_made(outcomes):
    assert not outcomes["kits"][1]


def test_a_broken_plugin_and_a_taken_name_are_told_in_a_line_each_and_do_no_harm(installed, tmp_path):
    code, out, said = run_python(
        installed,
        tmp_path,
        "-c",
        "from repdiff.energies.registered import FORCE_FIELDS; print(sorted(FORCE_FIELDS))",
    )
    assert code == 0, said
    assert "['chgnet', 'sevennet', 'springs']" in out
    assert "plugin force field 'broken' of repdiff-plugin-example is left out (ModuleNotFoundError" in said
    assert "'chgnet' is registered already, by repdiff.energies.chgnet.Chgnet" in said.replace(
        "CHGNet", "Chgnet"
    )
    assert "refused from repdiff_plugin_example.force_field.Springs" in said
