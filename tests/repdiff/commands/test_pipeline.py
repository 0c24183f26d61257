"""The whole chain by the command line, as a user runs it."""

import json
import zipfile
from pathlib import Path

import known_crystals
import numpy as np
import pyarrow.parquet as pq
import pytest
from ase.io import read
from monty.serialization import loadfn
from pymatgen.core import Structure
from pymatgen.io.cif import CifParser
from small_runs import SAMPLING, TRAINING

from descriptors.base import DESCRIPTORS
from repdiff.cli.main import main
from repdiff.crystals.structure_files import read_structures
from repdiff.representations.encoded_set import EncodedSet
from repdiff.representations.shards import read_generated
from repdiff.runs.manifest import read_manifest

CHAIN = (
    ("encode", "tiny-ead"),
    ("train", "tiny-ead-mlp"),
    ("generate", "tiny-ead-mlp-ddim5-seed0"),
    ("reconstruct", "tiny-ead-mlp-ddim5-seed0-n4-fast"),
)
RECONSTRUCT = ["reconstruct", "--preset", "fast", "--n-workers", "1"]
pytestmark = pytest.mark.usefixtures("_quick_search")


@pytest.fixture(scope="module")
def reconstructed(tiny_workspace) -> Path:
    return tiny_workspace / "reconstruct" / CHAIN[-1][1]


