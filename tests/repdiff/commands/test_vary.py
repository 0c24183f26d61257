"""`repdiff vary`: variations of given crystals, with what is said of each."""

import numpy as np
import pytest

import repdiff as rd
from repdiff.backends.structrepdiff import StructRepDiff
from repdiff.crystals.structure_files import read_structures, write_file
from repdiff.metrics.matching import match_pairs
from repdiff.representations.encoded_set import EncodedSet
from repdiff.runs.failures import read_failed
from repdiff.runs.manifest import read_manifest
from repdiff.testing.example_crystals import rock_salt

pytestmark = pytest.mark.usefixtures("_quick_search")
QUICK = ["--preset", "fast", "--n-workers", "1"]
GEMSDIFF = [
    "--network-width", "16", "--network-n-blocks", "1", "--network-n-neighbors", "8", "--network-max-neighbors", "12",
    "--torus-timesteps", "10", "--lattice-timesteps", "10", "--max-steps", "4", "--batch-size", "8",
]  # fmt: skip


@pytest.fixture
def known(workspace):
    return EncodedSet.read(workspace / "encode" / "tiny-ead").crystals


@pytest.fixture
def parents(known, tmp_path):
    """A salt, as it is and as a supercell, and a perovskite."""
    wide = rd.CrystalSet.of([known[1]]).to_structures()[0]
    wide.make_supercell([[1, 0, 0], [1, 2, 0], [0, 0, 1]])
    large = rd.CrystalSet.of([wide]).crystals[0].replace(id="wide")
    return write_file(tmp_path / "parents.parquet", [known[0], large, known[33]])


def test_each_crystal_has_its_variations_with_parent_distances_and_the_nearest_known(run, parents, known):
    code, path, said = run("vary", str(parents), "--strength", "0.5", "--n", "3", *QUICK)
    assert code == 0, said
    made = read_structures(path)
    assert [one.id for one in made] == [
        f"{name}-{number:03d}" for name in (known[0].id, "wide", known[33].id) for number in range(3)
    ]
    train = {one.id for one in known if one.split == "train"}
    for one in made:
        assert one.labels["parent"] == one.id.rpartition("-")[0]
        assert 0 < one.labels["parent_distance"] < 2
        assert one.labels["nearest"] in train
        assert 0 <= one.labels["nearest_distance"] < 2
        assert one.labels["same_as_parent"] in (True, False)
        assert one.labels["start"] in ("parent", "random")
    assert {one.formula for one in made[3:6]} == {known[1].formula}  # in the primitive cell
    summary = read_manifest(path).summary
    assert (summary["n_parents"], summary["n_crystals"], summary["among"]) == (3, 9, "tiny-ead:train")
    assert 0 <= summary["share_same_as_parent"] <= 1
    assert {"structures.extxyz", "cif.zip", "structures.csv", "table.parquet"} <= {
        file.name for file in path.iterdir()
    }
    assert not (path / "parts").exists()


def test_near_no_strength_variations_are_their_parents_whichever_cell_these_come_in(run, parents, known):
    code, path, said = run("vary", str(parents), "--strength", "0.001", "--n", "1", *QUICK)
    assert code == 0, said
    assert "strength 0.001 is less than half a step" in said
    made = read_structures(path)
    assert all(one.labels["same_as_parent"] for one in made)
    assert max(one.labels["parent_distance"] for one in made) < 1e-4
    away = match_pairs(made, [known[0], known[1], known[33]])
    assert float(np.nanmax(away)) < 1e-3
    volumes = [known[row].volume for row in (0, 1, 33)]
    assert [one.volume for one in made] == pytest.approx(volumes, rel=1e-4)


def test_variations_are_farther_the_stronger(run, workspace, known):
    far = []
    file = write_file(workspace / "some.parquet", known[30:36])
    for strength in ("0.1", "0.4", "1"):
        code, path, said = run("vary", str(file), "--strength", strength, "--n", "4", *QUICK)
        assert code == 0, said
        far.append(read_manifest(path).summary["mean_parent_distance"])
    assert far == sorted(far)


def test_an_interrupted_run_goes_on_where_it_was_and_gives_the_same(run, parents, monkeypatch):
    argv = ["vary", str(parents), "--strength", "0.5", "--n", "2", "--shard-size", "2", *QUICK]
    _, whole, _ = run(*argv, "--name", "whole")
    vary, calls = StructRepDiff.vary, []

    def counted(self, parents, numbers, **more):
        calls.append(list(numbers))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return vary(self, parents, numbers, **more)

    monkeypatch.setattr(StructRepDiff, "vary", counted)
    assert run(*argv, "--name", "cut")[0] == 130
    code, resumed, _ = run(*argv, "--name", "cut")
    assert code == 0
    assert calls == [[0, 1], [1_000_000, 1_000_001], [2_000_000, 2_000_001], [2_000_000, 2_000_001]]
    for one, other in zip(read_structures(whole), read_structures(resumed), strict=True):
        assert one.id == other.id
        np.testing.assert_allclose(one.lattice, other.lattice, atol=1e-3)


def test_a_composition_alone_can_be_kept_and_known_crystals_named(run, parents, tiny_file):
    argv = ["--keep", "composition", "--among", f"{tiny_file}:test", "--strength", "1", "--n", "2"]
    code, path, said = run("vary", str(parents), *argv, *QUICK)
    assert code == 0, said
    manifest = read_manifest(path)
    assert manifest.config["keep"] == "composition"
    assert manifest.summary["among"] == f"{tiny_file}:test"
    for one in read_structures(path):
        assert one.labels["start"] == "random"


