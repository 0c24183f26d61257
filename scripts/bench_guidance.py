"""Do vectors of StructRepDiff become crystals that have the label that was asked for?

A model is trained with its labels (`repdiff train --condition-on`) for some minutes of processor time, or named by
`--model`. Values are asked for at quantiles of the training labels from 5 to 95 %, or of their distinct values where
most labels are the same. Vectors are inverted by the preset `fast`, and the crystals judged by a regressor that the
generator has nothing to do with: extremely randomised trees (scikit-learn, 300 of them) on Magpie features of the
composition, the mean CrystalNN fingerprint and the volume per atom, fitted on validation crystals. How far it can be
trusted is its rank correlation with the true labels of test crystals, and the rank correlation that it would give a
perfect generator: real test crystals in place of samples, those whose label is nearest to each value. Of the
validation crystals at most so many are taken, half of them among those that have not the commonest value, since most
gaps are zero.

With `--heads` (runs of `repdiff head fit`, one for each label) the samples are steered by these instead, and
`--candidates` takes the place of `--guidance`: protostructures of which one is chosen for each sample.

Reported beside the rank correlation of asked and obtained values: structures and compositions that are valid, distinct
formulas, and the same of unconditional samples of the same model. The last line on stdout is JSON. Example:
    python scripts/bench_guidance.py --workspace WS --dataset perov_5 --data-dir DIR --minutes 4 \
        --labels heat_all dir_gap --n 12 --n-values 8 --guidance 1 2 --out benchmarks/guidance_perov_5.json
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from bench_conditions import Judge  # beside this file
from scipy.stats import spearmanr

import repdiff as rd
from repdiff.cli.main import main as repdiff
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.geometry import check_structures
from repdiff.datasets.load import load_dataset
from repdiff.latent_space.property_head import read_labels
from repdiff.metrics.validity import check_crystal_composition
from repdiff.runs.manifest import read_manifest
from repdiff.runs.provenance import record


def chosen(crystals: Sequence[Crystal], label: str, n: int, seed: int) -> list[Crystal]:
    """Choose labelled crystals at random, half of them among those that have not the commonest label."""
    labelled, values = read_labels(label, crystals)
    found, counts = np.unique(values, return_counts=True)
    common = values == found[counts.argmax()]
    order = np.random.default_rng(seed).permutation(len(labelled))
    rare, rest = order[~common[order]][: n // 2], order[common[order]]
    more = np.concatenate([rest, order[~common[order]][n // 2 :]])[: n - len(rare)]
    return [labelled[row] for row in (*rare, *more)]


def asked_values(values: np.ndarray, n: int) -> list[float]:
    """Return quantiles of labels from 5 to 95 %, of the distinct ones where too many are the same."""
    levels = np.linspace(0.05, 0.95, n)
    plain = np.quantile(values, levels)
    return (plain if len(set(plain)) == n else np.quantile(np.unique(values), levels)).tolist()


def made(model: rd.Model, how: Mapping[str, Any], n: int, steps: int, seed: int) -> list[Crystal]:
    """Draw crystals of one wish."""
    found = model.sample(n, seed=seed, search="fast", sampler="ddim", steps=steps, progress=False, **how)
    return list(found.crystals)


def facts(crystals: Sequence[Crystal], n: int) -> dict[str, Any]:
    """Say how many samples became valid crystals, and how many formulas differ."""
    checks = check_structures(crystals)
    return {
        "n": n,
        "inverted": len(crystals) / n,
        "structure_valid": mean(check.valid for check in checks),
        "composition_valid": mean(check_crystal_composition(crystal).valid for crystal in crystals),
        "distinct_formulas": len({crystal.formula for crystal in crystals}),
    }


Ask = Callable[[float, float], Mapping[str, Any]]
"""Says how to ask for a value with a strength: of guidance, or the number of candidates."""


def asking(label: str, heads: Sequence[rd.Head]) -> Ask:
    """Ask by a condition that was learnt, or by the head of the label if there are heads."""
    if not heads:
        return lambda value, strength: {"conditions": {label: value}, "guidance": strength}
    (head,) = (one for one in heads if one.label == label)
    return lambda value, strength: {"steer": {label: value}, "heads": head, "candidates": int(strength)}


def correlations(
    model: rd.Model, judge: Judge, values: Sequence[float], ask: Ask, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Ask for each value with each strength, and rank what was obtained against it."""
    rows = {}
    for strength in arguments.candidates if arguments.heads else arguments.guidance:
        asked, obtained, everything, by_value = [], [], [], {}
        started = time.process_time()
        for number, value in enumerate(values):
            found = made(model, ask(value, strength), arguments.n, arguments.steps, arguments.seed + number)
            predicted, known = judge(found)
            everything += found
            asked += [value] * len(known)
            obtained += predicted.tolist()
            by_value[f"{value:.4g}"] = {"mean": float(predicted.mean()), "sd": float(predicted.std())}
        rows[f"{strength:g}"] = {
            "spearman": float(spearmanr(asked, obtained).statistic),
            "mean_absolute_difference": float(np.abs(np.subtract(asked, obtained)).mean()),
            **facts(everything, arguments.n * len(values)),
            "obtained": by_value,
            "processor_seconds": round(time.process_time() - started, 1),
        }
    return rows


