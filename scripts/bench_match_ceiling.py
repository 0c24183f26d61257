#!/usr/bin/env python
"""Measure what a perfect reconstruction scores by the published match rate.

scripts/bench_match_ceiling.py --data-dir DIR

CDVAE's program, and all that took it over, count a crystal whose formula is not charge-balanced as no match. The share
of test crystals with a balanced formula is therefore the most that a published rate can be. It is given for the test
split of each benchmark, and for the crystals that `bench_reconstruction.py` draws from it.

Where a formula is all that is given, several crystals of the data set may have it. Counted are the test crystals that
share the atoms of their cell with another crystal of the data set, and with one of the training set; and the mean over
test crystals of one over the number of crystals that share them, which is what a draw among these would find.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from repdiff.crystals.crystal import Crystal
from repdiff.crystals.geometry import check_structures
from repdiff.datasets.load import load_dataset
from repdiff.datasets.sources import read_reference
from repdiff.metrics.validity import check_crystal_composition
from repdiff.runs.provenance import record
from repdiff.runs.workspace import Workspace

BENCHMARK_FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


def shared_formulas(crystals: Sequence[Crystal]) -> dict[str, float]:
    """Count test crystals whose atoms are those of other crystals, too."""

    def atoms(crystal: Crystal) -> tuple[int, ...]:
        return tuple(sorted(crystal.atomic_numbers.tolist()))

    everywhere = Counter(map(atoms, crystals))
    training = {atoms(crystal) for crystal in crystals if crystal.split == "train"}
    test = [atoms(crystal) for crystal in crystals if crystal.split == "test"]
    return {
        "formula_shared": float(np.mean([everywhere[formula] > 1 for formula in test])),
        "formula_in_training": float(np.mean([formula in training for formula in test])),
        "one_of_those_of_a_formula": float(np.mean([1 / everywhere[formula] for formula in test])),
    }


def main() -> None:
    """Measure the three benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workspace", type=Path, default=Path("repdiff-workspace"))
    arguments = parser.parse_args()
    result: dict[str, object] = {"n": arguments.n, "seed": arguments.seed}
    for name in ("perov_5", "carbon_24", "mp_20"):
        workspace = Workspace(root=arguments.workspace, name=None, overwrite=False)
        crystals = read_reference(f"{name}:test", arguments.data_dir, workspace)
        sound = [check.valid for check in check_structures(crystals)]
        valid = np.array([check_crystal_composition(crystal).valid for crystal in crystals]) & sound
        rows = np.random.default_rng(arguments.seed).choice(len(crystals), arguments.n, replace=False)
        result[name] = {
            "n_test": len(crystals),
            "perfect_match_rate_valid": float(valid.mean()),
            "perfect_match_rate_valid_of_sample": float(valid[rows].mean()),
            **shared_formulas(load_dataset(name, data_dir=arguments.data_dir, progress=False).crystals),
        }
        print(name, result[name])
    record(BENCHMARK_FOLDER / "match_ceiling.json", result)


if __name__ == "__main__":
    main()
