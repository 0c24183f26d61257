"""Measure the ranking of protostructures: on crystals held out of its training, and by what is built of the best.

    python scripts/bench_ranking.py held-out --dataset mp_le20_all.parquet --protostructures cache.parquet \
        --rankers DIR --out benchmarks/ranking.json
    python scripts/bench_ranking.py sun --model RUN --ranker DIR/with_unstable --data-dir DATA --n 300 \
        --workspace ranking-workspace --out benchmarks/ranking_sun.json

`held-out` learns the energy above the hull once from the training crystals of MP-20, almost all of which lie within
0.1 eV/atom of the hull, and once from these and four fifths of the entries outside MP-20, most of which do not; a fifth
of these, whole formulas together, is for validation and testing, as are MP-20's own splits. Tested on MP-20's test
crystals and on held-out entries outside MP-20: whether a crystal is within 0.1 eV/atom (area under the curve), and
what share of the best 30 % is, in a pool with as many stable ones as drawn crystals have.

`sun` runs `repdiff generate`, `reconstruct`, `relax` and `evaluate` with a trained model, without ranking and with it,
from the same seed; it goes on where it was interrupted. With `--new-to ENCODED` it does the same again for
protostructures that no crystal of that encoded set has. The last line on stdout is JSON.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from pymatgen.core import Composition
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from descriptors.symmetry.labels import parse_label, write_label
from descriptors.symmetry.protostructure import Protostructure
from descriptors.symmetry.settings import canonical_setting
from repdiff.backends.ranking import Ranker, fit_ranking
from repdiff.cli.main import main as repdiff
from repdiff.crystals.crystal import Crystal
from repdiff.metrics.hull_rows import STABLE
from repdiff.runs.parquet_files import read_table
from repdiff.runs.provenance import record
from repdiff.settings import RankSettings
from repdiff.symmetry import read_protostructures

LABEL = "e_above_hull"
KEPT = 0.3
N_RESAMPLES = 1000
SAMPLING = (
    "--sampler", "ddim", "--steps", "100", "--temperature", "0.87", "--element-temperature", "0.7", "--new-only",
)  # fmt: skip
ORDERS: Mapping[str, Callable[..., Float[np.ndarray, " n"]]] = {
    "mean": lambda mean, spread: mean,
    "mean_and_std": lambda mean, spread: mean + spread,
    "mean_and_two_std": lambda mean, spread: mean + 2 * spread,
}


def read_entries(dataset: Path, cache: Path) -> pd.DataFrame:
    """Return the labelled entries that have a protostructure, which are read once and kept in the cache."""
    if not cache.is_file():
        rows = pd.read_parquet(dataset)
        rows = rows[rows[LABEL].notna()].reset_index(drop=True)
        crystals = [
            Crystal(
                id=row.material_id,
                atomic_numbers=np.asarray(row.numbers, dtype=np.int64),
                lattice=np.reshape(row.lattice, (3, 3)).astype(float),
                frac_coords=np.reshape(row.frac, (-1, 3)).astype(float),
            )
            for row in rows.itertuples()
        ]
        found = read_protostructures(crystals, canonical=True, progress=True)
        kept = rows[["material_id", "formula", "mp20_role", LABEL]].copy()
        kept["protostructure"] = [
            None if (one := r.protostructure) is None else write_label(one) for r in found
        ]
        kept.to_parquet(cache)
    entries = pd.read_parquet(cache)
    return entries[entries.protostructure.notna()].reset_index(drop=True)


def assign(entries: pd.DataFrame) -> pd.Series:
    """Say what each entry is for: train, val or test of MP-20; outside-train, outside-val or outside-test."""
    buckets = [
        int(hashlib.md5(Composition(formula).reduced_formula.encode()).hexdigest(), 16) % 10
        for formula in entries.formula
    ]
    outside = [
        "outside-test" if one == 0 else "outside-val" if one == 1 else "outside-train" for one in buckets
    ]
    role = entries.mp20_role.fillna("")
    return role.where(role != "", pd.Series(outside, index=entries.index))


def learn(
    entries: pd.DataFrame,
    known: list[Protostructure],
    use: Mapping[str, str],
    folder: Path,
    arguments: argparse.Namespace,
) -> tuple[Ranker, dict[str, object]]:
    """Train an ensemble on what is for training and validation, and say what it took."""
    nothing = {
        "lattice": np.eye(3),
        "frac_coords": np.zeros((1, 3)),
        "atomic_numbers": np.ones(1, dtype=np.int64),
    }
    columns = (entries.material_id, entries.use, entries[LABEL])
    crystals = [
        Crystal(id=name, split=use.get(purpose), labels={LABEL: value}, **nothing)
        for name, purpose, value in zip(*columns, strict=True)
    ]
    settings = RankSettings(
        by=LABEL,
        seed=arguments.seed,
        max_steps=arguments.max_steps,
        n_members=arguments.n_members,
        device="cpu",
    )
    summary: dict[str, object] = {}
    began = time.process_time()
    result = fit_ranking(crystals, known, settings, folder, summary=summary, resume=True)
    if result.stopped_by == "signal":
        raise SystemExit("stopped; the same command goes on")
    summary["processor_seconds"] = round(time.process_time() - began, 1)
    return Ranker.load(folder), summary


def judge(
    truth: Float[np.ndarray, " n"],
    purpose: pd.Series,
    mean: Float[np.ndarray, " n"],
    spread: Float[np.ndarray, " n"],
    *,
    stable_share: float,
    seed: int,
) -> dict[str, object]:
    """Compare predictions with the truth, on what was held out."""
    test, outside = (purpose == "test").to_numpy(), (purpose == "outside-test").to_numpy()
    held = np.flatnonzero(test | outside)
    stable = truth[held] <= STABLE
    error = np.abs(mean - truth)[held]
    found: dict[str, object] = {
        "n_test": int(test.sum()),
        "n_outside": int(outside.sum()),
        "n_unstable": int((~stable).sum()),
        "unstable_share_of_train": float(np.mean(truth[purpose == "train"] > STABLE)),
        "spearman_test": float(spearmanr(mean[test], truth[test]).statistic),
        "spearman_outside": float(spearmanr(mean[outside], truth[outside]).statistic),
        "auc_on_hull_test": float(roc_auc_score(truth[test] <= 1e-3, -mean[test])),
        "spearman_std_error": float(spearmanr(spread[held], error).statistic),
        "median_error": float(np.median(error)),
        "by_order": {},
    }
    for name, order in ORDERS.items():
        score = order(mean, spread)[held]
        found["by_order"][name] = {
            "auc_stable": float(roc_auc_score(stable, -score)),
            **best_share(score, stable, stable_share, seed),
        }
    return found


def best_share(
    score: Float[np.ndarray, " n"], stable: Bool[np.ndarray, " n"], share: float, seed: int
) -> dict[str, object]:
    """Draw pools in which a share is stable, and count the stable among the best of each."""
    rng = np.random.default_rng(seed)
    good, bad = np.flatnonzero(stable), np.flatnonzero(~stable)
    size = min(int(len(good) / share), int(len(bad) / (1 - share)))
    n_good = round(share * size)
    counted = []
    for _ in range(N_RESAMPLES):
        pool = np.concatenate([rng.choice(good, n_good), rng.choice(bad, size - n_good)])
        best = pool[np.argsort(score[pool], kind="stable")[: round(KEPT * size)]]
        counted.append(stable[best].mean())
    low, high = np.quantile(counted, (0.025, 0.975)).tolist()
    return {"stable_of_best": float(np.mean(counted)), "interval": [low, high], "pool": size}


def held_out(arguments: argparse.Namespace) -> dict[str, object]:
    """Learn from both training sets, and judge both on the same crystals."""
    entries = read_entries(arguments.dataset, arguments.protostructures)
    entries["use"] = assign(entries)
    known = [canonical_setting(parse_label(label), sheared=False)[0] for label in entries.protostructure]
    sets = {
        "with_unstable": {"train": "train", "val": "val", "outside-train": "train", "outside-val": "val"},
        "stable_only": {"train": "train", "val": "val"},
    }
    result: dict[str, object] = {
        "dataset": arguments.dataset.name,
        "label": LABEL,
        "kept": KEPT,
        "stable_share": arguments.stable_share,
        "seed": arguments.seed,
        "max_steps": arguments.max_steps,
        "n_members": arguments.n_members,
        "uses": entries.use.value_counts().to_dict(),
        "trained_on": {},
    }
    truth = entries[LABEL].to_numpy(dtype=float)
    for name, use in sets.items():
        ranker, summary = learn(entries, known, use, arguments.rankers / name, arguments)
        began = time.process_time()
        found = ranker.predict(known)
        per_second = len(known) / (time.process_time() - began)
        seen = np.isfinite(found.mean)  # what has an element that no training crystal has is left out
        figures = judge(
            truth[seen],
            entries.use[seen].reset_index(drop=True),
            found.mean[seen],
            found.spread[seen],
            stable_share=arguments.stable_share,
            seed=arguments.seed,
        )
        result["trained_on"][name] = {
            **summary,
            **figures,
            "n_without_prediction": int((~seen).sum()),
            "predicted_per_processor_second": round(per_second),
        }
        record(arguments.out, result)
        print(json.dumps({name: result["trained_on"][name]}), flush=True)
    return result


def sun(arguments: argparse.Namespace) -> dict[str, object]:
    """Build as many crystals without ranking as with it, relax them, and compare the shares of S.U.N."""
    ranking = ("--keep-best", str(KEPT), "--ranker", str(arguments.ranker))
    flags: dict[str, dict[str, Bool[np.ndarray, " n"]]] = {}
    result: dict[str, object] = {"kept": KEPT, "n": arguments.n, "seed": arguments.seed, "runs": {}}
    ways: dict[str, tuple[str, ...]] = {"without": (), "with": ranking}
    if arguments.new_to is not None:
        new = ("--new-to", str(arguments.new_to))
        ways |= {"new": new, "new, with": (*new, *ranking)}
    for name, own in ways.items():
        folder = build(name.replace(", ", "-"), own, arguments)
        rows = read_table(folder / "per_structure.parquet").to_pydict()
        flags[name] = {key: np.array([bool(one) for one in rows[key]]) for key in ("stable", "sun")}
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        result["runs"][name] = {
            "funnel": metrics["funnel"],
            "stability": metrics["metrics"]["stability"]["values"],
        }
    for key in ("stable", "sun"):
        result[f"{key}_ratio"] = {
            name: ratio(flags[name][key], flags["without"][key], arguments.seed)
            for name in ways
            if name != "without"
        }
    record(arguments.out, result)
    return result


def build(name: str, own: tuple[str, ...], arguments: argparse.Namespace) -> Path:
    """Run the verbs from drawing to the evaluation, each under one name, and return the folder of the last."""
    root = arguments.workspace
    common = ("--workspace", str(root), "--name", name)
    seed = ("--seed", str(arguments.seed))
    data = () if arguments.data_dir is None else ("--data-dir", str(arguments.data_dir))
    compared = (
        "--reference",
        "mp_20:test",
        "--novelty",
        "mp_20",
        "--no-baseline",
        "--only",
        "validity,stability",
    )
    steps = (
        ("generate", "--model", str(arguments.model), "--n", str(arguments.n), *seed, *SAMPLING, *own),
        ("reconstruct", "--generated", str(root / "generate" / name), *seed),
        ("relax", str(root / "reconstruct" / name), "--max-steps", str(arguments.relax_steps)),
        ("evaluate", str(root / "reconstruct" / name), "--relaxed", str(root / "relax" / name), *compared, *data),
    )  # fmt: skip
    for words in steps:
        if (code := repdiff([*words, *common])) != 0:
            raise SystemExit(code)
    return root / "evaluate" / name


def ratio(
    one: Bool[np.ndarray, " n"], other: Bool[np.ndarray, " m"], seed: int
) -> dict[str, float | list[float]]:
    """Divide two shares; with the 95 % interval by bootstrap over the structures of both."""
    rng = np.random.default_rng(seed)
    found = [
        rng.choice(one, len(one)).mean() / max(rng.choice(other, len(other)).mean(), 1 / len(other))
        for _ in range(N_RESAMPLES)
    ]
    low, high = np.quantile(found, (0.025, 0.975)).tolist()
    value = float(one.mean() / max(other.mean(), 1 / len(other)))
    return {
        "share": float(one.mean()),
        "share_without": float(other.mean()),
        "ratio": value,
        "interval": [low, high],
    }


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    modes = parser.add_subparsers(required=True)
    held = modes.add_parser("held-out")
    held.add_argument("--dataset", type=Path, required=True)
    held.add_argument("--protostructures", type=Path, required=True, help="file that keeps what was read")
    held.add_argument("--rankers", type=Path, required=True, help="folder for the trained ensembles")
    held.add_argument("--stable-share", type=float, default=0.73, help="of the pool; that of drawn crystals")
    held.add_argument("--max-steps", type=int, default=1000)
    held.add_argument("--n-members", type=int, default=4)
    held.set_defaults(work=held_out)
    built = modes.add_parser("sun")
    built.add_argument("--model", type=Path, required=True)
    built.add_argument("--ranker", type=Path, required=True)
    built.add_argument("--data-dir", type=Path)
    built.add_argument("--n", type=int, default=300, help="crystals to build, each way")
    built.add_argument("--new-to", type=Path, help="run of repdiff encode whose protostructures are known")
    built.add_argument("--relax-steps", type=int, default=500)
    built.add_argument("--workspace", type=Path, required=True)
    built.set_defaults(work=sun)
    for mode in (held, built):
        mode.add_argument("--seed", type=int, default=0)
        mode.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps(arguments.work(arguments)))


if __name__ == "__main__":
    main()
