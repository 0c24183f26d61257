import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

import repdiff.backends.dpcdvae as backend_module
from repdiff.cli.main import main
from repdiff.crystals.crystal import read_crystals, write_crystals
from repdiff.crystals.structure_files import read_structures, write_structures
from repdiff.latent_space.files import LATENTS, read_latents, write_latents
from repdiff.representations.encoded_set import EncodedSet
from repdiff.runs.manifest import read_manifest

OPTIONS = {
    "network.width": 16, "network.n_blocks": 1, "network.n_neighbors": 8, "network.max_neighbors": 12,
    "encoder.width": 16, "encoder.n_blocks": 1, "encoder.n_neighbors": 8, "encoder.max_neighbors": 12,
    "n_latent": 8, "head_width": 16, "timesteps": 4,
}  # fmt: skip
QUICK_HEAD = ["--head-options", "width=16,n_steps=100,learning_rate=0.01"]


@pytest.fixture(scope="module")
def trained(tiny_workspace, tmp_path_factory):
    """A workspace with a barely trained autoencoder as its newest model; not to be changed."""
    root = Path(shutil.copytree(tiny_workspace, tmp_path_factory.mktemp("latents") / "workspace"))
    options = ",".join(f"{name}={value}" for name, value in OPTIONS.items())
    argv = ["train", "--backend", "dpcdvae", "--backend-options", options, "--max-steps", "4"]
    assert main([*argv, "--batch-size", "8", "--workspace", str(root)]) == 0
    return root


@pytest.fixture
def workspace(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "workspace"))


@pytest.fixture
def known(trained):
    return EncodedSet.read(trained / "encode" / "tiny-ead").crystals


@pytest.fixture
def labelled(known, tmp_path):
    """The known crystals with their volume per atom as a label, one of which lacks it."""
    path = tmp_path / "labelled.parquet"
    volumes = [crystal.volume / crystal.n_atoms for crystal in known]
    volumes[7] = None
    marked = [one.replace(labels={"volume": v}) for one, v in zip(known, volumes, strict=True)]
    write_crystals(path, marked)
    return path


@pytest.fixture
def salted(known, tmp_path):
    """Four crystals, one of which is of gold, which the model does not know, and one of which overlaps itself."""
    gold = known[1].replace(atomic_numbers=np.full(known[1].n_atoms, 79))
    flat = known[2].replace(frac_coords=np.zeros_like(known[2].frac_coords))
    write_crystals(tmp_path / "salted.parquet", [known[0], gold, flat, known[3]])
    return tmp_path / "salted.parquet"


def test_encoding_writes_a_vector_for_every_crystal_under_its_name(run, tiny_file, known):
    code, path, said = run("latents", "encode", str(tiny_file))
    assert code == 0, said
    tensors, ids = read_latents(path)
    assert ids == [crystal.id for crystal in known]
    assert tensors["latents"].shape == (41, 8)
    with safe_open(path / LATENTS, framework="pt") as file:
        assert list(file.keys()) == ["latents"]
    assert sorted(file.name for file in path.iterdir()) == [
        "config.yaml", "failed.jsonl", LATENTS, "manifest.json"
    ]  # fmt: skip


def test_a_reconstruction_bears_the_names_of_the_originals_and_is_judged_against_them(run, tiny_file):
    code, path, said = run("latents", "reconstruct", str(tiny_file), "--n", "6", "--shard-size", "4")
    assert code == 0, said
    assert {"structures.extxyz", "cif.zip", "structures.json.gz", "structures.csv", "table.parquet"} <= {
        file.name for file in path.iterdir()
    }
    made = read_structures(path)
    assert len(made) == 6
    assert {crystal.id for crystal in made} <= {f"c{number:02d}" for number in range(41)}
    argv = ["--reference", str(tiny_file), "--only", "matching", "--n-workers", "1"]
    code, scores, said = run("evaluate", *argv)
    assert code == 0, said
    assert path.name in scores.name
    assert 0 <= read_manifest(scores).summary["matching.match_rate"] <= 1
    assert run("evaluate", path.name, *argv)[1] == scores


def test_decoding_what_was_encoded_is_a_reconstruction(run, tiny_file):
    _, whole, _ = run("latents", "reconstruct", str(tiny_file), "--n", "5")
    _, encoded, _ = run("latents", "encode", str(tiny_file), "--n", "5")
    code, path, said = run("latents", "decode", encoded.name, "--shard-size", "2")
    assert code == 0, said
    for one, other in zip(read_structures(whole), read_structures(path), strict=True):
        assert (one.id, one.formula) == (other.id, other.formula)
        np.testing.assert_allclose(one.lattice, other.lattice, rtol=1e-3, atol=1e-3)


def test_vectors_of_another_length_are_not_decoded(run, tmp_path):
    write_latents(tmp_path, {"latents": torch.zeros(2, 3)}, ["a", "b"])
    code, _, said = run("latents", "decode", str(tmp_path))
    assert code == 2
    assert "vectors of 3 numbers, expected 8" in said.splitlines()[-1]


