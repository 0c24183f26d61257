"""One tiny data set, encoded, trained and sampled once for all tests of the verbs."""

import shutil
from pathlib import Path

import known_crystals
import pytest

from repdiff.cli import main

ENCODED, MODEL, GENERATED = "tiny-ead", "tiny-ead-mlp", "tiny-ead-mlp-ddim5-seed0"
TRAINING = (
    "--denoiser-options", "width=32,n_blocks=1", "--max-epochs", "3", "--batch-size", "8", "--timesteps", "20",
    "--warmup-steps", "0",
)  # fmt: skip


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory) -> Path:
    """An extxyz file of 41 small crystals."""
    return known_crystals.write_extxyz(
        tmp_path_factory.mktemp("tiny") / "tiny.extxyz", known_crystals.family()
    )


@pytest.fixture(scope="session")
def tiny_workspace(tiny_file) -> Path:
    """A workspace after encode, train and generate; not to be changed."""
    root = tiny_file.parent / "workspace"
    for argv in (
        ["encode", str(tiny_file)],
        ["train", *TRAINING],
        ["generate", "--n", "4", "--sampler", "ddim", "--steps", "5"],
    ):
        assert main([*argv, "--workspace", str(root)]) == 0
    return root


@pytest.fixture
def workspace(tiny_workspace, tmp_path) -> Path:
    """A copy of that workspace, the working directory being beside it."""
    return shutil.copytree(tiny_workspace, tmp_path / "workspace")
