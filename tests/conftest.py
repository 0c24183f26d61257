"""What all tests share: one thread, reproducible examples, the real data where they exist, `pytest --quick`."""

import functools
import json
import os
from collections.abc import Generator
from pathlib import Path

import pytest
import torch
from first_calls import begin_test
from hypothesis import settings
from pickled_pool import PickledPool

torch.set_num_threads(1)  # tests run side by side
settings.register_profile("default", deadline=None, max_examples=30)
settings.register_profile("ci", deadline=None, max_examples=30, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=500)
settings.load_profile(
    "ci" if os.environ.get("CI") else "default"
)  # --hypothesis-profile=thorough is stronger

REPOSITORY = Path(__file__).resolve().parents[1]
TIMES = REPOSITORY / "benchmarks" / "test_times.json"  # by scripts/time_tests.py
LONG_DOCUMENTS = ("test_tutorials.py", "test_notebooks.py")  # minutes; `.ci/run` and `nox -s docs` name them
LONG = 1.0  # seconds of one core from which a file is left out of a quick run


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option --quick."""
    parser.addoption(
        "--quick", action="store_true", help="leave out the files that take long and the tests marked slow"
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the long files of a quick run, without importing them, and documents that run unless they are named."""
    name = collection_path.name
    if name in LONG_DOCUMENTS and not any(name in argument for argument in config.args):
        return True
    return True if config.getoption("--quick") and _seconds(collection_path) > LONG else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest files first, so that no worker begins one when the others are done."""
    items.sort(key=lambda item: -_seconds(item.path))
    if config.getoption("--quick"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        items[:] = [item for item in items if not item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)


def pytest_runtest_setup() -> None:
    """Let types and shapes be checked in the first calls of each test."""
    begin_test()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let what a test said of names that are no UTF-8 be sent from worker to worker."""
    report = yield
    report.sections = [
        (name, said.encode("utf-8", "backslashreplace").decode()) for name, said in report.sections
    ]
    return report


@functools.cache
def _measured() -> dict[str, float]:
    return json.loads(TIMES.read_text(encoding="utf-8"))["seconds_of_file"] if TIMES.is_file() else {}


def _seconds(path: Path) -> float:
    """Look up what the tests of a file took; 0 if that was not measured."""
    if not path.is_relative_to(REPOSITORY):
        return 0.0
    return _measured().get(path.relative_to(REPOSITORY).as_posix(), 0.0)


@pytest.fixture
def pickled_pool(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let worker processes be this one; returns the numbers of workers of the pools that were opened."""
    monkeypatch.setattr("reconstruction.process_pool.ProcessPoolExecutor", PickledPool)
    monkeypatch.setattr(PickledPool, "opened", [])
    return PickledPool.opened


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real benchmark data, beside the checkout."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    return folder
