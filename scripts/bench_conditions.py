"""Do samples have what they were asked for: a numeric label, and a chemical system.

The label of a sample is judged by a regressor that the generator has nothing to do with: extremely randomised trees
(scikit-learn, 300 of them) on Magpie features of the composition, the mean CrystalNN fingerprint and the volume per
atom, fitted on the validation crystals of the data set. How far it can be trusted is its rank correlation with the true
labels of the test crystals. Values are asked for at quantiles of the training labels from 5 to 95 %.

Chemical systems are those of test crystals, drawn at random, some of which no training crystal has. Reported: samples
with no element outside, samples with exactly these elements.

Structures are checked by the usual threshold (no two atoms within 0.5 Å). The last line on stdout is JSON. Example:
    python scripts/bench_conditions.py --model RUN --dataset perov_5 --data-dir DIR --label heat_all \
        --n 20 --n-values 8 --n-systems 12 --steps 100 --out benchmarks/conditions_perov_5.json
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols
from jaxtyping import Float
from scipy.stats import spearmanr
from sklearn.ensemble import ExtraTreesRegressor

from repdiff.backends.mattergen import MatterGen
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.geometry import check_structures
from repdiff.datasets.load import load_dataset
from repdiff.latent_space.property_head import read_labels
from repdiff.metrics.fingerprints import compute_fingerprints
from repdiff.runs.manifest import read_manifest
from repdiff.runs.provenance import record

N_TREES = 300


class Judge:
    """A regressor of a label, fitted on crystals that the generator was not trained on."""

    def __init__(self, crystals: Sequence[Crystal], label: str, cache: Path, seed: int) -> None:
        self.label, self.cache = label, cache
        self.trees = ExtraTreesRegressor(N_TREES, max_features=0.3, min_samples_leaf=2, random_state=seed)
        features, known = self._features(crystals)
        self.trees.fit(features, self.true(known))

    def true(self, crystals: Sequence[Crystal]) -> Float[np.ndarray, " n"]:
        """Return the true labels of crystals."""
        return np.array([crystal.labels[self.label] for crystal in crystals], dtype=np.float64)

    def __call__(self, crystals: Sequence[Crystal]) -> tuple[Float[np.ndarray, " n"], list[Crystal]]:
        """Predict the label of crystals, and say of which: those that have a fingerprint."""
        features, known = self._features(crystals)
        return (self.trees.predict(features) if known else np.empty(0)), known

    def _features(
        self, crystals: Sequence[Crystal]
    ) -> tuple[Float[np.ndarray, "n n_features"], list[Crystal]]:
        found = compute_fingerprints(crystals, cache=self.cache)
        known = [crystal for crystal, present in zip(crystals, found.present, strict=True) if present]
        volumes = [abs(np.linalg.det(crystal.lattice)) / crystal.n_atoms for crystal in known]
        parts = (np.nan_to_num(found.composition[found.present]), found.structure[found.present])
        return np.column_stack([*parts, volumes]), known


def correlation(
    backend: MatterGen, judge: Judge, values: Sequence[float], arguments: argparse.Namespace
) -> dict:
    """Ask for each value, with each guidance, and rank what was obtained against it."""
    rows = {}
    for guidance in arguments.guidance:
        asked, obtained, valid, by_value = [], [], [], {}
        started = time.perf_counter()
        for number, value in enumerate(values):
            made = sample(backend, {judge.label: value}, guidance, number, arguments)
            valid += [check.valid for check in check_structures(made)]
            predicted, known = judge(made)
            asked += [value] * len(known)
            obtained += predicted.tolist()
            by_value[f"{value:.4g}"] = {"mean": float(predicted.mean()), "sd": float(predicted.std())}
        rows[f"{guidance:g}"] = {
            "spearman": float(spearmanr(asked, obtained).statistic),
            "mean_absolute_difference": float(np.abs(np.subtract(asked, obtained)).mean()),
            "n": len(asked),
            "n_without_fingerprint": len(valid) - len(asked),
            "structure_valid": mean(valid),
            "obtained": by_value,
            "seconds": round(time.perf_counter() - started, 1),
        }
    return rows


def inside(
    backend: MatterGen, systems: Sequence[frozenset[int]], arguments: argparse.Namespace
) -> dict[str, Any]:
    """Ask for each chemical system, with each guidance, and count the samples inside it."""
    rows = {}
    for guidance in arguments.guidance:
        within, exact, valid = [], [], []
        for number, system in enumerate(systems):
            name = "-".join(chemical_symbols[number] for number in sorted(system))
            for crystal in (made := sample(backend, {"chemical_system": name}, guidance, number, arguments)):
                within.append(set(crystal.atomic_numbers.tolist()) <= system)
                exact.append(set(crystal.atomic_numbers.tolist()) == system)
            valid += [check.valid for check in check_structures(made)]
        rows[f"{guidance:g}"] = {
            "inside": mean(within),
            "all_elements": mean(exact),
            "structure_valid": mean(valid),
            "n": len(within),
        }
    return rows


def sample(
    backend: MatterGen,
    condition: dict[str, Any],
    guidance: float,
    number: int,
    arguments: argparse.Namespace,
) -> list[Crystal]:
    """Make the samples of one wish."""
    made = backend.sample(
        arguments.n,
        seed=arguments.seed + number,
        steps=arguments.steps,
        conditions=condition,
        guidance=guidance,
    )
    return made.crystals


def main() -> None:
    """Run what was asked for, and print it as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="run of repdiff finetune")
    parser.add_argument("--dataset", default="perov_5")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--label", default="heat_all")
    parser.add_argument("--n", type=int, default=24, help="samples of each wish")
    parser.add_argument("--n-values", type=int, default=10)
    parser.add_argument("--n-systems", type=int, default=20)
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 2.0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path("repdiff-workspace/cache"))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    dataset = load_dataset(arguments.dataset, data_dir=arguments.data_dir)
    splits = {
        split: [crystal for crystal in dataset.crystals if crystal.split == split]
        for split in ("train", "val", "test")
    }
    backend = MatterGen.load(arguments.model, device=torch.device("cpu"))
    labelled = {split: read_labels(arguments.label, found)[0] for split, found in splits.items()}
    judge = Judge(labelled["val"], arguments.label, arguments.cache, arguments.seed)
    predicted, known = judge(labelled["test"])
    levels = np.linspace(0.05, 0.95, arguments.n_values)
    values = np.quantile(judge.true(labelled["train"]), levels).tolist()
    system_of = {
        split: [frozenset(c.atomic_numbers.tolist()) for c in found] for split, found in splits.items()
    }
    candidates = sorted(set(system_of["test"]), key=sorted)
    chosen = np.random.default_rng(arguments.seed).choice(len(candidates), arguments.n_systems, replace=False)
    systems = [candidates[place] for place in chosen]
    manifest = read_manifest(arguments.model)
    result = {
        "dataset": arguments.dataset,
        "training": {"seconds": manifest.seconds, **manifest.summary},
        "steps": arguments.steps,
        "seed": arguments.seed,
        "label": {
            "name": arguments.label,
            "judge": f"ExtraTreesRegressor({N_TREES}) on Magpie, CrystalNN and volume per atom; validation split",
            "judge_spearman_on_test": float(spearmanr(judge.true(known), predicted).statistic),
            "guidance": correlation(backend, judge, values, arguments),
        },
        "chemical_system": {
            "n_systems": len(systems),
            "n_unknown_to_training": len(set(systems) - set(system_of["train"])),
            "guidance": inside(backend, systems, arguments),
        },
    }
    if arguments.out is not None:
        record(arguments.out, result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
