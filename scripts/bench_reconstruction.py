"""Invert true representations of random test crystals and count how many come back.

The last line on stdout is JSON. Example:
    python scripts/bench_reconstruction.py --dataset perov_5 --n 500 --data-dir DIR --out benchmarks/invert_perov_5.json
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from repdiff.evaluate import read_for_evaluation, read_reference
from repdiff.metrics.matching import match_pairs
from repdiff.provenance import hardware, versions
from repdiff.reconstruct import run_reconstruct
from repdiff.settings import ReconstructSettings
from repdiff.workspace import Workspace

LOW_LOSS = 1e-3  # relative; crystals below it that do not match would be ambiguities of the descriptor


def invert(preset: str, arguments: argparse.Namespace, workspace: Workspace) -> dict[str, object]:
    """Reconstruct with one preset and score against the true crystals."""
    settings = ReconstructSettings.model_validate(
        {
            "dataset": arguments.dataset,
            "split": "test",
            "n": arguments.n,
            "preset": preset,
            "descriptor": arguments.descriptor,
            "data_dir": arguments.data_dir,
            "seed": arguments.seed,
            "device": arguments.device,
        }
    )
    started = time.perf_counter()
    folder = run_reconstruct(settings, workspace)
    seconds = time.perf_counter() - started
    crystals, failed = read_for_evaluation(folder)
    known = {
        crystal.id: crystal for crystal in read_reference(arguments.dataset, arguments.data_dir, workspace)
    }
    rms = match_pairs(crystals, [known[crystal.id] for crystal in crystals], progress=True)
    matched = ~np.isnan(rms)
    losses = np.array([crystal.labels["loss"] for crystal in crystals], dtype=float)
    own = np.array([crystal.labels["seconds"] for crystal in crystals], dtype=float)
    evaluations = [crystal.labels["n_evaluations"] for crystal in crystals]
    total = len(crystals) + len(failed)
    return {
        "n": total,
        "match_rate": float(matched.sum() / total),
        "rmse": float(rms[matched].mean()) if matched.any() else None,
        "solved": float(np.mean([crystal.labels["stopped"] == "solved" for crystal in crystals])),
        "seconds_per_structure": seconds / total,
        "median_core_seconds": float(np.median(own)),
        "evaluations_per_structure": float(np.mean(np.array(evaluations, dtype=float))),
        "low_loss_no_match": float(((losses < LOW_LOSS) & ~matched).mean()),
        "device": arguments.device,
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--preset", action="append")
    parser.add_argument("--descriptor", default="ead")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workspace", type=Path, default=Path("repdiff-workspace"))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    workspace = Workspace(root=arguments.workspace)
    presets = {name: invert(name, arguments, workspace) for name in arguments.preset or ["default"]}
    result: dict[str, object] = {
        "dataset": arguments.dataset,
        "seed": arguments.seed,
        "descriptor": arguments.descriptor,
        **presets,
    }
    if len(presets) == 2:
        fast, slow = (float(str(entry["seconds_per_structure"])) for entry in presets.values())
        result["speedup"] = slow / fast
    if arguments.out:
        full = {**result, "versions": versions(), "hardware": hardware()}
        arguments.out.write_text(json.dumps(full, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
