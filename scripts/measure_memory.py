"""How much memory one process of each kind of work takes, the figures behind `repdiff.execution.memory`.

Every step is a command of `repdiff` on ten salts, one of them with 64 atoms in its cell, with two workers. While it
runs, the private memory of each of its processes (what it shares with no other, so not the code of libraries) and what
counts against a limit of its data segment are read from /proc some times a second; the largest of each are kept:

    private_gib     Private_Clean + Private_Dirty of /proc/PID/smaps_rollup
    data_gib        VmData of /proc/PID/status, which counts against RLIMIT_DATA: touched or only reserved

Example:
    python scripts/measure_memory.py --out benchmarks/worker_memory.json
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.io import write

from repdiff.runs.provenance import record

SECONDS_BETWEEN_LOOKS = 0.1
KIB_IN_GIB = 2**20
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}  # the latter as with a limit
PRIVATE = ("Private_Clean:", "Private_Dirty:")
STEPS: dict[str, list[str]] = {
    "encode": ["encode", "FILE"],
    "reconstruct": ["reconstruct", "--dataset", "FILE", "--n-workers", "2", "--device", "cpu", "--symmetry", "none",
                    "--preset", "fast", "--max-seconds", "3"],
    "evaluate": ["evaluate", "FILE", "--only", "validity,uniqueness", "--n-workers", "2"],
    "relax": ["relax", "FILE", "--n-workers", "2", "--device", "cpu", "--part-size", "2", "--max-steps", "2"],
    "train": ["train", "--max-steps", "4", "--device", "cpu"],
    "generate": ["generate", "--n", "4", "--steps", "5", "--device", "cpu"],
}  # fmt: skip


def salts() -> list[Atoms]:
    """Return some salts in cells of 2 and of 64 atoms."""
    metals, halogens = ("Li", "Na", "K"), ("F", "Cl", "Br")
    cells = [bulk(m + x, "rocksalt", a=4.5 + 0.3 * k) for k, m in enumerate(metals) for x in halogens]
    return [*cells, make_supercell(bulk("NaCl", "rocksalt", a=5.64, cubic=True), 2 * np.eye(3))]


def kib(file: Path, names: Sequence[str]) -> int:
    """Add up lines of a file of /proc, KiB."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(tuple(names)))


def children(pid: int) -> list[int]:
    """Return the processes that one has started."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(one) for one in (task / "children").read_text(encoding="utf-8").split()]
    return found


def watch(words: Sequence[str]) -> dict[str, float]:
    """Run a command of repdiff; returns the largest memory of the command and of a worker, GiB."""
    most: dict[str, float] = {}
    command = [sys.executable, "-m", "repdiff", *words]
    with subprocess.Popen(command, env=os.environ | ENVIRONMENT, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            with suppress(OSError):
                for role, pids in (("command", [process.pid]), ("worker", children(process.pid))):
                    for pid in pids:
                        look(role, pid, most)
            time.sleep(SECONDS_BETWEEN_LOOKS)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} ended with status {process.returncode}")
    return {name: round(value, 3) for name, value in most.items()}


def look(role: str, pid: int, most: dict[str, float]) -> None:
    """Take the memory of one process into the largest so far."""
    with suppress(OSError, ValueError):
        private = kib(Path(f"/proc/{pid}/smaps_rollup"), PRIVATE) / KIB_IN_GIB
        data = kib(Path(f"/proc/{pid}/status"), ["VmData:"]) / KIB_IN_GIB
        for name, value in (("private", private), ("data", data)):
            key = f"{role}_{name}_gib"
            most[key] = max(most.get(key, 0.0), value)


def kept(file: Path) -> dict[str, dict[str, float]]:
    """Return what earlier calls measured."""
    return json.loads(file.read_text(encoding="utf-8"))["gib"] if file.is_file() else {}


def main() -> None:
    """Measure every step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--only", nargs="*", choices=sorted(STEPS), help="steps to run")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file, found = Path(folder) / "salts.extxyz", kept(given.out)
        write(file, salts())
        for name in given.only or STEPS:
            words = [str(file) if word == "FILE" else word for word in STEPS[name]]
            found[name] = watch([*words, "--workspace", folder])
            print(name, found[name], flush=True)
            record(given.out, {"script": "scripts/measure_memory.py", "gib": found})


if __name__ == "__main__":
    main()