def test_given_cells_and_atoms_stay_as_they_are(run, tiny_file, known):
    code, path, said = run("latents", "reconstruct", str(tiny_file), "--n", "5", "--given")
    assert code == 0, said
    originals = {crystal.id: crystal for crystal in known}
    for crystal in read_structures(path):
        assert crystal.formula == originals[crystal.id].formula
        assert crystal.volume == pytest.approx(originals[crystal.id].volume, rel=1e-4)
        np.testing.assert_allclose(
            np.linalg.norm(crystal.lattice, axis=1),
            np.linalg.norm(originals[crystal.id].lattice, axis=1),
            rtol=1e-4,
        )
    assert read_manifest(path).summary["n_same_formula"] == 5


def test_any_cell_of_a_crystal_is_brought_into_the_one_that_the_model_knows(run, known, tmp_path):
    shear = np.array([[1, 0, 0], [2, 1, 0], [0, 0, 1]])
    skewed = [
        one.replace(lattice=shear @ one.lattice, frac_coords=one.frac_coords @ np.linalg.inv(shear))
        for one in known[:3]
    ]
    write_crystals(tmp_path / "skewed.parquet", skewed)
    code, path, said = run("latents", "reconstruct", str(tmp_path / "skewed.parquet"), "--given")
    assert code == 0, said
    for crystal, original in zip(read_structures(path), known, strict=False):
        assert np.linalg.norm(crystal.lattice, axis=1).max() == pytest.approx(
            np.linalg.norm(original.lattice, axis=1).max(), rel=1e-4
        )


def test_what_cannot_be_encoded_is_named_with_its_reason_and_counts(run, salted):
    code, path, said = run("latents", "reconstruct", str(salted))
    assert code == 0, said
    assert "2 of 4 crystals cannot be encoded" in said
    told = (path / "failed.jsonl").read_text()
    assert "unknown to the model: Au" in told
    assert "overlapping atoms" in told
    summary = read_manifest(path).summary
    assert (summary["n_crystals"], summary["n_failed"]) == (2, 2)


def test_an_interrupted_reconstruction_goes_on_where_it_was(run, tiny_file, monkeypatch):
    argv = ["latents", "reconstruct", str(tiny_file), "--n", "6", "--shard-size", "2"]
    _, whole, _ = run(*argv, "--name", "whole")
    decode, calls = backend_module.DpCdvae.decode_latents, []

    def counted(self, latents, **more):
        calls.append(more["first"])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return decode(self, latents, **more)

    monkeypatch.setattr(backend_module.DpCdvae, "decode_latents", counted)
    assert run(*argv, "--name", "cut")[0] == 130
    code, resumed, _ = run(*argv, "--name", "cut")
    assert (code, calls) == (0, [0, 2, 4, 4])
    for one, other in zip(read_structures(whole), read_structures(resumed), strict=True):
        assert one.id == other.id
        np.testing.assert_allclose(one.frac_coords, other.frac_coords, atol=1e-3)


def test_points_lie_on_the_line_between_two_crystals_named_by_name_or_row(run, tiny_file):
    code, path, said = run(
        "latents", "interpolate", str(tiny_file), "--start", "c03", "--end", "5", "--n", "4"
    )
    assert code == 0, said
    line, ids = read_latents(path)
    assert ids == [f"c03-c05-{point:03d}" for point in range(4)]
    _, encoded, _ = run("latents", "encode", str(tiny_file))
    vectors, names = read_latents(encoded)
    ends = vectors["latents"][[names.index("c03"), names.index("c05")]]
    share = torch.linspace(0, 1, 4)[:, None]
    torch.testing.assert_close(
        line["latents"], (1 - share) * ends[:1] + share * ends[1:], rtol=1e-3, atol=1e-4
    )
    assert [one.labels["share"] for one in read_structures(path)] == pytest.approx([0, 1 / 3, 2 / 3, 1])


@pytest.mark.parametrize("goal", ["max", "min"])
def test_crystals_are_moved_to_where_the_property_is_predicted_as_wanted(goal, run, labelled):
    argv = ["latents", "optimize", str(labelled), "--property", "volume", "--goal", goal, "--n", "6"]
    code, path, said = run(*argv, *QUICK_HEAD, "--move-options", "n_steps=30")
    assert code == 0, said
    assert "1 of 41 crystals have no label volume" in said
    table = read_crystals(path / "table.parquet")
    assert [crystal.id for crystal in table] == [f"opt-{number:06d}" for number in range(6)]
    for crystal in table:
        rise = crystal.labels["predicted_after"] - crystal.labels["predicted_before"]
        assert rise > 0 if goal == "max" else rise < 0
        assert crystal.labels["start"].startswith("c")
    tensors, _ = read_latents(path)
    moved = (tensors["latents"] - tensors["start"]).norm(dim=1)
    np.testing.assert_allclose(moved, [one.labels["latent_distance"] for one in table], rtol=1e-5)
    summary = read_manifest(path).summary
    assert (summary["n_labelled"], summary["n_unlabelled"]) == (40, 1)
    assert summary["held_out_error"] > 0


