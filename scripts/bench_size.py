"""Whether the cost of one crystal, and the memory of the whole, depend on how many crystals there are.

A set of n crystals is made of MP-20: each is a random crystal of it whose elements were swapped for random ones of
their column of the periodic table, and whose atoms and cell were moved a little. A second set has the first `N_FIXED`
of them. Every step is a command of `repdiff` in a process of its own. It runs on the small set, which tells what
starting and reading cost (twice where something is kept of the known crystals for next time), and on the whole set.
Measured are the processor time of the command, its workers included, and the largest memory of one of its processes:

    milliseconds_a_crystal = 1000 · (seconds of the whole set - seconds of the small set) / (n - N_FIXED)

Times of earlier calls with other n stay in the file.

Example:
    python scripts/bench_size.py --n 10000 --data-dir DIR
    python scripts/bench_size.py --n 100000 --only validity,composition,symmetry,uniqueness --data-dir DIR
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Element

from repdiff.crystals.crystal import Crystal, write_crystals
from repdiff.datasets.load import load_dataset
from repdiff.runs.provenance import record

N_FIXED = 10
N_REFERENCE, N_TRAINING = 1000, 5000
SHIFT, STRAIN = 0.02, 0.01  # Å; relative
MEBIBYTE = 1024  # of the unit of ru_maxrss on Linux
LAUNCHER = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
sys.exit(status)
"""  # a small process between: the largest memory of a process starts from that of the one that it was forked from
FAMILIES = (
    "validity", "composition", "symmetry", "prototypes", "conditions", "plain_properties",
    "uniqueness", "distributions", "coverage", "frechet", "matching", "metre",
)  # fmt: skip


def columns_of_the_table() -> list[list[int]]:
    """Return the elements up to bismuth by column, without noble gases; the lanthanoids are one."""
    found: dict[int, list[int]] = {}
    for number in (z for z in range(1, 84) if z not in (2, 10, 18, 36, 54)):
        element = Element.from_Z(number)
        found.setdefault(3 if element.is_lanthanoid else element.group, []).append(number)
    return list(found.values())


COLUMN_OF = {number: column for column in columns_of_the_table() for number in column}


