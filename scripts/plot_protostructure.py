"""Draw what a protostructure is: rutile, its two orbits, and the few numbers that are left.

Example:
    python scripts/plot_protostructure.py --out docs/figures
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib import pyplot
from matplotlib.axes import Axes

from descriptors.symmetry.labels import write_label
from descriptors.symmetry.orbit_maps import OrbitMaps, orbit_maps
from descriptors.symmetry.protostructure import Protostructure

RUTILE = Protostructure.of(136, [(22, "a"), (8, "f")])
CELL, FREE = (4.594, 2.959), 0.305  # Å; x of oxygen
NAMES = {22: "Ti", 8: "O"}
COLORS, SIZES = {22: "#0173b2", 8: "#de8f05"}, {22: 420, 8: 260}


def main() -> None:
    """Draw the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("docs/figures"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    pyplot.rcParams.update({"font.size": 10, "svg.hashsalt": "repdiff"})
    figure, (left, middle, right) = pyplot.subplots(
        1, 3, figsize=(9.4, 3.1), layout="constrained", width_ratios=(1, 1, 1.15)
    )
    maps = orbit_maps([RUTILE], primitive=False)
    draw_cell(left, maps, FREE)
    left.set_title("two orbits make all atoms", fontsize=10)
    for free, alpha in ((0.24, 0.25), (FREE, 1.0), (0.37, 0.25)):
        draw_cell(middle, maps, free, alpha=alpha)
    middle.set_title("one free coordinate moves four", fontsize=10)
    draw_counts(right)
    figure.suptitle(f"rutile, TiO$_2$: {write_label(RUTILE)}", fontsize=11)
    figure.savefig(out / "protostructure.svg", metadata={"Date": None})


def draw_cell(axes: Axes, maps: OrbitMaps, free: float, *, alpha: float = 1.0) -> None:
    """Draw the conventional cell along c; darker rims mark the representative atoms."""
    frac = maps.frac_coords(torch.tensor([free], dtype=torch.float64)).numpy() % 1
    elements = maps.elements[maps.orbit_of_atom].numpy()
    first = set(maps.representative.tolist())
    edge = CELL[0]
    axes.plot([0, edge, edge, 0, 0], [0, 0, edge, edge, 0], color="0.6", linewidth=1)
    for atom, (point, element) in enumerate(zip(frac, elements, strict=True)):
        shifts = [np.array([i, j]) for i in (0, 1) for j in (0, 1)]
        for shift in shifts:
            x, y = (point[:2] + shift) * edge
            if max(x, y) > edge + 1e-6:
                continue
            is_first = atom in first and not shift.any()
            axes.scatter(
                x, y, s=SIZES[element], color=COLORS[element], alpha=alpha * (1 if point[2] < 0.25 else 0.55),
                edgecolor="black" if is_first else "none", linewidth=1.8, zorder=3,
            )  # fmt: skip
            if alpha == 1:
                axes.annotate(
                    NAMES[element], (x, y), ha="center", va="center", fontsize=7, zorder=4, color="white"
                )
    axes.set(aspect="equal", xlim=(-0.5, edge + 0.5), ylim=(-0.5, edge + 0.5))
    axes.axis("off")


def draw_counts(axes: Axes) -> None:
    """Compare how many numbers describe the crystal with and without its symmetry."""
    n_atoms = RUTILE.n_atoms()
    rows = [
        ("given the protostructure", 2, RUTILE.n_free),
        ("without symmetry", 6, 3 * n_atoms),
    ]
    for place, (_, of_cell, of_atoms) in enumerate(rows):
        axes.barh(place, of_cell, color="0.75", label="cell" if not place else None)
        axes.barh(place, of_atoms, left=of_cell, color=COLORS[8], label="coordinates" if not place else None)
        axes.annotate(str(of_cell + of_atoms), (of_cell + of_atoms + 0.4, place), va="center")
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    axes.set_xlim(0, 28)
    axes.set_xlabel("continuous numbers that are left")
    axes.legend(frameon=False, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
