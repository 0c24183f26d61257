"""How much faster crystals relax in batches than one at a time with ASE: same model, settings and cores.

The last method named is compared with the others, by wall time and by processor time; the latter says more on a machine
that is busy with something else.

Writes benchmarks/relaxation.json. Every method gets the same rattled crystals, in turn, several times; starting the
processes and loading the model is not counted. Example:
    python scripts/bench_relaxation.py --data-dir ../shared/data --n 24
"""

import argparse
import io
import json
import os
import statistics
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from descriptors.batch import to_atoms
from reconstruction.process_pool import follow_parent
from repdiff.crystals.crystal import Crystal, to_batch
from repdiff.datasets.load import load_dataset
from repdiff.energies.registered import load_force_field
from repdiff.energies.relax import ATOMS_ON_CPU, Limits, relax_crystals
from repdiff.runs.provenance import record

METHODS = {  # processes, threads of each, crystals handed over at once
    "ase_loop": (1, 2, 1),
    "ase_loop_two_processes": (2, 1, 1),
    "batched_two_processes": (2, 1, 8),
}
Outcome = list[tuple[float, int, bool]]  # energy per atom, steps, converged
_STATE: list[Any] = []  # of a worker: the model


def start(method: str, n_threads: int) -> None:
    """Load the model in a worker, which ends when its parent does."""
    follow_parent()
    torch.set_num_threads(n_threads)
    warnings.simplefilter("ignore")
    if method.startswith("batched"):
        _STATE.append(load_force_field("chgnet"))
        return
    with redirect_stdout(io.StringIO()):
        from chgnet.model import CHGNet, CHGNetCalculator

        _STATE.append(CHGNetCalculator(CHGNet.load(use_device="cpu", verbose=False), use_device="cpu"))


def relax_one_at_a_time(crystals: list[Crystal], limits: Limits) -> Outcome:
    """Relax as the package and ASE do it."""
    from ase.filters import FrechetCellFilter
    from ase.optimize import FIRE

    found: Outcome = []
    for atoms in to_atoms(to_batch(crystals)):
        atoms.calc = _STATE[0]
        optimizer = FIRE(FrechetCellFilter(atoms), logfile=None)
        converged = bool(optimizer.run(fmax=limits.fmax, steps=limits.max_steps))
        found.append((float(atoms.get_potential_energy()) / len(atoms), optimizer.nsteps, converged))
    return found


def relax_batch(crystals: list[Crystal], limits: Limits) -> Outcome:
    """Relax as `repdiff relax` does it."""
    ends = dict(relax_crystals(crystals, _STATE[0], limits, atoms_at_once=ATOMS_ON_CPU))
    return [
        (float(ends[row].energy or np.nan), ends[row].n_steps, ends[row].converged) for row in sorted(ends)
    ]


def work(method: str, crystals: list[Crystal], limits: Limits) -> tuple[Outcome, float]:
    """Relax a part in a worker; with the processor time that it took, in seconds."""
    before = time.process_time()
    relax = relax_batch if method.startswith("batched") else relax_one_at_a_time
    return relax(crystals, limits), time.process_time() - before