KEPT = ("prototypes", "coverage", "frechet")  # steps that keep something of the known crystals


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the sets of one size are.

    Attributes:
        folder: Folder of everything.
        made: Folder of the crystals, as a run would leave them.
        few: The same with the first of them.
        n: Number of crystals.
    """

    folder: Path
    made: Path
    few: Path
    n: int


def swapped(crystal: Crystal, id: str, rng: np.random.Generator) -> Crystal:
    """Swap elements within their columns, and move atoms and cell a little."""
    kinds, place = np.unique(crystal.atomic_numbers, return_inverse=True)
    others = np.array([rng.choice(COLUMN_OF.get(int(kind), [int(kind)])) for kind in kinds])
    strain = np.eye(3) + rng.normal(0, STRAIN, (3, 3))
    shift = rng.normal(0, SHIFT, (crystal.n_atoms, 3)) @ np.linalg.inv(crystal.lattice)
    return Crystal(
        id=id,
        atomic_numbers=others[place],
        lattice=crystal.lattice @ strain,
        frac_coords=crystal.frac_coords + shift,
    )


def make_sets(folder: Path, n: int, arguments: argparse.Namespace) -> Place:
    """Write the crystals, the first of them, a reference and a training set."""
    rng = np.random.default_rng(arguments.seed)
    known = load_dataset("mp_20", data_dir=arguments.data_dir).crystals
    rows = rng.integers(len(known), size=n).tolist()
    made = [swapped(known[row], f"made-{k}", rng) for k, row in enumerate(rows)]
    place = Place(folder=folder, made=folder / f"made-{n}", few=folder / f"few-{n}", n=n)
    for path, crystals in ((place.made, made), (place.few, made[:N_FIXED])):
        path.mkdir(exist_ok=True)
        write_crystals(path / "table.parquet", crystals)
    for name, split, size in (("reference", "test", N_REFERENCE), ("training", "train", N_TRAINING)):
        of_split = [one.replace(split=None, labels={}) for one in known if one.split == split]
        write_crystals(folder / f"{name}.parquet", of_split[:size])
    return place


def evaluate_steps(place: Place, crystals: Path) -> dict[str, list[str]]:
    """Return one command for each family of metrics."""
    shared = ["--n-workers", "1", "--no-baseline", "--cache", str(place.folder / "cache")]
    known = [f"--{name}={place.folder / f'{name}.parquet'}" for name in ("reference", "training")]
    return {family: ["evaluate", str(crystals), "--only", family, *shared, *known] for family in FAMILIES}


def encode_steps(_: Place, crystals: Path) -> dict[str, list[str]]:
    """Return the commands that encode all there is to know of crystals, and their vectors alone."""
    words = [
        "encode",
        str(crystals / "table.parquet"),
        "--device",
        "cpu",
        "--name",
        crystals.name,
        "--overwrite",
    ]
    return {"all": words, "vectors": [*words, "--symprec", "none", "--no-niggli"]}


STEPS: Mapping[str, Callable[[Place, Path], Mapping[str, Sequence[str]]]] = {
    "evaluate": evaluate_steps,
    "encode": encode_steps,
}
"""By verb: the commands that are measured, by their names, given the sets and which one to take."""


def run(command: Sequence[str], workspace: Path) -> dict[str, float]:
    """Run a command of `repdiff`; return its processor time and memory, its workers' included.

    Raises:
        SystemExit: If it fails.
    """
    words = [sys.executable, "-m", "repdiff", *command, "--workspace", str(workspace)]
    launched = subprocess.run(
        [sys.executable, "-c", LAUNCHER, *words],
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    if launched.returncode:
        raise SystemExit(f"repdiff {' '.join(command)} ended with status {launched.returncode}")
    seconds, peak = map(float, launched.stdout.split())
    return {"seconds": seconds, "peak_mebibytes": peak / MEBIBYTE}


def measure(verb: str, place: Place, only: Sequence[str] | None) -> dict[str, dict[str, float]]:
    """Measure the commands of a verb."""
    found = {}
    few = STEPS[verb](place, place.few)
    for name, command in STEPS[verb](place, place.made).items():
        if only and name not in only:
            continue
        sessions = {}
        first = [("first", few[name])] if name in KEPT else []
        for which, words in (*first, ("few", few[name]), ("all", command)):
            sessions[which] = run(words, place.folder / f"{verb}-{name}-{which}")
        spent = sessions["all"]["seconds"] - sessions["few"]["seconds"]
        found[name] = {
            "seconds": sessions["all"]["seconds"],
            "seconds_of_few": sessions["few"]["seconds"],
            "milliseconds_a_crystal": 1000 * spent / (place.n - N_FIXED),
            "peak_mebibytes": sessions["all"]["peak_mebibytes"],
        }
        print(verb, place.n, name, json.dumps(found[name]), flush=True)
    return found


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--verb", choices=sorted(STEPS), default="evaluate")
    add("--n", type=int, required=True, help=f"number of crystals, above {N_FIXED}")
    add("--only", help="steps of the verb, separated by commas")
    add("--seed", type=int, default=0)
    add("--data-dir", type=Path)
    add("--folder", type=Path, help="where the sets and runs stay; without it they are removed")
    add("--out", type=Path, default=Path("benchmarks/size.json"))
    arguments = parser.parse_args()
    only = arguments.only.split(",") if arguments.only else None
    with tempfile.TemporaryDirectory() as passing:
        folder = arguments.folder or Path(passing)
        folder.mkdir(parents=True, exist_ok=True)
        found = measure(arguments.verb, make_sets(folder, arguments.n, arguments), only)
    before: dict[str, Any] = {}
    if arguments.out.is_file():
        before = json.loads(arguments.out.read_text(encoding="utf-8"))["steps"]
    of_verb = before.get(arguments.verb, {})
    sized = of_verb.get(str(arguments.n), {}) | found
    steps = before | {arguments.verb: of_verb | {str(arguments.n): sized}}
    record(arguments.out, {"dataset": "mp_20", "steps": steps, "n_fixed": N_FIXED, "seed": arguments.seed})


if __name__ == "__main__":
    main()
