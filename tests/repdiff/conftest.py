"""One tiny data set, encoded, trained and sampled once for all tests of the verbs."""

import shutil
import signal
from pathlib import Path

import known_crystals
import pytest
from report_fixtures import browser, evaluation, page, report_workspace
from small_comparison import write_comparison
from small_runs import SAMPLING, TINY_SEARCH, TRAINING

from reconstruction.presets import SEARCHES
from repdiff.cli.main import main
from repdiff.networks.composition import CompositionModelSettings

__all__ = ["browser", "evaluation", "page", "report_workspace", "write_comparison"]


@pytest.fixture(scope="session")
def _tiny_composition_model():
    """Let `repdiff train` fit a model of formulas or protostructures of no worth, in no time."""
    small = {"width": 16, "n_blocks": 1}
    stages = "repdiff.backends.structrepdiff_stages"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{stages}.CompositionModelSettings", lambda: CompositionModelSettings(**small))
        patch.setattr(f"{stages}.MAX_EPOCHS", 3)
        patch.setattr(f"{stages}.MAX_EPOCHS_OF_FORMULAS", 3)
        yield


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory) -> Path:
    """An extxyz file of 41 small crystals."""
    return known_crystals.write_extxyz(
        tmp_path_factory.mktemp("tiny") / "tiny.extxyz", known_crystals.family()
    )


@pytest.fixture(scope="session")
def tiny_workspace(tiny_file, _tiny_composition_model) -> Path:
    """A workspace after encode, train, generate and reconstruct; not to be changed."""
    root = tiny_file.parent / "workspace"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SEARCHES, "fast", TINY_SEARCH)
        for argv in (
            ["encode", str(tiny_file)],
            ["train", *TRAINING],
            ["generate", "--n", "4", *SAMPLING],
            ["reconstruct", "--preset", "fast", "--n-workers", "1"],
        ):
            assert main([*argv, "--workspace", str(root)]) == 0
    return root


@pytest.fixture(scope="module")
def _quick_search():
    """Make the preset `fast` faster than is of use."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SEARCHES, "fast", TINY_SEARCH)
        yield


@pytest.fixture
def _heeds_interrupts():
    """Let what a test starts take SIGINT, also where the tests run in the background and ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def workspace(tiny_workspace, tmp_path) -> Path:
    """A copy of that workspace, to work in."""
    return Path(shutil.copytree(tiny_workspace, tmp_path / "workspace"))


@pytest.fixture
def run(workspace, capsys):
    """Run a verb in the workspace: returns the exit code, the path it printed, and what it said on stderr."""

    def call(*argv: str) -> tuple[int, Path, str]:
        capsys.readouterr()
        code = main([*argv, "--workspace", str(workspace)])
        told = capsys.readouterr()
        return code, Path((told.out.strip().splitlines() or [""])[-1]), told.err

    return call