def test_a_target_is_approached(run, labelled):
    argv = ["latents", "optimize", str(labelled), "--property", "volume", "--goal", "30", "--n", "6"]
    code, path, said = run(*argv, *QUICK_HEAD, "--move-options", "n_steps=60,tether=0")
    assert code == 0, said
    for crystal in read_crystals(path / "table.parquet"):
        before, after = (abs(crystal.labels[f"predicted_{when}"] - 30) for when in ("before", "after"))
        assert after < before


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "ACTION is missing"),
        (["encode"], "CRYSTALS is missing"),
        (["mix", "FILE"], "expected one of encode, decode, reconstruct, interpolate, optimize"),
        (["encode", "no-such-file"], "no-such-file: no such path"),
        (["decode", "no-such-run"], "no-such-run: no such path"),
        (["decode", "FOLDER"], "latents.safetensors: no such file"),
        (["encode", "FILE", "--steps", "3"], "--steps is given, which encode makes no use of"),
        (["encode", "FILE", "--given"], "--given is given, which encode makes no use of"),
        (["reconstruct", "FILE", "--steps", "5"], "--steps is 5, expected at most 4"),
        (["reconstruct", "FILE", "--wrapp", "never"], "--wrap"),
        (["reconstruct", "FILE", "--goal", "max"], "expected it with optimize only"),
        (["interpolate", "FILE", "--start", "c00"], "--end is missing"),
        (["interpolate", "FILE", "--start", "0", "--end", "1", "--n", "1"], "expected at least 2 points"),
        (["interpolate", "FILE", "--start", "c00", "--end", "c99"], "has no crystal c99"),
        (["interpolate", "FILE", "--start", "c00", "--end", "41"], "a row from 0 to 40"),
        (["optimize", "FILE", "--goal", "max"], "--property is missing"),
        (["optimize", "FILE", "--property", "gap", "--goal", "up"], "--goal is 'up', expected max, min or"),
        (["optimize", "FILE", "--property", "gap", "--goal", "nan"], "expected max, min or a finite number"),
        (["optimize", "FILE", "--property", "gap", "--goal", "max"], "unknown property 'gap'"),
        (["optimize", "FILE", "--property", "space_group", "--goal", "1"], "expected the name of a numeric label"),
        (["optimize", "FILE", "--property", "gap", "--goal", "1", "--head-options", "widht=1"], "widht"),
        (["optimize", "FILE", "--property", "gap", "--goal", "1", "--move-options", "rate=0"], "rate is 0"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_one_line(argv, message, run, tiny_file, tmp_path):
    there = {"FILE": str(tiny_file), "FOLDER": str(tmp_path)}
    code, _, said = run("latents", *[there.get(word, word) for word in argv])
    assert code == 2
    assert message in said.splitlines()[-1]
    assert "Traceback" not in said


def test_a_model_of_another_backend_has_no_latent_vectors(run, tiny_file):
    code, _, said = run("latents", "encode", str(tiny_file), "--model", "tiny-ead-mlp")
    assert code == 2
    assert (
        "a model of structrepdiff, expected one of `repdiff train --backend dpcdvae`" in said.splitlines()[-1]
    )


@pytest.mark.parametrize("label", [1.0, "much", None])
def test_labels_that_teach_nothing_are_refused(label, run, known, tmp_path):
    values = [label] * len(known) if label != "much" else ["1", *["much"] * (len(known) - 1)]
    write_crystals(
        tmp_path / "bad.parquet",
        [one.replace(labels={"gap": value}) for one, value in zip(known, values, strict=True)],
    )
    argv = ["latents", "optimize", str(tmp_path / "bad.parquet"), "--property", "gap", "--goal", "max"]
    code, _, said = run(*argv)
    assert code == 2
    assert "gap" in said.splitlines()[-1]


def test_crystals_none_of_which_can_be_encoded_are_refused(run, known, tmp_path):
    gold = known[1].replace(atomic_numbers=np.full(known[1].n_atoms, 79))
    write_crystals(tmp_path / "gold.parquet", [gold])
    code, _, said = run("latents", "encode", str(tmp_path / "gold.parquet"))
    assert code == 2
    assert "0 of 1 crystals can be encoded" in said.splitlines()[-1]


def test_crystals_of_one_name_are_refused(run, known, tmp_path):
    write_structures(tmp_path / "twice", [known[0], known[0]])
    code, _, said = run("latents", "encode", str(tmp_path / "twice"))
    assert code == 2
    assert "names of their own" in said.splitlines()[-1]
