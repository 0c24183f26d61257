#!/usr/bin/env python
"""Measure what inpainting makes of targets whose conditional distributions are known, by how often it resamples.

    python scripts/bench_inpainting.py [--n 2000] [--out benchmarks/inpainting.json]

The exact answer stands in place of the network, so that what is off is off by the sampling. One feature is held. Three
normal features: how far the means of the drawn ones are off, and how wide they are, in units of the exact widths. Two
modes, near and far apart: the share of the mode that the held feature speaks against. A few minutes of one core.
"""

import argparse
import sys
from pathlib import Path

import torch

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.append(str(REPOSITORY / "tests" / "support"))

from exact_inpainting import APART, of_normal, share_of_farther_mode  # noqa: E402 (beside the tests of the same)

from repdiff.runs.provenance import record  # noqa: E402

RUNS = [(250, 1), (250, 2), (250, 5), (250, 10), (250, 20), (100, 10), (50, 10), (1000, 1)]


def measure(n: int, n_steps: int, resamplings: int) -> dict[str, float | int]:
    """Measure one setting."""
    how = {"steps": n_steps, "resamplings": resamplings}
    shifts, widths = of_normal(n, **how)
    near, exact_near = share_of_farther_mode(n, **how)
    apart, exact_apart = share_of_farther_mode(n, modes=APART, **how)
    return {
        "steps": n_steps,
        "resamplings": resamplings,
        "shift": max(shifts, key=abs),
        "width": min(widths) if 1 - min(widths) > max(widths) - 1 else max(widths),
        "share_near": near,
        "share_near_exact": exact_near,
        "share_apart": apart,
        "share_apart_exact": exact_apart,
    }


def main() -> None:
    """Measure, and write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "benchmarks" / "inpainting.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for n_steps, resamplings in RUNS:
        found.append(measure(arguments.n, n_steps, resamplings))
        print(found[-1], flush=True)
    record(arguments.out, {"n": arguments.n, "runs": found})
    print(arguments.out)


if __name__ == "__main__":
    main()
