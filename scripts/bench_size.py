"""Whether the cost of one crystal, and the memory of the whole, depend on how many crystals there are.

A set of n crystals is made of MP-20: each is a random crystal of it whose elements were swapped for random ones of
their column of the periodic table, and whose atoms and cell were moved a little. A second set has the first `N_FIXED`
of them. Every step is a command of `repdiff` in a process of its own. It runs on the small set, which tells what
starting and reading cost (twice where something is kept of the known crystals for next time), and on the whole set.
Measured are the processor time of the command, its workers included, and the largest memory of one of its processes:

    milliseconds_a_crystal = 1000 · (seconds of the whole set - seconds of the small set) / (n - N_FIXED)

`--verb generate` draws n vectors of a model instead (step `vectors`); it also writes n vectors that were not drawn, the
same thousand again and again (step `shards`): all that the command does around the model. `--verb reconstruct` makes
crystals of the first n vectors. In a `--folder` that holds vectors already, more are appended to them, and the new ones
alone are the n of the formula, in the record `n_new`.

Times of earlier calls with other n stay in the file.

Example:
    python scripts/bench_size.py --n 10000 --data-dir DIR
    python scripts/bench_size.py --n 100000 --only validity,composition,symmetry,uniqueness --data-dir DIR
    python scripts/bench_size.py --verb generate --n 1000000 --model MODEL --folder DIR
    python scripts/bench_size.py --verb reconstruct --n 10000 --folder DIR
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
from repdiff.representations.shards import split_generated
from repdiff.runs.manifest import read_manifest
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
SAMPLED = ("coverage", "frechet", "matching")  # families that score a sample of a large set
SUBSAMPLE = 1000
STAND_INS = str(Path(__file__).with_name("generate_stand_ins.py"))


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the sets of one size are.

    Attributes:
        folder: Folder of everything.
        made: Folder of the crystals, as a run would leave them.
        few: The same with the first of them.
        n: Number of crystals.
        model: Trained model that draws vectors; None where none is needed.
    """

    folder: Path
    made: Path
    few: Path
    n: int
    model: Path | None = None

    def size(self, which: Path) -> int:
        """Return how many crystals one of the two sets has."""
        return self.n if which == self.made else N_FIXED

    def generated(self, which: Path, step: str = "vectors") -> Path:
        """Return the run in which a step of `generate` leaves the vectors of one of the two sets."""
        return self.folder / f"generate-{step}-{which.name.partition('-')[0]}" / "generate" / "vectors"


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


def make_sets(place: Place, arguments: argparse.Namespace) -> None:
    """Write the crystals, the first of them, a reference and a training set."""
    rng = np.random.default_rng(arguments.seed)
    known = load_dataset("mp_20", data_dir=arguments.data_dir).crystals
    rows = rng.integers(len(known), size=place.n).tolist()
    made = [swapped(known[row], f"made-{k}", rng) for k, row in enumerate(rows)]
    for path, crystals in ((place.made, made), (place.few, made[:N_FIXED])):
        path.mkdir(exist_ok=True)
        write_crystals(path / "table.parquet", crystals)
    for name, split, size in (("reference", "test", N_REFERENCE), ("training", "train", N_TRAINING)):
        of_split = [one.replace(split=None, labels={}) for one in known if one.split == split]
        write_crystals(place.folder / f"{name}.parquet", of_split[:size])


def evaluate_steps(place: Place, crystals: Path) -> dict[str, list[str]]:
    """Return one command for each family of metrics."""
    shared = ["--n-workers", "1", "--no-baseline", "--cache", str(place.folder / "cache")]
    known = [f"--{name}={place.folder / f'{name}.parquet'}" for name in ("reference", "training")]
    commands = {family: ["evaluate", str(crystals), "--only", family, *shared, *known] for family in FAMILIES}
    for family in SAMPLED:
        commands[family] += ["--subsample", str(SUBSAMPLE)]
    return commands


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


def generate_steps(place: Place, crystals: Path) -> dict[str, list[str]]:
    """Return the commands that draw vectors, in few steps and orbit by orbit, and that do all but draw them."""
    sampler = ["--sampler", "dpm", "--steps", "10", "--prototype-share", "0"]
    n = ["--n", str(place.size(crystals)), "--name", "vectors"]
    vectors = ["generate", "--model", str(place.model), *n, *sampler]
    return {"vectors": vectors, "shards": [STAND_INS, str(place.generated(place.made)), *vectors]}


def reconstruct_steps(place: Place, crystals: Path) -> dict[str, list[str]]:
    """Return the command that makes crystals of vectors that `generate_steps` drew."""
    n = ["--n", str(place.size(crystals)), "--n-workers", "1"]
    return {"crystals": ["reconstruct", "--generated", str(place.generated(crystals)), *n]}


