"""Measure how far given crystals are walked towards a goal, by the protocol of CDVAE (arXiv 2110.06197, section 5.3).

100 test crystals are the starts, the property is made as small as possible, and ten crystals are kept of each start.
The success rates SR5, SR10 and SR15 are the shares of starts the best of whose valid crystals is predicted to lie
within the lowest 5, 10 and 15 % of the property in the data set. As in CDVAE's own evaluation, a crystal is valid if no
two atoms are within 0.5 Å and its charges can be balanced, and starts without a valid crystal count as failed. The
thresholds that CDVAE's evaluation code has for Perov-5 are written beside those of the data.

What counts is not the head that steers, but a regressor that has nothing to do with it: that of `bench_conditions.py`,
fitted on the validation crystals, which the head is not trained on (they stop its training and scale its uncertainty).
How far it can be trusted is its rank correlation with the labels of the test crystals. CDVAE's regressor is another,
so that its rates and these are not measured alike; the rates of the starts themselves, and of ten variations of each
without steering, by the same regressor, are.

Each start's rounds are kept in a folder, so that an interrupted run goes on. The last line on stdout is JSON. Example:
    python scripts/bench_optimization.py --model RUN --head HEAD --dataset perov_5 --data-dir DIR --label heat_all \
        --n-starts 100 --n-workers 2 --folder optimization --out benchmarks/optimization_perov_5.json
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_conditions import N_TREES, Judge  # beside this file
from scipy.stats import spearmanr

import repdiff as rd
from repdiff.backends.properties import labels_of
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.crystals.geometry import check_structures
from repdiff.datasets.load import load_dataset
from repdiff.datasets.splits import draw_rows
from repdiff.metrics.validity import check_crystal_composition
from repdiff.runs.provenance import record

QUANTILES = (0.05, 0.10, 0.15)
PUBLISHED_THRESHOLDS = {"perov_5": (0.43924842, 0.61202443, 0.7364607)}
"""Of CDVAE's evaluation code, scripts/compute_metrics.py of github.com/txie-93/cdvae."""
N_KEPT = 10


def success(
    groups: Mapping[str, Sequence[Crystal]], judge: Judge, thresholds: Sequence[float]
) -> dict[str, Any]:
    """Return the success rates of starts.

    Args:
        groups: Crystals of each start.
        judge: Predicts the property.
        thresholds: Values below which a start counts as successful.
    """
    flat = [
        one.replace(id=f"{start}/{place}") for start, some in groups.items() for place, one in enumerate(some)
    ]
    sound = [one for one, check in zip(flat, check_structures(flat), strict=True) if check.valid]
    valid = [one for one in sound if check_crystal_composition(one).valid]
    predicted, known = judge(valid)
    best = dict.fromkeys(groups, np.inf)
    for one, value in zip(known, predicted.tolist(), strict=True):
        start = one.id.rpartition("/")[0]
        best[start] = min(best[start], value)
    values = np.array(list(best.values()))
    finite = values[np.isfinite(values)]
    return {
        **{
            f"SR{round(100 * level)}": float((values <= threshold).mean())
            for level, threshold in zip(QUANTILES, thresholds, strict=True)
        },
        "mean_best": float(finite.mean()) if len(finite) else None,
        "n_starts": len(groups),
        "n_crystals": len(flat),
        "n_valid": len(valid),
        "n_judged": len(known),
    }


def by_start(crystals: Sequence[Crystal], starts: Sequence[Crystal], label: str) -> dict[str, list[Crystal]]:
    """Group crystals by the start that a label names."""
    groups: dict[str, list[Crystal]] = {one.id: [] for one in starts}
    for one in crystals:
        groups[str(one.labels[label])].append(one)
    return groups


def walked(model: rd.Model, head: rd.Head, starts: Sequence[Crystal], chosen: argparse.Namespace) -> dict:
    """Walk each start towards the least value, and group the crystals by start."""
    found = rd.optimize(
        model,
        CrystalSet(crystals=list(starts)),
        head=head,
        goal="min",
        keep=chosen.keep,
        n=N_KEPT,
        n_steps=chosen.n_steps,
        n_variations=chosen.n_variations,
        n_built=chosen.n_built,
        n_best=chosen.n_best,
        strength=chosen.strength,
        steer_strength=chosen.steer_strength,
        candidates=chosen.candidates,
        seed=chosen.seed,
        search=chosen.search,
        n_workers=chosen.n_workers,
        folder=chosen.folder,
        sampler=chosen.sampler,
        steps=chosen.steps,
    )
    return by_start(found.crystals, starts, "start")


