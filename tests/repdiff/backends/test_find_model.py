import json
import shutil

import pytest

from repdiff.backends.find_model import find_model
from repdiff.runs.atomic_files import read_json, write_json
from repdiff.runs.workspace import Workspace


@pytest.fixture
def two_models(workspace):
    """The workspace with a newer model, which says that it is of gemsdiff."""
    train = workspace / "train"
    newer = shutil.copytree(train / "tiny-ead-mlp", train / "newer")
    manifest = read_json(newer / "manifest.json")
    manifest |= {"finished": "2999-01-01T00:00:00+00:00", "summary": {"backend": "gemsdiff"}}
    write_json(newer / "manifest.json", manifest)
    return Workspace(root=workspace)


@pytest.mark.parametrize(
    ("backend", "name"), [(None, "newer"), ("gemsdiff", "newer"), ("structrepdiff", "tiny-ead-mlp")]
)
def test_the_newest_model_of_a_backend_is_taken(backend, name, two_models):
    assert find_model(None, two_models, backend=backend).name == name


def test_generate_takes_the_model_of_the_backend_that_is_named(run, two_models):
    code, path, said = run("generate", "--backend", "structrepdiff", "--n", "2", "--steps", "2")
    assert code == 0, said
    assert json.loads((path / "manifest.json").read_text())["config"]["model"].endswith("tiny-ead-mlp")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--backend", "gemsdif"], "Did you mean 'gemsdiff'"),
        (["--backend", "dpcdvae"], "no output of `repdiff train` with backend dpcdvae"),
        (
            ["--backend", "gemsdiff", "--model", "tiny-ead-mlp"],
            "a model of structrepdiff, expected one of `repdiff train --backend gemsdiff`",
        ),
    ],
)
def test_a_backend_that_does_not_fit_is_told_in_one_line(argv, message, run):
    code, _, said = run("generate", *argv)
    assert code == 2
    assert message in said.splitlines()[-1]
