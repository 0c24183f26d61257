#!/usr/bin/env python
"""Measure what is read off real crystals: protostructures, how far symmetrised crystals move, and the time it takes.

    python scripts/bench_symmetry.py --data-dir DIR [--n 2000] [--out benchmarks/symmetry.json]

Times are CPU seconds of one thread; those of the maps and of the feasibility tables with the tables of the groups read.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from descriptors.symmetry.feasibility import can_make, next_orbits, possible_groups
from descriptors.symmetry.labels import prototype_label
from descriptors.symmetry.orbit_maps import orbit_maps
from descriptors.symmetry.settings import equivalent_settings
from repdiff.crystals.symmetry import SYMPREC
from repdiff.datasets.load import load_dataset
from repdiff.runs.provenance import record
from repdiff.symmetry import Reading, SymmetrizedCrystal, read_protostructures

BATCH = 256
BINS = {"0": (0, 0), "1-2": (1, 2), "3-5": (3, 5), "6-10": (6, 10), "more": (11, 10**9)}


def cpu_seconds(task: Callable[[], object]) -> float:
    """Return the CPU time of a task that was run once before, so that tables are read."""
    task()
    started = time.process_time()
    task()
    return time.process_time() - started


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return the distribution of some numbers in a few."""
    wanted = (50, 90, 99, 100)
    return {f"p{q}": float(value) for q, value in zip(wanted, np.percentile(values, wanted), strict=True)}


def describe(readings: Sequence[Reading], found: Sequence[SymmetrizedCrystal]) -> dict[str, object]:
    """Summarise protostructures and deviations."""
    free = np.array([one.protostructure.n_free for one in found])
    settings = [len(equivalent_settings(one.protostructure)) for one in found]
    return {
        "read": len(found) / len(readings),
        "reasons": dict(Counter(reading.reason for reading in readings if reading.reason)),
        "p1": float(np.mean([one.protostructure.number == 1 for one in found])),
        "n_space_groups": len({one.protostructure.number for one in found}),
        "n_prototypes": len({prototype_label(one.protostructure) for one in found}),
        "free_coordinates": {
            "mean": float(free.mean()),
            "median": float(np.median(free)),
            "largest": int(free.max()),
            "shares": {name: float(((free >= a) & (free <= b)).mean()) for name, (a, b) in BINS.items()},
        },
        "orbits_mean": float(np.mean([len(one.protostructure.orbits) for one in found])),
        "displacement_angstrom": percentiles([one.displacement for one in found]),
        "strain": percentiles([one.strain for one in found]),
        "tolerance_tightened": float(np.mean([one.symprec < 0.999 * SYMPREC for one in found])),
        "settings": {
            "mean": float(np.mean(settings)),
            "median": float(np.median(settings)),
            **percentiles(settings),
        },
    }


def time_maps(found: Sequence[SymmetrizedCrystal]) -> dict[str, float]:
    """Time the maps of a batch, and the crystals they make with their gradient."""
    part = found[:BATCH]
    free = torch.cat([torch.from_numpy(one.free) for one in part]).requires_grad_()
    cell = torch.from_numpy(np.stack([one.cell for one in part])).requires_grad_()
    maps = orbit_maps([one.protostructure for one in part])

    def differentiate() -> None:
        maps.crystals(free, cell).cart_coords.square().sum().backward()

    return {
        "n_crystals": len(part),
        "build_seconds": cpu_seconds(lambda: orbit_maps([one.protostructure for one in part])),
        "crystals_seconds": cpu_seconds(lambda: maps.crystals(free, cell)),
        "crystals_and_gradient_seconds": cpu_seconds(differentiate),
    }


def time_feasibility(found: Sequence[SymmetrizedCrystal]) -> dict[str, float]:
    """Time questions as a sampler asks them, the first time and again."""
    asked = [(one.protostructure.number, list(one.protostructure.composition().values())) for one in found]
    started = time.process_time()
    answers = [can_make(number, counts) for number, counts in asked]
    first = time.process_time()
    for number, counts in asked:
        next_orbits(number, counts)
    second = time.process_time()
    for number, counts in asked:
        next_orbits(number, counts)
    third = time.process_time()
    for _, counts in asked[:100]:
        possible_groups(counts)
    ended = time.process_time()
    if not all(answers):
        raise RuntimeError("a crystal that exists was said to be impossible")
    return {
        "can_make_seconds_each": (first - started) / len(asked),
        "next_orbits_seconds_each": (second - first) / len(asked),
        "next_orbits_again_seconds_each": (third - second) / len(asked),
        "possible_groups_seconds_each": (ended - third) / min(100, len(asked)),
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of the benchmark files")
    parser.add_argument("--dataset", default="mp_20")
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/symmetry.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    dataset = load_dataset(
        arguments.dataset, data_dir=arguments.data_dir, limit=arguments.n, seed=arguments.seed, progress=False
    )
    crystals = dataset.crystals
    read_protostructures(crystals[:20])
    started = time.process_time()
    readings = read_protostructures(crystals)
    seconds = (time.process_time() - started) / len(crystals)
    found = [reading.symmetrized for reading in readings if reading.symmetrized is not None]
    measured = {
        "dataset": arguments.dataset,
        "n_rows_drawn": arguments.n,
        "n": len(crystals),
        "rejected_by_checks": dict(Counter(rejection.reason for rejection in dataset.rejected)),
        "seed": arguments.seed,
        "symprec_angstrom": SYMPREC,
        "cpu_seconds_a_crystal": seconds,
        **describe(readings, found),
        "maps": time_maps(found),
        "feasibility": time_feasibility(found),
    }
    record(arguments.out, measured)
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
