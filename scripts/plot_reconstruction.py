"""Plot how inversions went: share solved against evaluations spent, and against the size of the cell.

Takes finished runs of `repdiff reconstruct --dataset ...`. Example:
    python scripts/plot_reconstruction.py repdiff-workspace/reconstruct/mp_20-test-n500-seed0-default --out docs/figures
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
import pyarrow.parquet as pq

matplotlib.use("Agg")
from matplotlib import pyplot

MARKERS = "os^Dv"
TICKS = (1000, 3000, 10_000, 30_000, 100_000)
SIZES = ((1, 4), (5, 8), (9, 12), (13, 16), (17, 20), (21, 52))


def read(run: Path) -> dict[str, np.ndarray]:
    """Return what was recorded of each crystal."""
    table = pq.read_table(run / "table.parquet", columns=["stopped", "n_evaluations", "n_atoms"]).to_pydict()
    return {
        "solved": np.array(table["stopped"]) == "solved",
        "evaluations": np.array(table["n_evaluations"]),
        "n_atoms": np.array(table["n_atoms"]),
    }


def main() -> None:
    """Draw both figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    runs = {run.name.split("-test")[0]: read(run) for run in arguments.runs}
    pyplot.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    with pyplot.style.context("tableau-colorblind10"):
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
        for marker, (name, data) in zip(MARKERS, runs.items(), strict=False):
            spent = np.sort(data["evaluations"][data["solved"]])
            share = np.arange(1, len(spent) + 1) / len(data["solved"])
            left.step(spent, share, where="post", label=name)
            bins = [(data["n_atoms"] >= low) & (data["n_atoms"] <= high) for low, high in SIZES]
            points = [(n, data["solved"][inside].mean()) for n, inside in enumerate(bins) if inside.any()]
            right.plot(*zip(*points, strict=True), marker=marker, label=name)
        left.set(xscale="log", xlabel="evaluations of a crystal", ylabel="share solved", ylim=(0, 1.02))
        right.set(xlabel="atoms in the cell", ylabel="share solved", ylim=(0, 1.02))
        right.set_xticks(range(len(SIZES)), [f"{low}-{high}" for low, high in SIZES])
        left.set_xticks(TICKS, [f"{tick:,}" for tick in TICKS])
        left.set_xticks([], minor=True)
        left.legend(frameon=False)
        figure.savefig(arguments.out / "reconstruction.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
