"""How long the fingerprints of the coverage metrics take, and how near they are to matminer's own.

Four figures, all of MP-20:

    reference    fingerprints of the test split into an empty cache, on all processes
    evaluation   coverage and distributions of "generated" crystals against that reference, now cached. They are
                 validation crystals whose atoms were all moved by about 0.05 Å, so that no symmetry saves time
    rates        crystals a second of one process: matminer on every site, and ours
    deviation    largest entry by which our mean fingerprints differ from matminer's, over the crystals of the rates

Example:
    python scripts/bench_evaluation.py --data-dir DIR --out benchmarks/evaluation.json
"""

import argparse
import json
import os
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")  # before NumPy reads them

import numpy as np

from repdiff.crystals.crystal import Crystal, to_structure
from repdiff.datasets.load import load_dataset
from repdiff.hardware import n_cores
from repdiff.metrics import Context, CrystalSet
from repdiff.metrics.coverage import Coverage
from repdiff.metrics.distributions import Distributions
from repdiff.metrics.fingerprints import compute_fingerprints, structure_features
from repdiff.runs.provenance import record

NOISE = 0.05  # Å, standard deviation of each coordinate


def choose(crystals: Sequence[Crystal], n: int | None, rng: np.random.Generator) -> list[Crystal]:
    """Take n crystals at random, or all."""
    rows = rng.permutation(len(crystals))[:n]
    return [crystals[row] for row in rows.tolist()]


def moved(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    """Move every atom."""
    shift = rng.normal(0, NOISE, (crystal.n_atoms, 3)) @ np.linalg.inv(crystal.lattice)
    return crystal.replace(frac_coords=crystal.frac_coords + shift)


def measure_reference(reference: list[Crystal], cache: Path, n_workers: int) -> dict[str, float | int]:
    """Fill an empty cache, then read it."""
    started = time.perf_counter()
    found = compute_fingerprints(reference, cache=cache, n_workers=n_workers, progress=True)
    filled = time.perf_counter()
    compute_fingerprints(reference, cache=cache)
    return {
        "n": len(reference),
        "n_without_fingerprint": int((~found.present).sum()),
        "n_workers": n_workers,
        "seconds": filled - started,
        "seconds_from_cache": time.perf_counter() - filled,
    }


def measure_evaluation(
    generated: list[Crystal], reference: list[Crystal], cache: Path, seed: int, n_workers: int
) -> dict[str, object]:
    """Compute the metrics that need a reference, its fingerprints cached and those of the generated not."""
    context = Context(
        reference=CrystalSet(crystals=reference),
        cache=cache,
        seed=seed,
        n_workers=n_workers,
        progress=True,
    )
    seconds, values = {}, {}
    for name, metric in (("coverage", Coverage()), ("distributions", Distributions())):
        started = time.perf_counter()
        result = metric.compute(CrystalSet(crystals=generated), context)
        seconds[name] = time.perf_counter() - started
        values |= {f"{name}.{key}": value.value for key, value in result.values.items()}
    return {
        "n_generated": len(generated),
        "n_reference": len(reference),
        "seconds": seconds,
        "values": values,
    }


def measure_rates(crystals: Sequence[Crystal]) -> dict[str, float | int]:
    """Compare with matminer on every site, one crystal after the other in this process."""
    warnings.simplefilter("ignore")
    from matminer.featurizers.site import CrystalNNFingerprint

    featurizer = CrystalNNFingerprint.from_preset("ops")
    structure_features(crystals[0])
    started = time.perf_counter()
    ours = [structure_features(crystal) for crystal in crystals]
    between = time.perf_counter()
    structures = [to_structure(crystal) for crystal in crystals]
    plain = [np.mean([featurizer.featurize(s, site) for site in range(len(s))], axis=0) for s in structures]
    ended = time.perf_counter()
    deviations = np.abs(np.array(ours) - np.array(plain)).max(1)
    return {
        "n": len(crystals),
        "crystals_per_second": len(crystals) / (between - started),
        "crystals_per_second_matminer": len(crystals) / (ended - between),
        "largest_deviation": float(deviations.max()),
        "share_within_1e-6": float((deviations < 1e-6).mean()),
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--n", type=int, help="reference crystals; without it the whole test split")
    add("--n-generated", type=int, default=1000)
    add("--n-rates", type=int, default=100)
    add("--n-workers", type=int, default=n_cores())
    add("--seed", type=int, default=0)
    add("--data-dir", type=Path)
    add("--out", type=Path, default=Path("benchmarks/evaluation.json"))
    arguments = parser.parse_args()
    crystals = load_dataset("mp_20", data_dir=arguments.data_dir).crystals
    rng = np.random.default_rng(arguments.seed)
    splits = {name: [one for one in crystals if one.split == name] for name in ("test", "val")}
    reference = choose(splits["test"], arguments.n, rng)
    generated = [moved(one, rng) for one in choose(splits["val"], arguments.n_generated, rng)]
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        result: dict[str, object] = {
            "dataset": "mp_20",
            "rates": measure_rates(reference[: arguments.n_rates]),
            "reference": measure_reference(reference, cache, arguments.n_workers),
            "evaluation": measure_evaluation(
                generated, reference, cache, arguments.seed, arguments.n_workers
            ),
            "noise_angstrom": NOISE,
            "seed": arguments.seed,
        }
    record(arguments.out, result)
    print(json.dumps({name: result[name] for name in ("rates", "reference", "evaluation")}, indent=1))


if __name__ == "__main__":
    main()
