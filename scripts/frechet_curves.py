r"""Measure the Fréchet distance by CHGNet's features: how it falls with the number of crystals, rises with noise.

The counterparts of figures 4 and 3 of the GemsDiff paper (arXiv 2401.05402), whose features are ALIGNN's:

    size    two disjoint random subsets of the validation and test crystals of MP-20, of n crystals each; as it is,
            and extrapolated to infinitely many
    noise   test crystals, disturbed, against all validation crystals. Positions: each Cartesian coordinate moved
            by Gaussian noise. Cell: a strain whose six components are Gaussian, the fractional coordinates kept.
            Elements: atoms given the element of a random atom of the data set. (The paper moves positions and
            cells at once, along the steps of its diffusion.)

With --cache, features are kept and a second run only needs the arithmetic. About ten minutes on one core. Example:
    python scripts/frechet_curves.py --data-dir DIR --cache DIR --out benchmarks/frechet_curves.json \
        --figures docs/figures
"""

import argparse
import json
import os
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import matplotlib
import numpy as np
import torch

from repdiff.crystals.crystal import Crystal
from repdiff.datasets.load import load_dataset
from repdiff.hardware import hardware
from repdiff.metrics.features import Features, extract_features, load_extractor
from repdiff.metrics.gaussian import frechet_distance, frechet_infinite, moments, random_blocks
from repdiff.runs.provenance import versions

matplotlib.use("Agg")
from matplotlib import pyplot

