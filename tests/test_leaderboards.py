"""The pages of the leaderboards are what their script makes of the records."""

import itertools
import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(ROOT / "scripts")
    MADE = runpy.run_path(str(ROOT / "scripts" / "leaderboards.py"))
PAGES = ROOT / "docs" / "leaderboards"


@pytest.mark.parametrize("name", MADE["TABLES"])
def test_a_page_is_what_the_records_say(name):
    expected = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    assert MADE["page"](name) == expected, f"run scripts/leaderboards.py {name}"


def test_every_page_that_says_so_is_made():
    said = {path.stem for path in PAGES.glob("*.md") if MADE["MADE"] in path.read_text(encoding="utf-8")}
    assert said == set(MADE["TABLES"])


@pytest.mark.parametrize("name", MADE["TABLES"])
def test_every_row_of_a_table_has_as_many_cells_as_its_head(name):
    lines = MADE["page"](name).splitlines()
    for above, line in itertools.pairwise(lines):
        if above.startswith("|") and line.startswith("|"):
            assert above.count(" | ") == line.count(" | "), line


def test_shares_are_written_with_wilsons_interval():
    assert MADE["counted"](0.5, 100) == "50.0 % (40.4–59.6)"  # Wilson (1927), equation for n = 100
    assert MADE["counted"](1.0, 500) == "100.0 % (99.2–100.0)"


def test_numbers_are_never_written_as_powers():
    assert [MADE["number"](value) for value in (1234567.0, 0.0000123, 1.0, 0.12345, None)] == [
        "1234567", "0.0000123", "1", "0.123", "not measured",
    ]  # fmt: skip


def test_a_measure_is_written_with_interval_and_baseline():
    found = {
        "value": 0.25, "unit": "fraction", "interval": [0.2, 0.3], "baseline": {"training": {"value": 0.5}},
    }  # fmt: skip
    metrics = {"symmetry": {"values": {"p1": found}}}
    assert MADE["judged"](metrics, "symmetry.p1") == ("25.0 % (20.0–30.0)", "50.0 %")
    assert MADE["judged"]({"symmetry.p1": found}, "symmetry.p1") == ("25.0 % (20.0–30.0)", "50.0 %")
    assert MADE["judged"](metrics, "symmetry.cubic") == ("not measured", "")


def test_the_hash_beside_a_row_is_that_of_its_record(tmp_path, monkeypatch):
    page = MADE["page"]("inversion")
    name = "invert_mp_20"
    assert MADE["mark"](name) in page
    assert json.loads((ROOT / "benchmarks" / f"{name}.json").read_text())["default"]["n"] == 500
