"""`repdiff head fit`, `generate --steer` and `optimize`: from labelled crystals to steered ones."""

import known_crystals
import numpy as np
import pytest
from pymatgen.io.ase import AseAtomsAdaptor
from small_runs import SAMPLING

import repdiff as rd
from repdiff.backends.optimization import Walk
from repdiff.backends.property_head import Head
from repdiff.backends.steering import STEERING
from repdiff.backends.structrepdiff import StructRepDiff
from repdiff.crystals.structure_files import read_structures, write_file
from repdiff.runs.failures import read_failed
from repdiff.runs.manifest import read_manifest

pytestmark = pytest.mark.usefixtures("_quick_search")
FIT = [
    "--max-steps",
    "30",
    "--width",
    "16",
    "--n-members",
    "2",
    "--batch-size",
    "16",
    "--validate-every",
    "10",
]
WALK = [
    *SAMPLING,
    "--n-steps",
    "2",
    "--n-variations",
    "4",
    "--n-built",
    "2",
    "--candidates",
    "3",
    "--n-workers",
    "1",
]


@pytest.fixture(scope="module")
def labelled_file(tmp_path_factory):
    """The crystals of the tiny workspace, with a label, one that is constant, and one that is text."""
    from ase.io import write

    atoms = [AseAtomsAdaptor.get_atoms(structure) for structure in known_crystals.family()]
    for one in atoms:
        one.info |= {"mass": float(one.numbers.mean()), "same": 1.0, "colour": "red"}
    path = tmp_path_factory.mktemp("labelled") / "labelled.extxyz"
    write(path, atoms)
    return path


@pytest.fixture
def head(run, labelled_file):
    code, path, said = run("head", "fit", str(labelled_file), "--property", "mass", *FIT)
    assert code == 0, said
    return path


@pytest.fixture
def starts(workspace, tmp_path):
    known = rd.EncodedSet.read(workspace / "encode" / "tiny-ead").crystals
    return write_file(tmp_path / "starts.parquet", [known[0], known[33]])


def test_from_labels_to_steered_crystals(run, head, workspace):
    manifest = read_manifest(head)
    assert (head.name, manifest.summary["label"]) == ("labelled-ead-mass", "mass")
    assert not (head / "encoded").exists()
    read = Head.load(head)
    assert read.report["split"] == manifest.summary["split"]
    low, high = read.range
    argv = ["generate", "--n", "3", *SAMPLING, "--candidates", "4", "--model", "tiny-ead-mlp"]
    code, path, said = run(*argv, "--steer", f"mass={high + 100:g}")
    assert code == 0, said
    assert f"lie between {low:.4g} and {high:.4g}" in said
    assert (path / STEERING).is_file()
    assert f"steer-mass-{high + 100:g}" in path.name
    code, path, said = run("reconstruct", "--generated", path.name, "--preset", "fast", "--n-workers", "1")
    assert code == 0, said
    made = read_structures(path)
    again = read.predict(made)
    for one, mean, spread in zip(made, again.mean, again.spread, strict=True):
        assert one.labels["mass_asked"] == f"{high + 100:g}"
        assert one.labels["predicted_mass"] == pytest.approx(mean, rel=1e-4)
        assert one.labels["predicted_mass_std"] == pytest.approx(spread, rel=1e-4)


