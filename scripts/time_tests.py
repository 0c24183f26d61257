"""Measure the CPU time of every test and write benchmarks/test_times.json.

    .venv/bin/python scripts/time_tests.py                     all tests
    .venv/bin/python scripts/time_tests.py tests/repdiff/cli    some of them; the times of other files are kept

CPU time, with that of the processes that a test started and waited for, depends less than the clock on what else runs.
All tests run in one process, one after the other. `tests/conftest.py` starts the longest files first, and
`pytest --quick` leaves them out.
"""

import json
import os
import resource
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
OUTPUT = REPOSITORY / "benchmarks" / "test_times.json"
N_SHOWN = 60


def main(paths: list[str]) -> int:
    """Run the tests, write what was measured, and return the exit code of pytest."""
    timer = CpuTimes()
    code = pytest.main(["-q", *paths], plugins=[timer])
    from repdiff.runs.provenance import record  # now, since pytest must be the first to import the package

    known = json.loads(OUTPUT.read_text(encoding="utf-8")) if OUTPUT.is_file() else {}
    files = known.get("seconds_of_file", {}) | timer.files()
    files = {file: seconds for file, seconds in files.items() if Path(file).is_file()}
    tests = known.get("seconds_of_longest_tests", {})
    tests = {
        name: seconds
        for name, seconds in tests.items()
        if name.split("::")[0] in files.keys() - timer.files()
    }
    measured = {
        "unit": "CPU seconds with those of child processes",
        "total": round(sum(files.values()), 1),
        "seconds_of_file": _longest_first(files),
        "seconds_of_longest_tests": dict(list(_longest_first(tests | timer.tests).items())[:N_SHOWN]),
    }
    record(OUTPUT, measured)
    sys.stdout.write(f"{OUTPUT}\n")
    return int(code)


def _longest_first(seconds: dict[str, float]) -> dict[str, float]:
    return dict(sorted(seconds.items(), key=lambda one: -one[1]))


class CpuTimes:
    """A plugin that adds up what each test and its fixtures cost."""

    def __init__(self) -> None:
        self.tests: dict[str, float] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Time one test with its fixtures."""
        before = cpu_seconds()
        result = yield
        self.tests[item.nodeid] = round(cpu_seconds() - before, 2)
        return result

    def files(self) -> dict[str, float]:
        """Return the seconds of each file."""
        totals: dict[str, float] = {}
        for name, seconds in self.tests.items():
            file = name.split("::")[0]
            totals[file] = round(totals.get(file, 0.0) + seconds, 2)
        return totals


def cpu_seconds() -> float:
    """Return what this process and its finished children have used."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    os.chdir(REPOSITORY)
    sys.exit(main(sys.argv[1:]))
