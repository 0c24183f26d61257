"""Plot what a crystal costs, and how much memory the whole takes, against how many there are.

Takes what `scripts/bench_size.py` measured. Example:
    python scripts/plot_size.py benchmarks/size.json --out docs/figures
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes

MARKERS = "os^Dv<>Pp*hXd"
N_COLOURS = 10  # of the cycle; lines after these are dashed
LIMIT = 4  # GiB, that any number of crystals shall fit into
MEBIBYTES = 1024  # of a GiB
NAMES = {
    ("encode", "vectors"): "encode, vectors alone",
    ("encode", "all"): "encode, protostructures too",
    ("generate", "vectors"): "generate",
    ("generate", "shards"): "generate: around the model",
    ("reconstruct", "crystals"): "reconstruct",
    ("evaluate", "uniqueness"): "evaluate: uniqueness, novelty",
    ("evaluate", "validity"): "evaluate: validity",
    ("evaluate", "composition"): "evaluate: composition",
    ("evaluate", "symmetry"): "evaluate: symmetry",
    ("evaluate", "prototypes"): "evaluate: prototypes",
    ("evaluate", "conditions"): "evaluate: conditions",
    ("evaluate", "plain_properties"): "evaluate: plain properties",
    ("evaluate", "distributions"): "evaluate: distributions",
}
"""By verb and step: what the lines are called, in their order."""

Curve = dict[int, tuple[float, float]]


def curves(steps: Mapping[str, Any]) -> dict[str, Curve]:
    """Return, by the name of a line, milliseconds a crystal and GiB by the number of crystals."""
    found: dict[str, Curve] = {}
    for (verb, step), name in NAMES.items():
        sizes = {int(n): one[step] for n, one in steps.get(verb, {}).items() if step in one}
        points = {
            n: (one["milliseconds_a_crystal"], one["peak_mebibytes"] / MEBIBYTES)
            for n, one in sorted(sizes.items())
        }
        if points:
            found[name] = points
    return found


def draw(found: Mapping[str, Curve], cost: Axes, memory: Axes) -> None:
    """Draw all lines into both plots."""
    for number, (marker, (name, points)) in enumerate(zip(MARKERS, found.items(), strict=False)):
        style = "--" if number >= N_COLOURS else "-"
        for axes, place in ((cost, 0), (memory, 1)):
            values = [point[place] for point in points.values()]
            axes.plot(
                list(points), values, marker=marker, markersize=4, linewidth=1.2, linestyle=style, label=name
            )
    memory.axhline(LIMIT, color="0.5", linewidth=1, linestyle="--")
    memory.text(1000, LIMIT - 0.07, f"{LIMIT} GiB", color="0.4", va="top")
    cost.set(xscale="log", yscale="log", ylabel="processor time a crystal, ms")
    memory.set(xscale="log", ylabel="largest memory, GiB", ylim=(0, LIMIT + 0.3))
    for axes in (cost, memory):
        axes.set(xlabel="crystals", xlim=(800, 1.25e6))


def main() -> None:
    """Draw the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("record", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    steps = json.loads(arguments.record.read_text(encoding="utf-8"))["steps"]
    pyplot.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    pyplot.rcParams["svg.hashsalt"] = "size"
    with pyplot.style.context("tableau-colorblind10"):
        figure, (cost, memory) = pyplot.subplots(1, 2, figsize=(9, 4.4), layout="constrained")
        draw(curves(steps), cost, memory)
        lines, names = cost.get_legend_handles_labels()
        figure.legend(lines, names, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
        figure.savefig(arguments.out / "size.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