def varied(model: rd.Model, starts: Sequence[Crystal], chosen: argparse.Namespace) -> dict:
    """Make as many variations of each start without steering, and group them by start."""
    made = model.vary(
        CrystalSet(crystals=list(starts)),
        strength=chosen.strength,
        n=N_KEPT,
        keep=chosen.keep,
        seed=chosen.seed,
        search=chosen.search,
        n_workers=chosen.n_workers,
        sampler=chosen.sampler,
        steps=chosen.steps,
    )
    return by_start(made.crystals, starts, "parent")


def measure(chosen: argparse.Namespace) -> dict[str, Any]:
    """Do the work, and return what is reported."""
    dataset = load_dataset(chosen.dataset, data_dir=chosen.data_dir)
    labels = labels_of(chosen.label, dataset.crystals)
    known = [one for one, label in zip(dataset.crystals, labels, strict=True) if label is not None]
    values = np.array([float(str(one.labels[chosen.label])) for one in known])
    splits = {split: [one for one in known if one.split == split] for split in ("val", "test")}
    judge = Judge(splits["val"], chosen.label, chosen.cache, chosen.seed)
    predicted, told = judge(splits["test"])
    thresholds = np.quantile(values, QUANTILES).tolist()
    starts = [splits["test"][row] for row in draw_rows(len(splits["test"]), chosen.n_starts, chosen.seed)]
    model, head = rd.load_model(chosen.model), rd.load_head(chosen.head)
    started = time.perf_counter()
    ends = success(walked(model, head, starts, chosen), judge, thresholds)
    seconds = time.perf_counter() - started
    names = (
        "keep", "n_steps", "n_variations", "n_built", "n_best", "strength", "steer_strength", "candidates",
        "sampler", "steps", "search", "seed",
    )  # fmt: skip
    return {
        "dataset": chosen.dataset,
        "label": chosen.label,
        "goal": "min",
        "thresholds": dict(zip(("5", "10", "15"), thresholds, strict=True)),
        "published_thresholds": PUBLISHED_THRESHOLDS.get(chosen.dataset),
        "settings": {name: getattr(chosen, name) for name in names},
        "head": dict(head.report),
        "judge": f"ExtraTreesRegressor({N_TREES}) on Magpie, CrystalNN and volume per atom; validation split",
        "judge_spearman_on_test": float(spearmanr(judge.true(told), predicted).statistic),
        "starts": success({one.id: [one] for one in starts}, judge, thresholds),
        "variations_without_steering": success(varied(model, starts, chosen), judge, thresholds),
        "optimized": ends,
        "seconds_per_start": round(seconds / len(starts), 3),
    }


def main() -> None:
    """Run what was asked for, and print it as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="run of repdiff train")
    parser.add_argument("--head", type=Path, required=True, help="run of repdiff head fit")
    parser.add_argument("--dataset", default="perov_5")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--label", default="heat_all")
    parser.add_argument("--n-starts", type=int, default=100)
    parser.add_argument("--keep", default="nothing")
    parser.add_argument("--n-steps", type=int, default=5)
    parser.add_argument("--n-variations", type=int, default=40)
    parser.add_argument("--n-built", type=int, default=10)
    parser.add_argument("--n-best", type=int, default=3)
    parser.add_argument("--strength", type=float, default=0.6)
    parser.add_argument("--steer-strength", type=float, default=3.0)
    parser.add_argument("--candidates", type=int, default=16)
    parser.add_argument("--sampler", default="ddim")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--search", default="fast")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n-workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where rounds are kept, to go on from")
    parser.add_argument("--cache", type=Path, default=Path("repdiff-workspace/cache"))
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    result = measure(chosen)
    if chosen.out is not None:
        record(chosen.out, result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
