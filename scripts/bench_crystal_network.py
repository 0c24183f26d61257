"""How many crystals a second the crystal network takes, on a CPU, forward and with the gradients of training.

Random triclinic crystals of 5 (as in Perov-5), 10 and 20 atoms (MP-20's middle and largest), one and two threads,
medians over repeats. Every rate is given by the clock and, for a machine that others use too, by the processor's
time. "graph" is the search for neighbours alone, "forward" the whole from coordinates to the coordinate and the
lattice field without gradients, "training" the same with the gradients of all parameters.

glibc gives large blocks back to the system after each use and takes them anew, which costs more than some of the
arithmetic; --keep-memory turns that off in a process of its own (MALLOC_MMAP_THRESHOLD_, MALLOC_TRIM_THRESHOLD_).

The last line on stdout is JSON. Example:
    python scripts/bench_crystal_network.py --keep-memory --out benchmarks/crystal_network.json
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from descriptors.batch import CrystalBatch
from descriptors.testing import random_crystals
from repdiff.networks.crystal import CoordinateHead, CrystalNetwork, CrystalNetworkSettings, LatticeHead
from repdiff.runs.provenance import record

KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**33), "MALLOC_TRIM_THRESHOLD_": str(2**34)}
N_DIFFERENT = 8  # crystals of a batch, repeated
Rates = dict[str, dict[str, float]]


def measure(work: Callable[[], object], n_crystals: int, repeats: int) -> dict[str, float]:
    """Return crystals a second of the clock, and a second of the processor, after one call to warm up."""
    work()
    clock, processor = [], []
    for _ in range(repeats):
        began, began_processor = time.perf_counter(), time.process_time()
        work()
        clock.append(time.perf_counter() - began)
        processor.append(time.process_time() - began_processor)
    return {
        "per_second": round(n_crystals / median(clock), 1),
        "per_processor_second": round(n_crystals / median(processor), 1),
    }


def rates(settings: CrystalNetworkSettings, batch: CrystalBatch, repeats: int) -> Rates:
    """Measure the three rates of one network on one batch."""
    torch.manual_seed(0)
    network = CrystalNetwork(settings)
    heads = [CoordinateHead(settings, zero_init=False), LatticeHead(settings, zero_init=False)]
    parameters = [p for module in (network, *heads) for p in module.parameters()]
    times = torch.arange(batch.n_systems)

    def loss() -> torch.Tensor:
        features = network(network.graph(batch), batch.atomic_numbers, times)
        return torch.stack([head(features).square().mean() for head in heads]).sum()

    def training() -> None:
        for parameter in parameters:
            parameter.grad = None
        loss().backward()

    with torch.no_grad():
        found = {
            "graph": measure(lambda: network.graph(batch), batch.n_systems, repeats),
            "forward": measure(loss, batch.n_systems, repeats),
        }
    return found | {"training": measure(training, batch.n_systems, repeats)}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--neighbors", type=int, default=20)
    parser.add_argument("--sizes", type=int, nargs="+", default=[5, 10, 20])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch-atoms", type=int, default=1280, help="atoms in a batch")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep-memory", action="store_true")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.keep_memory and not KEEP_MEMORY.keys() <= os.environ.keys():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **KEEP_MEMORY})
    results = []
    for width in arguments.widths:
        settings = CrystalNetworkSettings(
            width=width, n_neighbors=arguments.neighbors, max_neighbors=2 * arguments.neighbors
        )
        for size in arguments.sizes:
            generator = torch.Generator().manual_seed(arguments.seed)
            different = random_crystals([size] * N_DIFFERENT, generator=generator).to(dtype=torch.float32)
            n_crystals = max(arguments.batch_atoms // size, 1)
            batch = different.select(torch.arange(n_crystals) % N_DIFFERENT)
            for threads in arguments.threads:
                torch.set_num_threads(threads)
                row = {"width": width, "atoms": size, "threads": threads, "batch": n_crystals}
                row |= rates(settings, batch, arguments.repeats)
                print(json.dumps(row), file=sys.stderr)
                results.append(row)
    result = {
        "settings": settings.model_dump() | {"width": arguments.widths},
        "n_parameters": {
            str(width): CrystalNetwork(settings.model_copy(update={"width": width})).n_parameters
            for width in arguments.widths
        },
        "heads": ["coordinates", "lattice"],
        "memory_kept": arguments.keep_memory,
        "load_average_at_end": os.getloadavg()[0],
        "repeats": arguments.repeats,
        "seed": arguments.seed,
        "rates": results,
    }
    if arguments.out:
        record(arguments.out, result)
    print(json.dumps(result["rates"]))


if __name__ == "__main__":
    main()