EXTRACTOR = "chgnet"
SIZES = (50, 100, 200, 400, 800, 1600, 3200, 6400, 9000)
LEVELS = {
    "positions": (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6),
    "cell": (0.01, 0.02, 0.05, 0.1, 0.2),
    "elements": (0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
}
AXES = {
    "positions": "standard deviation of a coordinate, Å",
    "cell": "standard deviation of a strain component",
    "elements": "share of atoms with a random element",
}
Rng = np.random.Generator
Point = dict[str, float]


def move_atoms(crystal: Crystal, level: float, rng: Rng, _: np.ndarray) -> Crystal:
    """Move each Cartesian coordinate by Gaussian noise of `level` Å."""
    moves = rng.normal(scale=level, size=(crystal.n_atoms, 3))
    return crystal.replace(frac_coords=crystal.frac_coords + moves @ np.linalg.inv(crystal.lattice))


def strain_cell(crystal: Crystal, level: float, rng: Rng, _: np.ndarray) -> Crystal:
    """Strain the cell; of the three diagonal and the three other components each is Gaussian."""
    upper = np.triu(rng.normal(scale=level, size=(3, 3)))
    strain = upper + np.triu(upper, 1).T
    return crystal.replace(lattice=crystal.lattice @ (np.eye(3) + strain))


def swap_elements(crystal: Crystal, level: float, rng: Rng, atoms: np.ndarray) -> Crystal:
    """Give each atom, with the probability `level`, the element of a random atom of the data set."""
    swapped = rng.random(crystal.n_atoms) < level
    numbers = np.where(swapped, rng.choice(atoms, crystal.n_atoms), crystal.atomic_numbers)
    return crystal.replace(atomic_numbers=numbers)


DISTURB: dict[str, Callable[[Crystal, float, Rng, np.ndarray], Crystal]] = {
    "positions": move_atoms,
    "cell": strain_cell,
    "elements": swap_elements,
}


def compare(one: np.ndarray, other: np.ndarray, rng: Rng) -> tuple[float, float]:
    """Return the distance of two samples, and the extrapolated one; NaN where there are too few for that."""
    if min(len(one), len(other)) < 2 * one.shape[1]:
        return frechet_distance(moments(one), moments(other)), np.nan
    return (
        frechet_distance(moments(one), moments(other)),
        frechet_infinite(random_blocks(one, rng), random_blocks(other, rng))[0],
    )


def summarize(pairs: Sequence[tuple[float, float]]) -> Point:
    """Return mean and standard deviation over repeats, of the distance and of the extrapolated one."""
    point: Point = {}
    for name, values in zip(("distance", "infinite"), np.array(pairs).T, strict=True):
        if not np.isnan(values).any():
            point |= {f"{name}_mean": float(values.mean()), f"{name}_sd": float(values.std(ddof=1))}
    return point


def size_curve(pool: np.ndarray, repeats: int, rng: Rng) -> list[Point]:
    """Compare disjoint random halves of a sample."""
    curve: list[Point] = []
    for n in [size for size in SIZES if 2 * size <= len(pool)]:
        orders = [rng.permutation(len(pool)) for _ in range(repeats)]
        pairs = [compare(pool[order[:n]], pool[order[n : 2 * n]], rng) for order in orders]
        curve.append({"n": n, "repeats": repeats} | summarize(pairs))
    return curve


def noise_curve(
    kind: str,
    crystals: Sequence[Sequence[Crystal]],
    reference: np.ndarray,
    atoms: np.ndarray,
    extract: Callable[[Sequence[Crystal]], Features],
    seed: int,
) -> list[Point]:
    """Compare disturbed crystals with the reference; each group of crystals is one repeat."""
    curve: list[Point] = []
    for place, level in enumerate((0.0, *LEVELS[kind])):
        pairs, present = [], []
        for group_index, group in enumerate(crystals):
            rng = np.random.default_rng([seed, place, group_index, sorted(LEVELS).index(kind)])
            noisy = group
            if level > 0:
                noisy = [DISTURB[kind](crystal, level, rng, atoms) for crystal in group]
            found = extract(noisy)
            present += found.present.tolist()
            pairs.append(compare(found.values[found.present], reference, rng))
        curve.append(
            {
                "level": level,
                "n": len(crystals[0]),
                "repeats": len(crystals),
                "computed": float(np.mean(present)),
            }
            | summarize(pairs)
        )
        print(kind, json.dumps(curve[-1]), flush=True)
    return curve


def draw_sizes(curve: Sequence[Point], path: Path) -> None:
    """Draw distance against the number of crystals, plain and extrapolated."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    n, mean, sd = ([point[key] for point in curve] for key in ("n", "distance_mean", "distance_sd"))
    left.errorbar(n, mean, sd, marker="o", capsize=3, label="measured")
    guide = np.array(n, dtype=float)
    left.plot(guide, mean[-1] * n[-1] / guide, "--", color="C2", label="proportional to 1/n", zorder=0)
    left.set(xscale="log", yscale="log", ylabel="Fréchet CHGNet distance", title="as measured")
    left.legend(frameon=False)
    rows = [point for point in curve if "infinite_mean" in point]
    n, mean, sd = ([point[key] for point in rows] for key in ("n", "infinite_mean", "infinite_sd"))
    right.axhline(0, color="0.6", linewidth=1)
    right.errorbar(n, mean, sd, marker="s", color="C1", capsize=3)
    right.set(xscale="log", title="extrapolated to infinitely many crystals")
    for axis in (left, right):
        axis.set_xlabel("crystals in each of two disjoint subsets")
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def draw_noise(curves: dict[str, list[Point]], path: Path) -> None:
    """Draw distance against the strength of three kinds of noise."""
    figure, axes = pyplot.subplots(1, 3, figsize=(10, 3.4), sharey=True, layout="constrained")
    for (kind, curve), axis, marker, color in zip(
        curves.items(), axes, "os^", ("C0", "C1", "C3"), strict=True
    ):
        clean, noisy = curve[0], curve[1:]
        axis.axhline(clean["distance_mean"], linestyle="--", color="0.5", label="undisturbed")
        level, mean, sd = (
            [point[key] for point in noisy] for key in ("level", "distance_mean", "distance_sd")
        )
        axis.errorbar(level, mean, sd, marker=marker, color=color, capsize=3, label="disturbed")
        axis.set(xscale="log", yscale="log", xlabel=AXES[kind], title=kind)
        axis.set_xticks(level, [f"{value:g}" for value in level])
        axis.set_xticks([], minor=True)
    axes[0].set_ylabel("Fréchet CHGNet distance")
    axes[0].legend(frameon=False, loc="upper left")
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def draw(result: dict, folder: Path) -> None:
    """Draw both figures."""
    folder.mkdir(parents=True, exist_ok=True)
    pyplot.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    with pyplot.style.context("tableau-colorblind10"):
        draw_sizes(result["size"], folder / "frechet_size.svg")
        draw_noise(result["noise"], folder / "frechet_noise.svg")


def measure(arguments: argparse.Namespace) -> dict:
    """Compute the features, and all distances."""

    def extract(crystals: Sequence[Crystal]) -> Features:
        return extract_features(crystals, EXTRACTOR, cache=arguments.cache, progress=True)

    dataset = load_dataset("mp_20", data_dir=arguments.data_dir, progress=False)
    rng = np.random.default_rng(arguments.seed)
    splits = {
        name: [crystal for crystal in dataset.crystals if crystal.split == name] for name in ("val", "test")
    }
    if arguments.limit:
        splits = {name: found[: arguments.limit] for name, found in splits.items()}
    features = {name: extract(crystals) for name, crystals in splits.items()}
    present = {name: found.values[found.present] for name, found in features.items()}
    atoms = np.concatenate([crystal.atomic_numbers for crystal in splits["val"]])
    chosen = rng.permutation(len(splits["test"]))[: arguments.repeats * arguments.n]
    groups = [[splits["test"][row] for row in rows] for rows in np.array_split(chosen, arguments.repeats)]
    result = {
        "dataset": "mp_20",
        "n_validation": len(splits["val"]),
        "n_test": len(splits["test"]),
        "without_features": sum(int((~found.present).sum()) for found in features.values()),
        "reasons": sorted({reason for found in features.values() for reason in found.reasons if reason}),
        "extractor": str(load_extractor(EXTRACTOR).identity),
        "seed": arguments.seed,
        "size": size_curve(np.concatenate(list(present.values())), arguments.size_repeats, rng),
        "noise": {
            kind: noise_curve(kind, groups, present["val"], atoms, extract, arguments.seed) for kind in LEVELS
        },
    }
    return result | {
        "versions": versions() | {"chgnet": version("chgnet")},
        "hardware": hardware(),
    }


def main() -> None:
    """Measure, or read what was measured, and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, help="folder of the benchmark data sets")
    parser.add_argument("--n", type=int, default=300, help="crystals that are disturbed, in each repeat")
    parser.add_argument("--repeats", type=int, default=3, help="of the noise")
    parser.add_argument("--size-repeats", type=int, default=20, help="of the subsets")
    parser.add_argument("--limit", type=int, help="crystals of each split, all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="folder that keeps features")
    parser.add_argument("--out", type=Path, required=True, help="JSON file of the numbers")
    parser.add_argument("--figures", type=Path, help="folder for the figures")
    parser.add_argument("--draw-only", action="store_true", help="draw the numbers that --out already holds")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.draw_only:
        result = json.loads(arguments.out.read_text(encoding="utf-8"))
    else:
        result = measure(arguments)
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if arguments.figures:
        draw(result, arguments.figures)
    print(arguments.out)


if __name__ == "__main__":
    main()
