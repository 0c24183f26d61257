"""Invert true representations of random test crystals and count how many come back.

The last line on stdout is JSON: for each preset the share of crystals that StructureMatcher (stol 0.5, ltol 0.3,
angle_tol 10) finds again (`match_rate_valid`: as published, where a formula that SMACT rejects is no match), their
RMSE, the cost, the memory of the main process (of all, with one worker), and the expected calibration error of the
confidence where there is one. With two presets also `speedup`, the second's seconds over the first's, on the same
crystals and cores. The published system is the published search on the published descriptor: the preset `paper` inverts
`ead:paper` unless --descriptor says otherwise, the others `ead`. Example:
    python scripts/bench_reconstruction.py --dataset perov_5 --n 500 --data-dir DIR --out benchmarks/invert_perov_5.json
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from reconstruction.confidence import expected_calibration_error
from repdiff.commands.reconstruct import run_reconstruct
from repdiff.datasets.sources import read_for_evaluation, read_reference
from repdiff.hardware import choose_device, n_cores
from repdiff.metrics.matching import match_pairs
from repdiff.metrics.validity import check_crystal_composition
from repdiff.runs.manifest import read_manifest
from repdiff.runs.provenance import record
from repdiff.runs.workspace import Workspace
from repdiff.settings import ReconstructSettings

LOW_LOSS = 1e-3  # relative; crystals below it that do not match would be ambiguities of the descriptor
DESCRIPTORS = {"paper": "ead:paper"}  # of presets that have one of their own


def invert(preset: str, arguments: argparse.Namespace, workspace: Workspace) -> dict[str, object]:
    """Reconstruct with one preset and score against the true crystals."""
    descriptor = arguments.descriptor or DESCRIPTORS.get(preset, "ead")
    settings = ReconstructSettings.model_validate(
        {
            "dataset": arguments.dataset,
            "split": "test",
            "n": arguments.n,
            "preset": preset,
            "descriptor": descriptor,
            "data_dir": arguments.data_dir,
            "seed": arguments.seed,
            "device": arguments.device,
            "n_workers": arguments.n_workers,
            "max_seconds": arguments.max_seconds,
            "max_evaluations": arguments.max_evaluations,
        }
    )
    folder = run_reconstruct(settings, workspace)
    manifest = read_manifest(folder)
    summary = manifest.summary
    crystals, failed = read_for_evaluation(folder)
    known = {
        crystal.id: crystal for crystal in read_reference(arguments.dataset, arguments.data_dir, workspace)
    }
    n_workers = arguments.n_workers or n_cores()
    rms = match_pairs(
        crystals, [known[crystal.id] for crystal in crystals], progress=True, n_workers=n_workers
    )
    matched = ~np.isnan(rms)
    balanced = np.array([check_crystal_composition(crystal).valid for crystal in crystals])

    def column(label: str) -> np.ndarray:
        return np.array([crystal.labels[label] for crystal in crystals], dtype=float)

    total = len(crystals) + len(failed)
    own = column("seconds")
    ambiguous = (column("loss") < LOW_LOSS) & ~matched
    sure = column("confidence")
    return {
        "descriptor": descriptor,
        "n": total,
        "match_rate": float(matched.sum() / total),
        "match_rate_valid": float((matched & balanced).sum() / total),
        "rmse": float(rms[matched].mean()) if matched.any() else None,
        "solved": float(np.mean([crystal.labels["stopped"] == "solved" for crystal in crystals])),
        "low_loss_no_match": float(ambiguous.sum() / total),
        "expected_calibration_error": None
        if np.isnan(sure).any()
        else expected_calibration_error(torch.from_numpy(sure), torch.from_numpy(matched)),
        "peak_memory_gib": manifest.peak_memory_gib,
        "seconds_per_structure": float(summary["seconds_per_structure"]),
        "median_core_seconds": float(np.median(own)),
        "mean_core_seconds": float(own.mean()),
        "median_seconds_on_all_cores": float(np.median(own) / summary["n_workers"]),
        "evaluations_per_structure": float(column("n_evaluations").mean()),
        "n_workers": summary["n_workers"],
        "device": str(choose_device(arguments.device)),
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--dataset", required=True)
    add("--n", type=int, default=500)
    add("--seed", type=int, default=0)
    add("--preset", action="append", help="repeatable; without it `default`")
    add("--descriptor", help="for all presets; without it each one's own")
    add("--max-seconds", type=float, help="for a crystal")
    add("--max-evaluations", type=int, help="for a crystal")
    add("--data-dir", type=Path)
    add("--device", default="cpu")
    add("--n-workers", type=int, help="processes; without it one per core")
    add("--workspace", type=Path, default=Path("repdiff-workspace"))
    add("--name", help="prefix of the runs in the workspace, in place of the one made from the settings")
    add("--overwrite", action="store_true", help="replace runs of the same name")
    add("--out", type=Path)
    arguments = parser.parse_args()
    presets: dict[str, dict[str, object]] = {}
    for preset in arguments.preset or ["default"]:
        name = f"{arguments.name}-{preset}" if arguments.name else None
        workspace = Workspace(root=arguments.workspace, name=name, overwrite=arguments.overwrite)
        presets[preset] = invert(preset, arguments, workspace)
    result: dict[str, object] = {"dataset": arguments.dataset, "seed": arguments.seed, **presets}
    if len(presets) == 2:
        fast, slow = (float(str(entry["seconds_per_structure"])) for entry in presets.values())
        result["speedup"] = slow / fast
    if arguments.out:
        record(arguments.out, result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