STEPS: Mapping[str, Callable[[Place, Path], Mapping[str, Sequence[str]]]] = {
    "evaluate": evaluate_steps,
    "encode": encode_steps,
    "generate": generate_steps,
    "reconstruct": reconstruct_steps,
}
"""By verb: the commands that are measured, by their names, given the sets and which one to take."""


def run(command: Sequence[str], workspace: Path) -> dict[str, float]:
    """Run a command of `repdiff`; return its processor time and memory, its workers' included.

    Raises:
        SystemExit: If it fails.
    """
    program = [] if command[0] == STAND_INS else ["-m", "repdiff"]
    words = [sys.executable, *program, *command, "--workspace", str(workspace)]
    launched = subprocess.run(
        [sys.executable, "-c", LAUNCHER, *words],
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    if launched.returncode:
        raise SystemExit(f"{' '.join(words)} ended with status {launched.returncode}")
    seconds, peak = map(float, launched.stdout.split())
    return {"seconds": seconds, "peak_mebibytes": peak / MEBIBYTE}


def n_held(place: Place, step: str) -> int:
    """Count the vectors that an earlier call of a step of `generate` left in the folder."""
    run = place.generated(place.made, step)
    return split_generated(run, None, largest=1)[-1][1].stop if run.is_dir() else 0


def model_of(verb: str, place: Place) -> dict[str, str]:
    """Return the name of the model that drew the vectors, where there are any."""
    if verb not in ("generate", "reconstruct"):
        return {}
    return {"model": Path(read_manifest(place.generated(place.made)).config["model"]).name}


def measure(verb: str, place: Place, only: Sequence[str] | None, repeats: int) -> dict[str, Any]:
    """Measure the commands of a verb; of several sessions of one, the quickest counts.

    Raises:
        SystemExit: If vectors are to be appended several times.
    """
    found: dict[str, Any] = {}
    few = dict(STEPS[verb](place, place.few))
    for name, command in STEPS[verb](place, place.made).items():
        if only and name not in only:
            continue
        sessions: dict[str, dict[str, float]] = {}
        few[name] = [*few[name], "--overwrite"]
        first = [("first", few[name])] if name in KEPT else []
        before = n_held(place, name) if verb == "generate" else 0
        if repeats > 1 and before:
            raise SystemExit(f"{place.folder} holds vectors, more are appended but once: leave --repeats out")
        n_new = place.n - before
        again = repeats * [("few", few[name])] + (repeats - 1) * [("made", [*command, "--overwrite"])]
        for which, words in (*first, ("made", command), *again):
            session = run(words, place.folder / f"{verb}-{name}-{which}")
            if which not in sessions or session["seconds"] < sessions[which]["seconds"]:
                sessions[which] = session
        spent = sessions["made"]["seconds"] - sessions["few"]["seconds"]
        found[name] = {
            "n_new": n_new,
            **model_of(verb, place),
            "seconds": sessions["made"]["seconds"],
            "seconds_of_few": sessions["few"]["seconds"],
            "milliseconds_a_crystal": 1000 * spent / (n_new - N_FIXED),
            "peak_mebibytes": sessions["made"]["peak_mebibytes"],
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
    add("--repeats", type=int, default=1, help="sessions of each command, of which the quickest counts")
    add("--seed", type=int, default=0)
    add("--data-dir", type=Path)
    add("--model", type=Path, help="trained model whose vectors are drawn; its data set is not asked for")
    add("--folder", type=Path, help="where the sets and runs stay; without it they are removed")
    add("--out", type=Path, default=Path("benchmarks/size.json"))
    arguments = parser.parse_args()
    only = arguments.only.split(",") if arguments.only else None
    with tempfile.TemporaryDirectory() as passing:
        folder = arguments.folder or Path(passing)
        folder.mkdir(parents=True, exist_ok=True)
        place = Place(
            folder=folder,
            made=folder / f"made-{arguments.n}",
            few=folder / f"few-{arguments.n}",
            n=arguments.n,
            model=arguments.model,
        )
        if arguments.verb == "evaluate":
            make_sets(place, arguments)
        found = measure(arguments.verb, place, only, arguments.repeats)
    before: dict[str, Any] = {}
    if arguments.out.is_file():
        before = json.loads(arguments.out.read_text(encoding="utf-8"))["steps"]
    of_verb = before.get(arguments.verb, {})
    sized = of_verb.get(str(arguments.n), {}) | found
    steps = before | {arguments.verb: of_verb | {str(arguments.n): sized}}
    record(arguments.out, {"dataset": "mp_20", "steps": steps, "n_fixed": N_FIXED, "seed": arguments.seed})


if __name__ == "__main__":
    main()