def contents(folder):
    """Return the bytes of every file but the locks, by path."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


def test_each_verb_takes_the_output_of_the_one_before(tiny_workspace):
    before = None
    for verb, name in CHAIN:
        manifest = read_manifest(tiny_workspace / verb / name)
        assert manifest.status == "finished"
        if before is not None:
            assert [Path(source.path) for source in manifest.inputs.values()] == [before]
        before = tiny_workspace / verb / name


def test_encoding_keeps_every_crystal_and_counts_them(tiny_workspace):
    encoded = EncodedSet.read(tiny_workspace / "encode" / CHAIN[0][1])
    summary = read_manifest(tiny_workspace / "encode" / CHAIN[0][1]).summary
    assert sorted(crystal.id for crystal in encoded.crystals) == [f"c{number:02d}" for number in range(41)]
    assert (summary["n_crystals"], summary["n_rejected"]) == (41, 0)
    assert sum(summary["splits"].values()) == 41
    assert min(summary["splits"].values()) > 0
    known = known_crystals.family()
    n_atoms = encoded.layout.representation().blocks["n_atoms"]
    for crystal, vector in zip(encoded.crystals, encoded.representations, strict=True):
        assert float(vector[n_atoms]) == len(known[int(crystal.id[1:])])


def test_formulas_drawn_first_are_exact(tiny_workspace):
    made = read_generated(tiny_workspace / "generate" / CHAIN[2][1])
    vectors, layout = made.vectors, made.layout
    blocks = layout.representation().blocks
    counts = vectors[:, blocks["composition"]] * vectors[:, blocks["n_atoms"]]
    np.testing.assert_allclose(counts, counts.round(), atol=1e-4)
    np.testing.assert_allclose(counts.sum(1), vectors[:, blocks["n_atoms"]][:, 0], rtol=1e-4)
    assert set(vectors[:, blocks["n_atoms"]].flatten().round(decimals=3).tolist()) <= {2.0, 5.0}


def test_every_file_of_structures_opens_in_one_order(reconstructed):
    crystals = read_structures(reconstructed)
    frames = read(reconstructed / "structures.extxyz", ":")
    documents = loadfn(reconstructed / "structures.json.gz")
    table = pq.read_table(reconstructed / "table.parquet").to_pylist()
    with zipfile.ZipFile(reconstructed / "cif.zip") as archive:
        cifs = [
            CifParser.from_str(archive.read(name).decode()).parse_structures(primitive=False)[0]
            for name in sorted(archive.namelist())
        ]
    assert len(crystals) == len(frames) == len(documents) == len(table) == len(cifs) == 4
    for index, crystal in enumerate(crystals):
        volumes = [frames[index].cell.volume, documents[index].volume, cifs[index].volume]
        np.testing.assert_allclose(volumes, crystal.volume, rtol=1e-4)
        assert isinstance(documents[index], Structure)
        assert sorted(frames[index].numbers) == sorted(crystal.atomic_numbers)
        assert documents[index].composition == cifs[index].composition
        assert crystal.id == f"gen-{index:06d}" == frames[index].info["id"] == table[index]["id"]


def test_every_structure_has_its_loss_and_what_became_of_its_vector(reconstructed):
    summary = read_manifest(reconstructed).summary
    rows = pq.read_table(reconstructed / "table.parquet").to_pylist()
    for row in rows:
        assert 0 <= row["loss"] < 10
        assert row["n_evaluations"] > 0
        assert row["stopped"] in ("solved", "trials agree", "no progress", "budget spent")
        assert row["composition_residual"] == pytest.approx(0, abs=1e-3)
        assert row["reduced_formula"]
    assert summary["n_crystals"] + summary["n_failed"] == 4
    assert summary["median_loss"] == pytest.approx(np.median([row["loss"] for row in rows]))
    assert not (reconstructed / "parts").exists()


@pytest.mark.parametrize(
    ("verb", "flags"),
    [("train", TRAINING), ("generate", ["--n", "4", *SAMPLING]), ("reconstruct", RECONSTRUCT[1:])],
)
def test_the_same_command_again_says_finished_and_changes_nothing(verb, flags, run, workspace):
    folder = workspace / verb / dict(CHAIN)[verb]
    before = contents(folder)
    # the copied workspace has another path, so that the inputs are named
    code, path, said = run(verb, *flags)
    assert (code, path) == (0, folder)
    assert "is finished already" in said
    assert contents(folder) == before


def test_encoding_again_says_finished_and_changes_nothing(run, workspace, tiny_file):
    folder = workspace / "encode" / "tiny-ead"
    before = contents(folder)
    code, path, said = run("encode", str(tiny_file))
    assert (code, path) == (0, folder)
    assert "is finished already" in said
    assert contents(folder) == before


def test_evaluation_prints_a_table_and_compares_with_the_reference(run, workspace, tiny_file, capsys):
    code, path, _ = run("evaluate", "--reference", f"{tiny_file}:test", "--n-workers", "1")
    assert code == 0
    metrics = json.loads((path / "metrics.json").read_text())
    assert metrics["n_generated"] == 4
    assert (
        metrics["n_reference"] == read_manifest(workspace / "encode" / "tiny-ead").summary["splits"]["test"]
    )
    assert 0 <= metrics["metrics"]["validity"]["values"]["structure_valid"]["value"] <= 1
    assert pq.read_table(path / "per_structure.parquet").num_rows == 4
    assert main(["evaluate", "--reference", f"{tiny_file}:test", "--workspace", str(workspace)]) == 0
    again = capsys.readouterr()
    assert "validity.structure_valid" in again.out
    assert "is finished already" in again.err


@pytest.mark.parametrize("verb", ["encode", "train", "generate", "reconstruct"])
def test_info_describes_every_output(verb, tiny_workspace, capsys):
    assert main(["info", str(tiny_workspace / verb / dict(CHAIN)[verb])]) == 0
    assert dict(CHAIN)[verb] in capsys.readouterr().out


def test_compositions_may_be_learnt_together_with_the_rest(run):
    assert run("train", *TRAINING, "--compositions", "joint", "--name", "joint")[0] == 0
    code, generated, _ = run("generate", "--n", "3", *SAMPLING)
    assert (code, generated.name) == (0, "joint-ddim5-seed0")
    assert bool(read_generated(generated).vectors.isfinite().all())
    code, path, _ = run(*RECONSTRUCT)
    assert code == 0
    summary = read_manifest(path).summary
    assert summary["n_crystals"] + summary["n_failed"] == 3


@pytest.mark.usefixtures("_tiny_composition_model")
@pytest.mark.parametrize("name", sorted(set(DESCRIPTORS) - {"ead"}))
def test_another_descriptor_goes_through_the_whole_chain(name, tiny_file, tmp_path):
    for argv in (
        ["encode", str(tiny_file), "--descriptor", name, "--limit", "20"],
        ["train", *TRAINING],
        ["generate", "--n", "2", *SAMPLING],
        RECONSTRUCT,
        ["evaluate", "--n-workers", "1"],
    ):
        assert main([*argv, "--workspace", str(tmp_path)]) == 0
    folder = tmp_path / "reconstruct" / f"tiny-{name}-mlp-ddim5-seed0-n2-fast"
    assert len(read_structures(folder)) == 2
