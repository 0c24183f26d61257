"""Run tests with the lowest version of every dependency that pyproject.toml allows, and record versions and counts.

Every `name>=version` becomes `name==version`, so that a bound which cannot be installed beside the others fails here.
Needs uv on the path. Example:
    python scripts/check_lowest_versions.py tests/descriptors tests/reconstruction --out benchmarks/lowest_versions.json
"""

import argparse
import json
import os
import subprocess
import sys
import time
import tomllib
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
QUESTIONS = """
import importlib.metadata, json, sys
from repdiff.hardware import hardware
found = {name: importlib.metadata.version(name) for name in sys.argv[1:]}
print(json.dumps({"python": sys.version.split()[0], "versions": found, "hardware": hardware()}))
"""


def lowest_versions(requirements: list[str]) -> dict[str, str]:
    """Return the lower bound of every requirement by its name.

    Raises:
        ValueError: If a requirement has no lower bound, or two that differ.
    """
    lowest: dict[str, str] = {}
    for text in requirements:
        requirement = Requirement(text)
        bounds = [part.version for part in requirement.specifier if part.operator == ">="]
        if len(bounds) != 1:
            raise ValueError(
                f"requirement {text!r} has {len(bounds)} lower bounds, expected one, as in numpy>=1.26"
            )
        if lowest.setdefault(requirement.name, bounds[0]) != bounds[0]:
            raise ValueError(
                f"{requirement.name} has the lower bounds {lowest[requirement.name]} and {bounds[0]}"
            )
    return lowest


def declared_requirements() -> list[str]:
    """Return the requirements of the project and of its extra `dev`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["dev"]]


def install(venv: Path, python: str, lowest: dict[str, str]) -> Path:
    """Install the project with exactly these versions, and return the interpreter that has them."""
    interpreter = venv / "bin" / "python"
    if not interpreter.exists():
        subprocess.run(["uv", "venv", "--python", python, venv], check=True)
    constraints = venv / "lowest.txt"
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in sorted(lowest.items())))
    command = [
        "uv",
        "pip",
        "install",
        "--python",
        interpreter,
        "--constraint",
        constraints,
        "--editable",
        f"{ROOT}[dev]",
    ]
    subprocess.run(command, check=True)
    return interpreter


def run_tests(interpreter: Path, paths: list[str], report: Path) -> tuple[int, float]:
    """Run pytest, and return its exit status and the seconds it took.

    Warnings of old libraries about their own old dependencies are no errors here.
    """
    command = [interpreter, "-m", "pytest", "-q", "-o", "filterwarnings=default", "-p", "no:cacheprovider"]
    started = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, f"--junitxml={report}", *paths], cwd=ROOT, env=environment, check=False)
    return done.returncode, time.perf_counter() - started


def count_outcomes(report: Path) -> dict[str, dict[str, int]]:
    """Count passed, failed and skipped tests of every folder in a JUnit report."""
    counts: dict[str, Counter[str]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        folder = "/".join(case.get("classname", "").split(".")[:-1])
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        counts.setdefault(folder, Counter())[outcome] += 1
    return {folder: dict(sorted(counted.items())) for folder, counted in sorted(counts.items())}


def add_run(
    path: Path, run: dict[str, object], outcomes: dict[str, dict[str, int]], environment: dict[str, object]
) -> dict[str, object]:
    """Join a run to the record of earlier ones; a folder that was run again has its newest counts.

    A record of other versions is begun anew.
    """
    before = json.loads(path.read_text()) if path.is_file() else {}
    if before.get("versions") != environment["versions"]:
        before = {}
    joined = before.get("outcomes", {}) | outcomes
    return {"runs": [*before.get("runs", []), run], "outcomes": dict(sorted(joined.items())), **environment}


def main() -> int:
    """Install, test, record; return the exit status of the tests."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tests", nargs="*", default=["tests"], help="folders or files (default: all)")
    parser.add_argument("--python", default="3.11", help="version of Python, or a path of one")
    parser.add_argument("--venv", type=Path, default=ROOT / "build" / "lowest", help="kept for the next time")
    parser.add_argument(
        "--out", type=Path, help="JSON of versions and counts; folders not run again keep theirs"
    )
    arguments = parser.parse_args()
    lowest = lowest_versions(declared_requirements())
    venv = arguments.venv.resolve()
    interpreter = install(venv, arguments.python, lowest)
    report = venv / "junit.xml"
    status, seconds = run_tests(interpreter, arguments.tests, report)
    if arguments.out:
        asked = subprocess.run(
            [interpreter, "-c", QUESTIONS, *sorted(lowest)],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        run = {"tests": arguments.tests, "exit_status": status, "seconds": round(seconds)}
        measured = add_run(arguments.out, run, count_outcomes(report), json.loads(asked.stdout))
        arguments.out.write_text(json.dumps(measured, indent=1) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
