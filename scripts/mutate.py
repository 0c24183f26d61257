#!/usr/bin/env python
"""Run the tests of a module against each mutant that `draw_mutants.py` drew, and against faults planted by hand.

    python scripts/mutate.py --tree EMPTY_FOLDER [--minutes 10] [--wider] [--again PATTERN]
    python scripts/mutate.py --tree EMPTY_FOLDER --planted | --check

Works in a copy of the tree, one mutant after the other, and goes on where it stopped. A mutant is given to the two
test files of its room (the mirror of the tree under tests/) that are nearest to its module by imports, with 10 random
examples a property instead of 100, until one test fails; `--wider` then gives the survivors to every test of the room
that reaches the module, with all examples. Tests that are marked slow or need the real data are not run. Each run is a
fork of one process that has loaded the libraries. `--check` runs the tests that caught mutants without a fault: they
must pass. `equivalent_mutants.json` holds the mutants that change nothing, with the reason; they do not count.
"""

import argparse
import ast
import gc
import importlib
import inspect
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
EQUIVALENT = REPOSITORY / "scripts" / "equivalent_mutants.json"
PLANTED = REPOSITORY / "scripts" / "planted_faults.json"
PACKAGES = ("descriptors", "reconstruction", "repdiff")
LOADED = (  # before each fork; torch.distributed.tensor by every comparison of tensors
    "numpy", "scipy.stats", "scipy.spatial", "scipy.optimize", "pandas", "pyarrow.parquet", "torch",
    "torch.distributed.tensor", "numba", "sympy", "ase.io", "spglib", "moyopy", "pymatgen.core", "hypothesis",
    "pymatgen.analysis.structure_matcher", "smact", "gemmi", "accelerate", "diffusers", "pydantic",
)  # fmt: skip
PLUGINS = ("_hypothesis_pytestplugin", "jaxtyping._pytest_plugin", "pytest_timeout")  # what the tests need
NEAREST, EXAMPLES = 2, 10  # of the first run
CPU_LIMIT, WIDER_CPU_LIMIT = 120, 600  # seconds; a test that waits is ended by its own time-out
CONFTEST = "ImportError while loading conftest"
KILLED, SURVIVED, TIMEOUT, UNTESTED = "killed", "survived", "timeout", "untested"


def copy_tree(tree: Path) -> None:
    """Copy what git knows or would take into an empty folder."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    for name in listed:
        source, target = REPOSITORY / name, tree / name
        if source.is_file() and not (target.is_file() and target.read_bytes() == source.read_bytes()):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


@cache
def imports(file: Path) -> frozenset[str]:
    """Return the modules of this project that a file imports, as paths from the root."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    paths = {name.replace(".", "/") for name in names if name.split(".")[0] in PACKAGES}
    found = {f"{path}.py" for path in paths} | {f"{path}/__init__.py" for path in paths}
    return frozenset(path for path in found if (REPOSITORY / path).is_file())


def tests_of(module: str) -> list[str]:
    """Return the test files of a module's room that import it, at any distance, nearest first."""
    room = REPOSITORY / "tests" / Path(module).parent
    while not any(room.glob("**/test_*.py")):
        room = room.parent
    ranked = []
    for test in sorted(room.rglob("test_*.py")):
        stem = test.stem.removeprefix("test_")
        same_name = Path(module).stem in (stem, stem.partition("_")[2])
        seen, edge, distance = set(), imports(test), 1
        while edge and module not in edge:
            seen |= edge
            edge = {path for file in edge for path in imports(REPOSITORY / file)} - seen
            distance += 1
        if edge or same_name:
            ranked.append((0 if same_name else distance, test.relative_to(REPOSITORY).as_posix()))
    return [name for _, name in sorted(ranked)]


