"""Draw the idea: a crystal, its vector, vectors on the way from noise, and the crystal that a search finds.

The vectors are computed: the descriptor of rutile, with noise added as a cosine schedule would.

Example:
    python scripts/plot_idea.py --out docs/figures
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib import pyplot
from matplotlib.axes import Axes
from numpy.typing import NDArray
from plot_protostructure import CELL, FREE, RUTILE

from descriptors.base import make_descriptor
from descriptors.batch import CrystalBatch
from descriptors.symmetry.orbit_maps import orbit_maps
from descriptors.symmetry.protostructure import Protostructure

N_BARS = 26  # entries of the vector that are drawn
NEW = Protostructure.of(136, [(12, "a"), (9, "f")])  # the same arrangement of magnesium and fluorine
TITLES = ("known crystals", "their vectors", "noise", "denoised in steps", "a new vector", "a new crystal")
COLORS = {22: "#0173b2", 8: "#de8f05", 12: "#029e73", 9: "#cc78bc"}
SIZES = {22: 170, 8: 110, 12: 170, 9: 110}
LEVELS = (0.0, 0.6, 1.0)  # share of the signal that is left, from noise to vector


def main() -> None:
    """Draw the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("docs/figures"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    pyplot.rcParams.update({"font.size": 10, "svg.hashsalt": "repdiff"})
    figure, axes = pyplot.subplots(1, 6, figsize=(10.5, 2.5), width_ratios=(1.25, 1, 1, 1, 1, 1.25))
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.2, top=0.84, wspace=0.45)
    random = np.random.default_rng(0)
    draw_crystal(axes[0], RUTILE)
    draw_vector(axes[1], entries(RUTILE))
    for place, level in zip((2, 3, 4), LEVELS, strict=True):
        noise = random.normal(0, 0.6, N_BARS)
        draw_vector(axes[place], np.sqrt(level) * entries(NEW) + np.sqrt(1 - level) * noise)
    draw_crystal(axes[5], NEW)
    for panel, title in zip(axes, TITLES, strict=True):
        middle = (panel.get_position().x0 + panel.get_position().x1) / 2
        figure.text(middle, 0.9, title, ha="center")
    for left, word in ((0, "describe"), (1, "learn"), (2, ""), (3, ""), (4, "search")):
        draw_arrow(axes[left], axes[left + 1], word)
    figure.savefig(out / "idea.svg", metadata={"Date": None})


def entries(crystal: Protostructure) -> NDArray[np.float64]:
    """Return some entries of the descriptor, evenly spread over it, between -1 and 1."""
    a, c = CELL
    maps = orbit_maps([crystal], primitive=False)
    batch = CrystalBatch(
        frac_coords=maps.frac_coords(torch.tensor([FREE], dtype=torch.float64)),
        lattice=torch.diag(torch.tensor([a, a, c], dtype=torch.float64))[None],
        atomic_numbers=maps.elements[maps.orbit_of_atom],
        system_idx=torch.zeros(len(maps.orbit_of_atom), dtype=torch.int64),
    )
    vector = make_descriptor("ead")(batch)[0].numpy()
    vector = np.log1p(np.abs(vector[vector != 0]))
    chosen = vector[np.linspace(0, len(vector) - 1, N_BARS).astype(int)]
    return 2 * (chosen - chosen.min()) / np.ptp(chosen) - 1


def draw_crystal(axes: Axes, crystal: Protostructure) -> None:
    """Draw the conventional cell along c."""
    maps = orbit_maps([crystal], primitive=False)
    frac = maps.frac_coords(torch.tensor([FREE], dtype=torch.float64)).numpy() % 1
    elements = maps.elements[maps.orbit_of_atom].numpy()
    edge = CELL[0]
    axes.plot([0, edge, edge, 0, 0], [0, 0, edge, edge, 0], color="0.6", linewidth=1)
    for point, element in zip(frac, elements, strict=True):
        for shift in ((0, 0), (0, 1), (1, 0), (1, 1)):
            x, y = (point[:2] + shift) * edge
            if max(x, y) <= edge + 1e-6:
                axes.scatter(x, y, s=SIZES[element], color=COLORS[element], edgecolor="white", zorder=2)
    axes.set_aspect("equal")
    axes.set_xlim(-0.9, edge + 0.9)
    axes.set_ylim(-0.9, edge + 0.9)
    axes.axis("off")


def draw_vector(axes: Axes, values: NDArray[np.float64]) -> None:
    """Draw a vector as bars, the largest entry at the top."""
    axes.barh(np.arange(N_BARS), values, color="#3f51b5", height=0.8)
    axes.axvline(0, color="0.6", linewidth=0.8)
    axes.set_xlim(-1.3, 1.3)
    axes.axis("off")


def draw_arrow(left: Axes, right: Axes, word: str) -> None:
    """Draw an arrow from one panel to the next, with a word below it."""
    figure = left.get_figure()
    assert figure is not None
    start, end = left.get_position().x1, right.get_position().x0
    middle, height = (start + end) / 2, 0.52
    left.annotate(
        "",
        xy=(end + 0.004, height),
        xytext=(start - 0.004, height),
        xycoords="figure fraction",
        textcoords="figure fraction",
        arrowprops={"arrowstyle": "-|>", "color": "0.3", "linewidth": 1.5},
    )
    left.text(middle, 0.36, word, transform=figure.transFigure, ha="center", color="0.3")


if __name__ == "__main__":
    main()