def measure(method: str, crystals: list[Crystal], limits: Limits) -> dict[str, Any]:
    """Relax all with one method, and time it from the first part handed over to the last one back."""
    n_processes, n_threads, size = METHODS[method]
    size = min(size, -(-len(crystals) // n_processes))  # work for all of them
    os.environ |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # its matrices are 3 x 3
    parts = [crystals[at : at + size] for at in range(0, len(crystals), size)]
    with ProcessPoolExecutor(
        n_processes, mp_context=get_context("spawn"), initializer=start, initargs=(method, n_threads)
    ) as pool:
        short = Limits(fmax=limits.fmax, max_steps=5)
        warm = [pool.submit(work, method, crystals[:4], short) for _ in range(2 * n_processes)]
        _ = [future.result() for future in warm]
        began = time.perf_counter()
        done = [future.result() for future in [pool.submit(work, method, part, limits) for part in parts]]
        seconds = time.perf_counter() - began
    outcome = [one for part, _ in done for one in part]
    return {
        "seconds": seconds,
        "processor_seconds": sum(spent for _, spent in done),
        "structures_per_minute": 60 * len(crystals) / seconds,
        "steps": sum(steps for _, steps, _ in outcome),
        "converged": sum(converged for _, _, converged in outcome),
        "energies": [energy for energy, _, _ in outcome],
    }


def rattled(crystals: list[Crystal], rng: np.random.Generator, sigma: float) -> list[Crystal]:
    """Displace atoms by `sigma`, Å, and strain cells by 2 %, as generated crystals are off their minimum."""
    return [
        crystal.replace(
            frac_coords=crystal.frac_coords
            + rng.normal(0, sigma, crystal.frac_coords.shape) @ np.linalg.inv(crystal.lattice),
            lattice=crystal.lattice @ (np.eye(3) + rng.normal(0, 0.02, (3, 3))),
        )
        for crystal in crystals
    ]


def main() -> None:
    """Run all methods in turn, several times, and write the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of mp20.parquet")
    parser.add_argument("--n", type=int, default=24, help="crystals of the MP-20 test split")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--max-steps", type=int, default=100)
    parser.add_argument("--sigma", type=float, default=0.1, help="displacement along each axis, Å")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/relaxation.json"))
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    some = load_dataset(
        "mp_20", data_dir=arguments.data_dir, limit=20 * arguments.n, seed=arguments.seed, progress=False
    )
    test = [crystal for crystal in some.crystals if crystal.split == "test"]
    chosen = [test[row] for row in sorted(rng.choice(len(test), arguments.n, replace=False).tolist())]
    crystals = rattled(chosen, rng, arguments.sigma)
    limits = Limits(fmax=0.05, max_steps=arguments.max_steps)
    runs: dict[str, list[dict[str, Any]]] = {method: [] for method in arguments.methods}
    for repeat in range(arguments.repeats):
        for method in arguments.methods:
            run = measure(method, crystals, limits)
            runs[method].append(run)
            print(f"{repeat} {method}: {run['structures_per_minute']:.1f} structures per minute", flush=True)
    energies = {method: np.array(found[0].pop("energies")) for method, found in runs.items()}
    medians = {
        method: {
            key: statistics.median(run[key] for run in found)
            for key in ("structures_per_minute", "seconds", "processor_seconds", "steps", "converged")
        }
        for method, found in runs.items()
    }
    ours = medians[arguments.methods[-1]]
    difference = np.abs(energies[arguments.methods[0]] - energies[arguments.methods[-1]])
    document = {
        "what": "CHGNet relaxation, FIRE with FrechetCellFilter, same crystals and cores",
        "n_crystals": len(crystals),
        "mean_n_atoms": float(np.mean([crystal.n_atoms for crystal in crystals])),
        "fmax": limits.fmax,
        "max_steps": limits.max_steps,
        "rattle": arguments.sigma,
        "seed": arguments.seed,
        "repeats": arguments.repeats,
        "methods": {
            method: dict(zip(("processes", "threads", "crystals_at_once"), METHODS[method], strict=True))
            for method in arguments.methods
        },
        "medians": medians,
        "speed_up": {
            method: {
                "wall": ours["structures_per_minute"] / medians[method]["structures_per_minute"],
                "processor_time": medians[method]["processor_seconds"] / ours["processor_seconds"],
            }
            for method in arguments.methods[:-1]
        },
        "agreement": {
            "median_energy_difference": float(np.median(difference)),
            "largest_energy_difference": float(difference.max()),
        },
    }
    record(arguments.output, document)
    print(json.dumps(document["speed_up"], indent=2))


if __name__ == "__main__":
    main()