def test_backends_of_crystals_vary_in_their_own_space(run, parents, known):
    code, _, said = run("train", "--backend", "gemsdiff", *GEMSDIFF)
    assert code == 0, said
    code, path, said = run("vary", str(parents), "--strength", "0.5", "--n", "2", "--keep", "protostructure")
    assert code == 0, said
    made = read_structures(path)
    assert [one.formula for one in made[:2]] == [known[0].formula] * 2
    assert "loss" not in made[0].labels
    code, path, said = run("evaluate", path.name, "--only", "validity", "--n-workers", "1")
    assert code == 0, said


def test_what_cannot_be_varied_is_named_with_its_reason(run, known, tmp_path):
    gold = known[0].replace(id="gold", atomic_numbers=np.full(known[0].n_atoms, 79))
    flat = known[1].replace(id="flat", frac_coords=np.zeros_like(known[1].frac_coords))
    chain = rd.CrystalSet.of([known[33]]).to_structures()[0]
    chain.make_supercell([3, 1, 1])
    chain.translate_sites([0], [0.02, 0, 0])
    large = rd.CrystalSet.of([chain]).crystals[0].replace(id="large")
    file = write_file(tmp_path / "mixed.parquet", [gold, flat, known[2], large])
    code, path, said = run("vary", str(file), "--n", "1", *QUICK)
    assert code == 0, said
    assert "3 of 4 crystals cannot be varied" in said
    told = read_failed(path)
    assert told["gold"] == "unknown to the model: Au"
    assert "overlapping atoms" in told["flat"]
    assert "has 15 atoms" in told["large"]
    assert "expected at most 5" in told["large"]
    file = write_file(tmp_path / "gold.parquet", [gold])
    code, _, said = run("vary", str(file), *QUICK)
    assert code == 2
    assert said.splitlines()[-1].endswith(
        "none of 1 crystals can be varied; the first: unknown to the model: Au"
    )


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--strength", "0"], "--strength is 0, expected more than 0"),
        (["--strength", "1.5"], "--strength is 1.5, expected at most 1"),
        (["--strength", "half"], "--strength is half, expected a number"),
        (["--keep", "colour"], "--keep is colour, expected one of protostructure, composition, nothing"),
        (["--n", "0"], "--n is 0, expected at least 1"),
        (["--steps", "21"], "--steps is 21, expected at most 20"),
        (["--space-group", "225"], "No such option '--space-group'"),
        (["--new-only"], "--new-only is given, expected none: the parents decide"),
        (["--keep-best", "0.3"], "--keep-best is given, expected none: the parents decide"),
        (["--among", "tiny-ead:trian"], "tiny-ead:trian"),
        (["--among", "{soap}"], "is encoded with the descriptor soap, expected ead"),
        (["--model", "nothing"], "nothing: no such path"),
    ],
)
def test_mistakes_are_told_in_one_line_before_anything_is_made(
    argv, told, run, parents, tiny_file, workspace
):
    if "{soap}" in argv:
        assert (
            run("encode", str(tiny_file), "--descriptor", "soap", "--limit", "5", "--name", "soapy")[0] == 0
        )
        argv = ["--among", "soapy", "--model", "tiny-ead-mlp"]
    code, _, said = run("vary", str(parents), *argv, *QUICK)
    assert code == 2
    assert told in said.splitlines()[-1]
    assert "Traceback" not in said
    assert not list((workspace / "vary").glob("*")) if (workspace / "vary").exists() else True


def test_an_empty_set_and_a_backend_without_diffusion_are_refused(run, parents, tmp_path):
    empty = tmp_path / "empty.parquet"
    write_file(empty, [])
    code, _, said = run("vary", str(empty), *QUICK)
    assert code == 2
    assert "empty.parquet" in said.splitlines()[-1]
    assert run("train", "--backend", "retrieval")[0] == 0
    code, _, said = run("vary", str(parents))
    assert code == 2
    assert "is a model of retrieval, which makes no variations: it has no diffusion" in said.splitlines()[-1]


def test_python_makes_the_variations_of_the_command_line(run, workspace, parents, tiny_file):
    code, path, said = run("vary", str(parents), "--strength", "0.5", "--n", "2", *QUICK)
    assert code == 0, said
    model = rd.load_model(workspace / "train" / "tiny-ead-mlp", device="cpu")
    varied = model.vary(
        rd.read(parents), strength=0.5, n=2, search="fast", among=f"{tiny_file}:train", progress=False
    )
    for one, other in zip(read_structures(path), varied.crystals, strict=True):
        assert one.id == other.id
        np.testing.assert_allclose(one.lattice, other.lattice, atol=1e-3)
        assert one.labels["parent_distance"] == pytest.approx(other.labels["parent_distance"], abs=1e-3)
        assert one.labels["nearest"] == other.labels["nearest"]
    assert {"parent", "parent_distance", "same_as_parent", "nearest"} <= set(varied.to_frame())
    alone = model.vary(rd.read(parents), strength=0.5, n=1, search="fast", progress=False)
    assert "nearest" not in alone.to_frame()
    np.testing.assert_allclose(alone.crystals[1].lattice, varied.crystals[2].lattice, atol=1e-3)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"strength": 0.0}, "`strength` is 0, expected"),
        ({"strength": 1.5}, "`strength` is 1.5, expected"),
        ({"strength": "half"}, "strength is 'half', expected a number"),
        ({"keep": "colour"}, "`keep` is 'colour', expected protostructure or composition or nothing"),
        ({"n": 0}, "n is 0, expected"),
        ({"widht": 3}, "unknown option 'widht'"),
        ({"among": "mp_21"}, "mp_21"),
    ],
)
def test_mistakes_in_python_are_told_in_one_line(wrong, told, workspace):
    model = rd.load_model(workspace / "train" / "tiny-ead-mlp", device="cpu")
    with pytest.raises(rd.UserError) as refused:
        model.vary(rock_salt(), progress=False, **wrong)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
