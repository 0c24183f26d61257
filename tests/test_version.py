import importlib.metadata
import tomllib
from pathlib import Path

import pytest
import yaml

import repdiff

REPOSITORY = Path(__file__).resolve().parents[1]
DECLARED = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]


@pytest.fixture
def not_asked_yet():
    vars(repdiff).pop("__version__", None)
    yield
    vars(repdiff).pop("__version__", None)


def test_the_version_to_cite_is_the_declared_one():
    assert yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())["version"] == DECLARED


def test_the_package_tells_the_version_that_is_installed(monkeypatch, not_asked_yet):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: f"9.9 of {name}")
    assert repdiff.__version__ == "9.9 of repdiff"


def test_a_checkout_that_is_not_installed_does_not_claim_a_version(monkeypatch, not_asked_yet):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    assert repdiff.__version__ == "0+unknown"


def test_the_installed_version_is_the_declared_one():
    assert importlib.metadata.version("repdiff") == DECLARED, "install the checkout again"


def test_other_names_are_refused():
    with pytest.raises(AttributeError, match="no attribute '_version'"):
        _ = repdiff._version
