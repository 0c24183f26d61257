"""Measure how many protostructures a trained model draws in a CPU second, with one thread.

    python scripts/bench_protostructures.py --model repdiff-workspace/train/RUN --out benchmarks/protostructures.json

The median of five rounds of 1000 draws at temperature 1, after a first one that is not counted.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch

from repdiff.backends.structrepdiff_model import GenerativeModel
from repdiff.runs.provenance import record

N, ROUNDS = 1000, 5


def main() -> None:
    """Draw, and write what it took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = GenerativeModel.load(arguments.model, device=torch.device("cpu"))
    rates, lost = [], 0
    for seed in range(ROUNDS + 1):
        began = time.process_time()
        drawn = model.draw_protostructures(N, seed=seed)
        rates.append(N / (time.process_time() - began))
        lost += sum(one is None for one in drawn)
    record(
        arguments.out,
        {
            "n_draws": N,
            "rounds": ROUNDS,
            "draws_per_cpu_second": round(statistics.median(rates[1:]), 1),
            "slowest": round(min(rates[1:]), 1),
            "without_protostructure": lost,
            "seed": 0,
        },
    )
    print(arguments.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