def of_real_crystals(judge: Judge, crystals: Sequence[Crystal], values: Sequence[float], n: int) -> float:
    """Rank what the judge says of the real crystals nearest to each value against that value."""
    labelled, labels = read_labels(judge.label, crystals)
    nearest = [
        [labelled[row] for row in np.argsort(np.abs(labels - value), kind="stable")[:n]] for value in values
    ]
    judged = [judge(found)[0] for found in nearest]
    asked = np.repeat(values, [len(one) for one in judged])
    return float(spearmanr(asked, np.concatenate(judged)).statistic)


def trained(arguments: argparse.Namespace) -> Path:
    """Train a model with the labels, or find the one that is named."""
    if arguments.model is not None:
        return arguments.model
    name = f"guidance-{arguments.minutes:g}"
    words = ["train", "--workspace", str(arguments.workspace), "--name", name, "--device", "cpu"]
    words += ["--condition-on", ",".join(arguments.labels), "--clock", "processor"]
    words += ["--max-minutes", str(arguments.minutes), "--first-share", str(arguments.first_share)]
    if status := repdiff(words):
        raise SystemExit(status)
    return arguments.workspace / "train" / name


def main() -> None:
    """Run what was asked for, and print it as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workspace", type=Path, default=Path("repdiff-workspace"))
    parser.add_argument("--model", type=Path, help="run of repdiff train or finetune; default: train one")
    parser.add_argument("--minutes", type=float, default=4.0, help="processor minutes of training")
    parser.add_argument("--first-share", type=float, default=0.6, help="of them for protostructures")
    parser.add_argument("--dataset", default="perov_5")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--labels", nargs="+", default=["heat_all", "dir_gap"])
    parser.add_argument("--n", type=int, default=12, help="samples of each wish")
    parser.add_argument("--n-values", type=int, default=8)
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 2.0])
    parser.add_argument("--heads", type=Path, nargs="+", default=[], help="runs of repdiff head fit")
    parser.add_argument("--candidates", type=int, nargs="+", default=[16])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--n-judge", type=int, default=1500, help="validation crystals of each judge")
    parser.add_argument("--n-test", type=int, default=300, help="test crystals that each judge is tried on")
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
    path = trained(arguments)
    model = rd.load_model(path, device="cpu")
    manifest = read_manifest(path)
    heads = [rd.load_head(head) for head in arguments.heads]
    labels = {}
    for label in arguments.labels:
        judge = Judge(
            chosen(splits["val"], label, arguments.n_judge, arguments.seed),
            label,
            arguments.cache,
            arguments.seed,
        )
        predicted, known = judge(chosen(splits["test"], label, arguments.n_test, arguments.seed))
        values = asked_values(read_labels(label, splits["train"])[1], arguments.n_values)
        labels[label] = {
            "judge_spearman_on_test": float(spearmanr(judge.true(known), predicted).statistic),
            "spearman_of_real_crystals": of_real_crystals(judge, splits["test"], values, arguments.n),
            "candidates" if heads else "guidance": correlations(
                model, judge, values, asking(label, heads), arguments
            ),
        }
    n_free = arguments.n * arguments.n_values
    free = facts(made(model, {}, n_free, arguments.steps, arguments.seed), n_free)
    result = {
        "dataset": arguments.dataset,
        "training": {"seconds": manifest.seconds, **manifest.summary},
        "judge": "300 extremely randomised trees on Magpie, CrystalNN and volume per atom; validation split",
        "n_judge": arguments.n_judge,
        "steps": arguments.steps,
        "seed": arguments.seed,
        "labels": labels,
        "unconditional": free,
    }
    if arguments.out is not None:
        record(arguments.out, result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
