"""The house stays readable at a glance: figures of scripts/measure_house.py that do not depend on the machine."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MEASURE = runpy.run_path(str(ROOT / "scripts" / "measure_house.py"))


@pytest.fixture(scope="module")
def layout():
    return MEASURE["layout"]()


def test_few_files_lie_at_the_root(layout):
    assert layout["files_at_the_root"] <= 6


def test_modules_and_functions_are_short(layout):
    assert layout["module_lines_median"] <= 150
    assert layout["module_lines_max"] <= 400, layout["longest_module"]
    assert layout["function_lines_p90"] <= 30


def test_the_tour_of_the_house_goes_through_every_room_in_the_order_of_the_contract():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (rooms,) = (one for one in contracts["contracts"] if one.get("containers") == ["repdiff"])
    tour = (
        (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("| room | holds |")[1].split("\n\n")[0]
    )
    rows = [re.findall(r"`(\w+)`", row.split("|")[1]) for row in tour.splitlines()[2:]]
    layers = [sorted(layer.split(" | ")) for layer in rooms["layers"]]
    assert [sorted(row) for row in rows] == layers


def test_what_is_public_has_a_docstring():
    assert MEASURE["docstrings"]()["share_with_docstring"] >= 0.96


def test_descriptions_of_arguments_are_no_fragments():
    assert MEASURE["fragments"]() == []


@pytest.mark.parametrize(
    ("line", "is_one"),
    [
        ("        seed: Of the run.", True),
        ("        start, end: By name.", True),
        ("        seed: Seed of the run.", False),
        ("        offset: Ofttimes 0.", False),
    ],
)
def test_fragments_are_told_from_descriptions(line, is_one):
    assert bool(MEASURE["FRAGMENT"].match(line)) == is_one


def test_there_are_examples_and_tests_run_them():
    found = MEASURE["examples"]()
    assert found["n_docstrings_with_examples"] >= 60
    assert found["n_run_examples"] >= 60