def test_a_walk_ends_nearer_its_goal_and_says_what_changed(run, head, starts, monkeypatch):
    walk = ["optimize", "--property", "mass", "--goal", "max", "--start", str(starts), *WALK]
    code, path, said = run(*walk, "--name", "whole")
    assert code == 0, said
    ends = read_structures(path)
    assert [one.id.rpartition("-end-")[2] for one in ends] == ["00", "00"]
    told = Head.load(head).predict(ends)
    for one, mean in zip(ends, told.mean, strict=True):
        labels = one.labels
        assert labels["predicted_mass"] == pytest.approx(mean, rel=1e-3)
        scores = [labels[f"{of}predicted_mass"] - labels[f"{of}predicted_mass_std"] for of in ("start_", "")]
        assert scores[1] >= scores[0]
        assert (labels["steps"] == 0) == (scores[1] == scores[0])
        assert labels["start_formula"]
        assert labels["volume_per_atom"] == pytest.approx(one.volume / one.n_atoms)
    steps = read_structures(path / "path")
    assert next(one.labels["step"] for one in steps if one.labels["end"] == ends[0].id) == 0
    assert (path / "cif.zip").is_file()
    assert "-> " in (path / "changes.txt").read_text(encoding="utf-8")
    assert not (path / "rounds").exists()

    vary, calls = StructRepDiff.vary, []

    def cut(self, parents, numbers, **more):
        calls.append(more["strength"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return vary(self, parents, numbers, **more)

    monkeypatch.setattr(StructRepDiff, "vary", cut)
    assert run(*walk, "--name", "cut")[0] == 130
    code, resumed, said = run(*walk, "--name", "cut")
    assert code == 0, said
    assert len(calls) == 3  # the first round was not made again
    assert calls[0] > calls[1] == calls[2]
    for one, other in zip(ends, read_structures(resumed), strict=True):
        assert one.formula == other.formula
        np.testing.assert_allclose(one.lattice, other.lattice, atol=1e-3)


def test_a_walk_keeps_what_it_is_told_to(run, head, starts):
    code, path, said = run(
        "optimize", "--property", "mass", "--goal", "20+-1", "--start", str(starts), "--keep", "composition",
        "--n", "2", *WALK,
    )  # fmt: skip
    assert code == 0, said
    ends = read_structures(path)
    assert {one.labels["mass_asked"] for one in ends} == {"20±1"}
    for one in read_structures(path / "path"):
        start = next(end for end in ends if end.id == one.labels["end"])
        assert one.formula == start.labels["start_formula"]


def test_what_the_head_does_not_know_is_named(run, labelled_file, workspace, starts, tmp_path):
    from ase.io import read, write

    some = [one for one in read(labelled_file, ":") if len(set(one.get_chemical_symbols())) == 2]
    file = tmp_path / "salts.extxyz"
    write(file, some)
    code, _, said = run("head", "fit", str(file), "--property", "mass", *FIT, "--name", "salts")
    assert code == 0, said
    argv = ["--head", "salts", "--model", "tiny-ead-mlp", *SAMPLING, "--candidates", "2"]
    code, path, said = run("generate", "--n", "2", "--steer", "mass=20", *argv)
    assert code == 0, said
    assert "does not know" in said
    assert "are not steered" in said
    formula = rd.read(starts).crystals[1].formula
    code, _, said = run("generate", "--n", "2", "--steer", "mass=20", "--composition", formula, *argv)
    assert code == 2
    assert "does not know it: fit a head to crystals with it" in said.splitlines()[-1]
    walk = ["optimize", "--property", "mass", "--goal", "20", "--start", str(starts), "--head", "salts"]
    code, path, said = run(*walk, *WALK, "--n-steps", "1")
    assert code == 0, said
    assert any("unknown to the head" in reason for reason in read_failed(path).values())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["head", "fit", "{labelled}", "--property", "mas"], "unknown property 'mas'"),
        (["head", "fit", "{labelled}", "--property", "same"], "same is 1.0 for all"),
        (["head", "fit", "{labelled}", "--property", "colour"], "colour is 'red' for a crystal, expected"),
        (["head", "fit", "{labelled}"], "--property is missing"),
        (["generate", "--steer", "mass=wide", "--head", "{head}"], "the goal of mass is 'wide', expected a number"),
        (["generate", "--steer", "gap=1"], "no output of `repdiff head`"),
        (["generate", "--head", "{head}"], "--head is given, expected it with --steer only"),
        (["generate", "--candidates", "4"], "--candidates is given, expected it with --steer only"),
        (["generate", "--steer", "gap=1", "--head", "{head}"], "no head predicts gap; those given predict: mass"),
        (["generate", "--steer", "mass=1", "--head", "{soap}"], "from the descriptor soap, the model has ead"),
        (["optimize", "--goal", "1"], "--property is missing"),
        (["optimize", "--property", "mass", "--goal", "wide", "--start", "x"], "the goal of mass is 'wide'"),
        (["optimize", "--property", "mass", "--goal", "1", "--start", "x", "--keep", "all"], "--keep is all"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_one_line(words, told, run, labelled_file, tmp_path_factory, request):
    place = {"{labelled}": str(labelled_file)}
    for name, descriptor in (("{head}", "ead"), ("{soap}", "soap")):
        if name in words:
            place[name] = str(request.getfixturevalue("fitted")(descriptor))
    code, _, said = run(*(place.get(word, word) for word in words))
    assert code == 2, said
    assert told in said.splitlines()[-1]
    assert "Traceback" not in said


@pytest.fixture(scope="module")
def fitted(labelled_file, tmp_path_factory):
    """Fit a head once by its descriptor."""
    from repdiff.cli.main import main

    root = tmp_path_factory.mktemp("heads")

    def fit(descriptor):
        argv = ["head", "fit", str(labelled_file), "--property", "mass", "--descriptor", descriptor, *FIT]
        path = root / "head" / descriptor
        if not path.exists():
            assert main([*argv, "--workspace", str(root), "--name", descriptor]) == 0
        return path

    return fit


@pytest.mark.parametrize(
    ("backend", "told"),
    [("retrieval", "makes no vectors"), ("dpcdvae", "`repdiff latents optimize CRYSTALS")],
)
def test_systems_without_vectors_refuse(run, fitted, starts, backend, told, workspace):
    small = ["--max-steps", "1", "--batch-size", "8"]
    more = {
        "retrieval": [],
        "dpcdvae": [
            *small,
            "--network-width",
            "16",
            "--encoder-width",
            "16",
            "--n-latent",
            "8",
            "--head-width",
            "16",
        ],
    }[backend]
    code, _, said = run("train", "--backend", backend, *more)
    assert code == 0, said
    head = str(fitted("ead"))
    code, _, said = run(
        "optimize", "--property", "mass", "--goal", "1", "--start", str(starts), "--head", head
    )
    assert code == 2
    assert told in said.splitlines()[-1]
    code, _, said = run("generate", "--n", "1", "--steer", "mass=1", "--head", head)
    assert code == 2
    assert "makes no vectors" in said.splitlines()[-1]


def test_a_walk_that_finds_nothing_better_ends_where_it_began(run, head, starts, monkeypatch):
    monkeypatch.setattr(Walk, "_built", lambda *arguments: [])
    code, path, said = run("optimize", "--property", "mass", "--goal", "20", "--start", str(starts), *WALK)
    assert code == 0, said
    assert [one.labels["steps"] for one in read_structures(path)] == [0, 0]
    assert read_manifest(path).summary["n_improved"] == 0
