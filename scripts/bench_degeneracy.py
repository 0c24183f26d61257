#!/usr/bin/env python
"""Measure what the default descriptor cannot tell apart in the test splits, with `repdiff degeneracy`.

python scripts/bench_degeneracy.py --data-dir DIR [--probe 60] [--max-comparisons 300] [--out FILE]

Copies of one crystal are close pairs too; Carbon-24 has thousands, of which a comparison takes up to a second.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from repdiff.commands.degeneracy import SOFT, run_degeneracy
from repdiff.degeneracy.close_pairs import DIFFERENT
from repdiff.degeneracy.tables import PAIRS
from repdiff.runs.manifest import read_manifest
from repdiff.runs.provenance import record
from repdiff.runs.workspace import Workspace
from repdiff.settings import DegeneracySettings


def measure(settings: DegeneracySettings) -> dict[str, object]:
    """Run one comparison, and summarise its tables."""
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        run = run_degeneracy(settings, Workspace(root=Path(folder)))
        pairs = pq.read_table(run / PAIRS).to_pylist()
        soft = pq.read_table(run / SOFT).to_pydict()
        summary = read_manifest(run).summary
    different = [pair for pair in pairs if pair["verdict"] == DIFFERENT]
    nearest = min(different, key=lambda pair: pair["descriptor_distance"], default=None)
    return {
        **summary,
        "n_compared": len(pairs),
        "nearest_different": nearest,
        "condition_median": float(np.median(soft["condition"])),
        "cpu_seconds": round(time.process_time() - started, 1),
    }


def main() -> None:
    """Measure both data sets, and write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--dataset", nargs="+", default=["carbon_24", "mp_20"])
    parser.add_argument("--probe", type=int, default=60, help="crystals probed of each")
    parser.add_argument("--max-comparisons", type=int, default=300, help="close pairs that are compared")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/degeneracy.json"))
    arguments = parser.parse_args()
    measured = {}
    for dataset in arguments.dataset:
        settings = DegeneracySettings(
            dataset=dataset,
            data_dir=arguments.data_dir,
            split="test",
            probe=arguments.probe,
            max_comparisons=arguments.max_comparisons,
            device="cpu",
        )
        measured[dataset] = measure(settings)
        record(
            arguments.out,
            {"split": "test", "seed": settings.seed, "max_comparisons": settings.max_comparisons, **measured},
        )
    print(arguments.out)


if __name__ == "__main__":
    main()