class Watch:
    """A plugin that writes down which test failed, takes fewer random examples, and puts likely tests first."""

    def __init__(self, report: Path, examples: int | None, names: Sequence[str]) -> None:
        self.report, self.examples, self.names = report, examples, names

    def pytest_configure(self) -> None:
        """Take fewer examples of each property."""
        if self.examples:
            from hypothesis import settings

            settings.register_profile("few", max_examples=self.examples, derandomize=True, deadline=None)
            settings.load_profile("few")

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Begin with the tests whose text names what has the fault."""
        text = {item: inspect.getsource(item.function) for item in items}
        items.sort(key=lambda item: not any(name in text[item] for name in self.names))

    def pytest_collectreport(self, report: Any) -> None:  # noqa: ANN401 (no import of pytest before the fork)
        """Note a file that cannot be imported."""
        self._note(report)

    def pytest_runtest_logreport(self, report: Any) -> None:  # noqa: ANN401
        """Note a test that fails."""
        self._note(report)

    def _note(self, report: Any) -> None:  # noqa: ANN401
        if report.failed:
            self.report.write_text(report.nodeid, encoding="utf-8")


class Tree:
    """A copy of the repository, in which tests are run by forks of this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in LOADED:
            importlib.import_module(name)
        gc.freeze()
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = (
            "1"  # else pytest complains of libraries that are loaded
        )
        os.environ.update(
            PYTHONPATH=str(folder), OMP_NUM_THREADS="1", CI="1"
        )  # the same examples in every run

    def run(
        self, tests: Sequence[str], *, limit: int, examples: int | None = None, names: Sequence[str] = ()
    ) -> tuple[str, str, float]:
        """Run test files until one fails, first the tests that name a function.

        Returns:
            The outcome, the test that failed, and its CPU time, s.
        """
        report = self.folder / "failed.txt"
        report.unlink(missing_ok=True)
        used = _cpu_of_children()
        child = os.fork()
        if child == 0:
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
            self._test(tests, report, examples, names)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        failed = report.read_text(encoding="utf-8") if report.is_file() else ""
        outcome = {0: SURVIVED, 5: UNTESTED, -signal.SIGKILL: TIMEOUT, -signal.SIGXCPU: TIMEOUT}.get(
            code, KILLED
        )
        if outcome == KILLED and not failed:
            if code == 4 and CONFTEST in (self.folder / "output.txt").read_text(encoding="utf-8"):
                failed = "import"  # of what all tests of a room share
            elif code >= 0:
                raise RuntimeError(f"pytest ended with {code}: {self.folder / 'output.txt'}")
            else:
                failed = signal.Signals(-code).name
        return outcome, failed, _cpu_of_children() - used

    def _test(self, tests: Sequence[str], report: Path, examples: int | None, names: Sequence[str]) -> None:
        os.setsid()
        os.chdir(self.folder)
        sys.path[:0] = [str(self.folder)]
        quiet = os.open(self.folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        code = 1
        try:
            import pytest

            flags = ["-x", "-q", "-m", "not slow and not gpu", "-p", "no:cacheprovider"]
            flags += [part for plugin in PLUGINS for part in ("-p", plugin)]
            code = int(pytest.main([*flags, *tests], plugins=[Watch(report, examples, names)]))
            sys.stdout.flush()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def with_fault(
        self, one: dict, tests: Sequence[str], *, limit: int, examples: int | None = None
    ) -> tuple[str, str, float]:
        """Run tests while a file of the copy has a fault; what is compiled of it stays for those that come after."""
        path = self.folder / one["file"]
        source, stamp = path.read_text(encoding="utf-8"), path.stat()
        compiled, loops = path.parent / "__pycache__", f"{path.stem}.*.nb[ci]"
        kept = {file: file.read_bytes() for file in compiled.glob(loops)}
        path.write_text(faulty(source, one), encoding="utf-8")
        try:
            return self.run(tests, limit=limit, examples=examples, names=names_at(source, one.get("line", 0)))
        finally:
            path.write_text(source, encoding="utf-8")
            os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
            for file in compiled.glob(loops):
                file.unlink()
            for file, content in kept.items():
                file.write_bytes(content)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def names_at(source: str, line: int) -> list[str]:
    """Return the names of the functions and classes that a line is in, but for the private."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    around = [
        node for node in ast.walk(ast.parse(source))
        if isinstance(node, kinds) and node.lineno <= line <= (node.end_lineno or node.lineno)
    ]  # fmt: skip
    return [node.name for node in around if not node.name.startswith("_")]


def faulty(source: str, one: dict) -> str:
    """Return a file with a fault.

    Raises:
        ValueError: If the file no longer has the lines that the fault replaces.
    """
    lines, before = source.split("\n"), one["before"].split("\n")
    places = [at for at in range(len(lines)) if lines[at : at + len(before)] == before]
    if not places:
        raise ValueError(f"{one['file']} has no such lines any more, draw again: {one['before']!r}")
    at = min(places, key=lambda place: abs(place - (one.get("line", 1) - 1)))
    return "\n".join([*lines[:at], *one["after"].split("\n"), *lines[at + len(before) :]])


class Record:
    """What was found, written after every mutant."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = json.loads(path.read_text(encoding="utf-8"))
        self.reasons = {
            (one["file"], one["before"].strip(), one["after"].strip()): one["reason"]
            for one in json.loads(EQUIVALENT.read_text(encoding="utf-8"))
        }

    def write(self) -> None:
        """Count, and write."""
        mutants = self.data["mutants"]
        for one in mutants:
            reason = self.reasons.get((one["file"], one["before"].strip(), one["after"].strip()))
            one.pop("equivalent", None)
            if reason and one.get("status") != KILLED:
                one["equivalent"] = reason
        counted = [one for one in mutants if "status" in one and "equivalent" not in one]
        status = Counter(one["status"] for one in counted)
        caught = status[KILLED] + status[TIMEOUT]
        self.data["summary"] = {
            "n_mutants": len(mutants),
            "n_run": sum("status" in one for one in mutants),
            "n_equivalent": sum("equivalent" in one for one in mutants),
            "n_changing": len(counted),
            **{f"n_{name}": status[name] for name in (KILLED, TIMEOUT, SURVIVED, UNTESTED)},
            "share_caught": round(caught / len(counted), 4) if counted else None,
            "by_room": {room: _share(counted, room) for room in self.data["rooms"]},
        }
        text = json.dumps(self.data, indent=1, ensure_ascii=False) + "\n"
        self.path.with_suffix(".new").write_text(text, encoding="utf-8")
        self.path.with_suffix(".new").replace(self.path)


def _share(counted: Sequence[dict], room: str) -> dict[str, float]:
    here = [one for one in counted if one["file"].startswith(f"{room}/")]
    caught = sum(one["status"] in (KILLED, TIMEOUT) for one in here)
    return {"n": len(here), "share_caught": round(caught / len(here), 4)} if here else {"n": 0}


def due(mutants: Sequence[dict], arguments: argparse.Namespace) -> Iterator[dict]:
    """Yield the mutants without an outcome, and survivors that shall have more tests or new ones."""
    for one in mutants:
        again = arguments.again is not None and arguments.again in one["file"] and one.get("status") != KILLED
        wider = arguments.wider and one.get("status") in (SURVIVED, UNTESTED) and not one.get("wider")
        if "status" not in one or again or (wider and "equivalent" not in one):
            yield one


def main() -> None:
    """Run what is due, for some minutes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tree", type=Path, required=True, help="folder of the copy")
    parser.add_argument("--minutes", type=float, default=1e9, help="start no mutant after so many minutes")
    parser.add_argument("--record", type=Path, default=REPOSITORY / "benchmarks" / "mutation.json")
    parser.add_argument(
        "--check", action="store_true", help="run the tests that caught mutants without a fault"
    )
    parser.add_argument(
        "--planted", action="store_true", help="run the faults planted by hand, and nothing else"
    )
    parser.add_argument("--wider", action="store_true", help="give survivors to all tests of their room")
    parser.add_argument("--again", help="run the survivors in files with this in their path again")
    arguments = parser.parse_args()
    until = time.monotonic() + 60 * arguments.minutes
    copy_tree(arguments.tree)
    record, tree = Record(arguments.record), Tree(arguments.tree)
    if arguments.planted:
        record.data["planted"] = [plant(tree, one) for one in json.loads(PLANTED.read_text(encoding="utf-8"))]
    if arguments.check:
        check(tree, record.data["mutants"])
    for one in [] if arguments.planted or arguments.check else list(due(record.data["mutants"], arguments)):
        if time.monotonic() > until:
            break
        wider = arguments.wider or one.get("wider", False)
        tests = tests_of(one["file"])
        limit, examples = (WIDER_CPU_LIMIT, None) if wider else (CPU_LIMIT, EXAMPLES)
        outcome, failed, took = tree.with_fault(
            one, tests if wider else tests[:NEAREST], limit=limit, examples=examples
        )
        one.update(status=outcome, cpu_seconds=round(took, 1), caught_by=failed, wider=wider)
        record.write()
        print(f"{outcome:8} {took:5.0f} s {one['file']}:{one['line']} {one['operator']} {failed}", flush=True)
    record.write()
    print(json.dumps(record.data["summary"], indent=1))


def check(tree: Tree, mutants: Sequence[dict]) -> None:
    """Run the tests that caught mutants without any, and take back what a test caught that fails anyway.

    Tests are run with all their parameters: a fault can change the name of one.
    """
    names = sorted({_test(one) for one in mutants if _test(one).startswith("tests/")})
    for file in sorted({name.partition("::")[0] for name in names}):
        left = [name for name in names if name.startswith(f"{file}::") or name == file]
        while left:
            outcome, failed, _ = tree.run(left, limit=WIDER_CPU_LIMIT)
            if outcome == SURVIVED:
                break
            failed = failed.partition("[")[0]
            print(f"fails without a fault: {failed or left}", flush=True)
            for one in mutants:
                if _test(one) == failed or (not failed and _test(one) in left):
                    one.pop("status", None)
            left = [name for name in left if name != failed] if failed else []


def _test(one: dict) -> str:
    return one.get("caught_by", "").partition("[")[0]


def plant(tree: Tree, one: dict) -> dict:
    """Run the tests that shall catch a planted fault, and say whether they do."""
    outcome, failed, took = tree.with_fault(one, one["tests"], limit=600)
    print(f"{outcome:8} {took:5.0f} s {one['fault']} {failed}", flush=True)
    return {"fault": one["fault"], "file": one["file"], "status": outcome, "caught_by": failed}


if __name__ == "__main__":
    main()
