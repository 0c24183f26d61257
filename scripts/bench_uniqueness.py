"""How long uniqueness and novelty take, and how often they differ from StructureMatcher on every pair.

For each data set, "generated" crystals are made of real ones: half are copies of test crystals in another cell,
orientation and order with small noise, so that they are known; half are copies of validation
crystals (drawn again where these are too few) with noise so large that most are novel and have to be compared with all
of their formula. The known ones are the whole data set. Carbon-24, of one formula, is the worst case there is.

Agreement: every pair that pymatgen would compare, among `--n-exact` of the same crystals and with all known ones for
`--n-exact-known` of them.

Example:
    python scripts/bench_uniqueness.py --data-dir DIR --out benchmarks/uniqueness.json
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher

from repdiff.crystals.crystal import Crystal, to_structure
from repdiff.crystals.formula import count_elements, reduced_formula
from repdiff.datasets.load import load_dataset
from repdiff.hardware import n_cores
from repdiff.metrics.primitive_cells import MAX_CANDIDATES, Reduced, of_formulas, reduce_crystals
from repdiff.metrics.structure_groups import ANGLE_TOL, LTOL, STOL, find_known, group_same
from repdiff.runs.provenance import record

SMALL, LARGE = 0.02, 0.3  # Å, standard deviation of each coordinate


def disguise(crystal: Crystal, noise: float, rng: np.random.Generator, id: str) -> Crystal:
    """Move the atoms, and describe the crystal by another cell, orientation, origin, image and order."""
    cart = crystal.frac_coords @ crystal.lattice + rng.normal(0, noise, (crystal.n_atoms, 3))
    basis = np.triu(rng.integers(-1, 2, (3, 3)), 1) + np.eye(3, dtype=np.int64)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    order = rng.permutation(crystal.n_atoms)
    lattice = basis @ crystal.lattice
    frac = cart @ np.linalg.inv(lattice) + rng.uniform(0, 1, 3)
    return Crystal(
        id=id,
        atomic_numbers=crystal.atomic_numbers[order],
        lattice=lattice @ rotation,
        frac_coords=frac[order] + rng.integers(-1, 2, (crystal.n_atoms, 3)),
    )


def make_generated(known: Sequence[Crystal], n: int, rng: np.random.Generator) -> list[Crystal]:
    """Disguise n crystals of the test and validation splits, half with small noise and half with large."""
    splits = {name: [crystal for crystal in known if crystal.split == name] for name in ("test", "val")}
    made = []
    for split, noise in (("test", SMALL), ("val", LARGE)):
        chosen = rng.choice(len(splits[split]), n // 2, replace=len(splits[split]) < n // 2)
        made += [
            disguise(splits[split][row], noise, rng, f"g{len(made) + k}")
            for k, row in enumerate(chosen.tolist())
        ]
    return made


def count_groups(reduced: Sequence[Reduced]) -> int:
    """Count the groups that pymatgen forms when it may compare every pair, in the order of the names."""
    crystals = [one.crystal for one in reduced if one.crystal is not None]
    structures = [to_structure(crystal) for crystal in sorted(crystals, key=lambda c: (len(c.id), c.id))]
    return len(StructureMatcher(stol=STOL, ltol=LTOL, angle_tol=ANGLE_TOL).group_structures(structures))


def is_known(one: Crystal, known: Sequence[Crystal]) -> bool:
    """Compare one crystal with all known ones of its formula, unless their primitive cells differ in size."""
    matcher = StructureMatcher(stol=STOL, ltol=LTOL, angle_tol=ANGLE_TOL)
    structure, formula = to_structure(one), reduced_formula(count_elements(one))
    return any(
        matcher.fit(structure, to_structure(other), skip_structure_reduction=True)
        for other in known
        if other.n_atoms == one.n_atoms and reduced_formula(count_elements(other)) == formula
    )


def agreement(
    generated: Sequence[Reduced], known: Sequence[Reduced], arguments: argparse.Namespace
) -> dict[str, float | int]:
    """Compare the answers for random crystals with those of StructureMatcher on every pair."""
    rng = np.random.default_rng(arguments.seed)
    sample = [generated[row] for row in rng.permutation(len(generated))[: arguments.n_exact]]
    first = group_same(sample).first
    asked = sample[: arguments.n_exact_known]
    others = [one.crystal for one in known if one.crystal is not None]
    found = (find_known(asked, known).row >= 0).tolist()
    truth = [one.crystal is not None and is_known(one.crystal, others) for one in asked]
    return {
        "n_exact": len(sample),
        "n_groups": int((first == np.arange(len(sample))).sum()),
        "n_groups_exact": count_groups(sample),
        "n_exact_known": len(asked),
        "n_known": sum(found),
        "n_known_exact": sum(truth),
        "known_agreement": float(np.mean([a == b for a, b in zip(found, truth, strict=True)])),
    }


def cpu_seconds() -> float:
    """Return what this process and those it has waited for have used: the time an idle core would take."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def measure(name: str, arguments: argparse.Namespace) -> dict[str, object]:
    """Time the three steps for one data set and check a sample."""
    known = load_dataset(name, data_dir=arguments.data_dir).crystals
    generated = make_generated(known, arguments.n, np.random.default_rng(arguments.seed))
    settings: dict[str, Any] = {"n_workers": arguments.n_workers, "progress": True}
    started, used = time.perf_counter(), cpu_seconds()
    reduced = reduce_crystals(generated, **settings)
    others = reduce_crystals(of_formulas(known, generated), **settings)
    reduction = time.perf_counter()
    grouping = group_same(reduced, **settings)
    grouped = time.perf_counter()
    found = find_known(reduced, others, **settings)
    ended = time.perf_counter()
    used = cpu_seconds() - used
    comparable = np.array([one.crystal is not None for one in reduced])
    return {
        "n_generated": len(generated),
        "n_known": len(known),
        "n_known_of_the_same_formulas": len(others),
        "seconds": ended - started,
        "cpu_seconds": used,
        "load_average": os.getloadavg()[1],
        "seconds_of_primitive_cells": reduction - started,
        "seconds_of_uniqueness": grouped - reduction,
        "seconds_of_novelty": ended - grouped,
        "unique": float((grouping.first == np.arange(len(generated))).mean()),
        "novel": float((comparable & (found.row < 0)).mean()),
        "invalid": float((~comparable).mean()),
        "unique_pairs_not_compared": grouping.n_not_compared,
        "novel_pairs_not_compared": found.n_not_compared,
        "agreement": agreement(reduced, others, arguments),
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--dataset", action="append", help="repeatable; without it mp_20 and carbon_24")
    add("--n", type=int, default=10_000)
    add("--n-exact", type=int, default=400)
    add("--n-exact-known", type=int, default=30)
    add("--seed", type=int, default=0)
    add("--n-workers", type=int, default=n_cores())
    add("--data-dir", type=Path)
    add("--out", type=Path, default=Path("benchmarks/uniqueness.json"))
    arguments = parser.parse_args()
    result = {
        "datasets": {name: measure(name, arguments) for name in arguments.dataset or ["mp_20", "carbon_24"]},
        "noise_angstrom": {"known": SMALL, "other": LARGE},
        "compared_with_at_most": MAX_CANDIDATES,
        "n_workers": arguments.n_workers,
        "seed": arguments.seed,
    }
    record(arguments.out, result)
    print(json.dumps(result["datasets"], indent=1))


if __name__ == "__main__":
    main()
