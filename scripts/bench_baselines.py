#!/usr/bin/env python
"""Record what real crystals score: validation against test, training against test, and two halves of the test set.

    scripts/bench_baselines.py --dataset mp_20 --data-dir DIR [--cache DIR] [--baseline-size 10000]

Every value of every family that needs no relaxation, with its 95 % interval, goes to
benchmarks/baselines_<dataset>.json with the seed, versions, hardware and the seconds it took.
"""

import argparse
import tempfile
import time
from pathlib import Path

from repdiff.commands.evaluate import run_evaluate
from repdiff.datasets.benchmarks import BENCHMARKS
from repdiff.hardware import hardware, n_cores
from repdiff.runs.atomic_files import read_json, write_json
from repdiff.runs.workspace import Workspace
from repdiff.settings import EvaluateSettings

BENCHMARK_FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


def main() -> None:
    """Evaluate and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True, choices=sorted(BENCHMARKS))
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of the benchmark files")
    parser.add_argument(
        "--cache", type=Path, help="folder of fingerprints; without it they are computed anew"
    )
    parser.add_argument("--baseline-size", type=int, help="training crystals; without it as many as val has")
    parser.add_argument("--n", type=int, help="validation crystals; without it all")
    parser.add_argument("--only", help="families, separated by commas")
    parser.add_argument("--n-workers", type=int, default=n_cores())
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = EvaluateSettings(
            structures=f"{arguments.dataset}:val",
            reference=f"{arguments.dataset}:test",
            data_dir=arguments.data_dir,
            cache=arguments.cache,
            baseline=True,
            baseline_halves=True,
            baseline_size=arguments.baseline_size,
            n=arguments.n,
            only=tuple(arguments.only.split(",")) if arguments.only else None,
            n_workers=arguments.n_workers,
            seed=arguments.seed,
        )
        started = time.perf_counter()
        run = run_evaluate(settings, Workspace(root=Path(folder)))
        seconds = time.perf_counter() - started
        metrics = read_json(run / "metrics.json")
    for family in metrics["metrics"].values():
        del family["details"]
    record = {
        "dataset": arguments.dataset,
        "cache": "filled before" if arguments.cache else "empty",
        "seconds": round(seconds, 1),
        "n_workers": arguments.n_workers,
        **metrics,
        "hardware": hardware(),
    }
    write_json(BENCHMARK_FOLDER / f"floors_{arguments.dataset}.json", record)


if __name__ == "__main__":
    main()
