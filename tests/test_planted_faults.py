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


class FailingTests:
    """Tests of which some fail without a fault; nothing is run."""

    def __init__(self, *failing):
        self.failing, self.asked = failing, []

    def run(self, tests, *, limit):
        self.asked.append(list(tests))
        failed = next((name for name in self.failing if name.partition("[")[0] in tests), "")
        return ("killed" if failed else "survived"), failed, 0.0


def test_what_a_test_caught_that_fails_anyway_is_taken_back_whatever_its_parameters():
    caught = ["tests/a.py::test_one[2]", "tests/a.py::test_two[x]", "tests/b.py::test_three", "SIGSEGV"]
    mutants = [{"status": "killed", "caught_by": name} for name in caught]
    tests = FailingTests("tests/a.py::test_one[7]")
    MUTATE["check"](tests, mutants)
    assert ["status" in one for one in mutants] == [False, True, True, True]
    two_files = [
        ["tests/a.py::test_one", "tests/a.py::test_two"],
        ["tests/a.py::test_two"],
        ["tests/b.py::test_three"],
    ]
    assert tests.asked == two_files
