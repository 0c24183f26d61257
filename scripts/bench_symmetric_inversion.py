"""Invert vectors of real crystals whose protostructures are known, and count how many come back.

Parts: `validation`, true vectors and cells of validation crystals with the search `fast`, to which the confidence is
fitted that `--confidence FILE` writes and the parts after it judge; `exact`, true vectors and cells of test crystals;
`noise`, all numbers of the descriptor times 1 + 0.2 x a normal random one, true cells; `generated`, the same and cells
that are off (log lengths by 3 %, angles by 2 degrees, the volume by 3 %, normal random numbers, as far as the group
leaves them free), which are sought together with the coordinates; `pull`, the same of validation crystals for weights
of the term that draws cells to the given ones; `large`, true vectors of cells of 25 to 52 atoms.

The large cells are made of the Materials Project entries of at most 20 atoms: where the conventional cell has centring
points, or else in a doubled cell, the atoms of one element at one lattice point become those of another element of its
group of the periodic table, and all atoms are displaced by 0.1 Å at random within the space group that is left; kept
are crystals of more than one free coordinate with 25 to 52 atoms in the primitive cell that is then found.

A crystal comes back if StructureMatcher (stol 0.5, ltol 0.3, angle_tol 10) matches it with the true one. Those that
do not are listed: id, free coordinates, loss found, loss of the true crystal; where the first is lower than the
second, no search for the lowest loss could find the true one. Vectors are those of the symmetrised crystals. Seconds
are those of the processor, of one process with one thread; the share of a structure in those of its batch is by
evaluations. The last line on stdout is JSON.

Example:
    python scripts/bench_symmetric_inversion.py --data-dir DIR --out benchmarks/symmetric_inversion.json
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from descriptors.base import make_descriptor
from descriptors.batch import join
from descriptors.representation import Representation
from descriptors.symmetry import unit_cell
from descriptors.symmetry.orbit_maps import orbit_maps
from reconstruction import orbit_inversion
from reconstruction.confidence import Confidence, Evidence, digest_of, fit_confidence
from reconstruction.given_symmetry import GivenSymmetry
from reconstruction.inversion import prepare
from reconstruction.result import join_results
from repdiff.crystals.crystal import Crystal, from_batch
from repdiff.datasets.load import load_dataset
from repdiff.metrics.matching import match_pairs
from repdiff.runs.provenance import record, versions
from repdiff.symmetry import SymmetrizedCrystal, read_protostructures

NOISE, LENGTHS, ANGLES, VOLUME = 0.2, 0.03, 2.0, 0.03
BINS = ((0, 0), (1, 2), (3, 5), (6, 10), (11, 10_000))
LARGE = (25, 52)  # atoms
RATTLE = 0.1  # Å
ELEMENTS = tuple(range(1, 104))
PARTS = ("validation", "exact", "large", "generated", "pull", "noise")
PULLS = (0.0, 1e-4, 3e-4, 1e-3, 3e-3)
QUICK = "fast"  # fails often enough to be fitted


def read_split(
    split: str, n: int, seed: int, data_dir: Path | None
) -> list[tuple[Crystal, SymmetrizedCrystal]]:
    """Read random crystals of one split of MP-20, with their protostructures."""
    dataset = load_dataset("mp_20", data_dir=data_dir, progress=False)
    own = [crystal for crystal in dataset.crystals if crystal.split == split]
    chosen = np.random.default_rng(seed).choice(len(own), min(n, len(own)), replace=False)
    return _with_protostructures([own[index] for index in sorted(chosen)])


def _with_protostructures(crystals: Sequence[Crystal]) -> list[tuple[Crystal, SymmetrizedCrystal]]:
    readings = read_protostructures(crystals, canonical=True)
    return [
        (crystal, reading.symmetrized)
        for crystal, reading in zip(crystals, readings, strict=True)
        if reading.symmetrized is not None
    ]


def make_large_set(n: int, seed: int, path: Path) -> list[tuple[Crystal, SymmetrizedCrystal]]:
    """Make crystals of 25 to 52 atoms, as described above."""
    rng = np.random.default_rng(seed)
    dataset = load_dataset(str(path), data_dir=None, progress=False, limit=40 * n, seed=seed)
    found: list[tuple[Crystal, SymmetrizedCrystal]] = []
    for crystal, symmetrized in _with_protostructures(dataset.crystals):
        changed = _decorated(crystal, symmetrized, rng)
        if changed is None:
            continue
        for large, reading in _with_protostructures([changed]):
            n_atoms, n_free = reading.protostructure.n_atoms(), reading.protostructure.n_free
            if LARGE[0] <= n_atoms <= LARGE[1] and n_free:
                found.append(_rattled(large, reading, rng))
        if len(found) == n:
            break
    return found


def _decorated(crystal: Crystal, symmetrized: SymmetrizedCrystal, rng: np.random.Generator) -> Crystal | None:
    """Exchange an element at one lattice point of the conventional, or of a doubled, cell."""
    conventional = symmetrized.crystal(crystal.id, primitive=False)
    points = symmetrized.protostructure.group.centring_translations / 24
    lattice, frac, numbers = conventional.lattice, conventional.frac_coords, conventional.atomic_numbers
    if len(points) == 1:
        shortest = int(np.linalg.norm(lattice, axis=1).argmin())
        double = np.eye(3)
        double[shortest, shortest] = 2
        step = np.eye(3)[shortest] / 2
        lattice, frac = double @ lattice, frac @ np.linalg.inv(double)
        frac, numbers = np.concatenate([frac, frac + step]), np.tile(numbers, 2)
        changed = np.arange(len(numbers)) < len(numbers) // 2
    else:
        changed = _one_of_each_translate(frac, numbers, points)
    if not LARGE[0] <= len(numbers) <= LARGE[1]:
        return None
    element = int(rng.choice(np.unique(numbers)))
    other = next((z for z in _relatives(element) if z not in numbers), None)
    if other is None:
        return None
    numbers = np.where(changed & (numbers == element), other, numbers)
    return Crystal(id=crystal.id, atomic_numbers=numbers, lattice=lattice, frac_coords=frac % 1.0)


def _one_of_each_translate(
    frac: Float[np.ndarray, "n 3"], numbers: np.ndarray, points: Float[np.ndarray, "n_points 3"]
) -> np.ndarray:
    """Mark one atom of those that differ by a centring translation."""
    marked, seen = np.zeros(len(frac), dtype=bool), np.zeros(len(frac), dtype=bool)
    for atom in range(len(frac)):
        if seen[atom]:
            continue
        marked[atom] = True
        for point in points:
            step = frac - frac[atom] - point
            seen |= (np.abs(step - np.rint(step)) < 1e-3).all(1) & (numbers == numbers[atom])
    return marked


def _relatives(element: int) -> list[int]:
    """Return elements one period down or up."""
    return [z for z in (element + 18, element - 18, element + 32, element - 8, element + 8) if 2 < z < 84]


def _rattled(
    crystal: Crystal, symmetrized: SymmetrizedCrystal, rng: np.random.Generator
) -> tuple[Crystal, SymmetrizedCrystal]:
    """Displace the atoms within their group."""
    maps = orbit_maps([symmetrized.protostructure])
    cell = torch.from_numpy(symmetrized.cell)[None]
    lattice = maps.lattice(cell)[0].numpy()
    scale = np.linalg.norm(maps.directions.numpy() @ lattice, axis=2)[maps.free_mask.numpy()]
    free = symmetrized.free + rng.normal(size=len(scale)) * RATTLE / scale
    moved = SymmetrizedCrystal(
        protostructure=symmetrized.protostructure,
        free=free,
        cell=symmetrized.cell,
        displacement=0.0,
        strain=0.0,
        symprec=symmetrized.symprec,
    )
    return moved.crystal(crystal.id), moved


def off_cells(
    cells: Float[Tensor, "n 6"], numbers: Sequence[int], generator: torch.Generator
) -> Float[Tensor, "n 6"]:
    """Change free cell parameters by normal random amounts: shapes, then volumes."""
    groups = torch.tensor(numbers)
    names = [unit_cell.parameter_names(number) for number in numbers]
    changed = cells.clone()
    for row, own in enumerate(names):
        for column, name in enumerate(own):
            draw = torch.randn((), generator=generator, dtype=cells.dtype)
            if name in "abc":
                changed[row, column] *= torch.exp(LENGTHS * draw)
            else:
                changed[row, column] += ANGLES * draw
    volumes = [torch.linalg.det(unit_cell.to_lattice(part, groups)).abs() for part in (cells, changed)]
    wanted = torch.exp(VOLUME * torch.randn(len(cells), generator=generator, dtype=cells.dtype))
    factor = (wanted * volumes[0] / volumes[1]) ** (1 / 3)
    for row, own in enumerate(names):
        lengths = [column for column, name in enumerate(own) if name in "abc"]
        changed[row, lengths] *= factor[row]
    return changed


def invert(
    known: Sequence[tuple[Crystal, SymmetrizedCrystal]],
    *,
    noise: float,
    off: bool,
    search: str,
    seed: int,
    fitted: Confidence | None,
) -> tuple[dict[str, object], Evidence, Bool[Tensor, " n"]]:
    """Invert the vectors of crystals and score against the true ones."""
    representation = Representation(descriptor=make_descriptor("ead"), elements=ELEMENTS)
    protostructures = [symmetrized.protostructure for _, symmetrized in known]
    cells = torch.from_numpy(np.stack([symmetrized.cell for _, symmetrized in known]))
    parts = []
    for start in range(0, len(known), 50):
        part = [symmetrized for _, symmetrized in known[start : start + 50]]
        free = torch.from_numpy(np.concatenate([symmetrized.free for symmetrized in part]))
        maps = orbit_maps([symmetrized.protostructure for symmetrized in part])
        parts.append(maps.crystals(free, cells[start : start + 50]))
    with torch.no_grad():
        vectors = torch.cat([representation.encode(part) for part in parts])
    generator = torch.Generator().manual_seed(seed)
    block = representation.blocks["descriptor"]
    true = vectors[:, block].clone()
    vectors[:, block] *= 1 + noise * torch.randn(true.shape, generator=generator, dtype=vectors.dtype)
    true_losses = ((true - vectors[:, block]).abs().sum(1) / vectors[:, block].abs().sum(1)).numpy()
    given = off_cells(cells, [p.number for p in protostructures], generator) if off else cells
    inversion = prepare(
        vectors,
        representation,
        search=search,
        exact=not off,
        seed=seed,
        symmetry=GivenSymmetry(protostructures=protostructures, cells=given),
    )
    results, seconds = [], np.zeros(len(known))
    inversion.run(inversion.groups[0])  # compiles
    for rows in inversion.groups:
        began = time.process_time()
        found = inversion.run(rows)
        share = found.n_evaluations / found.n_evaluations.sum()
        seconds[rows] = (time.process_time() - began) * share.numpy()
        results.append(found)
    result = join_results(results).in_order()
    crystals = from_batch(result.batch, [crystal.id for crystal, _ in known])
    rms = match_pairs(crystals, from_batch(join(parts).wrapped(), [crystal.id for crystal, _ in known]))
    n_free = np.array([protostructure.n_free for protostructure in protostructures])
    matched, losses = ~np.isnan(rms), result.losses.numpy()
    evidence = Evidence.of(result.batch, result.losses, result.n_agreeing)
    sure = fitted.predict(evidence).numpy() if fitted is not None else None

    def summary(chosen: np.ndarray) -> dict[str, object]:
        if not chosen.any():
            return {"n": 0}
        return {
            "n": int(chosen.sum()),
            "match_rate": float(matched[chosen].mean()),
            "rmse": float(rms[chosen & matched].mean()) if (chosen & matched).any() else None,
            "mean_confidence": None if sure is None else float(sure[chosen].mean()),
            "loss_below_1e-3": float((losses[chosen] < 1e-3).mean()),
            "median_loss": float(np.median(losses[chosen])),
            "median_seconds": float(np.median(seconds[chosen])),
            "mean_seconds": float(seconds[chosen].mean()),
            "mean_evaluations": float(result.n_evaluations.numpy()[chosen].mean()),
        }

    rows = np.nonzero(~matched)[0]
    missed = [
        (known[row][0].id, int(n_free[row]), float(losses[row]), float(true_losses[row])) for row in rows
    ]
    scored: dict[str, object] = {
        **summary(np.ones(len(known), dtype=bool)),
        "by_free_coordinates": {
            f"{low}-{high}" if high < BINS[-1][1] else f"{low} or more": summary(
                (n_free >= low) & (n_free <= high)
            )
            for low, high in BINS
        },
        "stopped": {reason: result.stopped.count(reason) for reason in sorted(set(result.stopped))},
        "missed": missed,
        "n_missed_below_true_loss": int((losses[rows] < true_losses[rows]).sum()),
    }
    return scored, evidence, torch.from_numpy(matched)


def compare_pulls(
    known: Sequence[tuple[Crystal, SymmetrizedCrystal]], *, search: str, seed: int
) -> dict[str, object]:
    """Invert inexact vectors with cells that are off, for several weights of the pull to the given cell."""
    found: dict[str, object] = {}
    for weight in PULLS:
        with mock.patch.object(orbit_inversion, "PULL", weight):
            scored, *_ = invert(known, noise=NOISE, off=True, search=search, seed=seed, fitted=None)
        found[f"{weight:g}"] = {name: scored[name] for name in ("n", "match_rate", "rmse", "mean_seconds")}
    return found


def fit(evidence: Evidence, matched: Bool[Tensor, " n"], search: str) -> Confidence:
    """Fit the confidence of the search under given symmetry, for its budget and longer ones."""
    fitted = fit_confidence(evidence, matched)
    return replace(
        fitted,
        descriptor="ead",
        digest=digest_of(make_descriptor("ead")),
        given_symmetry=True,
        presets=(search, "default", "thorough"),
        n_crystals={"mp_20:val": len(matched)},
        versions=versions(),
    )


def _measured_before(path: Path | None, settings: dict[str, object]) -> dict[str, object]:
    """Return the parts that a file holds already, if they were measured with the same settings."""
    if path is None or not path.is_file():
        return {}
    before = json.loads(path.read_text(encoding="utf-8"))
    same = all(before.get(name) == value for name, value in settings.items())
    return {part: before[part] for part in PARTS if part in before} if same else {}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--n", type=int, default=500)
    add("--n-large", type=int, default=100)
    add("--seed", type=int, default=0)
    add("--search", default="default")
    add(
        "--part",
        action="append",
        choices=PARTS,
        help="repeatable; all by default",
    )
    add("--data-dir", type=Path)
    add("--confidence", type=Path, help="where the fitted confidence goes, JSON")
    add("--out", type=Path, help="JSON; other parts that it holds are kept")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = {"seed": arguments.seed, "search": arguments.search, "descriptor": "ead"}
    result: dict[str, object] = settings | _measured_before(arguments.out, settings)
    fitted: Confidence | None = None
    for part in arguments.part or PARTS:
        if part == "large":
            path = arguments.data_dir / "mp_le20_all.parquet"
            known = make_large_set(arguments.n_large, arguments.seed, path)
        else:
            split = "val" if part in ("validation", "pull") else "test"
            known = read_split(split, arguments.n, arguments.seed, arguments.data_dir)
        if part == "pull":
            result[part] = compare_pulls(known, search=arguments.search, seed=arguments.seed)
        else:
            exact = part not in ("noise", "generated")
            result[part], evidence, matched = invert(
                known,
                noise=0.0 if exact else NOISE,
                off=part == "generated",
                search=QUICK if part == "validation" else arguments.search,
                seed=arguments.seed,
                fitted=fitted if exact else None,
            )
            if part == "validation":
                fitted = fit(evidence, matched, QUICK)
                if arguments.confidence:
                    fitted.write(arguments.confidence)
        print(part, json.dumps(result[part]), flush=True)
        if arguments.out:
            record(arguments.out, result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
