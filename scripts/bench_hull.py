#!/usr/bin/env python
"""Compare who is near the hull by the shipped tables and by the Materials Project, for entries outside MP-20.

scripts/bench_hull.py --energies TABLE --labels mp_le20_all.parquet

TABLE is a run of `repdiff hull build` on entries outside MP-20, by the force field of the shipped tables; the labels
hold `material_id` and the Materials Project's own `e_above_hull`.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from repdiff.energies.hull import Hull
from repdiff.energies.hull_table import find_hull_table, read_hull_table
from repdiff.metrics.stability import STABLE
from repdiff.runs.provenance import record

BENCHMARK_FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--energies", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    arguments = parser.parse_args()
    table = read_hull_table(arguments.energies)
    columns = pq.read_table(arguments.labels, columns=["material_id", "e_above_hull"]).to_pydict()
    by_project = dict(zip(columns["material_id"], columns["e_above_hull"], strict=True))
    rows = [row for row, name in enumerate(table.ids) if by_project.get(name) is not None]
    rows = [row for row in rows if not np.isnan(by_project[table.ids[row]])]
    project = np.array([by_project[table.ids[row]] for row in rows])
    result: dict[str, object] = {
        "force_field": str(table.force_field),
        "n": len(rows),
        "limit_eV_per_atom": STABLE,
        "within_by_materials_project": float((project <= STABLE).mean()),
    }
    for name in ("mp_20", "mp_le20"):
        hull = Hull(find_hull_table(table.force_field, Path(name)))
        above = np.array(
            [
                np.nan if found is None else found
                for row in rows
                for found, _ in [hull.above(table.formulas[row], float(table.energies[row]))]
            ]
        )
        near, stable = above <= STABLE, project <= STABLE
        result[name] = {
            "n_energies": len(hull.table),
            "n_without_hull": int(np.isnan(above).sum()),
            "within": float(near.mean()),
            "within_but_not_by_materials_project": float((near & ~stable).mean()),
            "not_within_but_by_materials_project": float((~near & stable).mean()),
            "mean_difference_eV_per_atom": float(np.nanmean(above - project)),
        }
        print(name, result[name])
    record(BENCHMARK_FOLDER / "hull.json", result)


if __name__ == "__main__":
    main()
