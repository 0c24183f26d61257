"""Faults planted by hand stay what they were: their lines are in the tree, and every one is caught."""

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MUTATE = runpy.run_path(str(ROOT / "scripts" / "mutate.py"))
PLANTED = json.loads((ROOT / "scripts" / "planted_faults.json").read_text(encoding="utf-8"))
RECORD = json.loads((ROOT / "benchmarks" / "mutation.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("one", PLANTED, ids=[one["fault"] for one in PLANTED])
def test_a_planted_fault_changes_lines_that_are_there(one):
    source = (ROOT / one["file"]).read_text(encoding="utf-8")
    assert MUTATE["faulty"](source, one) != source
    assert [test for test in one["tests"] if not (ROOT / test).is_file()] == []


def test_the_record_holds_every_planted_fault_as_caught():
    assert {one["fault"]: one["status"] for one in RECORD["planted"]} == {
        one["fault"]: "killed" for one in PLANTED
    }


def test_tests_catch_the_share_of_mutants_that_is_claimed():
    summary = RECORD["summary"]
    assert summary["n_changing"] >= 300
    assert summary["share_caught"] >= 0.95
