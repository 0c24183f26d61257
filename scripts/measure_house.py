"""Measure how readable the packages are and how fast they start, and write benchmarks/house.json.

    .venv/bin/python scripts/measure_house.py --coverage build/coverage.json

The report of coverage is made by `pytest --cov --cov-report=json:build/coverage.json`; without one, what was measured
before is kept. `tests/test_house.py` holds the figures that do not depend on the machine.
"""

import argparse
import ast
import doctest
import json
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "benchmarks" / "house.json"
PACKAGES = ("descriptors", "reconstruction", "repdiff")
STARTS = {
    "import repdiff": ["-c", "import repdiff"],
    "repdiff --help": ["-m", "repdiff", "--help"],
}
N_STARTS = 9
FRAGMENT = re.compile(r" {4,}[*\w, ]+: (?:Of|By|That|To|With|From|As|On|In|Whose)\b")
Documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def main() -> int:
    """Measure, write and print."""
    from repdiff.runs.provenance import record

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--coverage", type=Path, help="report of coverage, JSON")
    report = parser.parse_args().coverage
    before = json.loads(OUTPUT.read_text(encoding="utf-8")) if OUTPUT.is_file() else {}
    measured = {
        **layout(),
        **docstrings(),
        **examples(),
        "coverage": coverage(report) if report else before.get("coverage"),
        "median_seconds": start_seconds(),
    }
    record(OUTPUT, measured)
    sys.stdout.write(f"{json.dumps(measured, indent=1)}\n{OUTPUT}\n")
    return 0


def sources() -> list[Path]:
    """List the Python files of the packages."""
    return [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]


def layout() -> dict[str, float | int | str]:
    """Count lines of modules and functions, and the files at the root of repdiff."""
    modules = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in sources()}
    functions = [
        (node.end_lineno or node.lineno) - node.lineno + 1
        for file in modules
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    longest = max(modules, key=lambda file: modules[file])
    return {
        "files_at_the_root": len(list((ROOT / "repdiff").glob("*.py"))),
        "n_modules": len(modules),
        "module_lines_median": statistics.median(modules.values()),
        "module_lines_max": modules[longest],
        "longest_module": longest.relative_to(ROOT).as_posix(),
        "n_functions": len(functions),
        "function_lines_p90": statistics.quantiles(functions, n=10)[-1],
    }


def coverage(report: Path) -> dict[str, float | int]:
    """Return the shares of lines and branches that the tests reach, of all packages together."""
    totals = json.loads(report.read_text(encoding="utf-8"))["totals"]
    return {
        "lines": round(totals["covered_lines"] / totals["num_statements"], 4),
        "branches": round(totals["covered_branches"] / totals["num_branches"], 4),
        "n_lines": totals["num_statements"],
        "n_branches": totals["num_branches"],
    }


def docstrings() -> dict[str, float | int]:
    """Count public modules, classes, functions and methods, special ones too, those documented, and fragments."""
    found = [
        ast.get_docstring(node) is not None
        for file in sources()
        for node in _public(ast.parse(file.read_text(encoding="utf-8")))
    ]
    return {
        "n_public": len(found),
        "share_with_docstring": round(sum(found) / len(found), 4),
        "n_fragments": len(fragments()),
    }


def fragments() -> list[str]:
    """List descriptions of arguments, attributes and errors that begin as no sentence does: "Of the run."."""
    return [
        f"{file.relative_to(ROOT).as_posix()}: {line.strip()}"
        for file in sources()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Module | Documented)
        for line in (ast.get_docstring(node, clean=False) or "").splitlines()
        if FRAGMENT.match(line)
    ]


def examples() -> dict[str, int]:
    """Count the docstrings with examples, and their statements, all of which `tests/repdiff/test_examples.py` runs."""
    parser = doctest.DocTestParser()
    found = [
        len(parser.get_examples(text))
        for file in sources()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Module | Documented) and ">>> " in (text := ast.get_docstring(node) or "")
    ]
    return {"n_docstrings_with_examples": len(found), "n_run_examples": sum(found)}


def start_seconds() -> dict[str, dict[str, float]]:
    """Return the median seconds of each start by the clock and of the processor, with bytecode already written."""
    medians = {}
    for name, arguments in STARTS.items():
        clock, processor = [], []
        for _ in range(N_STARTS + 1):  # the first writes bytecode
            begun, used = time.perf_counter(), _processor_seconds()
            subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            clock.append(time.perf_counter() - begun)
            processor.append(_processor_seconds() - used)
        medians[name] = {
            "clock": round(statistics.median(clock[1:]), 3),
            "processor": round(statistics.median(processor[1:]), 3),
        }
    return medians


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _public(node: ast.AST) -> Iterator[ast.Module | Documented]:
    """Yield what is public; nothing inside of functions or of private classes is."""
    if isinstance(node, ast.Module):
        yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Documented):
            special = child.name.startswith("__") and child.name.endswith("__")
            if special or not child.name.startswith("_"):
                yield child
                if isinstance(child, ast.ClassDef):
                    yield from _public(child)
        else:
            yield from _public(child)


if __name__ == "__main__":
    sys.exit(main())
