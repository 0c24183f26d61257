"""What a Dask cluster costs and whether it loses anything, measured with a real one on this machine.

Four parts: reconstructions while workers are killed at random, whose results must be those of local processes; the
time of some local Dask workers of one thread against as many local processes, for equal work; the time of pieces that
do nothing, which is what a piece costs; and what the engines that were compared bring along, which needs PyPI. Times
are medians of repeats that take turns, after one that is not counted; they are wall-clock times, and say little where
other work runs beside.

Example:
    python scripts/bench_cluster.py --n 2000 --n-timed 200 --out benchmarks/cluster.json
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib.metadata import distributions
from pathlib import Path

import distributed
import torch

from reconstruction.inversion import Inversion, prepare
from reconstruction.jobs import using
from reconstruction.parallel import reconstruct_groups
from reconstruction.presets import SEARCHES
from reconstruction.result import ReconstructionResult, join_results
from repdiff.crystals.crystal import to_batch
from repdiff.datasets.load import load_dataset
from repdiff.execution.dask_cluster import DaskCluster
from repdiff.execution.dask_start import started
from repdiff.execution.jobs import run_jobs
from repdiff.execution.progress import progress_bar
from repdiff.representations.layout import RepresentationSpec
from repdiff.runs.provenance import record
from repdiff.settings.workers import ClusterFile

DESCRIPTOR = "ead:compact"
TIMES = ("seconds",)  # fields of a result that differ from run to run


def inversion_of(n: int, *, max_atoms: int, data_dir: Path | None, seed: int) -> Inversion:
    """Prepare the inversion of the true vectors of n small prototype crystals, each several times if they are few."""
    known = [
        one for one in load_dataset("prototypes", data_dir=data_dir).crystals if one.n_atoms <= max_atoms
    ]
    chosen = random.Random(seed).choices(known, k=n)
    elements = sorted({int(z) for one in known for z in one.atomic_numbers})
    layout = RepresentationSpec.of(DESCRIPTOR, elements, niggli=False, dataset="prototypes", note="")
    representation = layout.representation()
    with torch.no_grad():
        vectors = representation.encode(to_batch(chosen, dtype=torch.float32))
    return prepare(vectors, representation, search=SEARCHES["fast"], exact=True, seed=seed)


def reconstruct_all(inversion: Inversion, groups: list[list[int]], n_workers: int) -> ReconstructionResult:
    """Reconstruct groups on the workers of the engine in force."""
    bar = progress_bar(total=len(groups), desc="reconstructing", unit="piece", disable=False)
    parts = []
    with bar:
        for _, found in reconstruct_groups(inversion, groups, n_workers=n_workers):
            parts.append(found)
            bar.update()
    return join_results(parts).in_order()


def differences(one: ReconstructionResult, other: ReconstructionResult) -> list[str]:
    """Name the fields of two results that are not equal to the last bit, times aside."""
    pairs = {name: (getattr(one, name), getattr(other, name)) for name in vars(one) if name not in TIMES}
    batches = pairs.pop("batch")
    pairs |= {name: (getattr(batches[0], name), getattr(batches[1], name)) for name in vars(batches[0])}
    return [name for name, (a, b) in pairs.items() if not _equal(a, b)]


def _equal(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.shape == other.shape and torch.equal(one.nan_to_num(-1.0), other.nan_to_num(-1.0))
    return one == other


@contextmanager
def killing(engine: DaskCluster, seconds: float, seed: int) -> Generator[list[float], None, None]:
    """Kill a worker at random every so many seconds on average; yields the times of the kills."""
    kills: list[float] = []
    done, rng, began = threading.Event(), random.Random(seed), time.monotonic()

    def kill() -> None:
        while not done.wait(rng.uniform(0.5, 1.5) * seconds):
            known, cluster = engine.client.nthreads(), engine.client.cluster
            assert isinstance(cluster, distributed.LocalCluster)
            nannies = list(cluster.workers.values())
            pids = [nanny.pid for nanny in nannies if nanny.worker_address in known]
            if pids:
                os.kill(rng.choice(pids), signal.SIGKILL)
                kills.append(round(time.monotonic() - began, 2))

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    try:
        yield kills
    finally:
        done.set()
        thread.join()


def measure_kills(arguments: argparse.Namespace) -> dict[str, object]:
    """Reconstruct with and without workers that are killed, and compare."""
    inversion = inversion_of(
        arguments.n, max_atoms=arguments.max_atoms, data_dir=arguments.data_dir, seed=arguments.seed
    )
    groups = [[row] for group in inversion.groups for row in group]
    began = time.perf_counter()
    here = reconstruct_all(inversion, groups, arguments.n_workers)
    seconds_here = time.perf_counter() - began
    with (
        started(ClusterFile(kind="local", workers=arguments.n_workers), "local cluster") as engine,
        using(engine),
    ):
        began = time.perf_counter()
        with killing(engine, arguments.seconds_between_kills, arguments.seed) as kills:
            there = reconstruct_all(inversion, groups, arguments.n_workers)
        seconds_there = time.perf_counter() - began
    return {
        "n_reconstructions": len(groups),
        "n_workers": arguments.n_workers,
        "n_workers_killed": len(kills),
        "seconds_between_kills": arguments.seconds_between_kills,
        "n_set_aside": len(there.refused),
        "n_lost": len(groups) - len(there) - len(there.refused),
        "fields_that_differ": differences(here, there),
        "seconds_of_local_processes": seconds_here,
        "seconds_with_kills": seconds_there,
    }


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that some work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure_times(arguments: argparse.Namespace) -> dict[str, object]:
    """Time local processes and Dask workers at equal work in turns; both are started anew every time."""
    inversion = inversion_of(
        arguments.n_timed, max_atoms=arguments.max_atoms, data_dir=arguments.data_dir, seed=arguments.seed + 1
    )
    groups = [[row] for group in inversion.groups for row in group]
    n = arguments.n_workers
    seconds: dict[str, list[float]] = {"local": [], "dask": [], "dask_started": []}
    results = {}

    def here() -> None:
        results["local"] = reconstruct_all(inversion, groups, n)

    def there() -> None:
        results["dask"] = reconstruct_all(inversion, groups, n)

    def from_start() -> None:
        with started(ClusterFile(kind="local", workers=n), "local cluster") as engine, using(engine):
            engine.client  # noqa: B018 (connects)
            seconds["dask"].append(timed(there))

    for _ in range(arguments.repeats + 1):
        seconds["local"].append(timed(here))
        seconds["dask_started"].append(timed(from_start))
    counted = {name: values[1:] for name, values in seconds.items()}
    medians = {name: statistics.median(values) for name, values in counted.items()}
    return {
        "n_reconstructions": len(groups),
        "n_workers": n,
        "n_repeats": arguments.repeats,
        "seconds": counted,
        "median_seconds": medians,
        "ratio_of_medians": medians["dask"] / medians["local"],
        "ratio_with_start_of_the_cluster": medians["dask_started"] / medians["local"],
        "fields_that_differ": differences(results["local"], results["dask"]),
        "load_average": os.getloadavg()[1],
    }


def measure_overhead(arguments: argparse.Namespace) -> dict[str, object]:
    """Time pieces that do nothing."""
    found = []
    with (
        started(ClusterFile(kind="local", workers=arguments.n_workers), "local cluster") as engine,
        using(engine),
    ):
        for _ in range(arguments.repeats + 1):
            jobs = run_jobs(abs, range(arguments.n_empty), n_workers=arguments.n_workers)
            found.append(timed(lambda jobs=jobs: list(jobs)) / arguments.n_empty * 1000)
    return {
        "n_pieces": arguments.n_empty,
        "n_workers": arguments.n_workers,
        "milliseconds_per_piece": found[1:],
        "median_milliseconds_per_piece": statistics.median(found[1:]),
        "load_average": os.getloadavg()[1],
    }


ENGINES = {
    "Dask": ["dask", "distributed", "dask-jobqueue"],
    "executorlib": ["executorlib"],
    "Parsl": ["parsl"],
    "Ray": ["ray"],
}


def measure_engines(_arguments: argparse.Namespace) -> dict[str, object]:
    """Install the engines that were compared, each into a folder of its own, and measure what they bring along."""
    found: dict[str, object] = {}
    for name, packages in ENGINES.items():
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", folder]
            subprocess.run([*command, *packages], check=True)
            files = [path for path in Path(folder).rglob("*") if path.is_file()]
            found[name] = {
                "megabytes": sum(path.stat().st_size for path in files) / 1e6,
                "n_packages": len(list(Path(folder).glob("*.dist-info"))),
                "versions": {
                    one.name: one.version for one in distributions(path=[folder]) if one.name in packages
                },
            }
    return found


PARTS = {
    "kills": measure_kills,
    "times": measure_times,
    "overhead": measure_overhead,
    "engines": measure_engines,
}


def main() -> None:
    """Run the benchmark; parts that are not run keep what the file says of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--part", action="append", choices=list(PARTS), help="repeatable; without it all")
    add("--n", type=int, default=2000, help="reconstructions while workers are killed")
    add("--n-timed", type=int, default=200, help="reconstructions that are timed")
    add("--n-empty", type=int, default=500)
    add("--n-workers", type=int, default=4)
    add("--max-atoms", type=int, default=4, help="largest crystals that are reconstructed")
    add("--repeats", type=int, default=5)
    add("--seconds-between-kills", type=float, default=20.0)
    add("--seed", type=int, default=0)
    add("--data-dir", type=Path)
    add("--out", type=Path, default=Path("benchmarks/cluster.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    before = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.is_file() else {}
    result = {name: before[name] for name in PARTS if name in before}
    for name in arguments.part or PARTS:
        result[name] = PARTS[name](arguments)
        record(arguments.out, {"search": "fast", "descriptor": DESCRIPTOR, "seed": arguments.seed, **result})
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
